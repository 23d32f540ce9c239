"""What the ledger hears beside Stripe's snapshots: the host's word, an operator's, and what we do ourselves.

`rules.apply` says what each changes. A fact without fields is no tuple, since an empty tuple is false.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from octo_stripe_gateway.ledger.concerns import Kind
from octo_stripe_gateway.models import BalanceTransaction, Dispute, Refund
from octo_stripe_gateway.stripe.snapshots import (
    CardSnapshot,
    FraudWarningSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)

# Why a refund counts as refused, beside Stripe's own codes. Nobody asks for it any more:
ABANDONED = "abandoned"
# Somebody has refunded the amount at Stripe by hand meanwhile:
MADE_ELSEWHERE = "made_elsewhere"


class Accepted(NamedTuple):
    """The host accepted the money; `settled_price` where that pays all that the payable costs.

    `refund_terms` are what the payable's cancellation terms are at the sale, with its price.
    """

    settled_price: int | None = None
    refund_terms: dict[str, Any] | None = None


class Authorized:
    """The host has heard of the hold."""


class Rejected(NamedTuple):
    """The host, or a rule about what is due, rejected the payment: see `ledger.rejections`.

    A host's own words are the parameter `words` of the code `host`.
    """

    code: str
    parameters: dict[str, Any]


class RefundReserved(NamedTuple):
    """A refund is about to be asked for."""

    refund: Refund


class RefundRefused(NamedTuple):
    """Stripe refused a refund, or it was given up."""

    refund_pk: int | None
    code: str
    message: str
    reason: str = ""


class CreationRefused(NamedTuple):
    """Stripe refused to create the intent."""

    code: str
    message: str


class CanceledUnasked:
    """A payment whose intent was never created is canceled."""


class DeadlineKept(NamedTuple):
    """The host was asked for its deadline; a payment that `is_past` it is about to be canceled."""

    deadline: dt.datetime | None
    is_past: bool


class PayableCanceled(NamedTuple):
    """What was paid for is canceled since `at`, and its terms keep this much of the payment."""

    kept: int
    at: dt.datetime


class ExpiryDropped:
    """Stripe refused to cancel the payment."""


class OpenElsewhere:
    """Another payment has replaced this one, which can't be canceled: its account's key is gone."""


class AmountRequested(NamedTuple):
    """Stripe is about to be asked to change the intent's amount."""

    amount: int


class AmountTaken(NamedTuple):
    """Stripe has answered that the intent's amount is changed."""

    snapshot: PaymentIntentSnapshot


class AmountRefused:
    """Stripe refused to change the amount."""


class CaptureReminded:
    """The host is reminded of a hold that runs out."""


class SyncNeeded:
    """Something was heard that can't be trusted; Stripe has to be asked."""


class EventOfAnother(NamedTuple):
    """An event names the payment's intent, and is of another account or mode."""

    event_id: str
    as_of: int


class FoundLate(NamedTuple):
    """Reconciliation has found what no event told of, in an object at Stripe or in the payment itself."""

    kind: Kind
    object_id: str
    parameters: Mapping[str, Any]


class FraudWarned(NamedTuple):
    """The card's bank warns of fraud; `refunds` where the host has such payments refunded."""

    snapshot: FraudWarningSnapshot
    refunds: bool


class Adopted(NamedTuple):
    """The payment's row was written after its intent, whose moment of creation it takes."""

    intent_id: str
    created: int


class Regained(NamedTuple):
    """A repeated create got back the intent from before its row was lost; `waits` where that holds money."""

    snapshot: PaymentIntentSnapshot
    waits: bool


class RefundRegained(NamedTuple):
    """A repeated refund got back Stripe's from before its row was lost, when all that is left was more."""

    snapshot: RefundSnapshot


class AdoptionConfirmed:
    """An operator lets adopted money count."""


class Erased:
    """Personal data is erased."""


class Booked(NamedTuple):
    """What moved in Stripe's balance because of the payment is recorded: all movements, old and new.

    Where `is_planned`, the books are complete, or are asked again at that time.
    """

    movements: Sequence[BalanceTransaction]
    cards: Sequence[CardSnapshot | None] = ()
    is_planned: bool = False
    again_at: dt.datetime | None = None


class ReversalFailed:
    """Rejected money could not be sent back yet."""


class PartRefused(NamedTuple):
    """Of a refund of all of a payable's payments, this payment's part was refused, and the rest made."""

    amount: int
    message: str


class Forgiven(NamedTuple):
    """It is known, or a person decides, how much of a refund or of a lost dispute is not owed again."""

    part: Refund | Dispute
    amount: int


class ConcernSettled(NamedTuple):
    """A person closes a concern; of a loss, with the amount that was lost."""

    concern_pk: int
    by: str
    reason: str
    amount: int | None = None
