"""Money that comes after a payable's deadline goes back, by Stripe's clock and never by ours."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db(transaction=True)

TOO_LATE = "paid_too_late"


class Deadline:
    """Until when a booking can be paid, which the host may change at any time."""

    at: dt.datetime | None = None


@pytest.fixture
def deadline(monkeypatch: pytest.MonkeyPatch) -> Deadline:
    deadline = Deadline()
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: deadline.at, raising=False)
    return deadline


def create(api: GatewayApi) -> Any:
    booking = Booking.objects.create(currency="usd")
    return api.create({"payable": {"type": "booking", "id": booking.pk}}).json()


def get_passed() -> dt.datetime:
    return timezone.now() - dt.timedelta(days=1)


def tell(payment: Any, *, by: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    if by == "complete":
        api.complete(payment)
    else:
        assert {answer.status_code for answer in api.deliver(stripe)} == {200}


@pytest.mark.parametrize("by", ["complete", "event"])
def test_open_payment_of_a_cancelled_booking_goes_back(
    by: str, api: GatewayApi, stripe: StripeEmulator, deadline: Deadline
) -> None:
    """It had no deadline when the payment was created."""
    payment = create(api)
    deadline.at = get_passed()
    stripe.confirm(payment["stripePaymentIntentId"])
    tell(payment, by=by, api=api, stripe=stripe)
    row = Payment.objects.get()
    assert (row.rejection_code, row.accepted_at, row.amount_held) == (TOO_LATE, None, 0)
    assert api.complete(payment).status_code == 422
    assert [refund["amount"] for refund in stripe.refunds.values()] == [row.amount]


@pytest.mark.parametrize("by", ["complete", "event"])
def test_hold_of_a_cancelled_booking_is_released(
    by: str, api: GatewayApi, stripe: StripeEmulator, deadline: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    booking = Booking.objects.create(currency="usd")
    body = {"payable": {"type": "booking", "id": booking.pk}, "captureMethod": "manual"}
    payment = api.create(body).json()
    deadline.at = get_passed()
    stripe.confirm(payment["stripePaymentIntentId"])
    tell(payment, by=by, api=api, stripe=stripe)
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"


@pytest.mark.parametrize("by", ["complete", "event"])
def test_payment_of_which_we_hear_late_is_kept(
    by: str, api: GatewayApi, stripe: StripeEmulator, deadline: Deadline
) -> None:
    payment = create(api)
    stripe.confirm(payment["stripePaymentIntentId"])
    deadline.at = timezone.now()
    WebhookEvent.objects.all().delete()
    tell(payment, by=by, api=api, stripe=stripe)
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


@pytest.mark.parametrize("by", ["complete", "event"])
@pytest.mark.parametrize("hears_of_it", [True, False])
def test_bank_debit_that_began_in_time_is_kept(
    hears_of_it: bool, by: str, api: GatewayApi, stripe: StripeEmulator, deadline: Deadline
) -> None:
    """It takes days to succeed, and the event of that doesn't say when it began."""
    payment = create(api)
    intent = payment["stripePaymentIntentId"]
    stripe.confirm(intent, payment_method="pm_usBankAccount_success")
    if hears_of_it:
        tell(payment, by=by, api=api, stripe=stripe)
    stripe.settle(intent)
    charge = stripe.charges[stripe.payment_intents[intent]["latest_charge"]]
    deadline.at = dt.datetime.fromtimestamp(charge["created"], tz=dt.UTC) + dt.timedelta(seconds=1)
    if by == "complete":
        assert api.complete(payment).json()["status"] == "CONFIRMED"
        return
    for event in stripe.events:
        if event.type == "payment_intent.succeeded":
            # It succeeded days later.
            event.payload["created"] += 3 * 24 * 3600
    tell(payment, by=by, api=api, stripe=stripe)
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


def test_event_that_says_too_little_waits_for_stripe(
    api: GatewayApi, stripe: StripeEmulator, deadline: Deadline
) -> None:
    payment = create(api)
    deadline.at = get_passed()
    stripe.confirm(payment["stripePaymentIntentId"])
    stripe.add_fault(Fault(method="GET", path="/v1/payment_intents", status=500, times=None))
    tell(payment, by="event", api=api, stripe=stripe)
    row = Payment.objects.get()
    assert (row.rejection_code, row.accepted_at) == ("", None)
    assert Payment.objects.due_for_check(now=timezone.now()).exists()
    stripe.clear_faults()
    services.sync_payment(row)
    assert Payment.objects.get().rejection_code == TOO_LATE
