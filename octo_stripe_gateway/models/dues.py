"""What a priced payable costs, has been paid and still owes, worked out from its payments."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import starmap
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError
from octo_stripe_gateway.stripe.currencies import read_amount

# The purpose of a payment for all that is left.
FULL = "full"
IN_FLIGHT = frozenset({"processing", "requires_capture"})


class Installment(NamedTuple):
    """A part of a price: its name, its amount in the minor unit, and when it is due."""

    name: str
    amount: int
    due_at: dt.datetime | None = None


class RefundTerm(NamedTuple):
    """Until when a payable can be cancelled with this share of its price going back, from 0 to 1."""

    until: dt.datetime
    share: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Dues:
    """Amounts in the minor unit; what was received, refunded and forgiven is of payments that are accepted.

    What is due is the price less what is forgiven and what is held. `refunded` includes lost disputes;
    `forgiven` is what of it is not owed again. `in_flight` is authorized or under way at a bank. `kept` is
    what the terms keep of a payable that is canceled, and None of one that isn't. `outstanding` has each
    installment with what it still lacks: nothing once the deadline has passed, or it is canceled.
    """

    price: int
    currency: str
    received: int
    refunded: int
    forgiven: int
    in_flight: int
    kept: int | None
    outstanding: tuple[Installment, ...]

    @property
    def due(self) -> int:
        """Return what is still owed."""
        return sum(part.amount for part in self.outstanding)

    @property
    def is_paid(self) -> bool:
        """Tell whether the whole price is held or forgiven; after the deadline nothing is due either way."""
        return self.price <= self.received - self.refunded + self.forgiven

    @property
    def surplus(self) -> int:
        """Return what is held beyond the price, or beyond what the terms keep."""
        wanted = self.price if self.kept is None else self.kept
        return max(0, self.received - self.refunded - wanted)

    @property
    def next(self) -> Installment | None:
        """Return what is to be paid next, None where all is paid."""
        return next((part for part in self.outstanding if part.amount), None)

    @property
    def purposes(self) -> set[str]:
        """Return what may be paid for: the installments' names, and `full`."""
        return {FULL, *(part.name for part in self.outstanding)}

    def get_due(self, purpose: str) -> int:
        """Return what is owed for a purpose: an installment's name, or `full`."""
        if purpose == FULL:
            return self.due
        return sum(part.amount for part in self.outstanding if part.name == purpose)


def is_priced(payable: Any) -> bool:
    """Tell whether a payable says its price."""
    return hasattr(payable, "get_payment_amount")


def get_price(payable: Any) -> tuple[int, str]:
    """Return a priced payable's price and its currency in lower case; raises ConfigurationError."""
    amount, currency = payable.get_payment_amount()
    return _read_amount(amount, payable=payable, method="get_payment_amount"), currency.lower()


def has_deadline(payable: Any) -> bool:
    """Tell whether a payable says until when it can be paid."""
    return hasattr(payable, "get_payment_deadline")


def get_deadline(payable: Any) -> dt.datetime | None:
    """Return until when a payable can be paid, None where there is no such time."""
    return payable.get_payment_deadline() if has_deadline(payable) else None


def get_refund_terms(payable: Any) -> list[RefundTerm] | None:
    """Return a payable's cancellation terms, None where it has none to tell; raises ConfigurationError."""
    if not hasattr(payable, "get_refund_terms"):
        return None
    terms: list[Any] = [RefundTerm(*each) for each in payable.get_refund_terms()]
    are_right = all(
        isinstance(until, dt.datetime)
        and timezone.is_aware(until) == settings.USE_TZ
        and (type(share) is int or (isinstance(share, Decimal) and share.is_finite()))
        and 0 <= share <= 1
        for until, share in terms
    )
    if not are_right or terms != sorted(terms, key=lambda term: term.until):
        wanted = "pairs of a time and a Decimal from 0 to 1 are needed, in the order of time."
        raise ConfigurationError(f"{type(payable).__name__}.get_refund_terms: {wanted}")
    return terms


def list_counted(payments: Iterable[Any], *, currency: str, livemode: bool | None = None) -> list[Any]:
    """Return the payments that count for a payable with a price in that currency, accepted or not yet."""
    is_live = gateway_settings.moves_real_money if livemode is None else livemode
    real = (each for each in payments if each.livemode or not is_live)
    return [each for each in real if each.currency == currency and not each.rejection_code]


def compute_dues(
    payable: Any,
    payments: Collection[Any],
    *,
    at: dt.datetime | None = None,
    livemode: bool | None = None,
    kept: int | None = None,
) -> Dues:
    """Return a priced payable's dues at that moment, by default now.

    Test money pays nothing for real: with `livemode`, by default wherever a key is live, it isn't counted.
    `kept` where the payable's lock says so; its payments do as well, soon after. Raises ConfigurationError
    for a price that can't be one.
    """
    price, currency = get_price(payable)
    told = list(payable.get_installments()) if hasattr(payable, "get_installments") else []
    parts = [
        part._replace(amount=_read_amount(part.amount, payable=payable, method="get_installments"))
        for part in starmap(Installment, told)
    ] or [Installment(FULL, price)]
    # A purpose is kept as text, and empty where it is none of theirs.
    names = {part.name for part in parts if isinstance(part.name, str)} - ({FULL, ""} if told else set())
    if sum(part.amount for part in parts) != price or len(names) < len(parts):
        raise ConfigurationError("The installments must have names of their own and add up to the price.")
    counted = list_counted(payments, currency=currency, livemode=livemode)
    accepted = [each for each in counted if each.accepted_at]
    if kept is None and any(each.amount_kept is not None for each in payments):
        kept = sum(each.amount_kept or 0 for each in accepted)
    outstanding = _subtract(parts, accepted)
    deadline = get_deadline(payable)
    if kept is not None or (deadline and deadline <= (at or timezone.now())):
        outstanding = tuple(part._replace(amount=0) for part in outstanding)
    return Dues(
        price=price,
        currency=currency,
        received=sum(each.amount_received for each in accepted),
        refunded=sum(each.amount_refunded + each.amount_lost for each in accepted),
        forgiven=sum(each.amount_forgiven for each in accepted),
        in_flight=sum(each.amount for each in counted if each.intent_status in IN_FLIGHT),
        kept=kept,
        outstanding=outstanding,
    )


def _read_amount(value: Any, *, payable: Any, method: str) -> int:
    try:
        return read_amount(value, source=f"{type(payable).__name__}.{method}")
    except BadRequestError as error:
        raise ConfigurationError(str(error)) from None


def _subtract(parts: Sequence[Installment], payments: Sequence[Any]) -> tuple[Installment, ...]:
    """Return what each part still lacks: its own payments count first, then what was paid for no part.

    What is forgiven counts as if it were still held.
    """
    lacking, spare = {part.name: part.amount for part in parts}, 0
    for payment in payments:
        counts = payment.amount_held + payment.amount_forgiven
        if payment.purpose in lacking:
            lacking[payment.purpose] -= counts
        else:
            spare += counts
    # What is overpaid on one part counts towards the others.
    spare += sum(-amount for amount in lacking.values() if amount < 0)
    outstanding = []
    for part in parts:
        left = max(0, lacking[part.name])
        used = min(left, spare)
        spare -= used
        outstanding.append(part._replace(amount=left - used))
    return tuple(outstanding)
