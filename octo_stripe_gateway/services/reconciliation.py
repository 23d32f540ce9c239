"""Finding what events and answers missed, by asking Stripe."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.utils import timezone

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.services.ledger import (
    apply_payment_intent,
    lock_payment,
    saving_changes,
)
from octo_stripe_gateway.services.payments import complete_payment, resume_capture, send_back
from octo_stripe_gateway.services.refunds import give_back, request_refund
from octo_stripe_gateway.transactions import get_database, outside_transaction

# Stripe keeps idempotency keys for at least 24 hours; past that a repeat might act twice.
RESERVATION_LIFETIME = dt.timedelta(hours=23)
ABANDONED = "abandoned"
RECONCILED_FIELDS = (
    "stripe_payment_intent_id",
    "status",
    "amount_capturable",
    "amount_received",
    "amount_refunded",
    "amount_reserved",
    "disputed",
    "mismatch",
)

Differences = dict[str, tuple[Any, Any]]


@outside_transaction
def reconcile_payment(payment: Payment, *, dry_run: bool = False) -> Differences:
    """Bring a payment to what Stripe says, and return by field what it was and what it became.

    Reservations without an answer are asked for again, or given up once Stripe has forgotten their keys.
    A dry run asks Stripe for nothing but how things stand, and writes nothing. Raises StripeError.
    """
    before = _describe(payment)
    if not dry_run:
        _finish_reservations(payment)
        payment.refresh_from_db(using=get_database())
    if not payment.stripe_payment_intent_id:
        return _compare(before, _describe(payment))
    fact = stripe_client.retrieve_payment_intent(payment)
    with lock_payment(payment) as locked:
        apply_payment_intent(locked, fact, ask_host=not dry_run)
        transaction.set_rollback(dry_run, using=get_database())
    if locked.is_unwanted and not dry_run:
        send_back(locked)
        locked.refresh_from_db(using=get_database())
    return _compare(before, _describe(locked))


def _finish_reservations(payment: Payment) -> None:
    # A refusal is an answer too, and the operation that got it took it down.
    if not payment.stripe_payment_intent_id and payment.status == Payment.Status.PENDING:
        with suppress(StripeRefusedError):
            _finish_creation(payment)
    with suppress(StripeRefusedError):
        resume_capture(payment)
    for refund in payment.refunds.filter(status=Refund.RESERVED).select_related("payment"):
        with suppress(StripeRefusedError):
            _finish_refund(refund)


def _finish_creation(payment: Payment) -> None:
    if not _is_stale(payment):
        complete_payment(payment)
        return
    with lock_payment(payment) as locked, saving_changes(locked):
        if not locked.stripe_payment_intent_id:
            locked.take_refusal(code=ABANDONED, message="")


def _finish_refund(refund: Refund) -> None:
    if not _is_stale(refund) or stripe_client.find_refund(refund):
        request_refund(refund)
    else:
        give_back(refund, reason=ABANDONED)


def _is_stale(reservation: Payment | Refund) -> bool:
    return reservation.created_at < timezone.now() - RESERVATION_LIFETIME


def _describe(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in RECONCILED_FIELDS}


def _compare(before: dict[str, Any], after: dict[str, Any]) -> Differences:
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
