"""What Stripe says of its objects, typed, from API answers and events alike.

A fact carries `as_of`, the millisecond of Stripe's clock up to which it is known to hold. Events have
whole seconds, so theirs is the start of that second; an API answer counts as the end of its second,
because it was given after whatever the caller had seen. `stage` only ever rises (a success is not undone
by a late failure); within a stage the later fact holds, and of two with the same `as_of` the one with the
higher `rank`. So any order and repetition of the same facts ends in the same row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, TypeVar

from octo_stripe_gateway.exceptions import BadRequestError

Field = TypeVar("Field")

PAYMENT_METADATA_KEY = "octo_payment"
REFUND_METADATA_KEY = "octo_refund"

INTENT_STAGES = {"requires_capture": 1, "succeeded": 2, "canceled": 2}
INTENT_RANKS = {
    "requires_payment_method": 0,
    "requires_confirmation": 1,
    "requires_action": 2,
    "processing": 3,
}
DECLINED_RANK = 4
REFUND_STAGES = {"succeeded": 1, "failed": 2, "canceled": 2}
DISPUTE_STAGES = {"won": 2, "lost": 2, "warning_closed": 2, "prevented": 2}
REFUND_RANKS = {"pending": 1, "requires_action": 2}


class Precedence(NamedTuple):
    """What orders two facts of one object, compared from left to right."""

    stage: int
    as_of: int
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntentFact:
    """How a PaymentIntent stands."""

    id: str
    as_of: int
    status: str
    amount: int
    currency: str
    amount_received: int
    amount_capturable: int
    livemode: bool
    failure_code: str
    failure_message: str
    payment_uuid: str
    charge_id: str
    client_secret: str = field(default="", repr=False)
    charge: ChargeFact | None = None

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a PaymentIntent; raises BadRequestError where it isn't one."""
        with_error = stripe_object.get("last_payment_error") or {}
        latest_charge = stripe_object.get("latest_charge")
        charge = latest_charge if isinstance(latest_charge, dict) else None
        return cls(
            id=_read(stripe_object, "id", str),
            as_of=as_of,
            status=_read(stripe_object, "status", str),
            amount=_read(stripe_object, "amount", int),
            currency=_read(stripe_object, "currency", str),
            amount_received=stripe_object.get("amount_received") or 0,
            amount_capturable=stripe_object.get("amount_capturable") or 0,
            livemode=_read(stripe_object, "livemode", bool),
            failure_code=with_error.get("decline_code") or with_error.get("code") or "",
            failure_message=with_error.get("message") or "",
            payment_uuid=(stripe_object.get("metadata") or {}).get(PAYMENT_METADATA_KEY, ""),
            charge_id=_get_id(latest_charge),
            client_secret=stripe_object.get("client_secret") or "",
            charge=ChargeFact.from_object(charge, as_of=as_of) if charge else None,
        )

    @property
    def declined(self) -> bool:
        """Tell whether the last attempt to pay failed; the customer may try again."""
        return self.status == "requires_payment_method" and bool(self.failure_code)

    @property
    def precedence(self) -> Precedence:
        """Return what orders this fact among others of the same intent."""
        rank = DECLINED_RANK if self.declined else INTENT_RANKS.get(self.status, 0)
        return Precedence(INTENT_STAGES.get(self.status, 0), self.as_of, rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFact:
    """How a Refund stands."""

    id: str
    as_of: int
    created: int
    status: str
    amount: int
    currency: str
    reason: str
    failure_reason: str
    payment_intent_id: str
    charge_id: str
    refund_uuid: str

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Refund; raises BadRequestError where it isn't one."""
        return cls(
            id=_read(stripe_object, "id", str),
            as_of=as_of,
            created=_read(stripe_object, "created", int) * 1000,
            status=stripe_object.get("status") or "pending",
            amount=_read(stripe_object, "amount", int),
            currency=_read(stripe_object, "currency", str),
            reason=stripe_object.get("reason") or "",
            failure_reason=stripe_object.get("failure_reason") or "",
            payment_intent_id=_get_id(stripe_object.get("payment_intent")),
            charge_id=_get_id(stripe_object.get("charge")),
            refund_uuid=(stripe_object.get("metadata") or {}).get(REFUND_METADATA_KEY, ""),
        )

    @property
    def precedence(self) -> Precedence:
        """Return what orders this fact among others of the same refund."""
        return Precedence(REFUND_STAGES.get(self.status, 0), self.as_of, REFUND_RANKS.get(self.status, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeFact:
    """How much of a charge has been refunded, and the refunds where the charge lists them."""

    id: str
    as_of: int
    currency: str
    amount_refunded: int
    payment_intent_id: str
    refunds: tuple[RefundFact, ...] = ()
    has_more_refunds: bool = False

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Charge; raises BadRequestError where it isn't one."""
        refunds = stripe_object.get("refunds") or {}
        return cls(
            id=_read(stripe_object, "id", str),
            as_of=as_of,
            currency=_read(stripe_object, "currency", str),
            amount_refunded=_read(stripe_object, "amount_refunded", int),
            payment_intent_id=_get_id(stripe_object.get("payment_intent")),
            refunds=tuple(RefundFact.from_object(each, as_of=as_of) for each in refunds.get("data", ())),
            has_more_refunds=bool(refunds.get("has_more")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeFact:
    """How a dispute of a charge stands."""

    id: str
    as_of: int
    created: int
    status: str
    payment_intent_id: str

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Dispute; raises BadRequestError where it isn't one."""
        return cls(
            id=_read(stripe_object, "id", str),
            as_of=as_of,
            created=_read(stripe_object, "created", int) * 1000,
            status=_read(stripe_object, "status", str),
            payment_intent_id=_get_id(stripe_object.get("payment_intent")),
        )


def _read(stripe_object: dict[str, Any], name: str, kind: type[Field]) -> Field:
    value = stripe_object.get(name)
    if not isinstance(value, kind):
        raise BadRequestError(f"Stripe's object has no valid {name}.")
    return value


def _get_id(reference: Any) -> str:
    return (reference["id"] if isinstance(reference, dict) else reference) or ""
