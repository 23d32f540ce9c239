"""A booking's money as a whole: what may be paid for a priced payable, decided under its lock."""

from __future__ import annotations

import copy
import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import NothingDueError, OperationInProgressError, UnprocessableError
from octo_stripe_gateway.ledger.facts import Rejected
from octo_stripe_gateway.ledger.rejections import reject
from octo_stripe_gateway.models import (
    FULL,
    Dues,
    PayableLock,
    Payment,
    Refund,
    compute_dues,
    find_payables,
    get_deadline,
    get_refund_terms,
    is_priced,
    resolve,
)
from octo_stripe_gateway.models.payment_indexes import COUNTS
from octo_stripe_gateway.stripe.currencies import check_amount
from octo_stripe_gateway.stripe.times import format_utc

# Seconds until it is worth asking again what became of a payment that is at the customer's bank.
IN_FLIGHT_RETRY_AFTER = 60
# An owner's open payment is taken again for a new one that agrees with it in all of these.
IN_COMMON = attrgetter("purpose", "capture_method", "currency", "origin", "connect")


class Quote(NamedTuple):
    """What a new payment for a payable would be for, and what its owner has open for that already.

    The `open_payment` is for the same and can be taken again; the `others` have to give way to a new one.
    """

    purpose: str
    amount: int
    currency: str
    deadline: dt.datetime | None
    open_payment: Payment | None
    others: list[Payment]


def quote_payment(payment: Payment, *, amount: int | None, purpose: str) -> Quote:
    """Return what is to be paid now for a new payment's payable; runs in the caller's transaction.

    Holds the payable's lock until that ends. Raises NothingDueError if nothing is due,
    OperationInProgressError while what is due is being paid, BadRequestError for an amount that Stripe can't
    take, and UnprocessableError for another amount, an unknown purpose or a deadline that has passed.
    """
    payable: Any = payment.payable
    lock = PayableLock.ledger.hold(payable)
    payments = Payment.ledger.list_of_payable(payable)
    dues = compute_dues(payable, payments, livemode=payment.livemode, kept=lock.amount_kept)
    lock.record(dues)
    if dues.kept is not None:
        raise UnprocessableError(_("It was canceled."))
    get_refund_terms(payable)
    if is_paid_otherwise(payments, currency=dues.currency):
        raise UnprocessableError(_("It is paid in another currency."), **show_dues(dues))
    purpose = purpose or get_next_purpose(dues)
    due = get_amount_to_pay(payable, dues, purpose=purpose)
    deadline = check_deadline(payable)
    check_amount(due, currency=dues.currency)
    if amount not in {None, due}:
        raise UnprocessableError(_("The amount is not what is due."), amount=amount, **show_dues(dues))
    others = [each for each in payments if each.owner == payment.owner and each.is_open]
    wanted = (purpose, payment.capture_method, dues.currency, payment.origin, payment.connect)
    # What was adopted may be an earlier customer's.
    same = (each for each in reversed(others) if IN_COMMON(each) == wanted and not each.awaits_operator)
    return Quote(purpose, due, dues.currency, deadline, next(same, None), others)


def get_dues(payable: Model) -> Dues:
    """Return a priced payable's dues, by the ledger; raises ConfigurationError for an invalid price."""
    payments = Payment.ledger.list_of_payable(payable)
    kept = None if payments else PayableLock.ledger.get_kept(payable)
    return compute_dues(resolve(payable), payments, kept=kept)


def list_dues(locks: Sequence[PayableLock]) -> Iterator[tuple[PayableLock, Dues | None]]:
    """Yield locks with their payables' dues of this moment, None where nothing is priced any more.

    Leaves out payables that can't be asked. Takes two queries for each model.
    """
    by_type: defaultdict[int, list[PayableLock]] = defaultdict(list)
    for lock in locks:
        by_type[lock.payable_type_id].append(lock)
    for payable_type_id, group in by_type.items():
        ids = [lock.payable_id for lock in group]
        payments: defaultdict[str | None, list[Payment]] = defaultdict(list)
        rows = Payment.ledger.filter(COUNTS, payable_type=payable_type_id, payable_id__in=ids)
        for payment in rows.order_by("pk"):
            payments[payment.payable_id].append(payment)
        payables = find_payables(payable_type_id, ids)
        for lock in group:
            payable = payables.get(lock.payable_id)
            with suppress(Exception):
                paid, kept = payments[lock.payable_id], lock.amount_kept
                yield lock, compute_dues(payable, paid, kept=kept) if is_priced(payable) else None


def measure_forgiven(payment: Payment, amount: int, *, is_made: bool = False) -> int:
    """Return how much a refund of a locked payment makes newly due, which is what it forgives.

    `is_made`: the payment has the refund already, and counts it as wholly forgiven. Holds the payable's lock
    until the transaction ends. Raises what the host's methods raise.
    """
    payable = payment.payable if payment.accepted_at and not payment.rejection_code else None
    if not is_priced(payable):
        return 0
    PayableLock.ledger.hold(payable)
    others = [_as_refunded(each) for each in _list_others(payment, payable)]
    before = _as_refunded(payment)
    if is_made:
        before.amount_refunded -= amount
        before.amount_forgiven -= amount
    after = copy.copy(before)
    after.amount_refunded += amount
    owed = [compute_dues(payable, [*others, each], livemode=payment.livemode).due for each in (before, after)]
    return owed[1] - owed[0]


def _as_refunded(payment: Payment) -> Payment:
    """Return a copy of a payment in which the refunds that Stripe has not answered yet are made."""
    made = copy.copy(payment)
    if payment.amount_reserved:
        reserved = (each for each in Refund.ledger.list_of(payment) if each.is_reserved)
        made.amount_forgiven += sum(each.amount_forgiven or 0 for each in reserved)
        made.amount_refunded += payment.amount_reserved
    return made


def show_dues(dues: Dues) -> dict[str, Any]:
    """Return dues as the API shows them, under `balance`."""
    due_at = dues.next.due_at if dues.next else None
    return {
        "balance": {
            "price": dues.price,
            "received": dues.received,
            "refunded": dues.refunded,
            "forgiven": dues.forgiven,
            "kept": dues.kept,
            "surplus": dues.surplus,
            "due": dues.due,
            "currency": dues.currency,
            "nextDueAt": format_utc(due_at),
        }
    }


def reject_excess(payment: Payment, payable: Any) -> Rejected | None:
    """Return why a locked payment's money, received or held, is not what is due; None if it is.

    Holds the payable's lock until the transaction ends: of two payments that arrive at once, the second sees
    that the first was accepted. Sets `payment.dues`, for the host, to the dues including the payment.
    """
    lock = PayableLock.ledger.hold(payable)
    if lock.amount_kept is not None:
        return reject("canceled")
    others = _list_others(payment, payable)
    before = compute_dues(payable, others, at=payment.paid_at, livemode=payment.livemode)
    rejection = _compare(payment, before, others=others)
    if rejection:
        return rejection
    if payment.needs_authorization:
        is_left = before.due - before.in_flight >= payment.amount_capturable
        return None if is_left else reject("being_paid")
    accepted = copy.copy(payment)
    accepted.accepted_at = timezone.now()
    payment.dues = compute_dues(payable, [*others, accepted], at=payment.paid_at, livemode=payment.livemode)
    lock.record(payment.dues)
    return None


def foresee_rejection(payment: Payment, payable: Any) -> Rejected | None:
    """Return why a hold would be rejected if all of it were captured now, None if it would not."""
    if payment.amount_kept is not None:
        return reject("canceled")
    others = _list_others(payment, payable)
    before = compute_dues(payable, others, at=payment.paid_at, livemode=payment.livemode)
    return _compare(payment, before, others=others)


def check_deadline(payable: Any) -> dt.datetime | None:
    """Return until when a payable can be paid; raises UnprocessableError if that has passed."""
    deadline = get_deadline(payable)
    if deadline and deadline <= timezone.now():
        message = _("The time to pay for this has run out.")
        raise UnprocessableError(message, utcExpiresAt=format_utc(deadline))
    return deadline


def _list_others(payment: Payment, payable: Any) -> list[Payment]:
    return [each for each in Payment.ledger.list_of_payable(payable) if each.pk != payment.pk]


def _compare(payment: Payment, before: Dues, *, others: list[Payment]) -> Rejected | None:
    """Return why a payment's money is not what the other payments leave due, None if it is."""
    if payment.currency != before.currency:
        return reject("currency_changed")
    if is_paid_otherwise(others, currency=before.currency):
        return reject("paid_in_another_currency")
    due = before.get_due(payment.purpose or FULL)
    if not due:
        return reject("paid_already")
    paid = payment.amount_received or payment.amount_capturable
    if paid == due:
        return None
    if paid < payment.amount == due:
        return reject("received_less", received=paid, amount=due)
    return reject("price_changed", asked=paid, due=due)


def is_paid_otherwise(payments: list[Payment], *, currency: str) -> bool:
    """Tell whether money is held in a former currency of the price, which the dues leave out."""
    return any(each.accepted_at and each.amount_held and each.currency != currency for each in payments)


def get_next_purpose(dues: Dues) -> str:
    """Return what is paid for where nobody says so."""
    return dues.next.name if dues.next else FULL


def get_amount_to_pay(payable: Any, dues: Dues, *, purpose: str) -> int:
    """Return what is due for a purpose, by default the next part.

    Raises NothingDueError if nothing is, OperationInProgressError while it is being paid, and
    UnprocessableError for an unknown purpose, or where the payable was not paid by its deadline.
    """
    purpose = purpose or get_next_purpose(dues)
    if purpose not in dues.purposes:
        raise UnprocessableError(_("There is nothing to pay by that name."), purpose=purpose)
    due = dues.get_due(purpose)
    if not due:
        if not dues.is_paid:
            check_deadline(payable)
        raise NothingDueError(_("It is paid already."), **show_dues(dues))
    if dues.due - dues.in_flight < due:
        error = OperationInProgressError(_("It is being paid already."), **show_dues(dues))
        error.retry_after = IN_FLIGHT_RETRY_AFTER
        raise error
    return due
