"""Deadlines that a host sets, moves or takes back while a payment is open."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking, Voucher
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db(transaction=True)

CANCEL = "/v1/payment_intents/.*/cancel"
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def deadlines(monkeypatch: pytest.MonkeyPatch) -> dict[Any, dt.datetime | None]:
    """Until when each booking or voucher can be paid, by its key."""
    deadlines: dict[Any, dt.datetime | None] = {}
    for model in (Booking, Voucher):
        monkeypatch.setattr(model, "get_payment_deadline", lambda self: deadlines.get(self.pk), raising=False)
    return deadlines


def create(api: GatewayApi, booking: Booking) -> Any:
    return api.create({"payable": {"type": "booking", "id": booking.pk}}).json()


def let_time_pass() -> None:
    Payment.objects.update(claimed_until=timezone.now())


def get_status(payment: Any, stripe: StripeEmulator) -> str:
    return str(stripe.payment_intents[payment["stripePaymentIntentId"]]["status"])


@pytest.mark.parametrize("earlier", [None, HOUR])
def test_deadline_that_appears_or_moves_earlier_is_kept(
    earlier: dt.timedelta | None,
    api: GatewayApi,
    stripe: StripeEmulator,
    deadlines: dict[Any, dt.datetime | None],
) -> None:
    booking = Booking.objects.create()
    deadlines[booking.pk] = timezone.now() + earlier if earlier else None
    payment = create(api, booking)
    deadlines[booking.pk] = timezone.now() - HOUR
    let_time_pass()
    upkeep.run_upkeep(limit=10)
    assert get_status(payment, stripe) == "canceled"
    assert Payment.objects.get().status == "expired"


def test_deadline_that_moves_is_shown(
    api: GatewayApi, stripe: StripeEmulator, deadlines: dict[Any, dt.datetime | None]
) -> None:
    booking = Booking.objects.create()
    payment = create(api, booking)
    assert payment["utcExpiresAt"] is None
    deadlines[booking.pk] = timezone.now() + HOUR
    let_time_pass()
    assert upkeep.work_off(upkeep.DEADLINES, limit=10) == {"moved": 1}
    assert Payment.objects.get().expires_at == deadlines[booking.pk]
    assert upkeep.work_off(upkeep.DEADLINES, limit=10) == {}


def test_payables_are_asked_together_and_no_more_than_the_limit(
    api: GatewayApi, stripe: StripeEmulator, deadlines: dict[Any, dt.datetime | None]
) -> None:
    for _each in range(12):
        create(api, Booking.objects.create())

    def count(limit: int) -> int:
        let_time_pass()
        with CaptureQueriesContext(connection) as queries:
            assert upkeep.work_off(upkeep.DEADLINES, limit=limit) == {"unchanged": limit}
        return len(queries)

    assert count(1) == count(12)
    let_time_pass()
    # Each has its turn.
    upkeep.work_off(upkeep.DEADLINES, limit=5)
    assert Payment.objects.filter(claimed_until__gt=timezone.now()).count() == 5
    upkeep.work_off(upkeep.DEADLINES, limit=7)
    assert Payment.objects.filter(claimed_until__gt=timezone.now()).count() == 12


@pytest.mark.parametrize("when", ["before", "after"])
def test_expiry_under_way_stops_when_the_deadline_moves_later(
    when: Any, api: GatewayApi, stripe: StripeEmulator, deadlines: dict[Any, dt.datetime | None]
) -> None:
    """Unless Stripe has canceled it already."""
    booking = Booking.objects.create()
    payment = create(api, booking)
    deadlines[booking.pk] = timezone.now() - HOUR
    let_time_pass()
    stripe.add_fault(Fault(kind="reset", path=CANCEL, when=when))
    upkeep.work_off(upkeep.DEADLINES, limit=10)
    assert StripeRequest.objects.open().get().kind == "cancel"
    deadlines[booking.pk] = timezone.now() + HOUR
    services.sync_payment(Payment.objects.get())
    assert get_status(payment, stripe) == ("requires_payment_method" if when == "before" else "canceled")
    row = Payment.objects.get()
    assert not StripeRequest.objects.open().exists()
    if when == "before":
        assert row.is_open
        stripe.confirm(payment["stripePaymentIntentId"])
        assert api.complete(payment).json()["status"] == "CONFIRMED"


def test_payments_that_stripe_does_not_cancel_hold_up_no_others(
    api: GatewayApi, stripe: StripeEmulator, deadlines: dict[Any, dt.datetime | None]
) -> None:
    bookings = [Booking.objects.create() for _each in range(4)]
    payments = [create(api, booking) for booking in bookings]
    for number, booking in enumerate(bookings):
        deadlines[booking.pk] = timezone.now() - dt.timedelta(hours=10 - number)
        Payment.objects.filter(payable_id=booking.pk).update(expires_at=deadlines[booking.pk])
    for payment in payments[:2]:
        path = f"/v1/payment_intents/{payment['stripePaymentIntentId']}/cancel"
        stripe.add_fault(Fault(path=path, status=400, times=None))
    let_time_pass()
    for _each in range(2):
        upkeep.work_off(upkeep.EXPIRIES, limit=2)
        # A minute later, as maintenance runs.
        Payment.objects.filter(claimed_until__lte=timezone.now() + dt.timedelta(minutes=1)).update(
            claimed_until=timezone.now()
        )
    assert [get_status(payment, stripe) for payment in payments[2:]] == ["canceled", "canceled"]


def test_payable_without_a_price_has_a_deadline_too(
    stripe: StripeEmulator, deadlines: dict[Any, dt.datetime | None]
) -> None:
    voucher = Voucher.objects.create()
    deadlines[voucher.pk] = timezone.now() + HOUR
    payment = services.create_payment(2000, currency="usd", payable=voucher).payment
    assert payment.expires_at == deadlines[voucher.pk]
    deadlines[voucher.pk] = timezone.now() - HOUR
    with pytest.raises(UnprocessableError):
        services.create_payment(2000, currency="usd", payable=voucher)
    assert Payment.objects.count() == 1
    let_time_pass()
    upkeep.work_off(upkeep.DEADLINES, limit=10)
    assert Payment.objects.get().status == "expired"


def test_payables_without_a_deadline_are_not_asked(api: GatewayApi, stripe: StripeEmulator) -> None:
    create(api, Booking.objects.create())
    api.create()
    assert not Payment.objects.exclude(claimed_until=None).exists()
    PaymentFactory.create(payable=Booking.objects.create())
    assert upkeep.work_off(upkeep.DEADLINES, limit=10) == {}
