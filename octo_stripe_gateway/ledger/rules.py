"""All rules of the ledger: what each fact changes in a payment's rows, and what follows from it.

Rules work on rows in memory. They ask nothing, save nothing, know no clock and call no host code, so that a
test can go through every order of facts. `apply` runs the rule of a fact, then `_derive`, which alone sets
totals, status, moments, concerns about them, the next check, and whether the books have to be asked.

Facts come in any order and repeatedly. What Stripe says of an intent is ordered by its stage, which never
goes back, then by time; what it says of a refund or a dispute by time alone, since both may go on after an
end. Stripe's clock has whole seconds: where two snapshots of one second leave open which came last, the
payment is synced once more.
"""

from __future__ import annotations

import datetime as dt
import uuid as uuids
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from octo_stripe_gateway.ledger import concerns as kinds
from octo_stripe_gateway.ledger.concerns import Kind, block_refunds, end_concern, find_concern, open_concern
from octo_stripe_gateway.models import BalanceTransaction, Concern, Dispute, Payment, Refund, is_uuid
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER, PAID, get_moment
from octo_stripe_gateway.models.refunds import DEAD_STATUSES, NOT_AT_STRIPE
from octo_stripe_gateway.stripe.snapshots import (
    PAYABLE_METADATA_KEY,
    CardSnapshot,
    ChargeSnapshot,
    DisputeSnapshot,
    FraudWarningSnapshot,
    PaymentIntentSnapshot,
    Precedence,
    RefundSnapshot,
)

ERASED = "…"
EXPIRED_REASONS = frozenset({"expired", "automatic"})
PROCESSING = "processing"
FRAUDULENT = "fraudulent"
ABANDONED = "abandoned"
# Somebody has refunded the amount at Stripe by hand meanwhile.
MADE_ELSEWHERE = "made_elsewhere"
# Refusals and failures of a refund that end by themselves once Stripe's balance is filled.
LACK_OF_BALANCE = frozenset({"insufficient_balance_for_refund", "balance_insufficient", "insufficient_funds"})
# The bank may have given the customer the money already, by a dispute.
DISPUTED_MEANWHILE = "charge_for_pending_refund_disputed"
# After this, Stripe's clock is in another second.
TIE_PAUSE = dt.timedelta(seconds=2)
# Stripe may have read what it answers up to so many seconds after the moment that its answer is dated.
ANSWER_LEEWAY = 1
# So many refunds of a payment may fail for lack of balance before a person is told.
MOST_WITHOUT_BALANCE = 3


@dataclass(slots=True)
class Rows:
    """A locked payment with what a fact may change of it; `refunds` and `disputes` are None if it can't.

    `notes` goes into the journal beside the columns. `contradiction` is the code of the concern, if what
    Stripe said was not applied; `is_warned` where a bank's warning of fraud is new.
    """

    payment: Payment
    refunds: list[Refund] | None = None
    disputes: list[Dispute] | None = None
    concerns: list[Concern] = field(default_factory=list)
    # The bank's warnings of fraud that are on record, and uuids that no new refund may take.
    warnings: frozenset[tuple[str, str]] = frozenset()
    taken_uuids: frozenset[str] = frozenset()
    notes: dict[str, list[Any]] = field(default_factory=dict)
    contradiction: str = ""
    is_warned: bool = False
    is_answer: bool = False
    is_tied: bool = False
    has_moved: bool = False
    now: dt.datetime = field(init=False)
    before: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        """Take the rows as saved: only what changes from now on counts."""
        self.before = {id(row): dict(row.__dict__) for row in self}
        self.notes, self.is_tied, self.has_moved = {}, False, False

    def __iter__(self) -> Any:
        yield self.payment
        yield from self.refunds or ()
        yield from self.disputes or ()
        yield from self.concerns

    def note_tie(self, known: Precedence, snapshot: RefundSnapshot | DisputeSnapshot) -> None:
        """Note that two words may be of one second, so that it is open which of them came last."""
        behind = known.as_of - snapshot.as_of
        self.is_tied |= 0 <= behind <= (ANSWER_LEEWAY if self.is_answer else 0)

    def get_before(self, row: Any, name: str) -> Any:
        """Return a column as it was saved, None for a new row."""
        return self.before.get(id(row), {}).get(name)


# What is no snapshot: the host's word, an operator's, and what we do ourselves.


@dataclass(frozen=True, slots=True)
class Accepted:
    """The host accepted the money; `settled_price` where that pays all that the payable costs."""

    settled_price: int | None = None


@dataclass(frozen=True, slots=True)
class Authorized:
    """The host has heard of the hold."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The host, or a rule about what is due, rejected the payment."""

    code: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RefundReserved:
    """A refund is about to be asked for."""

    refund: Refund


@dataclass(frozen=True, slots=True)
class RefundRefused:
    """Stripe refused a refund, or it was given up."""

    refund_pk: int | None
    code: str
    message: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CreationRefused:
    """Stripe refused to create the intent."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CanceledUnasked:
    """A payment whose intent was never created is canceled."""


@dataclass(frozen=True, slots=True)
class DeadlineKept:
    """The host was asked for its deadline; a payment that `is_past` it is about to be canceled."""

    deadline: dt.datetime | None
    is_past: bool


@dataclass(frozen=True, slots=True)
class ExpiryDropped:
    """Stripe refused to cancel the payment."""


@dataclass(frozen=True, slots=True)
class OpenElsewhere:
    """Another payment has replaced this one, which can't be canceled: its account's key is gone."""


@dataclass(frozen=True, slots=True)
class AmountRequested:
    """Stripe is about to be asked to change the intent's amount."""

    amount: int


@dataclass(frozen=True, slots=True)
class AmountTaken:
    """Stripe has answered that the intent's amount is changed."""

    snapshot: PaymentIntentSnapshot


@dataclass(frozen=True, slots=True)
class AmountRefused:
    """Stripe refused to change the amount."""


@dataclass(frozen=True, slots=True)
class CaptureReminded:
    """The host is reminded of a hold that runs out."""


@dataclass(frozen=True, slots=True)
class SyncNeeded:
    """Something was heard that can't be trusted; Stripe has to be asked."""


@dataclass(frozen=True, slots=True)
class EventOfAnother:
    """An event names the payment's intent, and is of another account or mode."""

    event_id: str
    as_of: int


@dataclass(frozen=True, slots=True)
class FoundLate:
    """Reconciliation has found what no event told of, in an object at Stripe or in the payment itself."""

    kind: Kind
    object_id: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FraudWarned:
    """The card's bank warns of fraud; `refunds` where the host has such payments refunded."""

    snapshot: FraudWarningSnapshot
    refunds: bool


@dataclass(frozen=True, slots=True)
class Adopted:
    """The payment's row was written after its intent, whose moment of creation it takes."""

    intent_id: str
    created: int


@dataclass(frozen=True, slots=True)
class Regained:
    """A repeated create got back the intent from before its row was lost; `waits` where that holds money."""

    snapshot: PaymentIntentSnapshot
    waits: bool


@dataclass(frozen=True, slots=True)
class AdoptionConfirmed:
    """An operator lets adopted money count."""


@dataclass(frozen=True, slots=True)
class Erased:
    """Personal data is erased."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What moved in Stripe's balance because of the payment is recorded: all movements, old and new.

    Where `is_planned`, the books are complete, or are asked again at that time.
    """

    movements: Sequence[BalanceTransaction]
    cards: Sequence[CardSnapshot | None] = ()
    is_planned: bool = False
    again_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class ReversalFailed:
    """Rejected money could not be sent back yet."""


@dataclass(frozen=True, slots=True)
class PartRefused:
    """Of a refund of all of a payable's payments, this payment's part was refused, and the rest made."""

    amount: int
    message: str


@dataclass(frozen=True, slots=True)
class Forgiven:
    """It is known, or a person decides, how much of a refund or of a lost dispute is not owed again."""

    part: Refund | Dispute
    amount: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A person closes a concern; of a loss, with the amount that was lost."""

    concern_pk: int
    by: str
    reason: str
    amount: int | None = None


# The table of rules is at the end. Each takes the rows and the fact.


def apply(rows: Rows, fact: Any, *, now: dt.datetime) -> None:
    """Bring the rows to a fact, and set what follows."""
    rows.now = now
    RULES[type(fact)].run(rows, fact)
    _derive(rows)


def _apply_intent(rows: Rows, snapshot: PaymentIntentSnapshot) -> None:
    """Take what Stripe says of the intent, whatever its amount: if that is not what is due, it's rejected."""
    payment = rows.payment
    expected = {
        "id": payment.stripe_payment_intent_id or snapshot.id,
        "currency": payment.currency,
        "livemode": payment.livemode,
    }
    if not _agrees(rows, kinds.INTENT_DIFFERS, snapshot, expected, stage=snapshot.precedence.stage):
        return
    payment.stripe_payment_intent_id = snapshot.id
    _date_outcome(payment, snapshot)
    known, said = get_intent_precedence(payment), snapshot.precedence
    rows.is_tied |= _is_tied(payment, snapshot, known=known)
    if said > known:
        _take_intent(payment, snapshot)
    elif said.stage == known.stage and not payment.stripe_charge_id:
        payment.stripe_charge_id = snapshot.charge_id
    if payment.awaits_operator and (payment.amount_received or payment.amount_capturable):
        _call_operator(rows, payable_name=snapshot.metadata.get(PAYABLE_METADATA_KEY, ""))
    if snapshot.status == PROCESSING != payment.intent_status:
        # A debit that was heard of too late has moved money, perhaps both ways.
        rows.has_moved = True
    if snapshot.status == PROCESSING and payment.intent_status in PAID:
        payment.paid_as_of = min(payment.paid_as_of or snapshot.as_of, snapshot.as_of)
    if snapshot.is_whole and snapshot.as_of > payment.tied_as_of:
        payment.tied_as_of = 0
    # Events name their charge, and only answers hold it.
    rows.is_answer |= snapshot.charge is not None
    if snapshot.charge:
        _apply_charge(rows, snapshot.charge)
    for dispute in snapshot.disputes:
        _apply_dispute(rows, dispute)


def _take_intent(payment: Payment, snapshot: PaymentIntentSnapshot) -> None:
    if snapshot.status != payment.intent_status:
        payment.checks = 0
        if payment.intent_status:
            # The next check may be months away: while it was unpaid, the pauses grew.
            payment.next_check_at = None
    same_stage = snapshot.precedence.stage == get_intent_precedence(payment).stage
    # Events of old API versions name no charge.
    payment.stripe_charge_id = snapshot.charge_id or (payment.stripe_charge_id if same_stage else "")
    payment.intent_status, payment.intent_as_of = snapshot.status, snapshot.as_of
    is_open = snapshot.precedence.stage == 0
    if not (is_open and payment.amount_requested is None and _is_before_change(payment, snapshot)):
        payment.intent_amount = snapshot.amount
    if snapshot.status not in PAID:
        payment.paid_as_of = 0
    payment.amount_capturable, payment.amount_received = snapshot.amount_capturable, snapshot.amount_received
    payment.cancellation_reason = snapshot.cancellation_reason
    payment.failure_code, payment.failure_message = snapshot.failure_code, snapshot.failure_message


def _is_before_change(payment: Payment, snapshot: PaymentIntentSnapshot) -> bool:
    """Tell whether a snapshot may be of before Stripe's answer that the amount is changed."""
    return 0 < snapshot.as_of <= payment.amount_as_of + ANSWER_LEEWAY


def _date_outcome(payment: Payment, snapshot: PaymentIntentSnapshot) -> None:
    # The earliest word of it counts, even when it arrives late.
    moment = get_moment(snapshot.as_of)
    if snapshot.status == "succeeded":
        payment.confirmed_at = min(payment.confirmed_at or moment, moment)
    if snapshot.status == "canceled":
        payment.canceled_at = min(payment.canceled_at or moment, moment)


def _is_tied(payment: Payment, snapshot: PaymentIntentSnapshot, *, known: Precedence) -> bool:
    """Tell whether two snapshots of one second leave open which of them came last.

    After a decline the customer may have gone on, and a debit may have failed.
    """
    said = snapshot.precedence
    if (known.stage, known.as_of) != (said.stage, said.as_of) or known == said:
        return False
    has_failed = payment.failure_code or snapshot.failure_code
    is_debit = PROCESSING in {payment.intent_status, snapshot.status}
    return bool(has_failed or is_debit or payment.intent_amount != snapshot.amount)


def _apply_charge(rows: Rows, snapshot: ChargeSnapshot) -> None:
    payment = rows.payment
    expected = _expect_of_charge(payment, snapshot) | {"currency": payment.currency}
    if not _agrees(rows, kinds.CHARGE_DIFFERS, snapshot, expected):
        return
    total = snapshot.amount_refunded
    if snapshot.capture_before:
        payment.capture_before = get_moment(snapshot.capture_before)
    if payment.intent_status in PAID and snapshot.id == payment.stripe_charge_id:
        payment.paid_as_of = snapshot.created
    # Within one second the largest total is the latest.
    if (snapshot.as_of, total) > (payment.charge_as_of, payment.charge_amount_refunded):
        payment.charge_as_of, payment.charge_amount_refunded = snapshot.as_of, total
    _keep_card(payment, snapshot.card)
    if snapshot.booked and not payment.settlement_currency:
        # Provisional: the books replace it once all that moved is recorded.
        payment.settlement_currency = snapshot.booked.currency
        payment.exchange_rate = snapshot.booked.exchange_rate
        payment.fee, payment.net = snapshot.booked.fee, snapshot.booked.net
    for refund in snapshot.refunds:
        _apply_refund(rows, refund)
    if snapshot.has_all_refunds:
        _disown_others(rows, snapshot)


def _keep_card(payment: Payment, card: CardSnapshot | None) -> None:
    if card is None or payment.erased_at:
        return
    payment.card_brand, payment.card_last4 = card.brand, card.last4
    # Stripe signs the address anew each time.
    payment.receipt_url = payment.receipt_url or card.receipt_url


def _apply_refund(rows: Rows, snapshot: RefundSnapshot) -> None:
    refunds = rows.refunds if rows.refunds is not None else []
    refund = _pick_refund(refunds, snapshot)
    expected = {
        "payment_intent_id": rows.payment.stripe_payment_intent_id or snapshot.payment_intent_id,
        "currency": rows.payment.currency,
        "amount": refund.amount if refund else snapshot.amount,
    }
    if not _agrees(rows, kinds.REFUND_DIFFERS, snapshot, expected):
        return
    if refund is None:
        refund = _make_refund(rows, snapshot)
        refunds.append(refund)
    # Until Stripe has answered, the status is provisional: any snapshot replaces it.
    is_first = refund.stripe_refund_id is None
    refund.stripe_refund_id, refund.stripe_created = snapshot.id, snapshot.created
    known = Precedence.of_refund(
        refund.status, as_of=refund.status_as_of, failure_reason=refund.failure_reason
    )
    if not is_first and refund.status != snapshot.status:
        rows.note_tie(known, snapshot)
    if snapshot.precedence > known or is_first:
        refund.status, refund.status_as_of = snapshot.status, snapshot.as_of
        refund.reason = snapshot.reason or refund.reason
        refund.failure_reason = snapshot.failure_reason


def _pick_refund(refunds: Sequence[Refund], snapshot: RefundSnapshot) -> Refund | None:
    by_id = (each for each in refunds if each.stripe_refund_id == snapshot.id)
    by_uuid = (
        each
        for each in refunds
        if each.stripe_refund_id is None and str(each.uuid) == snapshot.refund_uuid.lower()
    )
    return next(by_id, None) or next(by_uuid, None)


def _make_refund(rows: Rows, snapshot: RefundSnapshot) -> Refund:
    """Make the row of a refund found at Stripe; one of ours that was lost gets its uuid back."""
    refund = Refund(payment=rows.payment, amount=snapshot.amount, status="")
    lost = snapshot.refund_uuid.lower()
    taken = rows.taken_uuids | {str(each.uuid) for each in rows.refunds or ()}
    if is_uuid(lost) and lost not in taken:
        refund.uuid, refund.request_fingerprint = uuids.UUID(lost), snapshot.request_fingerprint
    return refund


def _disown_others(rows: Rows, snapshot: ChargeSnapshot) -> None:
    """Cancel refunds that Stripe's complete list lacks: only an old event can have reported them."""
    listed = {each.id for each in snapshot.refunds}
    for refund in rows.refunds or ():
        is_older = refund.stripe_created < snapshot.as_of
        if refund.is_live and refund.stripe_refund_id not in listed and is_older:
            refund.status, refund.status_as_of = "canceled", snapshot.as_of
            refund.failure_reason = NOT_AT_STRIPE


def _apply_dispute(rows: Rows, snapshot: DisputeSnapshot) -> None:
    expected = _expect_of_charge(rows.payment, snapshot)
    if not _agrees(rows, kinds.DISPUTE_DIFFERS, snapshot, expected):
        return
    disputes = rows.disputes if rows.disputes is not None else []
    dispute = next((each for each in disputes if each.stripe_dispute_id == snapshot.id), None)
    if dispute is None:
        dispute = Dispute(payment=rows.payment, stripe_dispute_id=snapshot.id)
        disputes.append(dispute)
    known = Precedence.of_dispute(dispute.status, as_of=dispute.status_as_of)
    if dispute.status and dispute.status != snapshot.status:
        rows.note_tie(known, snapshot)
    if snapshot.precedence > known or not dispute.status:
        dispute.status, dispute.status_as_of = snapshot.status, snapshot.as_of
        dispute.amount, dispute.currency = snapshot.amount, snapshot.currency
        dispute.reason, dispute.evidence_due_by = snapshot.reason, snapshot.evidence_due_by
        dispute.stripe_created = snapshot.created


def _warn_of_fraud(rows: Rows, fact: FraudWarned) -> None:
    """Journal a bank's warning; where no refund follows by itself, call an operator."""
    payment, snapshot = rows.payment, fact.snapshot
    expected = _expect_of_charge(payment, snapshot)
    if not _agrees(rows, kinds.FRAUD_WARNING_DIFFERS, snapshot, expected):
        return
    if (snapshot.id, snapshot.fraud_type) in rows.warnings:
        return
    rows.notes[FRAUD_WARNING] = [None, {"warning": snapshot.id, "type": snapshot.fraud_type}]
    rows.is_warned = True
    waits = snapshot.actionable and not payment.is_reversed
    if waits and not (fact.refunds and payment.is_reversible):
        _open(rows, kinds.FRAUD_WARNED, object_id=snapshot.id, fraud_type=snapshot.fraud_type)


def _refuse_event(rows: Rows, fact: EventOfAnother) -> None:
    _open(rows, kinds.EVENT_OF_ANOTHER, as_of=fact.as_of, event=fact.event_id)
    rows.contradiction = kinds.EVENT_OF_ANOTHER.code


def _tell_of_finding(rows: Rows, fact: FoundLate) -> None:
    _open(rows, fact.kind, object_id=fact.object_id, **fact.parameters)


def _accept(rows: Rows, fact: Accepted) -> None:
    payment = rows.payment
    payment.accepted_at = rows.now
    if payment.payable_type_id and payment.capture_method == Payment.CaptureMethod.AUTOMATIC:
        # Another amount than asked for was what is due rows.now.
        payment.amount = payment.amount_received
    if fact.settled_price is not None:
        rows.notes["payable paid"] = [None, fact.settled_price]


def _authorize(rows: Rows, _fact: Authorized) -> None:
    rows.payment.authorized_at = rows.now


def _reject(rows: Rows, fact: Rejected) -> None:
    rows.payment.rejection_code, rows.payment.rejection_parameters = fact.code, fact.parameters


def _reserve_refund(rows: Rows, fact: RefundReserved) -> None:
    if rows.refunds is not None:
        rows.refunds.append(fact.refund)


def _refuse_refund(rows: Rows, fact: RefundRefused) -> None:
    """Free the refund's amount, and call an operator where the customer waits for the money."""
    amount = rows.payment.amount_refundable
    for refund in rows.refunds or ():
        if refund.pk == fact.refund_pk and refund.is_reserved:
            refund.status, refund.failure_reason = "failed", fact.code
            amount = refund.amount
    told = {"message": fact.message or fact.code}
    if fact.code == MADE_ELSEWHERE:
        _open(rows, kinds.REFUND_MADE_ELSEWHERE, object_id=str(fact.refund_pk))
    elif fact.code == ABANDONED:
        # Nobody has it, so that it is free to be asked for again.
        return
    elif rows.payment.needs_reversal:
        if fact.code not in LACK_OF_BALANCE:
            _open(rows, kinds.REVERSAL_REFUSED, amount=amount, **told)
    elif fact.reason == FRAUDULENT and rows.warnings:
        _open(rows, kinds.FRAUD_REFUND_REFUSED, **told)


def _refuse_creation(rows: Rows, fact: CreationRefused) -> None:
    if not rows.payment.stripe_payment_intent_id:
        rows.payment.failure_code = fact.code or "refused"
        rows.payment.failure_message = fact.message


def _cancel_unasked(rows: Rows, _fact: CanceledUnasked) -> None:
    rows.payment.intent_status, rows.payment.canceled_at = "canceled", rows.now


def _keep_deadline(rows: Rows, fact: DeadlineKept) -> None:
    rows.payment.expires_at, rows.payment.is_expiring = fact.deadline, fact.is_past


def _drop_expiry(rows: Rows, _fact: ExpiryDropped) -> None:
    rows.payment.is_expiring = False


def _leave_open(rows: Rows, _fact: OpenElsewhere) -> None:
    if find_concern(rows.concerns, kinds.OPEN_ELSEWHERE) is None:
        _open(rows, kinds.OPEN_ELSEWHERE)


def _request_amount(rows: Rows, fact: AmountRequested) -> None:
    rows.payment.amount_requested = fact.amount
    rows.payment.amount_as_of = int(rows.now.timestamp())


def _take_amount(rows: Rows, fact: AmountTaken) -> None:
    payment, snapshot = rows.payment, fact.snapshot
    _apply_intent(rows, snapshot)
    if snapshot.amount == payment.amount_requested:
        payment.amount, payment.amount_requested = snapshot.amount, None
    if snapshot.amount == payment.amount:
        payment.amount_as_of = max(payment.amount_as_of, snapshot.as_of)
        if snapshot.as_of >= payment.intent_as_of - ANSWER_LEEWAY:
            # Our own answer counts, whatever else was heard of the same second.
            payment.intent_amount = snapshot.amount


def _refuse_amount(rows: Rows, _fact: AmountRefused) -> None:
    rows.payment.amount_requested = None


def _remind_of_capture(rows: Rows, _fact: CaptureReminded) -> None:
    rows.payment.capture_reminded_at = rows.payment.capture_reminded_at or rows.now


def _need_sync(rows: Rows, _fact: SyncNeeded) -> None:
    # Any answer of Stripe's will do.
    rows.payment.tied_as_of = max(rows.payment.tied_as_of, 1)
    rows.payment.next_check_at = rows.now


def _adopt(rows: Rows, fact: Adopted) -> None:
    payment = rows.payment
    payment.created_at = get_moment(fact.created)
    rows.notes["adopted"] = ["", fact.intent_id]


def _regain(rows: Rows, fact: Regained) -> None:
    rows.payment.amount, rows.payment.awaits_operator = fact.snapshot.amount, fact.waits
    _apply_intent(rows, fact.snapshot)


def _call_operator(rows: Rows, *, payable_name: str) -> None:
    """Have an operator decide on adopted money, once for each payment."""
    is_unknown = payable_name and rows.payment.payable_type_id is None
    kind = kinds.PAYABLE_UNKNOWN if is_unknown else kinds.ADOPTED
    if find_concern(rows.concerns, kind) is None:
        _open(rows, kind, name=payable_name)


def _confirm_adoption(rows: Rows, _fact: AdoptionConfirmed) -> None:
    rows.payment.awaits_operator = False
    for kind in (kinds.ADOPTED, kinds.PAYABLE_UNKNOWN):
        end_concern(rows.concerns, kind, now=rows.now)


def _erase(rows: Rows, _fact: Erased) -> None:
    payment = rows.payment
    payment.metadata, payment.reseller_reference = {}, ""
    payment.failure_message = payment.card_last4 = payment.receipt_url = ""
    payment.erased_at = rows.now
    # Codes and amounts stay; a host's own words may name a person.
    payment.rejection_parameters = _drop_words(payment.rejection_parameters)
    for concern in rows.concerns:
        concern.parameters = _drop_words(concern.parameters)
        concern.reason = concern.reason and ERASED


def _drop_words(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in {"words", "message", "name"}}


def _book(rows: Rows, fact: Booked) -> None:
    """Sum up what moved, leaving out money in any currency but the payment's settlement currency."""
    payment = rows.payment
    for card in fact.cards:
        _keep_card(payment, card)
    if fact.is_planned:
        payment.next_booking_at = fact.again_at
        payment.bookings = payment.bookings + 1 if fact.again_at else 0
    if not fact.movements:
        return
    by_time = sorted(fact.movements, key=lambda row: (row.kind != "payment", row.moved_at, str(row)))
    payment.settlement_currency, payment.exchange_rate = by_time[0].currency, by_time[0].exchange_rate
    settled = [row for row in fact.movements if row.currency == payment.settlement_currency]
    payment.fee, payment.net = sum(row.fee for row in settled), sum(row.net for row in settled)


def _tell_of_held_money(rows: Rows, _fact: ReversalFailed) -> None:
    if rows.payment.needs_reversal:
        _open(rows, kinds.MONEY_HELD, amount=rows.payment.amount_held)


def _tell_of_part(rows: Rows, fact: PartRefused) -> None:
    _open(rows, kinds.REFUND_REFUSED, amount=fact.amount, message=fact.message)


def _forgive(rows: Rows, fact: Forgiven) -> None:
    for row in (*(rows.refunds or ()), *(rows.disputes or ())):
        if row == fact.part:
            row.amount_forgiven = fact.amount


def _settle(rows: Rows, fact: Settled) -> None:
    for concern in rows.concerns:
        if concern.pk == fact.concern_pk and concern.is_open:
            concern.settled_at, concern.settled_by = rows.now, fact.by
            concern.reason, concern.amount = fact.reason, fact.amount
            rows.notes["settled"] = ["", fact.reason]


# What follows from the rest.


def _derive(rows: Rows) -> None:
    """Set totals, status and moments, open and end concerns about them, and plan what is to be asked next."""
    payment = rows.payment
    _total_refunds(rows)
    _total_disputes(rows)
    # Snapshots come in any order: nothing is refunded or lost before it is known to have been received.
    payment.amount_refunded = min(payment.refunds_total, payment.amount_received)
    payment.amount_lost = min(payment.losses_total, payment.amount_received - payment.amount_refunded)
    is_later = payment.intent_as_of > payment.amount_as_of
    if is_later and payment.amount_requested and payment.amount_requested == payment.intent_amount:
        payment.amount, payment.amount_requested = payment.intent_amount, None
    if rows.refunds is not None or rows.disputes is not None:
        # The one that is not loaded is known to be empty then.
        payment.amount_forgiven = sum(
            each.forgiven for each in (*(rows.refunds or ()), *(rows.disputes or ()))
        )
    payment.status = _get_status(payment)
    if payment.rejection_code:
        payment.confirmed_at = None
    # These two record when this row changed, so they depend on the order of arrival.
    since = get_moment(payment.intent_as_of) if payment.intent_as_of else rows.now
    payment.failed_at = (payment.failed_at or since) if payment.status == "failed" else None
    payment.refunded_at = (payment.refunded_at or rows.now) if payment.status == "refunded" else None
    _watch_refunds(rows)
    _watch_money(rows)
    # While it is open what came last, what came next may be missed.
    is_next = any(
        rows.get_before(payment, name) != getattr(payment, name) for name in ("intent_status", "intent_as_of")
    )
    was_tied = is_next and rows.get_before(payment, "tied_as_of")
    payment.has_concerns = bool(rows.concerns)
    if rows.is_tied:
        payment.tied_as_of = max(payment.intent_as_of, payment.tied_as_of, _get_latest(rows))
        payment.next_check_at = rows.now + TIE_PAUSE
    payment.next_check_at = (
        None if is_settled(rows) else payment.next_check_at or rows.now + FIRST_CHECK_AFTER
    )
    if was_tied or rows.is_tied or rows.has_moved or _has_moved(rows):
        payment.next_booking_at, payment.bookings = rows.now, 0


def _total_refunds(rows: Rows) -> None:
    """Sum up refunds: live ones, and what the charge's total holds beyond those it is known to include."""
    if rows.refunds is None:
        return
    payment, refunds = rows.payment, rows.refunds
    live = sum(refund.amount for refund in refunds if refund.is_live)
    included = sum(refund.amount for refund in refunds if refund.was_in_charge_total(payment.charge_as_of))
    payment.refunds_total = live + max(0, payment.charge_amount_refunded - included)
    payment.amount_reserved = sum(refund.amount for refund in refunds if refund.is_reserved)
    payment.open_refunds = sum(refund.is_open for refund in refunds)


def _total_disputes(rows: Rows) -> None:
    """Sum up losses. One in another currency counts once a person has settled it with its amount."""
    if rows.disputes is None:
        return
    payment, disputes = rows.payment, rows.disputes
    payment.losses_total, is_unknown = 0, False
    for dispute in disputes:
        is_foreign = dispute.currency != payment.currency
        if dispute.status != "lost":
            end_concern(
                rows.concerns, kinds.LOSS_IN_OTHER_CURRENCY, now=rows.now, object_id=dispute.stripe_dispute_id
            )
        elif is_foreign:
            told = {"amount": dispute.amount, "currency": dispute.currency}
            _open(rows, kinds.LOSS_IN_OTHER_CURRENCY, object_id=dispute.stripe_dispute_id, **told)
            concern = find_concern(
                rows.concerns, kinds.LOSS_IN_OTHER_CURRENCY, object_id=dispute.stripe_dispute_id
            )
            payment.losses_total += (concern and concern.amount) or 0
            is_unknown |= bool(concern and concern.is_open)
        else:
            payment.losses_total += dispute.amount
    payment.disputed = any(dispute.is_open for dispute in disputes)
    payment.refunds_blocked = is_unknown or any(dispute.blocks_refunds for dispute in disputes)


def _get_status(payment: Payment) -> Payment.Status:
    status = Payment.Status
    if payment.intent_status == "succeeded":
        if 0 < payment.amount_received <= payment.amount_refunded:
            return status.REFUNDED
        if payment.awaits_operator:
            return status.PENDING
        return status.FAILED if payment.rejection_code else status.PAID
    if payment.intent_status == "requires_capture":
        return status.FAILED if payment.rejection_code else status.AUTHORIZED
    if payment.intent_status == "canceled":
        is_expired = payment.is_expiring or payment.cancellation_reason in EXPIRED_REASONS
        return status.EXPIRED if is_expired else status.CANCELED
    return status.FAILED if payment.failure_code else status.PENDING


def _watch_refunds(rows: Rows) -> None:
    """Open a concern for each refund that Stripe took and that failed or was canceled later."""
    without_balance = 0
    for refund in rows.refunds or ():
        refund_id = refund.stripe_refund_id or ""
        if not refund_id or refund.is_disowned or refund.status not in DEAD_STATUSES:
            for kind in (kinds.REFUND_FAILED, kinds.REFUND_CANCELED):
                end_concern(rows.concerns, kind, now=rows.now, object_id=refund_id)
            continue
        without_balance += refund.failure_reason in LACK_OF_BALANCE
        is_repeated = rows.payment.needs_reversal and without_balance < MOST_WITHOUT_BALANCE
        if refund.failure_reason in LACK_OF_BALANCE and is_repeated:
            continue
        told = {"amount": refund.amount, "failure_reason": refund.failure_reason}
        is_canceled = refund.status == "canceled" or refund.failure_reason == DISPUTED_MEANWHILE
        kind = kinds.REFUND_CANCELED if is_canceled else kinds.REFUND_FAILED
        _open(rows, kind, object_id=refund_id, as_of=refund.status_as_of, **told)


def _watch_money(rows: Rows) -> None:
    """Open a concern where money is held that nobody is going to decide on or send back."""
    payment = rows.payment
    if not payment.needs_reversal:
        end_concern(rows.concerns, kinds.MONEY_HELD, now=rows.now)
        end_concern(rows.concerns, kinds.REVERSAL_REFUSED, now=rows.now)
    elif payment.amount_lost and not payment.disputed:
        _open(rows, kinds.MONEY_HELD, amount=payment.amount_held)
    if not payment.amount_refundable:
        end_concern(rows.concerns, kinds.REFUND_REFUSED, now=rows.now)
    refused = find_concern(rows.concerns, kinds.REVERSAL_REFUSED)
    if refused and refused.is_open and refused.parameters["amount"] != payment.amount_held:
        # Stripe refused another amount than is held now that more is known.
        refused.settled_at = rows.now
    is_automatic = payment.capture_method == Payment.CaptureMethod.AUTOMATIC
    paid = payment.amount_received if is_automatic else payment.intent_amount
    intent_id = payment.stripe_payment_intent_id or ""
    is_paid = payment.intent_status == "succeeded" and payment.payable_type_id is None
    if is_paid and paid not in {payment.amount, payment.amount_requested}:
        _open(rows, kinds.MONEY_BEYOND_ROW, object_id=intent_id, amount=payment.amount, seen=paid)
    else:
        end_concern(rows.concerns, kinds.MONEY_BEYOND_ROW, now=rows.now, object_id=intent_id)


def may_reverse(rows: Rows) -> bool:
    """Tell whether rejected money is sent back by itself, and no dispute or person decides about it."""
    payment = rows.payment
    if payment.intent_status == "requires_capture":
        return payment.needs_reversal
    is_disputed = payment.disputed or payment.amount_lost
    return payment.needs_reversal and not is_disputed and not block_refunds(rows.concerns)


def is_settled(rows: Rows) -> bool:
    """Tell whether Stripe is not expected to change anything, so that nobody needs to ask."""
    payment = rows.payment
    if payment.amount_reserved or payment.open_refunds or payment.disputed or payment.tied_as_of:
        return False
    if payment.needs_acceptance or may_reverse(rows):
        return False
    never_created = not payment.stripe_payment_intent_id and payment.status == Payment.Status.FAILED
    return never_created or payment.intent_status in {"succeeded", "canceled"}


def _has_moved(rows: Rows) -> bool:
    """Tell whether money may have moved in Stripe's balance; a bank debit moves it before it succeeds."""
    payment = rows.payment

    def has_changed(row: Any, *names: str) -> bool:
        return any(rows.get_before(row, name) != getattr(row, name) for name in names)

    if has_changed(payment, "amount_received", "refunds_total", "losses_total"):
        return True
    statuses = {rows.get_before(payment, "intent_status"), payment.intent_status}
    if PROCESSING in statuses and has_changed(payment, "intent_status", "intent_as_of"):
        # One that is under way again, as before, may have failed in between.
        return True
    refunds = [each for each in rows.refunds or () if each.stripe_refund_id]
    if any(has_changed(each, "status") for each in refunds):
        return True
    # A dispute that is open again, as before, may have been won or lost in between.
    return any(has_changed(each, "status", "status_as_of") for each in rows.disputes or ())


def _get_latest(rows: Rows) -> int:
    return max([each.status_as_of for each in (*(rows.refunds or ()), *(rows.disputes or ()))], default=0)


# What several rules need.


def tells_news(payment: Payment, snapshot: PaymentIntentSnapshot) -> bool:
    """Tell whether a snapshot of the intent says anything that the row doesn't."""
    known, said = get_intent_precedence(payment), snapshot.precedence
    return snapshot.amount != payment.intent_amount or known._replace(as_of=0) != said._replace(as_of=0)


def get_intent_precedence(payment: Payment) -> Precedence:
    """Return what a snapshot of the intent must exceed to be applied."""
    return Precedence.of_intent(
        payment.intent_status,
        as_of=payment.intent_as_of,
        failure_code=payment.failure_code,
        failure_message=payment.failure_message,
        charge_id=payment.stripe_charge_id,
        amount=payment.intent_amount,
        amount_received=payment.amount_received,
        amount_capturable=payment.amount_capturable,
    )


def _expect_of_charge(
    payment: Payment, snapshot: ChargeSnapshot | DisputeSnapshot | FraudWarningSnapshot
) -> dict[str, Any]:
    return {
        "payment_intent_id": payment.stripe_payment_intent_id or snapshot.payment_intent_id,
        "livemode": payment.livemode,
    }


def _agrees(rows: Rows, kind: Kind, snapshot: Any, expected: dict[str, Any], *, stage: int = 0) -> bool:
    """Tell whether a snapshot is what the row expects; if not, open a concern, unless a later one agreed."""
    differences = {
        name: [value, getattr(snapshot, name)]
        for name, value in expected.items()
        if getattr(snapshot, name) != value
    }
    told = find_concern(rows.concerns, kind, object_id=snapshot.id) if rows.concerns else None
    is_news = told is None or (stage, snapshot.as_of) >= (told.stage, told.as_of)
    if differences:
        rows.contradiction = kind.code
        if is_news:
            _open(
                rows,
                kind,
                object_id=snapshot.id,
                stage=stage,
                as_of=snapshot.as_of,
                differences=differences,
            )
    elif told and is_news and told.is_open:
        end_concern(rows.concerns, kind, now=rows.now, object_id=snapshot.id)
        told.stage, told.as_of = stage, snapshot.as_of
    return not differences


def _open(rows: Rows, kind: Kind, **about: Any) -> None:
    open_concern(rows.concerns, kind, payment=rows.payment, now=rows.now, **about)


class Rule(NamedTuple):
    """What applies a fact, and which rows it has to have loaded for that."""

    run: Callable[[Rows, Any], None]
    needs: frozenset[str] = frozenset()


REFUNDS, DISPUTES, WARNINGS = frozenset({"refunds"}), frozenset({"disputes"}), frozenset({"warnings"})

RULES: dict[type, Rule] = {
    PaymentIntentSnapshot: Rule(_apply_intent, REFUNDS | DISPUTES),
    ChargeSnapshot: Rule(_apply_charge, REFUNDS),
    RefundSnapshot: Rule(_apply_refund, REFUNDS),
    DisputeSnapshot: Rule(_apply_dispute, DISPUTES),
    FraudWarned: Rule(_warn_of_fraud, WARNINGS),
    EventOfAnother: Rule(_refuse_event),
    FoundLate: Rule(_tell_of_finding),
    Accepted: Rule(_accept),
    Authorized: Rule(_authorize),
    Rejected: Rule(_reject),
    RefundReserved: Rule(_reserve_refund, REFUNDS),
    RefundRefused: Rule(_refuse_refund, REFUNDS | WARNINGS),
    CreationRefused: Rule(_refuse_creation),
    CanceledUnasked: Rule(_cancel_unasked),
    DeadlineKept: Rule(_keep_deadline),
    ExpiryDropped: Rule(_drop_expiry),
    OpenElsewhere: Rule(_leave_open),
    AmountRequested: Rule(_request_amount),
    AmountTaken: Rule(_take_amount, REFUNDS | DISPUTES),
    AmountRefused: Rule(_refuse_amount),
    CaptureReminded: Rule(_remind_of_capture),
    SyncNeeded: Rule(_need_sync),
    Adopted: Rule(_adopt),
    Regained: Rule(_regain, REFUNDS | DISPUTES),
    AdoptionConfirmed: Rule(_confirm_adoption),
    Erased: Rule(_erase),
    Booked: Rule(_book),
    ReversalFailed: Rule(_tell_of_held_money),
    PartRefused: Rule(_tell_of_part),
    Forgiven: Rule(_forgive, REFUNDS | DISPUTES),
    Settled: Rule(_settle, DISPUTES),
}
