"""Asking Stripe how one payment stands, and applying it: what events and answers missed."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.said import tells_news
from octo_stripe_gateway.ledger.transactions import outside_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.provenance import is_foreign
from octo_stripe_gateway.services.refunds import reverse_rejected, void_or_refund
from octo_stripe_gateway.services.requests import resume_request
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot

SYNCED_FIELDS = (
    "stripe_payment_intent_id",
    "status",
    "amount_capturable",
    "amount_received",
    "amount_refunded",
    "amount_reserved",
    "disputed",
    "has_concerns",
)

# A payment whose money may still move by itself is checked at least once a day.
LONGEST_PAUSE = dt.timedelta(days=1)

Differences = dict[str, tuple[Any, Any]]


class DryRunError(Exception):
    """Takes back what a dry run has written."""


@outside_transaction
def sync_payment(payment: Payment, *, dry_run: bool = False) -> Differences:
    """Bring a payment to what Stripe says, and return the old and the new value of each changed field.

    Unanswered requests are performed again. A dry run only reads at Stripe, and writes nothing. What is
    asked: https://docs.stripe.com/api/payment_intents/retrieve. Raises StripeError.
    """
    before = _describe(payment)
    if not dry_run:
        payment = resume_requests(payment)
    payment = sync_intent(payment, dry_run=dry_run)
    if payment.needs_reversal and not dry_run:
        with suppress(StripeRefusedError):
            void_or_refund(payment)
        payment = Payment.ledger.get(pk=payment.pk)
    return _compare(before, _describe(payment))


@outside_transaction
def sync_listed(
    payment: Payment, snapshot: PaymentIntentSnapshot, *, dry_run: bool = False, thorough: bool = False
) -> Differences:
    """Bring a payment without open requests to its intent as one of Stripe's lists has it.

    The intent is retrieved only if the list leaves something out: https://docs.stripe.com/expand. `thorough`
    compares each refund even if the totals agree. Raises StripeError.
    """
    charge = snapshot.charge
    refunded = (charge.amount_refunded, charge.disputed) if charge else (0, False)
    is_known = refunded == (payment.amount_refunded, payment.disputed)
    if not thorough and is_known and not tells_news(payment, snapshot):
        return {}
    if snapshot.charge_id and (charge is None or not charge.has_all_refunds or charge.disputed):
        return sync_payment(payment, dry_run=dry_run)
    before = _describe(payment)
    payment = _apply(payment, snapshot, dry_run=dry_run)
    if payment.needs_reversal and not dry_run:
        payment = reverse_rejected(payment)
    return _compare(before, _describe(payment))


def sync_intent(payment: Payment, *, dry_run: bool = False) -> Payment:
    """Bring a payment to what Stripe says of its intent, if it has one; raises StripeError."""
    if not payment.stripe_payment_intent_id:
        return payment
    snapshot = stripe_client.retrieve_payment_intent(payment.intent_id, origin=payment.origin)
    return _apply(payment, snapshot, dry_run=dry_run)


def resume_requests(payment: Payment) -> Payment:
    """Perform a payment's open requests again, and return the payment as it is then; raises StripeError."""
    for request in StripeRequest.ledger.open_of(payment).select_related("payment", "refund"):
        # A refusal is an answer too, and whoever got it has recorded it.
        with suppress(StripeRefusedError):
            resume_request(request)
    return Payment.ledger.get(pk=payment.pk)


def get_pause(payment: Payment) -> dt.timedelta:
    """Return how long to wait between an unsettled payment's check and the next one."""
    pause: dt.timedelta = FIRST_CHECK_AFTER * 2 ** min(payment.checks, 20)
    unpaid = {"requires_payment_method", "requires_confirmation", "requires_action"}
    return pause if payment.intent_status in unpaid else min(pause, LONGEST_PAUSE)


def _apply(payment: Payment, snapshot: PaymentIntentSnapshot, *, dry_run: bool) -> Payment:
    if gateway_settings.installation_id and is_foreign(snapshot.metadata):
        # This is a copy of another installation's database, and the payment is the original's.
        return payment
    with suppress(DryRunError), lock_payment(payment) as locked:
        record(locked, snapshot, ask=None if dry_run else ask_host)
        if dry_run:
            raise DryRunError
    return locked


def _describe(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in SYNCED_FIELDS}


def _compare(before: dict[str, Any], after: dict[str, Any]) -> Differences:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
