"""Stripe corrects itself: what closed goes on, and what succeeded fails."""

from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway import services, signals, upkeep
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import BalanceTransaction, Dispute, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.support.api import GatewayApi
from tests.support.ledger import later, list_concerns
from tests.support.objects import make_dispute, make_event
from tests.support.receivers import listening

pytestmark = pytest.mark.django_db(transaction=True)


def keep_books() -> None:
    upkeep.work_off(upkeep.BOOKS, limit=10)


@pytest.mark.parametrize(("won", "status"), [(False, "appeal_needs_response"), (True, "needs_response")])
def test_dispute_that_goes_on_is_told_shown_and_booked(
    won: bool, status: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    dispute_id = stripe.open_dispute(payment["stripePaymentIntentId"], amount=2000)["id"]
    stripe.close_dispute(dispute_id, won=won)
    api.deliver(stripe)
    keep_books()
    heard: list[str] = []
    with (
        later(stripe),
        listening(signals.payment_disputed, lambda payment, **_: heard.append(payment.status)),
    ):
        stripe.reopen_dispute(dispute_id, status=status)
        api.deliver(stripe)
    row, dispute = Payment.objects.get(), Dispute.objects.get()
    assert heard
    assert (row.disputed, row.amount_lost, row.refunds_blocked) == (True, 0, True)
    assert (dispute.status, dispute.is_open, dispute.evidence_due_at is None) == (status, True, False)
    assert api.retrieve(payment).json()["refundable"] is False
    with pytest.raises(UnprocessableError, match="disputed"):
        services.refund_payment(row)
    keep_books()
    at_stripe = {each["id"] for each in stripe.balance_transactions.values()}
    booked = BalanceTransaction.objects.values_list("stripe_balance_transaction_id", flat=True)
    assert at_stripe == set(booked)


def test_refund_that_is_canceled_after_it_was_told_needs_an_operator(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_pendingRefund")
    api.complete(payment)
    heard: list[str] = []
    with listening(signals.payment_refunded, lambda **_sent: heard.append("refunded")):
        api.refund(payment, {"amount": 500})
    (refund_id,) = stripe.refunds
    with (
        later(stripe),
        listening(signals.payment_needs_attention, lambda payment, **_: heard.extend(list_concerns(payment))),
    ):
        stripe.settle_refund(refund_id, status="canceled")
        api.deliver(stripe)
    assert heard == ["refunded", "refund_canceled"]
    assert Payment.objects.get().amount_refunded == 0


def test_loss_in_another_currency_is_refundable_only_once_it_is_settled(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    """Tell it by an event of our own, since the emulator's disputes are in the charge's currency."""
    payment = api.paid(stripe)
    row = Payment.objects.get()
    lost = make_dispute(
        payment_intent=row.stripe_payment_intent_id, status="lost", amount=700, currency="eur"
    )
    inbox.receive_event(make_event("charge.dispute.closed", lost))
    assert list_concerns(row) == ["loss_in_other_currency"]
    assert api.retrieve(payment).json()["refundable"] is False
    assert api.refund(payment).status_code == 422
    concern = row.concerns.get()
    services.settle_concern(concern, reason="As on the statement.", amount=800)
    row.refresh_from_db()
    assert (row.amount_lost, row.amount_refundable) == (800, 1200)
    assert api.refund(payment, {"amount": 1200}).status_code == 200
