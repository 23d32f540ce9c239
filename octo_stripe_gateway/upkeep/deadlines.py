"""Finds what is overdue, or soon will be; `services/deadlines.py` says what follows."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Least
from django.utils import timezone

from octo_stripe_gateway.ledger.claims import Job, Row, Step
from octo_stripe_gateway.ledger.facts import CaptureReminded
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import ASK_PAUSE, PayableLock, Payment, find_payables, get_deadline
from octo_stripe_gateway.services.deadlines import expire_payment, remind_of_installment, update_due

LONGEST_PAUSE = dt.timedelta(days=1)
CAPTURE_REMINDER = dt.timedelta(days=1)
OVERDUE_REVIEW = dt.timedelta(hours=1)


class DeadlineStep(Step[Payment]):
    """Asks the payables of open payments for their deadline, which a host may set or move at any time."""

    name = "deadlines"
    column = "claimed_until"

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        """Return those that were asked the longest ago; passed deadlines are another step's."""
        rows = Payment.ledger.open_for_payables().filter(claimed_until__lte=now)
        return rows.filter(Q(expires_at=None) | Q(expires_at__gt=now)).order_by("claimed_until")

    def plan(self, rows: list[Payment], *, until: dt.datetime) -> Iterator[tuple[Payment, Job]]:
        """Yield each payment with its payable, which are read together."""
        by_type: defaultdict[int, list[Payment]] = defaultdict(list)
        for row in rows:
            by_type[row.payable_type_id or 0].append(row)
        for payable_type_id, group in by_type.items():
            payables = find_payables(payable_type_id, (row.payable_id or "" for row in group))
            for row in group:
                yield row, partial(self.do, row, payables.get(row.payable_id or ""))

    def do(self, row: Payment, payable: Any = None) -> str:
        """Bring a payment to its payable's deadline; one that has passed cancels it."""
        if payable is None or get_deadline(payable) == row.expires_at:
            return "unchanged"
        return _expire(row, otherwise="moved")

    def conclude(self, rows: list[Payment], *, until: dt.datetime) -> None:
        """Ask again after a while, or when the deadline has passed."""
        later = timezone.now() + ASK_PAUSE
        asked = Payment.ledger.filter(pk__in=[row.pk for row in rows], claimed_until=until)
        asked.update(claimed_until=Coalesce(Least("expires_at", Value(later)), Value(later)))


class PassedStep(Step[Row]):
    """What is due once a moment has passed. It can't be moved to keep others off, so claims have a column.

    The lease is also the pause until the next try: whoever pays after a deadline has to get the money back.
    """

    name = "deadlines"
    column = "claimed_until"
    lease = dt.timedelta(minutes=1)


class ExpiryStep(PassedStep[Payment]):
    """Cancels payments whose deadline has passed.

    One that Stripe doesn't cancel is tried again in growing pauses, and holds up no other.
    """

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        due = Payment.ledger.past_deadline(now=now)
        return due.filter(_unclaimed(now)).order_by("expires_at")

    def do(self, row: Payment) -> str:
        return _expire(row, otherwise="unchanged")

    def conclude(self, rows: list[Payment], *, until: dt.datetime) -> None:
        """Lengthen the pauses of those that could not be expired."""
        now = timezone.now()
        kept = Payment.ledger.past_deadline(now=now).filter(claimed_until=until)
        for row in kept.filter(pk__in=[row.pk for row in rows]):
            overdue = now - (row.expires_at or now)
            pause = min(max(overdue, self.lease), LONGEST_PAUSE)
            Payment.ledger.filter(pk=row.pk, claimed_until=until).update(claimed_until=now + pause)


class CaptureStep(PassedStep[Payment]):
    """Reminds the host of holds that run out within a day."""

    asks_stripe = False

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        holds = Payment.ledger.to_be_captured(before=now + CAPTURE_REMINDER)
        return holds.filter(_unclaimed(now)).order_by("capture_before")

    def do(self, row: Payment) -> str:
        with lock_payment(row) as locked:
            record(locked, CaptureReminded())
        return "captures"


class DueStep(Step[PayableLock]):
    """Works out anew what payables owe whose money has moved."""

    name = "dues"
    column = "next_update_at"

    def list_due(self, now: dt.datetime) -> QuerySet[PayableLock]:
        return PayableLock.ledger.due_for_update(now=now).order_by("next_update_at")

    def do(self, row: PayableLock) -> str:
        update_due(row)
        return "updated"


class InstallmentStep(PassedStep[PayableLock]):
    """Reminds the host of installments that are due.

    Each payable is asked first, since it may no longer owe anything; after the reminder it is still asked now
    and then, so that it doesn't stay overdue for ever.
    """

    asks_stripe = False

    def list_due(self, now: dt.datetime) -> QuerySet[PayableLock]:
        asked_again = Q(reminded_at=None) | Q(reminded_at__lt=now - OVERDUE_REVIEW)
        due = PayableLock.ledger.overdue(now=now).filter(asked_again, _unclaimed(now))
        return due.order_by(F("reminded_at").asc(nulls_first=True))

    def do(self, row: PayableLock) -> str:
        return "installments" if remind_of_installment(row) else "unchanged"


def _expire(row: Payment, *, otherwise: str) -> str:
    return "expired" if expire_payment(row).status == Payment.Status.EXPIRED else otherwise


def _unclaimed(now: dt.datetime) -> Q:
    return Q(claimed_until=None) | Q(claimed_until__lte=now)
