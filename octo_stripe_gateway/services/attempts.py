"""Asks Stripe under another idempotency key, where the answer to one is a fault of Stripe's for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db.models import F

from octo_stripe_gateway.exceptions import StripeUnavailableError
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.services.ledger import lock_payment
from octo_stripe_gateway.transactions import get_database

Row = TypeVar("Row", Payment, Refund)
Answer = TypeVar("Answer")


def ask_stripe(row: Row, *, operation: Callable[[Row], Answer]) -> Answer:
    """Run an operation whose key is made of the row's attempt, a second time if Stripe replays a fault.

    Before it is known to be replayed, another key could do the work twice; and though it is a fault, the
    work may have been done: the operation looks for that where the row has had an attempt.
    """
    try:
        return operation(row)
    except StripeUnavailableError as error:
        if not error.replayed:
            raise
    renew_key(row)
    return operation(row)


def renew_key(row: Payment | Refund) -> None:
    """Raise the row's attempt, unless another caller has; the given row then is as theirs."""
    payment, stripe_id = (
        (row, "stripe_payment_intent_id") if isinstance(row, Payment) else (row.payment, "stripe_refund_id")
    )
    with lock_payment(payment):
        same = type(row)._base_manager.using(get_database()).filter(pk=row.pk)
        same.filter(stripe_attempt=row.stripe_attempt).update(stripe_attempt=F("stripe_attempt") + 1)
        row.refresh_from_db(using=get_database(), fields=["stripe_attempt", stripe_id])
