"""What Stripe said of its objects at one moment, typed, from API answers and events alike.

`as_of` is the second of Stripe's clock at which a snapshot held, and not before anything in it was made. Two
snapshots of one object are ordered by their `precedence`, compared from left to right:

1. `stage`, of intents only: an intent never goes back to an earlier stage. An authorization ends as canceled
   or succeeded only, and a success is final. Refunds and disputes may go on after an end.
2. `as_of`: the later second wins.
3. `rank`: Stripe's clock has whole seconds. Within one second an open intent counts as having gone
   `requires_payment_method`, `requires_confirmation`, `requires_action`, `processing`, declined; a refund
   `pending`, `requires_action`, `succeeded`, `canceled`, `failed`. Where that may be wrong, the rules have
   the payment synced once more.
4. `content`: two snapshots that are equal so far, such as two declines in one second, are ordered by what
   they hold, so that the same one always wins.

So any order and any repetition of the same snapshots ends in the same row.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Self

from octo_stripe_gateway.exceptions import BadRequestError

PAYMENT_METADATA_KEY = "octo_payment"
OWNER_METADATA_KEY = "octo_owner"
PAYABLE_METADATA_KEY = "octo_payable"
PURPOSE_METADATA_KEY = "octo_purpose"
INSTALLATION_METADATA_KEY = "octo_installation"
REQUEST_METADATA_KEY = "octo_request"
SIGNATURE_METADATA_KEY = "octo_signature"
# What an intent says of its payment, so that a lost row can be written again; no caller may set it.
PAYMENT_METADATA_KEYS = (
    PAYMENT_METADATA_KEY,
    OWNER_METADATA_KEY,
    PAYABLE_METADATA_KEY,
    PURPOSE_METADATA_KEY,
    INSTALLATION_METADATA_KEY,
    REQUEST_METADATA_KEY,
    SIGNATURE_METADATA_KEY,
)
REFUND_METADATA_KEY = "octo_refund"

INTENT_STAGES = {"requires_capture": 1, "canceled": 2, "succeeded": 3}
INTENT_RANKS = {
    "requires_payment_method": 1,
    "requires_confirmation": 2,
    "requires_action": 3,
    "processing": 4,
}
DECLINED_RANK = 5
REFUND_RANKS = {"pending": 1, "requires_action": 2, "succeeded": 3, "canceled": 4, "failed": 5}
CLOSED_DISPUTES = frozenset({"won", "lost", "warning_closed", "prevented"})

LARGEST_INTEGER = 2**63 - 1
LAST_SECOND = 253_402_300_799  # of the year 9999
TEXT_LENGTH = 255
FINGERPRINT_LENGTH = 64
LARGEST_RATE, RATE_DECIMALS = 10**12, 12


class Precedence(NamedTuple):
    """What orders two snapshots of one object, compared from left to right."""

    stage: int
    as_of: int
    rank: int
    content: tuple[str | int, ...]

    @classmethod
    def of_intent(
        cls,
        status: str,
        *,
        as_of: int,
        failure_code: str,
        failure_message: str,
        charge_id: str,
        amount: int,
        amount_received: int,
        amount_capturable: int,
    ) -> Self:
        """Order snapshots of an intent, by all that a payment's row keeps of it."""
        rank = DECLINED_RANK if failure_code else INTENT_RANKS.get(status, 0)
        amounts = (amount, amount_received, amount_capturable)
        content = (status, failure_code, failure_message, charge_id, *amounts)
        return cls(INTENT_STAGES.get(status, 0), as_of, rank, content)

    @classmethod
    def of_refund(cls, status: str, *, as_of: int, failure_reason: str) -> Self:
        """Order snapshots of a refund, which may fail after it succeeded."""
        return cls(0, as_of, REFUND_RANKS.get(status, 0), (status, failure_reason))

    @classmethod
    def of_dispute(cls, status: str, *, as_of: int) -> Self:
        """Order snapshots of a dispute, which may go on after it was closed."""
        return cls(0, as_of, int(status in CLOSED_DISPUTES), (status,))


CONNECT = ("application_fee_amount", "on_behalf_of", "transfer_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntentSnapshot:
    """How a PaymentIntent stands. `failure_code` is the last attempt's, until the next attempt begins."""

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
    cancellation_reason: str = ""
    created: int = 0
    capture_method: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    # How it is charged with Stripe Connect: the parameters that its refunds follow.
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    client_secret: str = field(default="", repr=False)
    charge: ChargeSnapshot | None = None
    disputes: tuple[DisputeSnapshot, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Tell whether it holds all that Stripe knows of the payment, as a sync asks for it."""
        charge = self.charge
        if charge is None:
            return not self.charge_id
        return charge.has_all_refunds and (bool(self.disputes) or not charge.disputed)

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a PaymentIntent; raises BadRequestError where it isn't one."""
        status = read_text(stripe_object, "status", length=64)
        declined = status == "requires_payment_method"
        failure = _read_object(stripe_object, "last_payment_error") if declined else {}
        charge = _read_charge(stripe_object, as_of=as_of)
        return cls(
            id=read_text(stripe_object, "id"),
            as_of=max(as_of, charge.created) if charge else as_of,
            status=status,
            amount=_read_integer(stripe_object, "amount"),
            currency=read_text(stripe_object, "currency"),
            amount_received=_read_integer(stripe_object, "amount_received", default=0),
            amount_capturable=_read_integer(stripe_object, "amount_capturable", default=0),
            livemode=read_flag(stripe_object, "livemode"),
            failure_code=read_text(failure, "decline_code", default="")
            or read_text(failure, "code", default=""),
            failure_message=read_text(failure, "message", default="", length=None),
            payment_uuid=read_metadata(stripe_object, PAYMENT_METADATA_KEY),
            charge_id=read_id(stripe_object, "latest_charge"),
            cancellation_reason=read_text(stripe_object, "cancellation_reason", default="", length=64),
            created=_read_integer(stripe_object, "created", default=0),
            capture_method=read_text(stripe_object, "capture_method", default="", length=64),
            metadata=read_all_metadata(stripe_object),
            connect={name: stripe_object[name] for name in CONNECT if stripe_object.get(name)},
            client_secret=read_text(stripe_object, "client_secret", default=""),
            charge=charge,
        )

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same intent."""
        return Precedence.of_intent(
            self.status,
            as_of=self.as_of,
            failure_code=self.failure_code,
            failure_message=self.failure_message,
            charge_id=self.charge_id,
            amount=self.amount,
            amount_received=self.amount_received,
            amount_capturable=self.amount_capturable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSnapshot:
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
    request_fingerprint: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Refund; raises BadRequestError where it isn't one."""
        return cls(
            id=read_text(stripe_object, "id"),
            as_of=as_of,
            created=read_time(stripe_object, "created"),
            status=read_text(stripe_object, "status", default="pending", length=64),
            amount=_read_integer(stripe_object, "amount"),
            currency=read_text(stripe_object, "currency"),
            reason=read_text(stripe_object, "reason", default="", length=64),
            failure_reason=read_text(stripe_object, "failure_reason", default=""),
            payment_intent_id=read_id(stripe_object, "payment_intent"),
            charge_id=read_id(stripe_object, "charge"),
            refund_uuid=read_metadata(stripe_object, REFUND_METADATA_KEY),
            request_fingerprint=read_metadata(stripe_object, REQUEST_METADATA_KEY)[:FINGERPRINT_LENGTH],
            metadata=read_all_metadata(stripe_object),
        )

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same refund."""
        return Precedence.of_refund(self.status, as_of=self.as_of, failure_reason=self.failure_reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeSnapshot:
    """How much of a charge has been refunded; `refunds` where the charge lists them.

    `has_all_refunds` where that list is complete, as in an answer that asked for it.
    """

    id: str
    as_of: int
    created: int
    currency: str
    amount_refunded: int
    livemode: bool
    disputed: bool
    payment_intent_id: str
    capture_before: int = 0
    refunds: tuple[RefundSnapshot, ...] = ()
    has_all_refunds: bool = False
    card: CardSnapshot | None = None
    booked: BalanceTransactionSnapshot | None = None

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Charge; raises BadRequestError where it isn't one."""
        refunds = _read_object(stripe_object, "refunds")
        listed = _read_objects(refunds, "data")
        return cls(
            id=read_text(stripe_object, "id"),
            as_of=max([as_of, *(read_time(each, "created") for each in listed)]),
            created=read_time(stripe_object, "created"),
            currency=read_text(stripe_object, "currency"),
            amount_refunded=_read_integer(stripe_object, "amount_refunded"),
            livemode=read_flag(stripe_object, "livemode"),
            disputed=read_flag(stripe_object, "disputed", default=False),
            capture_before=_read_capture_before(stripe_object),
            payment_intent_id=read_id(stripe_object, "payment_intent"),
            refunds=tuple(RefundSnapshot.from_object(each, as_of=as_of) for each in listed),
            has_all_refunds="data" in refunds and not read_flag(refunds, "has_more", default=False),
            card=CardSnapshot.from_charge(stripe_object),
            booked=_read_booked(stripe_object),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSnapshot:
    """How a charge was paid; a bank account has no brand."""

    brand: str
    last4: str
    receipt_url: str

    @classmethod
    def from_charge(cls, charge: dict[str, Any]) -> Self | None:
        """Read a paid Charge, of which an intent has at most one; returns None for any other."""
        if charge.get("paid") is not True:
            return None
        details = charge.get("payment_method_details")
        method = details.get(str(details.get("type"))) if isinstance(details, dict) else None
        return cls(
            brand=_read_shown(method, "brand")[:32],
            last4=_read_shown(method, "last4")[:4],
            receipt_url=_read_shown(charge, "receipt_url"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTransactionSnapshot:
    """A movement of money in Stripe's balance, which never changes once it is booked.

    `payment_intent_id` and `card` are known if the source is expanded and belongs to a payment.
    """

    id: str
    source_id: str
    type: str
    reporting_category: str
    amount: int
    fee: int
    net: int
    currency: str
    exchange_rate: Decimal | None
    created: int
    available_on: int
    payment_intent_id: str
    card: CardSnapshot | None

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any]) -> Self:
        """Read a BalanceTransaction; raises BadRequestError where it isn't one."""
        source = stripe_object.get("source")
        source = source if isinstance(source, dict) else {}
        is_charge = source.get("object") == "charge"
        return cls(
            id=read_text(stripe_object, "id"),
            source_id=read_id(stripe_object, "source"),
            type=read_text(stripe_object, "type", length=64),
            reporting_category=read_text(stripe_object, "reporting_category", length=64),
            amount=_read_signed(stripe_object, "amount"),
            fee=_read_signed(stripe_object, "fee"),
            net=_read_signed(stripe_object, "net"),
            currency=read_text(stripe_object, "currency", length=3),
            exchange_rate=_read_rate(stripe_object),
            created=read_time(stripe_object, "created"),
            available_on=read_time(stripe_object, "available_on"),
            payment_intent_id=read_id(source, "payment_intent"),
            card=CardSnapshot.from_charge(source) if is_charge else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeSnapshot:
    """How a dispute of a charge stands. Amount and currency are the bank's, perhaps not the payment's.

    `evidence_due_by` is in seconds, 0 where no evidence is asked for.
    """

    id: str
    as_of: int
    created: int
    status: str
    amount: int
    currency: str
    reason: str
    evidence_due_by: int
    livemode: bool
    payment_intent_id: str

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Dispute; raises BadRequestError where it isn't one."""
        return cls(
            id=read_text(stripe_object, "id"),
            as_of=as_of,
            created=read_time(stripe_object, "created"),
            status=read_text(stripe_object, "status", length=64),
            amount=_read_integer(stripe_object, "amount"),
            currency=read_text(stripe_object, "currency"),
            reason=read_text(stripe_object, "reason", default="", length=64),
            evidence_due_by=_read_due_by(stripe_object),
            livemode=read_flag(stripe_object, "livemode"),
            payment_intent_id=read_id(stripe_object, "payment_intent"),
        )

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same dispute."""
        return Precedence.of_dispute(self.status, as_of=self.as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudWarningSnapshot:
    """What a card's bank says of a charge that it thinks fraudulent.

    `actionable` where it is neither refunded nor disputed yet.
    """

    id: str
    as_of: int
    fraud_type: str
    actionable: bool
    livemode: bool
    payment_intent_id: str

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read an early fraud warning; raises BadRequestError where it isn't one."""
        return cls(
            id=read_text(stripe_object, "id"),
            as_of=as_of,
            fraud_type=read_text(stripe_object, "fraud_type", length=64),
            actionable=read_flag(stripe_object, "actionable"),
            livemode=read_flag(stripe_object, "livemode"),
            payment_intent_id=read_id(stripe_object, "payment_intent"),
        )


def read_text(
    stripe_object: dict[str, Any],
    name: str,
    *,
    default: str | None = None,
    length: int | None = TEXT_LENGTH,
) -> str:
    """Return a text that fits its column; null is the default where there is one."""
    value = stripe_object.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (length and len(value) > length):
        raise _malformed(name)
    return value


def read_flag(stripe_object: dict[str, Any], name: str, *, default: bool | None = None) -> bool:
    """Return a boolean; null is the default where there is one."""
    value = stripe_object.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, bool):
        raise _malformed(name)
    return value


def read_time(stripe_object: dict[str, Any], name: str) -> int:
    """Return a moment in seconds."""
    seconds = _read_integer(stripe_object, name)
    if seconds > LAST_SECOND:
        raise _malformed(name)
    return seconds


def read_id(stripe_object: dict[str, Any], name: str) -> str:
    """Return the id of another object, which is there as id, in full, or not at all."""
    value = stripe_object.get(name)
    return read_text(value, "id") if isinstance(value, dict) else read_text(stripe_object, name, default="")


def read_metadata(stripe_object: dict[str, Any], key: str) -> str:
    """Return the text under a key of the object's metadata, empty where there is none."""
    metadata = stripe_object.get("metadata")
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return value if isinstance(value, str) else ""


def _read_integer(stripe_object: dict[str, Any], name: str, *, default: int | None = None) -> int:
    value = stripe_object.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_INTEGER:
        raise _malformed(name)
    return value


def _read_shown(stripe_object: Any, name: str) -> str:
    """Return a text that is only shown, empty if it is invalid: no payment may fail because of it."""
    value = stripe_object.get(name) if isinstance(stripe_object, dict) else None
    return value.replace("\0", "") if isinstance(value, str) else ""


def _read_booked(charge: dict[str, Any]) -> BalanceTransactionSnapshot | None:
    """Return what a charge brought, if that is expanded; no payment may fail because of it."""
    booked = charge.get("balance_transaction")
    if not isinstance(booked, dict):
        return None
    with suppress(BadRequestError):
        return BalanceTransactionSnapshot.from_object(booked)
    return None


def _read_signed(stripe_object: dict[str, Any], name: str) -> int:
    value = stripe_object.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_INTEGER:
        raise _malformed(name)
    return value


def _read_rate(stripe_object: dict[str, Any]) -> Decimal | None:
    """Return what one unit of the payment's currency is in the balance's, None if they are the same."""
    value = stripe_object.get("exchange_rate")
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST_RATE:
        raise _malformed("exchange_rate")
    return round(Decimal(str(value)), RATE_DECIMALS)


def _read_object(stripe_object: dict[str, Any], name: str) -> dict[str, Any]:
    value = stripe_object.get(name)
    if not isinstance(value, dict | None):
        raise _malformed(name)
    return value or {}


def _read_objects(stripe_object: dict[str, Any], name: str) -> list[dict[str, Any]]:
    values = stripe_object.get(name) or []
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise _malformed(name)
    return values


def _read_charge(stripe_object: dict[str, Any], *, as_of: int) -> ChargeSnapshot | None:
    charge = stripe_object.get("latest_charge")
    return ChargeSnapshot.from_object(charge, as_of=as_of) if isinstance(charge, dict) else None


def _read_capture_before(stripe_object: dict[str, Any]) -> int:
    card = _read_object(_read_object(stripe_object, "payment_method_details"), "card")
    return read_time(card, "capture_before") if card.get("capture_before") is not None else 0


def _read_due_by(stripe_object: dict[str, Any]) -> int:
    details = _read_object(stripe_object, "evidence_details")
    return read_time(details, "due_by") if details.get("due_by") is not None else 0


def read_all_metadata(stripe_object: dict[str, Any]) -> dict[str, str]:
    """Return the texts of the object's metadata."""
    metadata = stripe_object.get("metadata")
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _malformed(name: str) -> BadRequestError:
    return BadRequestError(f"Stripe's object has no valid {name}.")
