"""Canceling what was paid for, by the terms of its sale."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple

from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import StripeError, UnprocessableError
from octo_stripe_gateway.ledger.facts import PayableCanceled
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import outside_transaction, write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import (
    PayableLock,
    Payment,
    PaymentLink,
    compute_dues,
    is_priced,
    list_counted,
    resolve,
)
from octo_stripe_gateway.models.payment_indexes import UNPAID
from octo_stripe_gateway.services.deadlines import expire_payment
from octo_stripe_gateway.services.dues import is_paid_otherwise
from octo_stripe_gateway.services.refunds import refund_payable
from octo_stripe_gateway.stripe.currencies import get_step


class Cancellation(NamedTuple):
    """What goes back of a payable's money now, and what is kept of it, in minor units."""

    amount: int
    kept: int
    currency: str


class Sale(NamedTuple):
    """A payable's payments, and those of them whose money counts."""

    payments: list[Payment]
    counted: list[Payment]
    price: int
    currency: str

    @property
    def held(self) -> int:
        """Return what is held and not on its way back."""
        return sum(_get_held(each) for each in self.counted)

    def conclude(self, kept: int) -> Cancellation:
        """Return what goes back where this much is kept."""
        return Cancellation(max(0, self.held - kept), min(kept, self.held), self.currency)


@outside_transaction
def cancel_payable(payable: Model, *, waive: bool = False, preview: bool = False) -> Cancellation:
    """Cancel a payable, and refund what its terms give across its payments; all of it with `waive`.

    The first call decides what is kept, by the terms as they were when the money was accepted; a repeat
    refunds what of the rest is still held. From then on nothing is due, pay links are revoked, and open
    payments are canceled. `preview` tells the amounts and changes nothing.

    Raises StripeError, and UnprocessableError if the payable has no price, if money is held and no terms are
    on record, or while a dispute is open: then nothing is refunded (https://docs.stripe.com/disputes).
    """
    payable = resolve(payable)
    if not is_priced(payable):
        raise UnprocessableError(_("It has no price of which a share could go back."))
    if preview:
        known = PayableLock.ledger.get_kept(payable)
        sale, kept = _decide(payable, known=known, waive=waive)
        _check_disputes(sale)
        return sale.conclude(kept)
    with write_transaction():
        lock = PayableLock.ledger.hold(payable)
        sale, kept = _decide(payable, known=lock.amount_kept, waive=waive)
        lock.cancel(kept=kept, at=timezone.now())
        PaymentLink.ledger.of_payable(payable).update(revoked_at=timezone.now())
    for payment in sale.payments:
        with lock_payment(payment) as locked:
            lock = PayableLock.ledger.hold(payable)
            left, parts = lock.amount_kept or 0, {}
            # The latest goes back first.
            for each in _load(payable).counted:
                parts[each.pk] = min(left, _get_held(each))
                left -= parts[each.pk]
            at = lock.canceled_at or timezone.now()
            record(locked, PayableCanceled(kept=parts.get(locked.pk, 0), at=at))
        if locked.status in UNPAID:
            with suppress(StripeError):
                # Upkeep tries again; money that comes all the same goes back.
                expire_payment(locked)
    _check_disputes(_load(payable))
    try:
        refund_payable(payable)
    except UnprocessableError:
        # Somebody else cancels it at the same time.
        if _load(payable).held > kept:
            raise
    return sale.conclude(kept)


def _decide(payable: Any, *, known: int | None, waive: bool) -> tuple[Sale, int]:
    """Return the sale, and how much is kept of it: what was decided before, unless that is waived.

    The first payment's terms apply to the price when the last was accepted, or to the price of now if that is
    lower. The amount is rounded once, in favour of what is kept.
    """
    sale = _load(payable)
    if waive or known is not None or not sale.held:
        return sale, 0 if waive or known is None else known
    accepted = sorted(sale.counted, key=lambda each: (each.accepted_at, each.pk))
    frozen = [each.refund_terms for each in accepted if each.refund_terms is not None]
    if not frozen:
        raise UnprocessableError(_("There are no cancellation terms: say how much goes back, or waive them."))
    terms = ((dt.datetime.fromisoformat(until), Fraction(share)) for until, share in frozen[0]["terms"])
    now = timezone.now()
    share = next((share for until, share in terms if now < until), Fraction(0))
    price = min(sale.price, int(frozen[-1]["price"]))
    given = price * share // get_step(sale.currency) * get_step(sale.currency)
    return sale, min(price - int(given), sale.held)


def _load(payable: Any) -> Sale:
    payments = Payment.ledger.list_of_payable(payable)
    dues = compute_dues(payable, payments)
    if is_paid_otherwise(payments, currency=dues.currency):
        raise UnprocessableError(_("It is paid in another currency."))
    counted = [each for each in list_counted(payments, currency=dues.currency) if each.accepted_at]
    return Sale(payments, counted, dues.price, dues.currency)


def _check_disputes(sale: Sale) -> None:
    """Raise UnprocessableError while a dispute decides how much the customer gets another way."""
    if any(each.refunds_blocked for each in sale.counted):
        raise UnprocessableError(_("A payment is disputed: what goes back can be told once that is decided."))


def _get_held(payment: Payment) -> int:
    return max(0, payment.amount_held - payment.amount_reserved)
