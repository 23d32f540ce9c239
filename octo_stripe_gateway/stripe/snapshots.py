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

A field's type says how it is read: `Annotated[str, reader]`, where the reader takes Stripe's object and the
field's name. Fields without a reader are read by their class's `from_object`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, Self, get_type_hints

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
# How an intent is charged with Stripe Connect: the parameters that its refunds follow.
CONNECT = ("application_fee_amount", "on_behalf_of", "transfer_data")

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
    def of_intent(cls, status: str, *, as_of: int, failure_code: str, content: tuple[str | int, ...]) -> Self:
        """Order snapshots of an intent; `content` is all else that a payment's row keeps of it."""
        rank = DECLINED_RANK if failure_code else INTENT_RANKS.get(status, 0)
        return cls(INTENT_STAGES.get(status, 0), as_of, rank, (status, failure_code, *content))

    @classmethod
    def of_refund(cls, status: str, *, as_of: int, failure_reason: str) -> Self:
        """Order snapshots of a refund, which may fail after it succeeded."""
        return cls(0, as_of, REFUND_RANKS.get(status, 0), (status, failure_reason))

    @classmethod
    def of_dispute(cls, status: str, *, as_of: int) -> Self:
        """Order snapshots of a dispute, which may go on after it was closed."""
        return cls(0, as_of, int(status in CLOSED_DISPUTES), (status,))


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


def read_integer(
    stripe_object: dict[str, Any],
    name: str,
    *,
    default: int | None = None,
    least: int = 0,
    most: int = LARGEST_INTEGER,
) -> int:
    """Return an integer that fits its column; null is the default where there is one."""
    value = stripe_object.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _malformed(name)
    return value


# Returns a moment in seconds.
read_time = partial(read_integer, most=LAST_SECOND)


def read_id(stripe_object: dict[str, Any], name: str) -> str:
    """Return the id of another object, which is there as id, in full, or not at all."""
    value = stripe_object.get(name)
    return read_text(value, "id") if isinstance(value, dict) else read_text(stripe_object, name, default="")


def read_metadata(stripe_object: dict[str, Any], name: str = "metadata") -> dict[str, str]:
    """Return the texts of the object's metadata."""
    metadata = stripe_object.get(name)
    pairs = metadata.items() if isinstance(metadata, dict) else ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _read_object(stripe_object: dict[str, Any], name: str) -> dict[str, Any]:
    value = stripe_object.get(name)
    if not isinstance(value, dict | None):
        raise _malformed(name)
    return value or {}


def _read_shown(stripe_object: Any, name: str) -> str:
    """Return a text that is only shown, empty if it is invalid: no payment may fail because of it."""
    value = stripe_object.get(name) if isinstance(stripe_object, dict) else None
    return value.replace("\0", "") if isinstance(value, str) else ""


def _read_capture_before(charge: dict[str, Any], name: str) -> int:
    return read_time(_read_object(_read_object(charge, "payment_method_details"), "card"), name, default=0)


def _read_due_by(dispute: dict[str, Any], _name: str) -> int:
    return read_time(_read_object(dispute, "evidence_details"), "due_by", default=0)


def _read_rate(stripe_object: dict[str, Any], name: str) -> Decimal | None:
    """Return what one unit of the payment's currency is in the balance's, None if they are the same."""
    value = stripe_object.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST_RATE:
        raise _malformed(name)
    return round(Decimal(str(value)), RATE_DECIMALS)


def _malformed(name: str) -> BadRequestError:
    return BadRequestError(f"Stripe's object has no valid {name}.")


def _of(reference: str) -> Callable[..., str]:
    """Return a reader of another object's id, by Stripe's name for it."""
    return lambda stripe_object, _name: read_id(stripe_object, reference)


def _named(key: str, *, length: int | None = None) -> Callable[..., str]:
    """Return a reader of what the metadata has under a key, empty where that is nothing."""
    return lambda stripe_object, _name: read_metadata(stripe_object).get(key, "")[:length]


@cache
def _list_readers(snapshot: Any) -> list[tuple[str, Callable[..., Any]]]:
    hints = get_type_hints(snapshot, include_extras=True)
    return [(name, hint.__metadata__[0]) for name, hint in hints.items() if hasattr(hint, "__metadata__")]


def _read_fields(snapshot: Any, stripe_object: dict[str, Any]) -> dict[str, Any]:
    return {name: read(stripe_object, name) for name, read in _list_readers(snapshot)}


Text = Annotated[str, read_text]
Code = Annotated[str, partial(read_text, length=64)]
Word = Annotated[str, partial(read_text, default="", length=64)]
Amount = Annotated[int, read_integer]
Signed = Annotated[int, partial(read_integer, least=-LARGEST_INTEGER)]
Count = Annotated[int, partial(read_integer, default=0)]
Time = Annotated[int, read_time]
Flag = Annotated[bool, read_flag]
OfIntent = Annotated[str, _of("payment_intent")]
Metadata = Annotated[Mapping[str, str], read_metadata]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One of Stripe's objects, as it stood in the second `as_of`."""

    id: Text
    as_of: int

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read the object; raises BadRequestError where it isn't one of this kind."""
        return cls(as_of=as_of, **_read_fields(cls, stripe_object))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntentSnapshot(Snapshot):
    """How a PaymentIntent stands. `failure_code` is the last attempt's, until the next attempt begins."""

    status: Code
    amount: Amount
    currency: Text
    amount_received: Count
    amount_capturable: Count
    livemode: Flag
    failure_code: str
    failure_message: str
    payment_uuid: Annotated[str, _named(PAYMENT_METADATA_KEY)]
    charge_id: Annotated[str, _of("latest_charge")]
    cancellation_reason: Word = ""
    created: Count = 0
    capture_method: Word = ""
    metadata: Metadata = field(default_factory=dict, repr=False, compare=False)
    connect: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    client_secret: Annotated[str, partial(read_text, default="")] = field(default="", repr=False)
    charge: ChargeSnapshot | None = None
    disputes: tuple[DisputeSnapshot, ...] = ()

    @property
    def holds_money(self) -> bool:
        """Tell whether money is received or held, and has not gone back."""
        refunded = self.charge.amount_refunded if self.charge else 0
        return self.amount_received > refunded or self.amount_capturable > 0

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
        declined = stripe_object.get("status") == "requires_payment_method"
        failure = _read_object(stripe_object, "last_payment_error") if declined else {}
        latest = stripe_object.get("latest_charge")
        charge = ChargeSnapshot.from_object(latest, as_of=as_of) if isinstance(latest, dict) else None
        return cls(
            as_of=max(as_of, charge.created) if charge else as_of,
            failure_code=read_text(failure, "decline_code", default="")
            or read_text(failure, "code", default=""),
            failure_message=read_text(failure, "message", default="", length=None),
            connect={name: stripe_object[name] for name in CONNECT if stripe_object.get(name)},
            charge=charge,
            **_read_fields(cls, stripe_object),
        )

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same intent."""
        amounts = (self.amount, self.amount_received, self.amount_capturable)
        content = (self.failure_message, self.charge_id, *amounts)
        return Precedence.of_intent(
            self.status, as_of=self.as_of, failure_code=self.failure_code, content=content
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSnapshot(Snapshot):
    """How a Refund stands."""

    created: Time
    status: Annotated[str, partial(read_text, default="pending", length=64)]
    amount: Amount
    currency: Text
    reason: Word
    failure_reason: Annotated[str, partial(read_text, default="")]
    payment_intent_id: OfIntent
    charge_id: Annotated[str, _of("charge")]
    refund_uuid: Annotated[str, _named(REFUND_METADATA_KEY)]
    request_fingerprint: Annotated[str, _named(REQUEST_METADATA_KEY, length=FINGERPRINT_LENGTH)] = ""
    metadata: Metadata = field(default_factory=dict, repr=False, compare=False)

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same refund."""
        return Precedence.of_refund(self.status, as_of=self.as_of, failure_reason=self.failure_reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeSnapshot(Snapshot):
    """How much of a charge has been refunded; `refunds` where the charge lists them.

    `has_all_refunds` where that list is complete, as in an answer that asked for it.
    """

    created: Time
    currency: Text
    amount_refunded: Amount
    livemode: Flag
    disputed: Annotated[bool, partial(read_flag, default=False)]
    payment_intent_id: OfIntent
    capture_before: Annotated[int, _read_capture_before] = 0
    refunds: tuple[RefundSnapshot, ...] = ()
    has_all_refunds: bool = False
    card: CardSnapshot | None = None
    booked: BalanceTransactionSnapshot | None = None

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any], *, as_of: int) -> Self:
        """Read a Charge; raises BadRequestError where it isn't one."""
        refunds = _read_object(stripe_object, "refunds")
        listed = refunds.get("data") or []
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise _malformed("refunds")
        booked, transaction = None, stripe_object.get("balance_transaction")
        if isinstance(transaction, dict):
            # No payment may fail because of what its charge brought.
            with suppress(BadRequestError):
                booked = BalanceTransactionSnapshot.from_object(transaction)
        return cls(
            as_of=max([as_of, *(read_time(each, "created") for each in listed)]),
            refunds=tuple(RefundSnapshot.from_object(each, as_of=as_of) for each in listed),
            has_all_refunds="data" in refunds and not read_flag(refunds, "has_more", default=False),
            card=CardSnapshot.from_charge(stripe_object),
            booked=booked,
            **_read_fields(cls, stripe_object),
        )


class CardSnapshot(NamedTuple):
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


class BalanceTransactionSnapshot(NamedTuple):
    """A movement of money in Stripe's balance, which never changes once it is booked.

    `payment_intent_id` and `card` are known if the source is expanded and belongs to a payment.
    """

    id: Text
    source_id: Annotated[str, _of("source")]
    type: Code
    reporting_category: Code
    amount: Signed
    fee: Signed
    net: Signed
    currency: Annotated[str, partial(read_text, length=3)]
    exchange_rate: Annotated[Decimal | None, _read_rate]
    created: Time
    available_on: Time
    payment_intent_id: str
    card: CardSnapshot | None

    @classmethod
    def from_object(cls, stripe_object: dict[str, Any]) -> Self:
        """Read a BalanceTransaction; raises BadRequestError where it isn't one."""
        source = stripe_object.get("source")
        source = source if isinstance(source, dict) else {}
        return cls(
            payment_intent_id=read_id(source, "payment_intent"),
            card=CardSnapshot.from_charge(source) if source.get("object") == "charge" else None,
            **_read_fields(cls, stripe_object),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeSnapshot(Snapshot):
    """How a dispute of a charge stands. Amount and currency are the bank's, perhaps not the payment's.

    `evidence_due_by` is in seconds, 0 where no evidence is asked for.
    """

    created: Time
    status: Code
    amount: Amount
    currency: Text
    reason: Word
    evidence_due_by: Annotated[int, _read_due_by]
    livemode: Flag
    payment_intent_id: OfIntent

    @property
    def precedence(self) -> Precedence:
        """Return what orders this snapshot among others of the same dispute."""
        return Precedence.of_dispute(self.status, as_of=self.as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class FraudWarningSnapshot(Snapshot):
    """What a card's bank says of a charge that it thinks fraudulent.

    `actionable` where it is neither refunded nor disputed yet.
    """

    fraud_type: Code
    actionable: Flag
    livemode: Flag
    payment_intent_id: OfIntent
