"""Diagnoses of the ledger: what has waited for too long, and what an operator has to look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.timesince import timesince

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor.diagnosis import Diagnosis
from octo_stripe_gateway.ledger.concerns import KINDS, get_kind_label
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, StripeRequest, WebhookEvent

# How many payments back the latest paid one is looked for.
LATEST = 1000
# Beyond this a backlog is only said to be that long at least.
MOST_COUNTED = 1000
# How late maintenance may be; it is run every ten minutes at least.
LONGEST_DELAY = dt.timedelta(hours=1)
# What Stripe has not booked after so many tries, some days, does not come by itself.
MOST_BOOKINGS = 12
MAINTAIN = "Have cron run `manage.py maintain_payments` every minute"

Finder = Callable[[dt.datetime], Iterator[Diagnosis]]


class Backlog(NamedTuple):
    """How many rows wait, and since when the oldest does."""

    number: int
    oldest: dt.datetime | None

    def diagnose(self, code: str, message: str, action: str) -> Iterator[Diagnosis]:
        """Yield the diagnosis where there are any rows."""
        if self.oldest is None:
            return
        at_least = "at least " if self.number == MOST_COUNTED else ""
        yield Diagnosis(
            code=code,
            message=f"{at_least}{self.number} {message}, the oldest since {timesince(self.oldest)}.",
            action=action,
            count=self.number,
            oldest_seconds=int((timezone.now() - self.oldest).total_seconds()),
        )


def find_waiting_events(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find events that were taken in and not processed."""
    received = WebhookEvent.Status.RECEIVED
    waiting = WebhookEvent.ledger.filter(status=received, received_at__lt=cutoff)
    worker = "See that a worker of the task backend runs" if _uses_tasks() else MAINTAIN
    yield from _measure(waiting, "received_at", order="received_at").diagnose(
        "events_waiting", "events were taken in and are not processed", f"{worker}."
    )


def find_missing_events(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find that payments are made, but no events come in."""
    patience = timezone.now() - cutoff
    latest = Payment.ledger.order_by("-pk").values_list("accepted_at", flat=True)[:LATEST]
    paid = max((moment for moment in latest if moment and moment < cutoff), default=None)
    last = get_last_event()
    if paid and (last is None or last < paid - patience):
        since = f"since the last event {timesince(last)} ago" if last else "and no event has ever come"
        yield Diagnosis(
            code="events_missing",
            message=f"Payments were made {since}.",
            action="See in Stripe's dashboard, Developers, Webhooks, what its deliveries are answered with.",
            oldest_seconds=get_age(last),
        )


def find_open_requests(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find what was asked of Stripe and is not answered."""
    unanswered = StripeRequest.ledger.open().filter(created_at__lt=cutoff)
    yield from _measure(unanswered, "created_at", order="created_at").diagnose(
        "requests_open", "requests to Stripe have no answer", f"{MAINTAIN}; the log says why one fails."
    )


def find_undelivered_changes(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find changes that a receiver of signals has not heard of."""
    rows = PaymentChange.ledger.get_queryset()
    undelivered = rows.filter(deliver_at__isnull=False, created_at__lt=cutoff)
    action = f"See on the payment's timeline which receiver raises, and mend it. {MAINTAIN}."
    yield from _measure(undelivered, "created_at", order="deliver_at").diagnose(
        "changes_undelivered", "changes have not reached every receiver", action
    )


def find_overdue_checks(_cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find that nothing looks after unsettled payments."""
    due = Payment.ledger.filter(next_check_at__lt=timezone.now() - LONGEST_DELAY)
    yield from _measure(due, "next_check_at", order="next_check_at").diagnose(
        "checks_overdue", "payments should have been checked at Stripe", f"{MAINTAIN}."
    )


def find_overdue_bookings(_cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find that nothing keeps the books, or that Stripe never books what was paid."""
    overdue = Q(next_booking_at__lt=timezone.now() - LONGEST_DELAY) | Q(bookings__gte=MOST_BOOKINGS)
    unbooked = Payment.ledger.filter(overdue, next_booking_at__isnull=False)
    action = f"{MAINTAIN}; in Stripe's dashboard a payment's balance transactions say what it brought."
    yield from _measure(unbooked, "created_at", order="next_booking_at").diagnose(
        "books_overdue", "payments are not booked as Stripe's balance has them", action
    )


def find_concerns(_cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find what waits for an operator, by the code of each concern."""
    rows = Concern.ledger.open()
    for code in sorted({*rows.values_list("code", flat=True)}):
        kind = KINDS.get(code)
        yield from _measure(rows.filter(code=code), "opened_at").diagnose(
            code,
            f"concerns are open: {get_kind_label(code)}",
            f"{kind.action if kind else ''} Settle each in the admin.".strip(),
        )


def get_last_event() -> dt.datetime | None:
    """Return when the last event came."""
    return WebhookEvent.ledger.order_by("-pk").values_list("received_at", flat=True).first()


def get_age(moment: dt.datetime | None) -> int | None:
    """Return how many seconds ago that was."""
    return int((timezone.now() - moment).total_seconds()) if moment else None


def _measure(rows: QuerySet[Any], column: str, *, order: str = "pk") -> Backlog:
    # In the order of the index that has these rows alone, so that it is read and not the table.
    moments = list(rows.order_by(order).values_list(column, flat=True)[:MOST_COUNTED])
    return Backlog(len(moments), min(moments, default=None))


def _uses_tasks() -> bool:
    return gateway_settings.webhook_processing == "task"


FINDERS: tuple[Finder, ...] = (
    find_missing_events,
    find_waiting_events,
    find_open_requests,
    find_undelivered_changes,
    find_overdue_checks,
    find_overdue_bookings,
    find_concerns,
)
