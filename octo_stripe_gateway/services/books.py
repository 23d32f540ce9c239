"""Keeping the books: what each payment brought into Stripe's balance, what it cost, and what went back.

Whatever moves money marks its payment. Maintenance then asks Stripe for its balance transactions, a hundred a
call where many payments are marked, and records each once. A payment stays marked until its charge and every
refund and dispute is booked as expected, so that nothing that Stripe books late is missed.

None of this happens when the money moves: a customer must not wait for it, Stripe may not have booked it yet,
and a key that may not read the balance must still take payments.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum, auto
from functools import partial

from django.db.models import F
from django.utils import timezone

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.exceptions import GatewayError, StripeAuthenticationError, StripeUnavailableError
from octo_stripe_gateway.models import BalanceTransaction, Dispute, Payment, Refund
from octo_stripe_gateway.services.due_payments import Claim, claim_payments
from octo_stripe_gateway.services.ledger import PROCESSING, lock_payment
from octo_stripe_gateway.snapshots import BalanceTransactionSnapshot
from octo_stripe_gateway.transactions import outside_transaction

logger = logging.getLogger(__name__)

FIRST_PAUSE = dt.timedelta(minutes=1)
# While money may still move unannounced, such as when an inquiry becomes a dispute.
LONGEST_OPEN_PAUSE = dt.timedelta(days=1)
REFUSED_PAUSE = dt.timedelta(hours=1)
# Stripe may have booked a movement up to EARLIEST seconds before its payment was marked, and Stripe's clock
# may be LATEST seconds ahead. What is outside of that is asked for one by one.
EARLIEST, LATEST = 600, 30
# A list is read on only while that takes fewer calls than asking one by one. Some pages may hold nothing of
# ours, because other processes' claims may come first.
LEAST_LISTED = 5
LEAST_A_PAGE = 2
FEWEST_PAGES_OF_OTHERS = 3
PAYMENTS_A_PAGE_OF_OTHERS = 20
RECORDED_COLUMNS = (
    "settlement_currency",
    "exchange_rate",
    "fee",
    "net",
    "card_brand",
    "card_last4",
    "receipt_url",
)


class BookingOutcome(StrEnum):
    """The result of booking a payment. `WAITING`: Stripe has not booked everything yet."""

    BOOKED = auto()
    WAITING = auto()
    FAILED = auto()
    UNANSWERED = auto()


def count_unbooked_payments(*, limit: int) -> int:
    """Return how many payments are due for booking, up to a limit."""
    return Payment.ledger.filter(next_booking_at__lte=timezone.now()).order_by()[:limit].count()


@outside_transaction
def claim_unbooked_payments(*, limit: int) -> Claim:
    """Claim payments that are due for booking: the least asked about first, and among those the newest."""
    due = Payment.ledger.filter(next_booking_at__lte=timezone.now()).order_by("bookings", "-pk")
    return claim_payments(due, column="next_booking_at", limit=limit)


def book_payments(claim: Claim) -> Generator[BookingOutcome]:
    """Record what moved in Stripe's balance for claimed payments, and yield each outcome.

    If the generator is closed early, the payments that it did not reach are due again after the lease.
    """
    groups = defaultdict(list)
    for payment in claim.payments:
        groups[payment.account, payment.stripe_account].append(payment)
    for group in groups.values():
        yield from _book_group(group, until=claim.until)


def book_listed(payment: Payment, snapshots: Sequence[BalanceTransactionSnapshot]) -> None:
    """Record a payment's movements from one of Stripe's lists, whether or not it is due for booking."""
    with lock_payment(payment) as locked:
        _record(locked, snapshots)
        Payment.ledger.save_changed(locked, names=RECORDED_COLUMNS)


def _record(payment: Payment, snapshots: Sequence[BalanceTransactionSnapshot]) -> list[BalanceTransaction]:
    """Record a locked payment's new movements, and return all of them, old and new."""
    rows = BalanceTransaction.ledger.list_by(payment_id=payment.pk)
    known = {row.stripe_balance_transaction_id for row in rows}
    unknown = {each.id: each for each in snapshots if each.id not in known}
    new = [BalanceTransaction.from_snapshot(each, payment=payment) for each in unknown.values()]
    if new:
        BalanceTransaction.ledger.bulk_create(new, ignore_conflicts=True)
    for snapshot in snapshots:
        payment.apply_card(snapshot.card)
    rows += new
    _sum_up(payment, rows)
    return rows


def _list_missing(
    payment: Payment, rows: Sequence[BalanceTransaction], *, is_first: bool = False
) -> list[str]:
    """Return Stripe's ids of the charge, refunds and disputes whose money must have moved and is not booked.

    The first time, also of those whose money may have moved.
    """
    flows: dict[str, set[bool]] = defaultdict(set)
    for row in rows:
        flows[row.source_id].add(row.amount > 0)
    refunds = [each for each in Refund.ledger.list_of(payment) if not each.is_disowned]
    sources = {payment.stripe_charge_id: _expect_of_charge(payment)}
    sources |= {each.stripe_refund_id or "": _expect_of_refund(each) for each in refunds}
    missing = {
        source_id
        for source_id, expected in sources.items()
        if source_id and not _is_booked(expected, flows[source_id], is_first=is_first)
    }
    # A dispute may cost more with each thing that happens to it.
    missing |= {
        each.stripe_dispute_id
        for each in Dispute.ledger.list_by(payment_id=payment.pk)
        if is_first or not _is_booked(_expect_of_dispute(each), flows[each.stripe_dispute_id])
    }
    return sorted(missing)


def _book_group(payments: Sequence[Payment], *, until: dt.datetime) -> Iterator[BookingOutcome]:
    """Book payments of one account; if its key may not read the balance, put them off for an hour."""
    left = {payment.pk: payment for payment in payments}
    try:
        listed = _read_list(payments) if len(payments) >= LEAST_LISTED else {}
        for payment in payments:
            outcome = _book(payment, listed=listed.get(payment.pk, []), until=until)
            del left[payment.pk]
            yield outcome
    except StripeAuthenticationError as error:
        name = payments[0].account or "the default account"
        logger.error("[OctoStripeGateway] The books of %s can't be kept: %s", name, error)  # noqa: TRY400
        same = Payment.ledger.filter(pk__in=left, next_booking_at=until)
        same.update(next_booking_at=timezone.now() + REFUSED_PAUSE)
        yield from (BookingOutcome.FAILED for _payment in left)


def _read_list(payments: Sequence[Payment]) -> dict[int, list[BalanceTransactionSnapshot]]:
    """Return by payment what Stripe's list of the time holds, as long as its pages hold some of ours."""
    keys = {payment.stripe_payment_intent_id: payment.pk for payment in payments}
    moments = [int(each.next_booking_at.timestamp()) for each in payments if each.next_booking_at]
    found: dict[int, list[BalanceTransactionSnapshot]] = defaultdict(list)
    listed = stripe_client.list_balance_transactions(
        payments[0].origin, since=min(moments) - EARLIEST, until=max(moments) + LATEST
    )
    before, pages_of_others = 0, 0
    most_of_others = max(FEWEST_PAGES_OF_OTHERS, len(payments) // PAYMENTS_A_PAGE_OF_OTHERS)
    try:
        for number, snapshot in enumerate(listed, start=1):
            if snapshot.payment_intent_id in keys:
                found[keys[snapshot.payment_intent_id]].append(snapshot)
            if len(found) == len(payments):
                break
            if number % stripe_client.PAGE_SIZE == 0:
                is_of_others = len(found) - before < LEAST_A_PAGE
                before, pages_of_others = len(found), pages_of_others + 1 if is_of_others else 0
                if pages_of_others == most_of_others:
                    break
    except StripeAuthenticationError:
        raise
    except GatewayError:
        logger.warning("[OctoStripeGateway] Stripe's list could not be read", exc_info=True)
    return found


def _book(
    payment: Payment, *, listed: Sequence[BalanceTransactionSnapshot], until: dt.datetime
) -> BookingOutcome:
    """Book a payment from the list; if that leaves something out, ask for what each source moved."""
    try:
        is_first = not payment.bookings
        is_booked = bool(listed) and _book_found(payment, listed, until=until, is_first=is_first)
        if not is_booked:
            rows = BalanceTransaction.ledger.list_by(payment_id=payment.pk)
            missing = _list_missing(payment, rows, is_first=is_first)
            ask = partial(stripe_client.list_balance_transactions_of, origin=payment.origin)
            found = [each for source_id in missing for each in ask(source_id)]
            is_booked = _book_found(payment, found, until=until, is_last=True)
    except StripeUnavailableError:
        return BookingOutcome.UNANSWERED
    except StripeAuthenticationError:
        raise
    except Exception:
        logger.exception("[OctoStripeGateway] Payment %s could not be booked", payment.uuid)
        same = Payment.ledger.filter(pk=payment.pk, next_booking_at=until)
        same.update(next_booking_at=timezone.now() + _get_pause(payment), bookings=F("bookings") + 1)
        return BookingOutcome.FAILED
    return BookingOutcome.BOOKED if is_booked else BookingOutcome.WAITING


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
        is_complete = not _list_missing(locked, _record(locked, found), is_first=is_first)
        # Otherwise something has moved since it was claimed.
        is_as_claimed = locked.next_booking_at == until
        if is_as_claimed and (is_complete or is_last):
            _plan_next(locked, is_complete=is_complete)
        Payment.ledger.save_changed(locked, names=[*RECORDED_COLUMNS, "next_booking_at", "bookings"])
    return is_complete and is_as_claimed


def _plan_next(payment: Payment, *, is_complete: bool) -> None:
    """Let the pauses grow while something is missing."""
    payment.next_booking_at = None if is_complete else timezone.now() + _get_pause(payment)
    payment.bookings = 0 if is_complete else payment.bookings + 1


def _get_pause(payment: Payment) -> dt.timedelta:
    pause: dt.timedelta = FIRST_PAUSE * 2 ** min(payment.bookings, 20)
    is_open = payment.disputed or payment.open_refunds
    return min(pause, LONGEST_OPEN_PAUSE) if is_open else pause


def _sum_up(payment: Payment, rows: Sequence[BalanceTransaction]) -> None:
    """Derive a payment's totals, which leave out money in any currency but its settlement currency."""
    if not rows:
        return
    by_time = sorted(rows, key=lambda row: (row.kind != "payment", row.moved_at, str(row)))
    payment.settlement_currency, payment.exchange_rate = by_time[0].currency, by_time[0].exchange_rate
    settled = [row for row in rows if row.currency == payment.settlement_currency]
    payment.fee, payment.net = sum(row.fee for row in settled), sum(row.net for row in settled)


def _expect_of_charge(payment: Payment) -> bool | None:
    """Return what a charge must have moved: True is money in, False money out, None both or nothing."""
    return True if payment.amount_received or payment.intent_status == PROCESSING else None


def _expect_of_refund(refund: Refund) -> bool | None:
    return False if refund.is_live else None


def _expect_of_dispute(dispute: Dispute) -> bool | None:
    # An inquiry takes nothing, but may become a dispute at any time.
    return False if dispute.is_open or dispute.status == "lost" else None


def _is_booked(expected: bool | None, flows: set[bool], *, is_first: bool = False) -> bool:
    if expected is not None:
        return expected in flows
    # Without flows nothing has moved, unless this is the first time: then Stripe was not asked yet.
    return len(flows) == 2 or not (flows or is_first)
