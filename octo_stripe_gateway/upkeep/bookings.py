"""Books that are due: what moved in Stripe's balance."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import QuerySet

from octo_stripe_gateway.books.booking import plan_bookings
from octo_stripe_gateway.ledger.claims import Job, Step
from octo_stripe_gateway.models import Payment


class BookStep(Step[Payment]):
    """Records what moved in Stripe's balance because of payments."""

    name = "books"
    column = "next_booking_at"

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        """Return those that Stripe was asked about least, and among them the newest."""
        return Payment.ledger.filter(next_booking_at__lte=now).order_by("bookings", "-pk")

    def plan(self, rows: list[Payment], *, until: dt.datetime) -> Iterator[tuple[Payment, Job]]:
        """Yield payments by account, since one list may tell of many."""
        return plan_bookings(rows, until=until)
