"""The API with PostgreSQL's own parameters and prepared statements, as a host may switch them on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.docs import get_block, run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="are options of psycopg's"),
]
SHOWN = run(get_block("python", "server_side_binding"), DATABASES={"default": {}})
# Each statement is prepared at its first use.
OPTIONS = SHOWN["DATABASES"]["default"]["OPTIONS"] | {"prepare_threshold": 0}


@pytest.fixture(autouse=True)
def prepared(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connect as a host with these options."""
    known: dict[str, Any] = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {**known, **OPTIONS})
    connection.close()
    yield
    connection.close()


def count_prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


def test_payment_goes_its_whole_way(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create({"amount": 2000, "currency": "usd", "metadata": {"hotel": "Ritz"}}).json()
    stripe.confirm(payment["stripePaymentIntentId"])
    api.deliver(stripe)
    api.deliver(stripe)
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert api.refund(payment, {"amount": 500}).json()["totalRefunded"] == 500
    assert [each["amount"] for each in api.retrieve(payment).json()["refunds"]] == [500]
    assert [each["uuid"] for each in api.list_payments("?status=CONFIRMED").json()] == [payment["uuid"]]
    # One of them alone prepares nothing in Django.
    assert count_prepared() > 5


def test_payable_is_paid_and_refunded(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    for _each in range(2):
        services.cancel_payment(services.create_payment(payable=booking).payment)
    payment = services.create_payment(payable=booking).payment
    stripe.confirm(payment.intent_id)
    assert services.complete_payment(payment).status == "paid"
    assert services.get_dues(booking).due == 0
    assert [each.amount_refunded for each in services.refund_payable(booking)] == [2000]


def test_maintenance_runs(stripe: StripeEmulator) -> None:
    payment = services.create_payment(amount=2000, currency="usd").payment
    Payment.ledger.filter(pk=payment.pk).update(next_check_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    stripe.confirm(payment.intent_id)
    run_upkeep(limit=10, threads=1)
    payment.refresh_from_db()
    assert payment.status == "paid"
