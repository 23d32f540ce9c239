"""What Stripe said: which of its snapshots counts, and what it changes in the rows.

Snapshots come in any order and repeatedly. Those of an intent are ordered by its stage, which never goes
back, then by time; those of a refund or a dispute by time alone, since both may go on after an end. Stripe's
clock has whole seconds: where two snapshots of one second leave open which came last, the payment is synced
once more. What contradicts the row is not applied, and becomes a concern.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Sequence
from typing import Any

from octo_stripe_gateway.ledger import concerns as kinds
from octo_stripe_gateway.ledger.concerns import Kind
from octo_stripe_gateway.ledger.facts import FraudWarned
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.models import Dispute, Payment, Refund, is_uuid
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.models.refunds import NOT_AT_STRIPE
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
from octo_stripe_gateway.stripe.times import get_moment

PROCESSING = "processing"
# Statuses of an intent that the customer has done their part for.
PAID = frozenset({PROCESSING, "requires_capture", "succeeded"})
# Stripe may have read an object up to this many seconds after the date of its answer.
ANSWER_LEEWAY = 1


def apply_intent(rows: Rows, snapshot: PaymentIntentSnapshot) -> None:
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
    moment = get_moment(snapshot.as_of)
    # The earliest word of an end counts, even when it arrives late.
    if snapshot.status == "succeeded":
        payment.confirmed_at = min(payment.confirmed_at or moment, moment)
    if snapshot.status == "canceled":
        payment.canceled_at = min(payment.canceled_at or moment, moment)
    known, said = get_intent_precedence(payment), snapshot.precedence
    is_same_second = (known.stage, known.as_of) == (said.stage, said.as_of) and known != said
    # Which came last? After a decline the customer may have gone on, and a debit may have failed.
    has_failed = payment.failure_code or snapshot.failure_code
    is_debit = PROCESSING in {payment.intent_status, snapshot.status}
    is_unclear = has_failed or is_debit or payment.intent_amount != snapshot.amount
    rows.is_tied |= is_same_second and bool(is_unclear)
    if said > known:
        _take_intent(payment, snapshot, is_later_stage=said.stage > known.stage)
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
    # Only answers hold the charge; events just name it.
    rows.is_answer |= snapshot.charge is not None
    if snapshot.charge:
        apply_charge(rows, snapshot.charge)
    for dispute in snapshot.disputes:
        apply_dispute(rows, dispute)


def _take_intent(payment: Payment, snapshot: PaymentIntentSnapshot, *, is_later_stage: bool) -> None:
    if snapshot.status != payment.intent_status:
        payment.checks = 0
        if payment.intent_status:
            # The next check may be months away: while it was unpaid, the pauses grew.
            payment.next_check_at = None
    # Events of old API versions name no charge.
    payment.stripe_charge_id = snapshot.charge_id or ("" if is_later_stage else payment.stripe_charge_id)
    payment.intent_status, payment.intent_as_of = snapshot.status, snapshot.as_of
    is_open = snapshot.precedence.stage == 0 and payment.amount_requested is None
    # What Stripe said before it changed the amount doesn't count.
    if not (is_open and 0 < snapshot.as_of <= payment.amount_as_of + ANSWER_LEEWAY):
        payment.intent_amount = snapshot.amount
    if snapshot.status not in PAID:
        payment.paid_as_of = 0
    payment.amount_capturable, payment.amount_received = snapshot.amount_capturable, snapshot.amount_received
    payment.cancellation_reason = snapshot.cancellation_reason
    payment.failure_code = snapshot.failure_code
    payment.failure_message = "" if payment.erased_at else snapshot.failure_message


def _call_operator(rows: Rows, *, payable_name: str) -> None:
    """Have an operator decide on adopted money, once for each payment."""
    is_unknown = payable_name and rows.payment.payable_type_id is None
    kind = kinds.PAYABLE_UNKNOWN if is_unknown else kinds.ADOPTED
    if rows.find_concern(kind) is None:
        rows.open_concern(kind, name=payable_name)


def take_amount(rows: Rows, snapshot: PaymentIntentSnapshot) -> None:
    """Take Stripe's answer that the amount is changed."""
    payment = rows.payment
    apply_intent(rows, snapshot)
    if snapshot.amount == payment.amount_requested:
        payment.amount, payment.amount_requested = snapshot.amount, None
    if snapshot.amount == payment.amount:
        payment.amount_as_of = max(payment.amount_as_of, snapshot.as_of)
        if snapshot.as_of >= payment.intent_as_of - ANSWER_LEEWAY:
            # Our own answer counts, whatever else was heard of the same second.
            payment.intent_amount = snapshot.amount


def apply_charge(rows: Rows, snapshot: ChargeSnapshot) -> None:
    """Take what Stripe says of a charge, and of the refunds that it brings along."""
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
    keep_card(payment, snapshot.card)
    if snapshot.booked and not payment.settlement_currency:
        # Provisional: the books replace it once all that moved is recorded.
        payment.settlement_currency = snapshot.booked.currency
        payment.exchange_rate = snapshot.booked.exchange_rate
        payment.fee, payment.net = snapshot.booked.fee, snapshot.booked.net
    for refund in snapshot.refunds:
        apply_refund(rows, refund)
    if snapshot.has_all_refunds:
        listed = {each.id for each in snapshot.refunds}
        for row in rows.refunds or ():
            is_older = row.stripe_created < snapshot.as_of
            if row.is_live and row.stripe_refund_id not in listed and is_older:
                # Stripe doesn't have it: only an old event can have reported it.
                row.status, row.status_as_of, row.failure_reason = "canceled", snapshot.as_of, NOT_AT_STRIPE


def keep_card(payment: Payment, card: CardSnapshot | None) -> None:
    """Show the card that paid, unless personal data is erased."""
    if card is None or payment.erased_at:
        return
    payment.card_brand, payment.card_last4 = card.brand, card.last4
    # Stripe signs the address anew each time.
    payment.receipt_url = payment.receipt_url or card.receipt_url


def apply_refund(rows: Rows, snapshot: RefundSnapshot) -> None:
    """Take what Stripe says of a refund; one that is unknown here gets a row."""
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
        refund = Refund(payment=rows.payment, amount=snapshot.amount)
        lost = snapshot.refund_uuid.lower()
        taken = rows.taken_uuids | {str(each.uuid) for each in refunds}
        if is_uuid(lost) and lost not in taken:
            # One of ours, whose row was lost.
            refund.uuid, refund.request_fingerprint = uuids.UUID(lost), snapshot.request_fingerprint
        refunds.append(refund)
    # Until Stripe has answered, the status is provisional: any snapshot replaces it.
    is_first = refund.stripe_refund_id is None
    refund.stripe_refund_id, refund.stripe_created = snapshot.id, snapshot.created
    known = Precedence.of_refund(
        refund.status, as_of=refund.status_as_of, failure_reason=refund.failure_reason
    )
    if not is_first and refund.status != snapshot.status:
        _note_tie(rows, known, snapshot)
    if snapshot.precedence > known or is_first:
        refund.status, refund.status_as_of = snapshot.status, snapshot.as_of
        refund.reason = snapshot.reason or refund.reason
        refund.failure_reason = snapshot.failure_reason


def regain_refund(rows: Rows, snapshot: RefundSnapshot) -> None:
    """Take a refund whose row was lost, with its amount."""
    refund = _pick_refund(rows.refunds or (), snapshot)
    if refund:
        refund.amount = snapshot.amount
    apply_refund(rows, snapshot)


def _pick_refund(refunds: Sequence[Refund], snapshot: RefundSnapshot) -> Refund | None:
    by_id = (each for each in refunds if each.stripe_refund_id == snapshot.id)
    by_uuid = (
        each
        for each in refunds
        if each.stripe_refund_id is None and str(each.uuid) == snapshot.refund_uuid.lower()
    )
    return next(by_id, None) or next(by_uuid, None)


def apply_dispute(rows: Rows, snapshot: DisputeSnapshot) -> None:
    """Take what Stripe says of a dispute; one that is unknown here gets a row."""
    expected = _expect_of_charge(rows.payment, snapshot)
    if not _agrees(rows, kinds.DISPUTE_DIFFERS, snapshot, expected):
        return
    disputes = rows.disputes if rows.disputes is not None else []
    dispute = next((each for each in disputes if each.stripe_dispute_id == snapshot.id), None)
    if dispute is None:
        dispute = Dispute(payment=rows.payment, stripe_dispute_id=snapshot.id)
        disputes.append(dispute)
    known = Precedence.of_dispute(dispute.status, as_of=dispute.status_as_of)
    if dispute.status and (dispute.status, dispute.amount) != (snapshot.status, snapshot.amount):
        _note_tie(rows, known, snapshot)
    if snapshot.precedence > known or not dispute.status:
        dispute.status, dispute.status_as_of = snapshot.status, snapshot.as_of
        dispute.amount, dispute.currency = snapshot.amount, snapshot.currency
        dispute.reason, dispute.evidence_due_by = snapshot.reason, snapshot.evidence_due_by
        dispute.stripe_created = snapshot.created


def _note_tie(rows: Rows, known: Precedence, snapshot: RefundSnapshot | DisputeSnapshot) -> None:
    """Note that two words may be of one second, so that it is open which of them came last."""
    behind = known.as_of - snapshot.as_of
    rows.is_tied |= 0 <= behind <= (ANSWER_LEEWAY if rows.is_answer else 0)


def warn_of_fraud(rows: Rows, fact: FraudWarned) -> None:
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
        rows.open_concern(kinds.FRAUD_WARNED, object_id=snapshot.id, fraud_type=snapshot.fraud_type)


def tells_news(payment: Payment, snapshot: PaymentIntentSnapshot) -> bool:
    """Tell whether a snapshot of the intent says anything that the row doesn't."""
    known, said = get_intent_precedence(payment), snapshot.precedence
    return snapshot.amount != payment.intent_amount or known._replace(as_of=0) != said._replace(as_of=0)


def get_intent_precedence(payment: Payment) -> Precedence:
    """Return what a snapshot of the intent must exceed to be applied."""
    amounts = (payment.intent_amount, payment.amount_received, payment.amount_capturable)
    return Precedence.of_intent(
        payment.intent_status,
        as_of=payment.intent_as_of,
        failure_code=payment.failure_code,
        content=(payment.failure_message, payment.stripe_charge_id, *amounts),
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
    told = rows.find_concern(kind, object_id=snapshot.id) if rows.concerns else None
    is_news = told is None or (stage, snapshot.as_of) >= (told.stage, told.as_of)
    if differences:
        rows.contradiction = kind.code
        if is_news:
            rows.open_concern(
                kind,
                object_id=snapshot.id,
                stage=stage,
                as_of=snapshot.as_of,
                differences=differences,
            )
    elif told and is_news and told.is_open:
        rows.end_concern(kind, object_id=snapshot.id)
        told.stage, told.as_of = stage, snapshot.as_of
    return not differences
