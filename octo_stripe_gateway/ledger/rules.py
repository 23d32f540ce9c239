"""All rules of the ledger: what each fact changes in a payment's rows, and what follows from it.

Rules work on rows in memory. They ask nothing, save nothing, know no clock and call no host code, so that a
test can go through every order of facts. `apply` does what a fact says, then calls `_derive`, which sets what
follows from all rows: totals, status, concerns, the next check, and whether the books have to be asked.
Facts come in any order and repeatedly. `said` decides which of Stripe's snapshots counts, copies what Stripe
said, and opens a concern where that contradicts the rows; conclusions are drawn in `_derive`.

A refund that Stripe *refuses* was never made: `_refuse_refund` frees its amount. One that *fails* was made,
and its money came back. An example: a refund fails after the payment's dispute was won. Stripe's snapshot
sets the refund's status. The refund isn't live any more: its amount counts as held and it forgives nothing,
so the payable owes what it owed before the refund. A payment with status `refunded` goes back to `paid`, to
`failed` if it was rejected, or to `pending` while it awaits an operator. The dispute is neither open nor
lost, and blocks nothing. A concern asks an operator to refund it again: REFUND_FAILED, or REFUND_CANCELED if
Stripe canceled it or a dispute is the reason. Only where rejected money failed to go back for lack of balance
does upkeep resend it; at the third failure it stops, and a person is told. The books are asked for what
moved. Stripe is not checked again, unless upkeep resends or something else of the payment is still open or
tied.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from octo_stripe_gateway.ledger import concerns as kinds
from octo_stripe_gateway.ledger import facts, said
from octo_stripe_gateway.ledger.concerns import block_refunds
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER
from octo_stripe_gateway.models.refunds import DEAD_STATUSES
from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)
from octo_stripe_gateway.stripe.times import get_moment

ERASED = "…"
EXPIRED_REASONS = frozenset({"expired", "automatic"})
FRAUDULENT = "fraudulent"
# Refusals and failures of a refund that end by themselves once Stripe's balance is filled.
LACK_OF_BALANCE = frozenset({"insufficient_balance_for_refund", "balance_insufficient", "insufficient_funds"})
# The bank may have given the customer the money already, by a dispute.
DISPUTED_MEANWHILE = "charge_for_pending_refund_disputed"
# After this, Stripe's clock is in another second.
TIE_PAUSE = dt.timedelta(seconds=2)
# At the third failure of a payment's refunds for lack of balance a person is told, and nothing is resent.
BALANCE_FAILURES_TO_TELL = 3

REFUNDS, DISPUTES, WARNINGS = frozenset({"refunds"}), frozenset({"disputes"}), frozenset({"warnings"})
# By fact, which rows `load` must bring beside the payment and its concerns.
NEEDS: dict[type, frozenset[str]] = {
    PaymentIntentSnapshot: REFUNDS | DISPUTES,
    ChargeSnapshot: REFUNDS,
    RefundSnapshot: REFUNDS,
    DisputeSnapshot: DISPUTES,
    facts.FraudWarned: WARNINGS,
    facts.RefundReserved: REFUNDS,
    facts.RefundRefused: REFUNDS | WARNINGS,
    facts.AmountTaken: REFUNDS | DISPUTES,
    facts.Regained: REFUNDS | DISPUTES,
    facts.RefundRegained: REFUNDS,
    facts.Forgiven: REFUNDS | DISPUTES,
    facts.ConcernSettled: DISPUTES,
}


def apply(rows: Rows, fact: Any, *, now: dt.datetime) -> None:  # noqa: C901 - a case for each fact
    """Bring the rows to a fact, and set what follows."""
    rows.now, payment = now, rows.payment
    match fact:
        # What Stripe says.
        case PaymentIntentSnapshot():
            said.apply_intent(rows, fact)
        case ChargeSnapshot():
            said.apply_charge(rows, fact)
        case RefundSnapshot():
            said.apply_refund(rows, fact)
        case DisputeSnapshot():
            said.apply_dispute(rows, fact)
        case facts.FraudWarned():
            said.warn_of_fraud(rows, fact)
        case facts.AmountTaken(snapshot):
            said.take_amount(rows, snapshot)
        case facts.Regained(snapshot, waits):
            payment.amount, payment.awaits_operator = snapshot.amount, waits
            said.apply_intent(rows, snapshot)
        case facts.RefundRegained(snapshot):
            said.regain_refund(rows, snapshot)

        # What the host and operators say.
        case facts.Accepted(settled_price, refund_terms):
            payment.accepted_at, payment.refund_terms = rows.now, refund_terms
            if payment.payable_type_id and payment.capture_method == Payment.CaptureMethod.AUTOMATIC:
                # The host accepted another amount than was asked for: it is what is due now.
                payment.amount = payment.amount_received
            if settled_price is not None:
                rows.notes["payable paid"] = [None, settled_price]
        case facts.Authorized():
            payment.authorized_at = rows.now
        case facts.Rejected(code, parameters):
            payment.rejection_code, payment.rejection_parameters = code, parameters
        case facts.DeadlineKept(deadline, is_past):
            payment.expires_at, payment.is_expiring = deadline, is_past
        case facts.PayableCanceled(kept, at):
            payment.amount_kept = kept
            if payment.intent_status not in {"succeeded", "canceled"}:
                # Its deadline has passed, so upkeep cancels it.
                payment.expires_at = at
        case facts.AdoptionConfirmed():
            payment.awaits_operator = False
            for kind in (kinds.ADOPTED, kinds.PAYABLE_UNKNOWN):
                rows.end_concern(kind)
        case facts.Forgiven(part, amount):
            for each in rows.parts:
                if each == part:
                    each.amount_forgiven = amount
        case facts.ConcernSettled(concern_pk, by, reason, amount):
            for concern in rows.concerns:
                if concern.pk == concern_pk and concern.is_open:
                    concern.settled_at, concern.settled_by = rows.now, by
                    concern.reason, concern.amount = reason, amount
                    rows.notes["settled"] = ["", reason]
        case facts.Erased():
            payment.metadata, payment.reseller_reference = {}, ""
            payment.failure_message = payment.card_last4 = payment.receipt_url = ""
            payment.erased_at = rows.now
            # Codes and amounts stay; a host's own words may name a person.
            payment.rejection_parameters = _drop_words(payment.rejection_parameters)
            for concern in rows.concerns:
                concern.parameters = _drop_words(concern.parameters)
                concern.reason = concern.reason and ERASED

        # What we ask of Stripe, and what came of it.
        case facts.CreationRefused(code, message):
            if not payment.stripe_payment_intent_id:
                payment.failure_code, payment.failure_message = code or "refused", message
        case facts.CanceledUnasked():
            payment.intent_status, payment.canceled_at = "canceled", rows.now
        case facts.ExpiryDropped():
            payment.is_expiring = False
        case facts.AmountRequested(amount):
            payment.amount_requested, payment.amount_as_of = amount, int(rows.now.timestamp())
        case facts.AmountRefused():
            payment.amount_requested = None
        case facts.RefundReserved(refund):
            if rows.refunds is not None:
                rows.refunds.append(refund)
        case facts.RefundRefused():
            _refuse_refund(rows, fact)
        case facts.ReversalFailed():
            if payment.needs_reversal:
                rows.open_concern(kinds.MONEY_HELD, amount=payment.amount_held)
        case facts.PartRefused(amount, message):
            rows.open_concern(kinds.REFUND_REFUSED, amount=amount, message=message)

        # What upkeep, the inbox and the books find out.
        case facts.CaptureReminded():
            payment.capture_reminded_at = payment.capture_reminded_at or rows.now
        case facts.OpenElsewhere():
            if rows.find_concern(kinds.OPEN_ELSEWHERE) is None:
                rows.open_concern(kinds.OPEN_ELSEWHERE)
        case facts.EventOfAnother(event_id, as_of):
            rows.open_concern(kinds.EVENT_OF_ANOTHER, as_of=as_of, event=event_id)
            rows.contradiction = kinds.EVENT_OF_ANOTHER.code
        case facts.FoundLate(kind, object_id, parameters):
            rows.open_concern(kind, object_id=object_id, **parameters)
        case facts.SyncNeeded():
            # Any answer of Stripe's clears this, however it is dated.
            payment.tied_as_of = max(payment.tied_as_of, 1)
            payment.next_check_at = rows.now
        case facts.Adopted(intent_id, created):
            payment.created_at = get_moment(created)
            rows.notes["adopted"] = ["", intent_id]
        case facts.Booked(movements, cards, is_planned, again_at):
            for card in cards:
                said.keep_card(payment, card)
            if is_planned:
                payment.next_booking_at = again_at
                payment.bookings = payment.bookings + 1 if again_at else 0
            if movements:
                # Money in another currency than the payment is settled in is left out.
                first = min(movements, key=lambda row: (row.kind != "payment", row.moved_at, str(row)))
                payment.settlement_currency, payment.exchange_rate = first.currency, first.exchange_rate
                settled = [row for row in movements if row.currency == first.currency]
                payment.fee, payment.net = sum(row.fee for row in settled), sum(row.net for row in settled)
        case _:
            raise TypeError(f"There is no rule for {type(fact).__name__}.")
    _derive(rows)


def _refuse_refund(rows: Rows, fact: facts.RefundRefused) -> None:
    """Free the refund's amount, and call an operator where the customer waits for the money."""
    amount = rows.payment.amount_refundable
    for refund in rows.refunds or ():
        if refund.pk == fact.refund_pk and refund.is_reserved:
            refund.status, refund.failure_reason = "failed", fact.code
            amount = refund.amount
    message = fact.message or fact.code
    if fact.code == facts.MADE_ELSEWHERE:
        rows.open_concern(kinds.REFUND_MADE_ELSEWHERE, object_id=str(fact.refund_pk))
    elif fact.code == facts.ABANDONED:
        # Stripe never made it: its amount may be refunded again.
        return
    elif rows.payment.needs_reversal:
        if fact.code not in LACK_OF_BALANCE:
            rows.open_concern(kinds.REVERSAL_REFUSED, amount=amount, message=message)
    elif fact.reason == FRAUDULENT and rows.warnings:
        rows.open_concern(kinds.FRAUD_REFUND_REFUSED, message=message)


def _drop_words(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in {"words", "message", "name"}}


def _derive(rows: Rows) -> None:
    """Set totals, status and moments, open and end concerns about them, and plan what is to be asked next."""
    payment, parts = rows.payment, rows.parts
    if rows.refunds is not None:
        live = sum(refund.amount for refund in rows.refunds if refund.is_live)
        # Some refunds appear only in the charge's total.
        included = [each.amount for each in rows.refunds if each.was_in_charge_total(payment.charge_as_of)]
        payment.refunds_total = live + max(0, payment.charge_amount_refunded - sum(included))
        payment.amount_reserved = sum(refund.amount for refund in rows.refunds if refund.is_reserved)
        payment.open_refunds = sum(refund.is_open for refund in rows.refunds)
    _total_disputes(rows)
    # Snapshots come in any order: nothing is refunded or lost before it is known to have been received.
    payment.amount_refunded = min(payment.refunds_total, payment.amount_received)
    payment.amount_lost = min(payment.losses_total, payment.amount_received - payment.amount_refunded)
    is_later = payment.intent_as_of > payment.amount_as_of
    if is_later and payment.amount_requested and payment.amount_requested == payment.intent_amount:
        payment.amount, payment.amount_requested = payment.intent_amount, None
    if rows.refunds is not None or rows.disputes is not None:
        # `load` brings both where both count: what isn't loaded forgives nothing.
        payment.amount_forgiven = sum(each.forgiven for each in parts)
    payment.status = _get_status(payment)
    if payment.rejection_code:
        payment.confirmed_at = None
    # Both keep the moment that arrived first, so they depend on the order of arrival.
    since = get_moment(payment.intent_as_of) if payment.intent_as_of else rows.now
    payment.failed_at = (payment.failed_at or since) if payment.status == "failed" else None
    payment.refunded_at = (payment.refunded_at or rows.now) if payment.status == "refunded" else None
    _watch_refunds(rows)
    _watch_money(rows)
    # A tie hides what moved: ask the books once a newer snapshot of the intent arrives.
    intent_changed = any(
        rows.get_before(payment, name) != getattr(payment, name) for name in ("intent_status", "intent_as_of")
    )
    was_tied = intent_changed and rows.get_before(payment, "tied_as_of")
    payment.has_concerns = bool(rows.concerns)
    if rows.is_tied:
        payment.tied_as_of = max(
            payment.intent_as_of, payment.tied_as_of, *(each.status_as_of for each in parts)
        )
        payment.next_check_at = rows.now + TIE_PAUSE
    payment.next_check_at = (
        None if needs_no_check(rows) else payment.next_check_at or rows.now + FIRST_CHECK_AFTER
    )
    if was_tied or rows.is_tied or rows.has_moved or _may_have_moved_money(rows):
        payment.next_booking_at, payment.bookings = rows.now, 0


def _total_disputes(rows: Rows) -> None:
    """Sum up losses. One in another currency counts once a person has settled it with its amount."""
    if rows.disputes is None:
        return
    payment, disputes = rows.payment, rows.disputes
    payment.losses_total, is_unknown = 0, False
    for dispute in disputes:
        kind, dispute_id = kinds.LOSS_IN_OTHER_CURRENCY, dispute.stripe_dispute_id
        if dispute.status != "lost":
            rows.end_concern(kind, object_id=dispute_id)
        elif dispute.currency == payment.currency:
            payment.losses_total += dispute.amount
        else:
            amount, currency = dispute.amount, dispute.currency
            rows.open_concern(kind, object_id=dispute_id, amount=amount, currency=currency)
            concern = rows.find_concern(kind, object_id=dispute_id)
            payment.losses_total += (concern and concern.amount) or 0
            is_unknown |= bool(concern and concern.is_open)
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
        ran_out = payment.is_expiring and payment.amount_kept is None
        is_expired = ran_out or payment.cancellation_reason in EXPIRED_REASONS
        return status.EXPIRED if is_expired else status.CANCELED
    return status.FAILED if payment.failure_code else status.PENDING


def _watch_refunds(rows: Rows) -> None:
    """Open a concern for each refund that Stripe took and that failed or was canceled later."""
    without_balance = 0
    for refund in rows.refunds or ():
        refund_id = refund.stripe_refund_id or ""
        if not refund_id or refund.is_disowned or refund.status not in DEAD_STATUSES:
            for kind in (kinds.REFUND_FAILED, kinds.REFUND_CANCELED):
                rows.end_concern(kind, object_id=refund_id)
            continue
        lacks_balance = refund.failure_reason in LACK_OF_BALANCE
        without_balance += lacks_balance
        if lacks_balance and rows.payment.needs_reversal and without_balance < BALANCE_FAILURES_TO_TELL:
            # Upkeep sends it back again.
            continue
        is_canceled = refund.status == "canceled" or refund.failure_reason == DISPUTED_MEANWHILE
        kind = kinds.REFUND_CANCELED if is_canceled else kinds.REFUND_FAILED
        rows.open_concern(
            kind,
            object_id=refund_id,
            as_of=refund.status_as_of,
            amount=refund.amount,
            failure_reason=refund.failure_reason,
        )


def _watch_money(rows: Rows) -> None:
    """Open a concern where money is held that neither a person nor upkeep is going to return."""
    payment = rows.payment
    if not payment.needs_reversal:
        rows.end_concern(kinds.MONEY_HELD)
        rows.end_concern(kinds.REVERSAL_REFUSED)
    elif payment.amount_lost and not payment.disputed:
        rows.open_concern(kinds.MONEY_HELD, amount=payment.amount_held)
    if not payment.amount_refundable:
        rows.end_concern(kinds.REFUND_REFUSED)
    refused = rows.find_concern(kinds.REVERSAL_REFUSED)
    if refused and refused.is_open and refused.parameters["amount"] != payment.amount_held:
        # What Stripe refused is not the amount that is held any more.
        refused.settled_at = rows.now
    is_automatic = payment.capture_method == Payment.CaptureMethod.AUTOMATIC
    paid = payment.amount_received if is_automatic else payment.intent_amount
    intent_id = payment.stripe_payment_intent_id or ""
    is_paid = payment.intent_status == "succeeded" and payment.payable_type_id is None
    if is_paid and paid not in {payment.amount, payment.amount_requested}:
        rows.open_concern(kinds.MONEY_BEYOND_ROW, object_id=intent_id, amount=payment.amount, seen=paid)
    else:
        rows.end_concern(kinds.MONEY_BEYOND_ROW, object_id=intent_id)


def may_reverse(rows: Rows) -> bool:
    """Tell whether rejected money may go back automatically: no dispute or person decides about it."""
    payment = rows.payment
    if payment.intent_status == "requires_capture":
        return payment.needs_reversal
    bank_decides_or_decided = payment.disputed or payment.amount_lost
    return payment.needs_reversal and not bank_decides_or_decided and not block_refunds(rows.concerns)


def needs_no_check(rows: Rows) -> bool:
    """Tell whether Stripe is not expected to change anything, so that nobody needs to ask."""
    payment = rows.payment
    if payment.amount_reserved or payment.open_refunds or payment.disputed or payment.tied_as_of:
        return False
    if payment.needs_acceptance or may_reverse(rows):
        return False
    never_created = not payment.stripe_payment_intent_id and payment.status == Payment.Status.FAILED
    return never_created or payment.intent_status in {"succeeded", "canceled"}


def _may_have_moved_money(rows: Rows) -> bool:
    """Tell whether money may have moved in Stripe's balance; a bank debit moves it before it succeeds."""
    payment = rows.payment

    def has_changed(row: Any, *names: str) -> bool:
        return any(rows.get_before(row, name) != getattr(row, name) for name in names)

    if has_changed(payment, "amount_received", "refunds_total", "losses_total"):
        return True
    statuses = {rows.get_before(payment, "intent_status"), payment.intent_status}
    if said.PROCESSING in statuses and has_changed(payment, "intent_status", "intent_as_of"):
        # One that is under way again, as before, may have failed in between.
        return True
    refunds = [each for each in rows.refunds or () if each.stripe_refund_id]
    if any(has_changed(each, "status") for each in refunds):
        return True
    # A dispute that is open again, as before, may have been won or lost in between.
    return any(has_changed(each, "status", "status_as_of") for each in rows.disputes or ())
