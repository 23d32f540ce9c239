"""What ends by itself, and what the host is reminded of in time."""

from __future__ import annotations

import datetime as dt

from django.db.models import F, Q, QuerySet

from octo_stripe_gateway.models import PayableLock, Payment
from octo_stripe_gateway.services.deadlines import (
    expire_payment,
    remind_of_capture,
    remind_of_installment,
    update_due,
)
from octo_stripe_gateway.services.due import Step

# A deadline can't be moved to keep others off it, so these claims have a column of their own. The lease is
# also the pause until the next try: whoever pays after a deadline has to get the money back.
LEASE = dt.timedelta(minutes=1)
CAPTURE_REMINDER = dt.timedelta(days=1)
OVERDUE_REVIEW = dt.timedelta(hours=1)


class ExpiryStep(Step[Payment]):
    """Cancels payments whose deadline has passed."""

    name = "deadlines"
    column = "claimed_until"
    lease = LEASE

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        """Return the oldest deadline first."""
        due = Payment.ledger.get_queryset().past_deadline(now=now)
        return due.filter(_unclaimed(now)).order_by("expires_at")

    def do(self, row: Payment) -> str:
        """Expire a payment."""
        is_expired = expire_payment(row).status == Payment.Status.EXPIRED
        return "expired" if is_expired else "unchanged"


class CaptureStep(Step[Payment]):
    """Reminds the host of holds that run out within a day."""

    name = "deadlines"
    column = "claimed_until"
    asks_stripe = False
    lease = LEASE

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        """Return what runs out first."""
        holds = Payment.ledger.get_queryset().to_be_captured(before=now + CAPTURE_REMINDER)
        return holds.filter(_unclaimed(now)).order_by("capture_before")

    def do(self, row: Payment) -> str:
        """Send `payment_capture_due`."""
        remind_of_capture(row)
        return "captures"


class DueStep(Step[PayableLock]):
    """Works out anew what payables owe whose money has moved."""

    name = "dues"
    column = "next_update_at"

    def list_due(self, now: dt.datetime) -> QuerySet[PayableLock]:
        """Return the oldest change first."""
        return PayableLock.ledger.get_queryset().due_for_update(now=now).order_by("next_update_at")

    def do(self, row: PayableLock) -> str:
        """Work it out."""
        update_due(row)
        return "updated"


class InstallmentStep(Step[PayableLock]):
    """Reminds the host of installments that are due.

    Each payable is asked first, since it may no longer owe anything; after the reminder it is still asked now
    and then, so that it doesn't stay overdue for ever.
    """

    name = "deadlines"
    column = "claimed_until"
    asks_stripe = False
    lease = LEASE

    def list_due(self, now: dt.datetime) -> QuerySet[PayableLock]:
        """Return first those that nobody was reminded of."""
        asked_again = Q(reminded_at=None) | Q(reminded_at__lt=now - OVERDUE_REVIEW)
        due = PayableLock.ledger.get_queryset().overdue(now=now).filter(asked_again, _unclaimed(now))
        return due.order_by(F("reminded_at").asc(nulls_first=True))

    def do(self, row: PayableLock) -> str:
        """Send `installment_due` where that is new."""
        return "installments" if remind_of_installment(row) else "unchanged"


def _unclaimed(now: dt.datetime) -> Q:
    return Q(claimed_until=None) | Q(claimed_until__lte=now)
