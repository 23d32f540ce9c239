"""Sums of what moved, by day."""

from __future__ import annotations

import datetime as dt
from collections import Counter

from django.db.models import F, QuerySet
from django.utils import timezone

from octo_stripe_gateway.ledger.claims import Step
from octo_stripe_gateway.models import BalanceTransaction, DaySum, Payment
from octo_stripe_gateway.stripe.times import get_day


class SumStep(Step[BalanceTransaction]):
    """Adds each movement to its day's sum, and marks it, in the transaction that locks it."""

    name = "sums"
    column = "summed_at"
    asks_stripe = False
    size = 1000

    def list_due(self, now: dt.datetime) -> QuerySet[BalanceTransaction]:
        """Return what isn't in the sums yet."""
        return BalanceTransaction.ledger.filter(summed_at=None).order_by("moved_at", "pk")

    def claim(self, rows: list[BalanceTransaction], *, until: dt.datetime) -> None:
        """Add them up for good: no second step follows that could fail."""
        payments = Payment.ledger.filter(pk__in={row.payment_id for row in rows})
        livemode = dict(payments.values_list("pk", "livemode"))
        sums = Counter[tuple[dt.date, bool, str, str]]()
        for row in rows:
            key = get_day(row.moved_at), livemode[row.payment_id], row.currency, row.reporting_category
            sums[key] += row.amount
        # In one order, so that runs at once wait for each other and don't block each other.
        for (day, is_live, currency, category), amount in sorted(sums.items()):
            named = {"day": day, "livemode": is_live, "currency": currency, "reporting_category": category}
            DaySum.ledger.insert(DaySum(**named), or_ignore=True)
            DaySum.ledger.filter(**named).update(total=F("total") + amount)
        BalanceTransaction.ledger.filter(pk__in=[row.pk for row in rows]).update(summed_at=timezone.now())

    def do(self, row: BalanceTransaction) -> str:
        """Say that it was added up when it was claimed."""
        return "added"
