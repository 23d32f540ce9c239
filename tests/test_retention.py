"""Forgetting a person while the books are kept."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

PERSON = "Ada Lovelace"


@pytest.fixture
def paid(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    payment = api.paid(
        stripe,
        {
            "amount": 2000,
            "metadata": {"guest": PERSON},
            "resellerReference": PERSON,
            "description": PERSON,
            "receiptEmail": "ada@example.com",
        },
    )
    api.deliver(stripe)
    return Payment.objects.get(pk=payment["id"])


def describe() -> str:
    return str([*Payment.objects.all().values(), *WebhookEvent.objects.all().values()])  # type: ignore[misc]


def test_nothing_of_the_person_is_left(paid: Payment) -> None:
    assert PERSON in describe()
    call_command("erase_payment_data", str(paid.uuid))
    assert PERSON not in describe()
    assert "ada@example.com" not in describe()


def test_what_is_none_of_our_business_is_not_kept_at_all(paid: Payment) -> None:
    ignored = WebhookEvent.objects.filter(status="ignored")
    assert "charge.succeeded" in ignored.values_list("type", flat=True)
    assert PERSON not in str([*ignored.values()])


def test_the_books_stay(paid: Payment, api: GatewayApi) -> None:
    call_command("erase_payment_data", str(paid.pk))
    answer = api.retrieve({"id": paid.pk}).json()
    assert (answer["amount"], answer["status"]) == (2000, "CONFIRMED")
    event = WebhookEvent.objects.get(type="payment_intent.succeeded")
    assert event.stripe_object["amount_received"] == 2000
    assert api.refund({"id": paid.pk}).json()["status"] == "REFUNDED"


def test_nothing_is_changed_where_one_of_them_is_unknown(paid: Payment) -> None:
    with pytest.raises(CommandError, match="999"):
        call_command("erase_payment_data", str(paid.pk), "999")
    assert PERSON in describe()
