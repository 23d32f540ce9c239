"""Syncs of payments that are due for one: a hundred a call to Stripe where many are due."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from operator import attrgetter

from django.db.models import F, QuerySet
from django.utils import timezone

from octo_stripe_gateway.ledger.claims import Job, Step
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.services.syncing import get_pause, sync_listed, sync_payment
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.lists import LEAST_LISTED, find_listed
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot

# How long a request may stay unanswered before upkeep repeats it.
REQUEST_TIMEOUT = dt.timedelta(minutes=10)
LONGEST_REQUEST_PAUSE = dt.timedelta(hours=1)
# Clocks differ, and an intent is created a little later than its row.
LEEWAY = 60
UNPAID_INTENTS = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action", "processing"}
)


class SyncStep(Step[Payment]):
    """Brings payments that are due for it to what Stripe says, and repeats their unanswered requests."""

    name = "payments"
    column = "next_check_at"

    def prepare(self) -> None:
        """Make payments with an unanswered request due for a sync, at least once an hour."""
        now = timezone.now()
        requests = StripeRequest.ledger.open().filter(created_at__lt=now - REQUEST_TIMEOUT)
        payments = Payment.ledger.filter(pk__in=requests.values("payment"))
        latest = now + LONGEST_REQUEST_PAUSE
        payments.filter(next_check_at=None).update(next_check_at=now)
        payments.filter(next_check_at__gt=latest).update(next_check_at=latest)

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        return Payment.ledger.due_for_check(now=now).order_by("checks", "-pk")

    def plan(self, rows: list[Payment], *, until: dt.datetime) -> Iterator[tuple[Payment, Job]]:
        """Yield first the payments for which Stripe's list is enough: unpaid, with nothing under way."""
        left = {payment.pk: payment for payment in rows}
        asked = set(StripeRequest.ledger.open().filter(payment__in=left).values_list("payment", flat=True))
        groups: defaultdict[Origin, dict[str, Payment]] = defaultdict(dict)
        for row in rows:
            is_plain = row.intent_status in UNPAID_INTENTS and not row.has_concerns and not row.rejection_code
            if row.stripe_payment_intent_id and is_plain and row.pk not in asked:
                groups[row.origin][row.stripe_payment_intent_id] = row
        for origin, group in groups.items():
            if len(group) < LEAST_LISTED:
                continue
            moments = [int(payment.created_at.timestamp()) for payment in group.values()]
            listed = stripe_client.list_payment_intents(
                origin, since=min(moments) - LEEWAY, until=max(moments) + LEEWAY
            )
            for snapshot in find_listed(listed, group, get_id=attrgetter("id")):
                if payment := left.pop(group[snapshot.id].pk, None):
                    yield payment, partial(self.do, payment, snapshot)
        yield from super().plan(list(left.values()), until=until)

    def do(self, row: Payment, snapshot: PaymentIntentSnapshot | None = None) -> str:
        """Sync a payment, from Stripe's list if it is there."""
        differences = sync_listed(row, snapshot) if snapshot else sync_payment(row)
        return "changed" if differences else "unchanged"

    def conclude(self, rows: list[Payment], *, until: dt.datetime) -> None:
        """Lengthen the pauses until the next syncs, except where a payment was rescheduled meanwhile."""
        now = timezone.now()
        groups = defaultdict(list)
        for payment in rows:
            groups[payment.checks, get_pause(payment)].append(payment.pk)
        for (checks, pause), keys in groups.items():
            same = Payment.ledger.filter(pk__in=keys, checks=checks, next_check_at=until)
            same.update(checks=F("checks") + 1, next_check_at=now + pause)
