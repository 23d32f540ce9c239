"""Compares the ledger with Stripe's own record."""

from __future__ import annotations

from typing import Any

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator

STATUSES = {
    "requires_payment_method": {Payment.Status.PENDING, Payment.Status.FAILED},
    "requires_capture": {Payment.Status.AUTHORIZED},
    "succeeded": {Payment.Status.PAID, Payment.Status.REFUNDED},
    "canceled": {Payment.Status.CANCELED},
}


def assert_ledger_equals(stripe: StripeEmulator) -> None:
    """Check every row and its refunds against the emulator, and that nothing is left under way."""
    for payment in Payment.objects.all():
        intent = stripe.payment_intents[payment.stripe_payment_intent_id or ""]
        charge = stripe.charges.get(intent["latest_charge"] or "", {})
        assert payment.mismatch == ""
        assert payment.status in STATUSES[intent["status"]]
        assert payment.intent_status == intent["status"]
        assert payment.amount_received == intent["amount_received"] <= payment.amount
        assert payment.amount_capturable == intent["amount_capturable"]
        assert payment.amount_refunded == charge.get("amount_refunded", 0) <= payment.amount_received
        assert payment.amount_reserved == 0
        fully = 0 < payment.amount_received == payment.amount_refunded
        assert (payment.status == Payment.Status.REFUNDED) == fully
        assert get_refunds(payment) == get_refunds_at(stripe, payment)


def get_refunds(payment: Payment) -> dict[str | None, Any]:
    """Return the refunds that Stripe answered; a refusal left nothing at Stripe."""
    answered = payment.refunds.exclude(stripe_refund_id=None)
    assert not payment.refunds.filter(status="reserved").exists()
    return {refund.stripe_refund_id: (refund.amount, refund.status) for refund in answered}


def get_refunds_at(stripe: StripeEmulator, payment: Payment) -> dict[str | None, Any]:
    """Return the refunds as Stripe has them."""
    return {
        refund_id: (refund["amount"], refund["status"])
        for refund_id, refund in stripe.refunds.items()
        if refund["payment_intent"] == payment.stripe_payment_intent_id
    }
