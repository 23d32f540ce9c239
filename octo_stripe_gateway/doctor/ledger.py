"""Diagnoses of the ledger: what has waited for too long, and what an operator has to look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.timesince import timesince

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor.diagnosis import Diagnosis
from octo_stripe_gateway.ledger.concerns import get_action, get_kind_label
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, StripeRequest, WebhookEvent

# How many payments back the latest paid one is looked for.
LATEST = 1000
# Beyond this a backlog is only said to be that long at least.
MOST_COUNTED = 1000
# How late maintenance may be, which should run every minute.
LONGEST_DELAY = dt.timedelta(hours=1)
# What Stripe has not booked after so many tries, in some days, needs a person.
MOST_BOOKINGS = 12
MAINTAIN = "Have cron run `manage.py maintain_payments` every minute"

Finder = Callable[[dt.datetime], Iterator[Diagnosis]]


def find_missing_events(cutoff: dt.datetime) -> Iterator[Diagnosis]:
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


def find_backlogs(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find what has waited for too long: for a worker, an answer of Stripe's, a receiver or upkeep."""
    uses_tasks = gateway_settings.webhook_processing == "task"
    yield from _diagnose(
        "events_waiting",
        "events were taken in and are not processed",
        f"{'See that a worker of the task backend runs' if uses_tasks else MAINTAIN}.",
        WebhookEvent.ledger.filter(status=WebhookEvent.Status.RECEIVED, received_at__lt=cutoff),
        since="received_at",
        order="received_at",
    )
    yield from _diagnose(
        "requests_open",
        "requests to Stripe have no answer",
        f"{MAINTAIN}; the log says why one fails.",
        StripeRequest.ledger.open().filter(created_at__lt=cutoff),
        order="created_at",
    )
    yield from _diagnose(
        "changes_undelivered",
        "changes have not reached every receiver",
        f"See on the payment's timeline which receiver raises, and mend it. {MAINTAIN}.",
        PaymentChange.ledger.filter(deliver_at__isnull=False, created_at__lt=cutoff),
        order="deliver_at",
    )
    late = timezone.now() - LONGEST_DELAY
    yield from _diagnose(
        "checks_overdue",
        "payments should have been checked at Stripe",
        f"{MAINTAIN}.",
        Payment.ledger.filter(next_check_at__lt=late),
        since="next_check_at",
        order="next_check_at",
    )
    yield from _diagnose(
        "books_overdue",
        "payments are not booked as Stripe's balance has them",
        f"{MAINTAIN}; in Stripe's dashboard a payment's balance transactions say what it brought.",
        Payment.ledger.filter(Q(next_booking_at__lt=late) | Q(bookings__gte=MOST_BOOKINGS)).filter(
            next_booking_at__isnull=False
        ),
        order="next_booking_at",
    )


def find_concerns(_cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find what waits for an operator, by the code of each concern."""
    rows = Concern.ledger.open()
    for code in sorted({*rows.values_list("code", flat=True)}):
        action = f"{get_action(code)} Settle each in the admin.".strip()
        message = f"concerns are open: {get_kind_label(code)}"
        yield from _diagnose(code, message, action, rows.filter(code=code), since="opened_at")


def get_last_event() -> dt.datetime | None:
    return WebhookEvent.ledger.order_by("-pk").values_list("received_at", flat=True).first()


def get_age(moment: dt.datetime | None) -> int | None:
    return int((timezone.now() - moment).total_seconds()) if moment else None


def _diagnose(
    code: str, message: str, action: str, rows: QuerySet[Any], *, since: str = "created_at", order: str = "pk"
) -> Iterator[Diagnosis]:
    """Yield a diagnosis of rows that wait, where there are any: how many, and for how long the oldest has."""
    # In the order of the index that has these rows alone, so that it is read and not the table.
    moments = list(rows.order_by(order).values_list(since, flat=True)[:MOST_COUNTED])
    if not moments:
        return
    at_least = "at least " if len(moments) == MOST_COUNTED else ""
    oldest = min(moments)
    yield Diagnosis(
        code=code,
        message=f"{at_least}{len(moments)} {message}, the oldest since {timesince(oldest)}.",
        action=action,
        count=len(moments),
        oldest_seconds=get_age(oldest),
    )


FINDERS: tuple[Finder, ...] = (find_missing_events, find_backlogs, find_concerns)
