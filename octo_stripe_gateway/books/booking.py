"""Keeping the books: what each payment brought into Stripe's balance, what it cost, and what went back.

Whatever moves money marks its payment. Maintenance then asks Stripe for its balance transactions, a hundred a
call where many payments are marked, and records each once. A payment stays marked until its charge and every
refund and dispute is booked as expected, so that nothing that Stripe books late is missed.

None of this happens when the money moves: a customer must not wait for it, Stripe may not have booked it yet,
and a key that may not read the balance must still take payments.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cached_property, partial
from operator import attrgetter
from typing import NamedTuple

from django.db.models import F, QuerySet
from django.utils import timezone

from octo_stripe_gateway.exceptions import StripeAuthenticationError
from octo_stripe_gateway.ledger.claims import Job, Step
from octo_stripe_gateway.ledger.facts import Booked, SyncNeeded
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.said import PROCESSING
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import BalanceTransaction, DaySum, Dispute, Payment, Refund
from octo_stripe_gateway.models.balance_transactions import KINDS
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.lists import LEAST_LISTED, find_listed
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.stripe.snapshots import BalanceTransactionSnapshot
from octo_stripe_gateway.stripe.times import get_day

logger = get_logger(__name__)

FIRST_PAUSE = dt.timedelta(minutes=1)
# While money may still move unannounced, such as when an inquiry becomes a dispute.
LONGEST_OPEN_PAUSE = dt.timedelta(days=1)
REFUSED_PAUSE = dt.timedelta(hours=1)
# Stripe may have booked a movement up to EARLIEST seconds before its payment was marked, and Stripe's clock
# may be LATEST seconds ahead. What is outside of that is asked for one by one.
EARLIEST, LATEST = 600, 30


class Flow(IntEnum):
    """Which way money moves because of a charge, refund or dispute; `EVEN` is both ways, or not at all."""

    IN = 1
    OUT = -1
    EVEN = 0


class BookStep(Step[Payment]):
    """Records what moved in Stripe's balance because of payments."""

    name = "books"
    column = "next_booking_at"

    def list_due(self, now: dt.datetime) -> QuerySet[Payment]:
        """Return those that Stripe was asked about least, and among them the newest."""
        return Payment.ledger.filter(next_booking_at__lte=now).order_by("bookings", "-pk")

    def plan(self, rows: list[Payment], *, until: dt.datetime) -> Iterator[tuple[Payment, Job]]:
        """Yield payments by account, since one list may tell of many."""
        groups = defaultdict(list)
        for payment in rows:
            groups[payment.origin].append(payment)
        for group in groups.values():
            books = _Books(group, until=until)
            yield from ((payment, partial(books.book, payment)) for payment in group)

    def conclude(self, rows: list[Payment], *, until: dt.datetime) -> None:
        """Lengthen the pauses of those that could not be booked."""
        failed = Payment.ledger.filter(pk__in=[row.pk for row in rows], next_booking_at=until)
        for row in failed:
            again_at = timezone.now() + _get_pause(row)
            failed.filter(pk=row.pk).update(next_booking_at=again_at, bookings=F("bookings") + 1)


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


class Expected(NamedTuple):
    """Which way money has moved, by all that is known, because of one of Stripe's objects."""

    source_id: str
    flow: Flow
    # As a dispute may, with each thing that happens to it.
    may_cost_more: bool = False


def book_listed(payment: Payment, snapshots: Sequence[BalanceTransactionSnapshot]) -> None:
    """Record a payment's movements from one of Stripe's lists, whether or not it is due for booking."""
    with lock_payment(payment) as locked:
        movements = _insert_new(locked, snapshots, expected=_expect(locked))
        record(locked, Booked(movements, cards=[each.card for each in snapshots]))


def _expect(payment: Payment) -> list[Expected]:
    is_charged = payment.amount_received or payment.intent_status == PROCESSING
    expected = [Expected(payment.stripe_charge_id, Flow.IN if is_charged else Flow.EVEN)]
    for refund in Refund.ledger.list_of(payment):
        if not refund.is_disowned:
            flow = Flow.OUT if refund.is_live else Flow.EVEN
            expected.append(Expected(refund.stripe_refund_id or "", flow))
    for dispute in Dispute.ledger.list_by(payment_id=payment.pk):
        # An inquiry takes nothing, but may become a dispute at any time.
        flow = Flow.OUT if dispute.is_open or dispute.status == "lost" else Flow.EVEN
        expected.append(Expected(dispute.stripe_dispute_id, flow, may_cost_more=True))
    return [each for each in expected if each.source_id]


def _insert_new(
    payment: Payment, snapshots: Sequence[BalanceTransactionSnapshot], *, expected: Sequence[Expected]
) -> list[BalanceTransaction]:
    """Insert a locked payment's new movements, and return all of them, old and new.

    One that can't be, by what is known, tells of something that no event has told: the payment is synced.
    """
    rows = BalanceTransaction.ledger.list_by(payment_id=payment.pk)
    known = {row.stripe_balance_transaction_id for row in rows}
    unknown = {each.id: each for each in snapshots if each.id not in known}
    new = [BalanceTransaction.from_snapshot(each, payment=payment) for each in unknown.values()]
    if new:
        BalanceTransaction.ledger.bulk_create(new, ignore_conflicts=True)
    booked, flows = _get_flows(rows + new), {each.source_id: each.flow for each in expected}
    if any(booked[source_id] is not flows.get(source_id) for source_id in _get_flows(new)):
        record(payment, SyncNeeded())
    return rows + new


def _get_flows(movements: Sequence[BalanceTransaction]) -> dict[str, Flow]:
    """Return by Stripe's id which way more movements went than the other way.

    They are counted, since amounts that came back may have been converted at another rate. What is neither
    payment, refund nor dispute, such as a fee of its own, says nothing of where the money is.
    """
    nets: Counter[str] = Counter()
    for row in movements:
        if row.reporting_category in KINDS:
            nets[row.source_id] += (row.amount > 0) - (row.amount < 0)
    return {source_id: Flow((net > 0) - (net < 0)) for source_id, net in nets.items()}


def _list_missing(
    expected: Sequence[Expected], rows: Sequence[BalanceTransaction], *, is_first: bool = False
) -> list[str]:
    """Return Stripe's ids of the charge, refunds and disputes whose money must have moved and is not booked.

    The first time, also of those whose money may have moved.
    """
    booked = _get_flows(rows)
    return sorted(
        {
            source_id
            for source_id, flow, may_cost_more in expected
            if booked.get(source_id, Flow.EVEN) is not flow
            or (is_first and (may_cost_more or source_id not in booked))
        }
    )


class _Books:
    """Books payments of one origin, from one of Stripe's lists where they are many."""

    def __init__(self, payments: Sequence[Payment], *, until: dt.datetime) -> None:
        self.payments, self.until = payments, until
        self.is_refused = False

    def book(self, payment: Payment) -> str:
        """Book a payment from the list, and ask one by one for what the list lacks.

        Returns `booked`, or `waiting` if Stripe has yet to book something. If the key may not read the
        balance, the rest of the payments is put off for an hour.
        """
        if self.is_refused:
            return "failed"
        is_first = not payment.bookings
        listed = self.listed.get(payment.stripe_payment_intent_id or "", [])
        if listed and _book_found(payment, listed, until=self.until, is_first=is_first):
            return "booked"
        rows = BalanceTransaction.ledger.list_by(payment_id=payment.pk)
        missing = _list_missing(_expect(payment), rows, is_first=is_first)
        ask = partial(stripe_client.list_balance_transactions_of, origin=payment.origin)
        try:
            found = [each for source_id in missing for each in ask(source_id)]
        except StripeAuthenticationError as error:
            name = payment.account or "the default account"
            logger.error("[OctoStripeGateway] The books of %s can't be kept: %s", name, error)  # noqa: TRY400
            self.is_refused = True
            same = Payment.ledger.filter(pk__in=[each.pk for each in self.payments])
            same.filter(next_booking_at=self.until).update(next_booking_at=timezone.now() + REFUSED_PAUSE)
            return "failed"
        return "booked" if _book_found(payment, found, until=self.until, is_last=True) else "waiting"

    @cached_property
    def listed(self) -> dict[str, list[BalanceTransactionSnapshot]]:
        """Return by intent what Stripe's list of that time holds; empty where single calls are fewer."""
        found = defaultdict(list)
        if len(self.payments) >= LEAST_LISTED:
            wanted = {each.stripe_payment_intent_id or "" for each in self.payments}
            moments = [
                int(each.next_booking_at.timestamp()) for each in self.payments if each.next_booking_at
            ]
            listed = stripe_client.list_balance_transactions(
                self.payments[0].origin, since=min(moments) - EARLIEST, until=max(moments) + LATEST
            )
            for snapshot in find_listed(listed, wanted, get_id=attrgetter("payment_intent_id")):
                found[snapshot.payment_intent_id].append(snapshot)
        return found


def _book_found(
    payment: Payment,
    found: Sequence[BalanceTransactionSnapshot],
    *,
    until: dt.datetime,
    is_first: bool = False,
    is_last: bool = False,
) -> bool:
    """Record what was found, and tell whether that is all; `is_last` plans when to ask again."""
    with lock_payment(payment) as locked:
        expected = _expect(locked)
        movements = _insert_new(locked, found, expected=expected)
        is_complete = not _list_missing(expected, movements, is_first=is_first)
        # Otherwise something has moved since it was claimed.
        is_as_claimed = locked.next_booking_at == until
        # The pauses grow while something is missing.
        again_at = None if is_complete else timezone.now() + _get_pause(locked)
        is_planned = is_as_claimed and (is_complete or is_last)
        cards = [each.card for each in found]
        record(locked, Booked(movements, cards=cards, is_planned=is_planned, again_at=again_at))
    return is_complete and is_as_claimed


def _get_pause(payment: Payment) -> dt.timedelta:
    pause: dt.timedelta = FIRST_PAUSE * 2 ** min(payment.bookings, 20)
    is_open = payment.disputed or payment.open_refunds
    return min(pause, LONGEST_OPEN_PAUSE) if is_open else pause
