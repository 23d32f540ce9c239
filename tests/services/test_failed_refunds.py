"""Refunds that fail after the booking was paid again, and disputes that come before acceptance."""

from __future__ import annotations

import pytest

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Concern, Payment, Refund
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db(transaction=True)


def pay(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> Payment:
    paid = api.paid(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    return Payment.objects.get(pk=paid["id"])


def test_booking_that_holds_twice_its_price_says_so(api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create(price=9000, currency="usd")
    first = pay(api, stripe, booking)
    services.refund_payment(first, due_again=True)
    pay(api, stripe, booking)
    upkeep.work_off(upkeep.DUES, limit=10)
    assert not Concern.objects.open().filter(code="payable_overpaid").exists()
    stripe.settle_refund(Refund.objects.get().stripe_refund_id or "", status="failed")
    api.deliver(stripe)
    upkeep.work_off(upkeep.DUES, limit=10)
    concern = Concern.objects.open().get(code="payable_overpaid")
    named = {"amount": 9000, "currency": "usd", "name": f"shop.booking:{booking.pk}"}
    assert concern.parameters == named
    services.refund_payment(first)
    upkeep.work_off(upkeep.DUES, limit=10)
    assert not Concern.objects.open().filter(code="payable_overpaid").exists()


def test_price_that_falls_is_a_concern(api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create(price=9000, currency="usd")
    services.refund_payment(pay(api, stripe, booking), amount=100)
    Booking.objects.update(price=5000)
    upkeep.work_off(upkeep.DUES, limit=10)
    concern = Concern.objects.open().get()
    assert (concern.code, concern.parameters["amount"]) == ("payable_overpaid", 3900)


@pytest.mark.parametrize("rejects", [True, False])
def test_dispute_that_comes_before_acceptance_is_shown_to_the_host(
    rejects: bool, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def decide(_booking: Booking, payment: Payment) -> None:
        seen.append(payment.disputed)
        if payment.disputed and rejects:
            raise PaymentRejectedError("It is disputed.")

    monkeypatch.setattr(Booking, "on_payment_completed", decide, raising=False)
    booking = Booking.objects.create(price=9000, currency="usd")
    payment = api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    stripe.open_dispute(payment["stripePaymentIntentId"])
    api.deliver(stripe, "charge.dispute.created")
    assert api.complete(payment).status_code == (422 if rejects else 200)
    assert seen == [True]
    row = Payment.objects.get()
    assert (row.status, row.disputed) == ("failed" if rejects else "paid", True)


def test_dispute_that_is_lost_before_acceptance_confirms_nothing(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create(price=9000, currency="usd")
    payment = api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    dispute = stripe.open_dispute(payment["stripePaymentIntentId"])
    stripe.close_dispute(dispute["id"], won=False)
    api.deliver(stripe, "charge.dispute.created", "charge.dispute.closed")
    assert api.complete(payment).status_code == 422
    assert Payment.objects.get().accepted_at is None
