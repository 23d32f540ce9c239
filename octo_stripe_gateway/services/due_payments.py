"""Asking Stripe about payments that are due for a check, a hundred a call where many are due.

A claim keeps payments for one process until it runs out. Others skip them, and if that process dies they are
due again by then.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

from django.db.models import F, QuerySet
from django.utils import timezone

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.exceptions import GatewayError, StripeBusyError, StripeUnavailableError
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.services.reconciliation import (
    get_pause,
    reconcile_listed,
    reconcile_payment,
)
from octo_stripe_gateway.snapshots import PaymentIntentSnapshot
from octo_stripe_gateway.transactions import outside_transaction, skip_locked, write_transaction

logger = logging.getLogger(__name__)

LEASE = dt.timedelta(minutes=10)
# How long a request may stay unanswered before maintenance repeats it.
REQUEST_TIMEOUT = dt.timedelta(minutes=10)
LONGEST_REQUEST_PAUSE = dt.timedelta(hours=1)
# Clocks differ, and an intent is created a little later than its row.
LEEWAY = 60
# A list pays off from so many due payments on, and while its pages hold so many of them: otherwise single
# calls are fewer. The first pages may hold none, because other processes' claims may come first.
LEAST_LISTED = 5
LEAST_A_PAGE = 2
PAGES_OF_GRACE = 2
UNPAID = frozenset({"requires_payment_method", "requires_confirmation", "requires_action", "processing"})


class Outcome(StrEnum):
    """The result of a check. `UNANSWERED`: Stripe did not answer, so the payment is due again soon."""

    UNCHANGED = auto()
    CHANGED = auto()
    FAILED = auto()
    UNANSWERED = auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """Payments that no other process works on until that moment."""

    payments: list[Payment]
    until: dt.datetime

    def __len__(self) -> int:
        return len(self.payments)


def count_due_payments(*, limit: int) -> int:
    """Return how many payments are due for a check, up to a limit."""
    due = Payment.ledger.filter(next_check_at__lte=timezone.now())
    return due.order_by()[:limit].count()


def recall_unanswered_requests() -> None:
    """Make payments with an unanswered request due for a check, at least once an hour."""
    now = timezone.now()
    requests = StripeRequest.ledger.get_queryset().open().filter(created_at__lt=now - REQUEST_TIMEOUT)
    payments = Payment.ledger.filter(pk__in=requests.values("payment"))
    latest = now + LONGEST_REQUEST_PAUSE
    payments.filter(next_check_at=None).update(next_check_at=now)
    payments.filter(next_check_at__gt=latest).update(next_check_at=latest)


@outside_transaction
def claim_due_payments(*, limit: int) -> Claim:
    """Claim payments that are due for a check: the least checked first, and among those the newest."""
    due = Payment.ledger.filter(next_check_at__lte=timezone.now()).order_by("checks", "-pk")
    return claim_payments(due, column="next_check_at", limit=limit)


def claim_payments(due: QuerySet[Payment], *, column: str, limit: int) -> Claim:
    """Claim the first payments that no other process has locked, by setting the column to the lease's end."""
    until = timezone.now() + LEASE
    with write_transaction():
        payments = list(skip_locked(due)[:limit])
        keys = [payment.pk for payment in payments]
        Payment.ledger.filter(pk__in=keys).update(**{column: until})
    return Claim(payments, until)


def check_payments(claim: Claim) -> Generator[Outcome]:
    """Bring claimed payments to what Stripe says and yield each outcome; one that fails stops no other.

    If the generator is closed early, the payments that it did not reach are due again after the lease.
    """
    checked: list[Payment] = []
    try:
        for payment, outcome in _check_all(claim.payments):
            if outcome is not Outcome.UNANSWERED:
                checked.append(payment)
            yield outcome
    finally:
        _postpone(checked, until=claim.until)


def _check_all(payments: Sequence[Payment]) -> Iterator[tuple[Payment, Outcome]]:
    left = {payment.pk: payment for payment in payments}
    for group in _group_listable(payments):
        for payment, snapshot in _find_in_list(group):
            del left[payment.pk]
            yield payment, _check(payment, snapshot=snapshot)
    for payment in left.values():
        yield payment, _check(payment)


def _check(payment: Payment, *, snapshot: PaymentIntentSnapshot | None = None) -> Outcome:
    try:
        differences = reconcile_listed(payment, snapshot) if snapshot else reconcile_payment(payment)
    except (StripeBusyError, StripeUnavailableError):
        return Outcome.UNANSWERED
    except Exception:
        logger.exception("[OctoStripeGateway] Payment %s could not be checked", payment.uuid)
        return Outcome.FAILED
    return Outcome.CHANGED if differences else Outcome.UNCHANGED


def _group_listable(payments: Sequence[Payment]) -> Iterator[list[Payment]]:
    """Yield, by account, the payments for which Stripe's list is enough: unpaid, with nothing under way."""
    keys = [payment.pk for payment in payments]
    asked = set(
        StripeRequest.ledger.get_queryset().open().filter(payment__in=keys).values_list("payment", flat=True)
    )
    groups = defaultdict(list)
    for payment in payments:
        is_plain = payment.intent_status in UNPAID and not payment.mismatch and not payment.rejection_reason
        if payment.stripe_payment_intent_id and is_plain and payment.pk not in asked:
            groups[payment.origin].append(payment)
    yield from (group for group in groups.values() if len(group) >= LEAST_LISTED)


def _find_in_list(payments: Sequence[Payment]) -> Iterator[tuple[Payment, PaymentIntentSnapshot]]:
    """Yield the payments that Stripe's list of their time holds; give up if too many others are between them.

    The rest has to be asked for one by one, also where Stripe did not answer.
    """
    wanted = {payment.stripe_payment_intent_id: payment for payment in payments}
    moments = [int(payment.created_at.timestamp()) for payment in payments]
    listed = stripe_client.list_payment_intents(
        payments[0].origin, since=min(moments) - LEEWAY, until=max(moments) + LEEWAY
    )
    try:
        for number, snapshot in enumerate(listed, start=1):
            payment = wanted.pop(snapshot.id, None)
            if payment:
                yield payment, snapshot
            found, pages = len(payments) - len(wanted), number / stripe_client.PAGE_SIZE
            if not wanted or (pages.is_integer() and found < LEAST_A_PAGE * (pages - PAGES_OF_GRACE)):
                return
    except GatewayError:
        logger.warning("[OctoStripeGateway] Stripe's list could not be read", exc_info=True)


def _postpone(payments: Sequence[Payment], *, until: dt.datetime) -> None:
    """Lengthen the pauses until the next checks, except where a payment was rescheduled meanwhile."""
    now = timezone.now()
    groups = defaultdict(list)
    for payment in payments:
        groups[payment.checks, get_pause(payment)].append(payment.pk)
    for (checks, pause), keys in groups.items():
        same = Payment.ledger.filter(pk__in=keys, checks=checks, next_check_at=until)
        same.update(checks=F("checks") + 1, next_check_at=now + pause)
