"""Syncs of payments that are due for one: a hundred a call to Stripe where many are due."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from django.db.models import F, QuerySet
from django.utils import timezone

from octo_stripe_gateway.exceptions import GatewayError, StripeRateLimitedError
from octo_stripe_gateway.ledger.claims import Job, Step
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.services.syncing import (
    get_pause,
    sync_listed,
    sync_payment,
)
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot

logger = get_logger(__name__)

# How long a request may stay unanswered before upkeep repeats it.
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
        """Yield first the payments that Stripe's lists tell of."""
        left = {payment.pk: payment for payment in rows}
        for group in _group_listable(rows):
            for payment, snapshot in _find_in_list(group):
                del left[payment.pk]
                yield payment, partial(_sync_listed, payment, snapshot)
        yield from super().plan(list(left.values()), until=until)

    def do(self, row: Payment) -> str:
        return "changed" if sync_payment(row) else "unchanged"

    def conclude(self, rows: list[Payment], *, until: dt.datetime) -> None:
        """Lengthen the pauses until the next syncs, except where a payment was rescheduled meanwhile."""
        now = timezone.now()
        groups = defaultdict(list)
        for payment in rows:
            groups[payment.checks, get_pause(payment)].append(payment.pk)
        for (checks, pause), keys in groups.items():
            same = Payment.ledger.filter(pk__in=keys, checks=checks, next_check_at=until)
            same.update(checks=F("checks") + 1, next_check_at=now + pause)


def _sync_listed(payment: Payment, snapshot: PaymentIntentSnapshot) -> str:
    return "changed" if sync_listed(payment, snapshot) else "unchanged"


def _group_listable(payments: Sequence[Payment]) -> Iterator[list[Payment]]:
    """Yield, by account, the payments for which Stripe's list is enough: unpaid, with nothing under way."""
    keys = [payment.pk for payment in payments]
    asked = set(StripeRequest.ledger.open().filter(payment__in=keys).values_list("payment", flat=True))
    groups = defaultdict(list)
    for payment in payments:
        is_plain = payment.intent_status in UNPAID and not payment.has_concerns and not payment.rejection_code
        if payment.stripe_payment_intent_id and is_plain and payment.pk not in asked:
            groups[payment.origin].append(payment)
    yield from (group for group in groups.values() if len(group) >= LEAST_LISTED)


def _find_in_list(payments: Sequence[Payment]) -> Iterator[tuple[Payment, PaymentIntentSnapshot]]:
    """Yield the payments that Stripe's list of their time holds; give up if too many others are between them.

    The rest has to be asked for one by one, also where Stripe did not answer. Raises StripeRateLimitedError.
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
    except StripeRateLimitedError:
        raise
    except GatewayError:
        logger.warning("[OctoStripeGateway] Stripe's list could not be read", exc_info=True)
