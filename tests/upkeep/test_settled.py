"""Nothing automatic starts again for what a person has settled."""

from __future__ import annotations

import pytest
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import list_concerns, settle_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def rejected(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    """Make a payment that was rejected and refunded, and whose refund has failed since."""
    payment = services.create_payment(payable=Booking.objects.create()).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    Booking.objects.update(price=2500)
    api.deliver(stripe)
    (refund,) = payment.refunds.all()
    stripe.settle_refund(refund.stripe_refund_id or "", status="failed", reason="declined")
    api.deliver(stripe)
    return Payment.objects.get()


def keep_up() -> None:
    Payment.objects.update(next_check_at=timezone.now())
    run_upkeep(limit=10, threads=1)


def test_failed_refund_of_a_rejected_payment_is_not_made_again(rejected: Payment) -> None:
    assert list_concerns(rejected) == ["refund_failed"]
    keep_up()
    settle_all(rejected, reason="Paid by bank.")
    for _ in range(2):
        keep_up()
        services.sync_payment(rejected)
    assert rejected.refunds.count() == 1
    assert list_concerns(rejected) == []


def test_operator_may_repeat_a_failed_refund(rejected: Payment, stripe: StripeEmulator) -> None:
    services.refund_payment(rejected)
    settle_all(rejected, reason="Refunded again.")
    rejected.refresh_from_db()
    assert (rejected.status, rejected.refunds.count()) == ("refunded", 2)


def test_repeated_fact_opens_no_second_concern(
    rejected: Payment, api: GatewayApi, stripe: StripeEmulator
) -> None:
    settle_all(rejected, reason="Paid by bank.")
    for event in stripe.events:
        api.post_event(*stripe.signed(event))
    keep_up()
    assert Concern.objects.count() == 1
    assert list_concerns(rejected) == []
