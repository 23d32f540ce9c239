"""All rules of the ledger: what each fact changes in a payment's rows, and what follows from it.

Rules work on rows in memory. They ask nothing, save nothing, know no clock and call no host code, so that a
test can go through every order of facts. `apply` runs the rule of a fact, by the table at the end, then
`_derive`, which alone sets totals, status, moments, concerns about them, the next check, and whether the
books have to be asked. Facts come in any order and repeatedly; which of Stripe's snapshots counts is told in
`said`, and what it changes there is only what Stripe said.

A refund that fails after the payment's dispute was won, for instance: Stripe's snapshot sets the refund's
status. The refund isn't live any more, so that its amount is held again, it forgives nothing, and a payment
that was refunded is paid again. The dispute is neither open nor lost and blocks nothing. A concern asks an
operator to refund it again, unless rejected money failed to go back for lack of balance, which upkeep repeats
a few times. The books are asked for what moved.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

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
# So many refunds of a payment may fail for lack of balance before a person is told.
MOST_WITHOUT_BALANCE = 3


def apply(rows: Rows, fact: Any, *, now: dt.datetime) -> None:
    """Bring the rows to a fact, and set what follows."""
    rows.now = now
    RULES[type(fact)].run(rows, fact)
    _derive(rows)


# What we do ourselves, and what people say.


def _refuse_event(rows: Rows, fact: facts.EventOfAnother) -> None:
    rows.open_concern(kinds.EVENT_OF_ANOTHER, as_of=fact.as_of, event=fact.event_id)
    rows.contradiction = kinds.EVENT_OF_ANOTHER.code


def _tell_of_finding(rows: Rows, fact: facts.FoundLate) -> None:
    rows.open_concern(fact.kind, object_id=fact.object_id, **fact.parameters)


def _accept(rows: Rows, fact: facts.Accepted) -> None:
    payment = rows.payment
    payment.accepted_at, payment.refund_terms = rows.now, fact.refund_terms
    if payment.payable_type_id and payment.capture_method == Payment.CaptureMethod.AUTOMATIC:
        # Another amount than asked for was what is due now.
        payment.amount = payment.amount_received
    if fact.settled_price is not None:
        rows.notes["payable paid"] = [None, fact.settled_price]


def _authorize(rows: Rows, _fact: facts.Authorized) -> None:
    rows.payment.authorized_at = rows.now


def _reject(rows: Rows, fact: facts.Rejected) -> None:
    rows.payment.rejection_code, rows.payment.rejection_parameters = fact.code, fact.parameters


def _reserve_refund(rows: Rows, fact: facts.RefundReserved) -> None:
    if rows.refunds is not None:
        rows.refunds.append(fact.refund)


def _refuse_refund(rows: Rows, fact: facts.RefundRefused) -> None:
    """Free the refund's amount, and call an operator where the customer waits for the money."""
    amount = rows.payment.amount_refundable
    for refund in rows.refunds or ():
        if refund.pk == fact.refund_pk and refund.is_reserved:
            refund.status, refund.failure_reason = "failed", fact.code
            amount = refund.amount
    told = {"message": fact.message or fact.code}
    if fact.code == facts.MADE_ELSEWHERE:
        rows.open_concern(kinds.REFUND_MADE_ELSEWHERE, object_id=str(fact.refund_pk))
    elif fact.code == facts.ABANDONED:
        # Nobody has it, so that it is free to be asked for again.
        return
    elif rows.payment.needs_reversal:
        if fact.code not in LACK_OF_BALANCE:
            rows.open_concern(kinds.REVERSAL_REFUSED, amount=amount, **told)
    elif fact.reason == FRAUDULENT and rows.warnings:
        rows.open_concern(kinds.FRAUD_REFUND_REFUSED, **told)


def _refuse_creation(rows: Rows, fact: facts.CreationRefused) -> None:
    if not rows.payment.stripe_payment_intent_id:
        rows.payment.failure_code = fact.code or "refused"
        rows.payment.failure_message = fact.message


def _cancel_unasked(rows: Rows, _fact: facts.CanceledUnasked) -> None:
    rows.payment.intent_status, rows.payment.canceled_at = "canceled", rows.now


def _keep_deadline(rows: Rows, fact: facts.DeadlineKept) -> None:
    rows.payment.expires_at, rows.payment.is_expiring = fact.deadline, fact.is_past


def _cancel_payable(rows: Rows, fact: facts.PayableCanceled) -> None:
    """Keep what the terms keep. The deadline of one that isn't paid has passed, so upkeep cancels it."""
    rows.payment.amount_kept = fact.kept
    if rows.payment.intent_status not in {"succeeded", "canceled"}:
        rows.payment.expires_at = fact.at


def _drop_expiry(rows: Rows, _fact: facts.ExpiryDropped) -> None:
    rows.payment.is_expiring = False


def _leave_open(rows: Rows, _fact: facts.OpenElsewhere) -> None:
    if rows.find_concern(kinds.OPEN_ELSEWHERE) is None:
        rows.open_concern(kinds.OPEN_ELSEWHERE)


def _request_amount(rows: Rows, fact: facts.AmountRequested) -> None:
    rows.payment.amount_requested = fact.amount
    rows.payment.amount_as_of = int(rows.now.timestamp())


def _refuse_amount(rows: Rows, _fact: facts.AmountRefused) -> None:
    rows.payment.amount_requested = None


def _remind_of_capture(rows: Rows, _fact: facts.CaptureReminded) -> None:
    rows.payment.capture_reminded_at = rows.payment.capture_reminded_at or rows.now


def _need_sync(rows: Rows, _fact: facts.SyncNeeded) -> None:
    # Any answer of Stripe's will do.
    rows.payment.tied_as_of = max(rows.payment.tied_as_of, 1)
    rows.payment.next_check_at = rows.now


def _adopt(rows: Rows, fact: facts.Adopted) -> None:
    payment = rows.payment
    payment.created_at = get_moment(fact.created)
    rows.notes["adopted"] = ["", fact.intent_id]


def _confirm_adoption(rows: Rows, _fact: facts.AdoptionConfirmed) -> None:
    rows.payment.awaits_operator = False
    for kind in (kinds.ADOPTED, kinds.PAYABLE_UNKNOWN):
        rows.end_concern(kind)


def _erase(rows: Rows, _fact: facts.Erased) -> None:
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


def _book(rows: Rows, fact: facts.Booked) -> None:
    """Sum up what moved, leaving out money in any currency but the payment's settlement currency."""
    payment = rows.payment
    for card in fact.cards:
        said.keep_card(payment, card)
    if fact.is_planned:
        payment.next_booking_at = fact.again_at
        payment.bookings = payment.bookings + 1 if fact.again_at else 0
    if not fact.movements:
        return
    by_time = sorted(fact.movements, key=lambda row: (row.kind != "payment", row.moved_at, str(row)))
    payment.settlement_currency, payment.exchange_rate = by_time[0].currency, by_time[0].exchange_rate
    settled = [row for row in fact.movements if row.currency == payment.settlement_currency]
    payment.fee, payment.net = sum(row.fee for row in settled), sum(row.net for row in settled)


def _tell_of_held_money(rows: Rows, _fact: facts.ReversalFailed) -> None:
    if rows.payment.needs_reversal:
        rows.open_concern(kinds.MONEY_HELD, amount=rows.payment.amount_held)


def _tell_of_part(rows: Rows, fact: facts.PartRefused) -> None:
    rows.open_concern(kinds.REFUND_REFUSED, amount=fact.amount, message=fact.message)


def _forgive(rows: Rows, fact: facts.Forgiven) -> None:
    for part in rows.parts:
        if part == fact.part:
            part.amount_forgiven = fact.amount


def _settle(rows: Rows, fact: facts.Settled) -> None:
    for concern in rows.concerns:
        if concern.pk == fact.concern_pk and concern.is_open:
            concern.settled_at, concern.settled_by = rows.now, fact.by
            concern.reason, concern.amount = fact.reason, fact.amount
            rows.notes["settled"] = ["", fact.reason]


# What follows from the rest.


def _derive(rows: Rows) -> None:
    """Set totals, status and moments, open and end concerns about them, and plan what is to be asked next."""
    payment, parts = rows.payment, rows.parts
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
        payment.amount_forgiven = sum(each.forgiven for each in parts)
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
        payment.tied_as_of = max(
            payment.intent_as_of, payment.tied_as_of, *(each.status_as_of for each in parts)
        )
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
        about = {"object_id": dispute.stripe_dispute_id}
        if dispute.status != "lost":
            rows.end_concern(kinds.LOSS_IN_OTHER_CURRENCY, **about)
        elif dispute.currency == payment.currency:
            payment.losses_total += dispute.amount
        else:
            told = {"amount": dispute.amount, "currency": dispute.currency}
            rows.open_concern(kinds.LOSS_IN_OTHER_CURRENCY, **about, **told)
            concern = rows.find_concern(kinds.LOSS_IN_OTHER_CURRENCY, **about)
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
        if lacks_balance and rows.payment.needs_reversal and without_balance < MOST_WITHOUT_BALANCE:
            # Upkeep sends it back again.
            continue
        told = {"amount": refund.amount, "failure_reason": refund.failure_reason}
        is_canceled = refund.status == "canceled" or refund.failure_reason == DISPUTED_MEANWHILE
        kind = kinds.REFUND_CANCELED if is_canceled else kinds.REFUND_FAILED
        rows.open_concern(kind, object_id=refund_id, as_of=refund.status_as_of, **told)


def _watch_money(rows: Rows) -> None:
    """Open a concern where money is held that nobody is going to decide on or send back."""
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
        # Stripe refused another amount than is held now that more is known.
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
    if said.PROCESSING in statuses and has_changed(payment, "intent_status", "intent_as_of"):
        # One that is under way again, as before, may have failed in between.
        return True
    refunds = [each for each in rows.refunds or () if each.stripe_refund_id]
    if any(has_changed(each, "status") for each in refunds):
        return True
    # A dispute that is open again, as before, may have been won or lost in between.
    return any(has_changed(each, "status", "status_as_of") for each in rows.disputes or ())


class Rule(NamedTuple):
    """What applies a fact, and which rows it has to have loaded for that."""

    run: Callable[[Rows, Any], None]
    needs: frozenset[str] = frozenset()


REFUNDS, DISPUTES, WARNINGS = frozenset({"refunds"}), frozenset({"disputes"}), frozenset({"warnings"})

RULES: dict[type, Rule] = {
    PaymentIntentSnapshot: Rule(said.apply_intent, REFUNDS | DISPUTES),
    ChargeSnapshot: Rule(said.apply_charge, REFUNDS),
    RefundSnapshot: Rule(said.apply_refund, REFUNDS),
    DisputeSnapshot: Rule(said.apply_dispute, DISPUTES),
    facts.FraudWarned: Rule(said.warn_of_fraud, WARNINGS),
    facts.EventOfAnother: Rule(_refuse_event),
    facts.FoundLate: Rule(_tell_of_finding),
    facts.Accepted: Rule(_accept),
    facts.Authorized: Rule(_authorize),
    facts.Rejected: Rule(_reject),
    facts.RefundReserved: Rule(_reserve_refund, REFUNDS),
    facts.RefundRefused: Rule(_refuse_refund, REFUNDS | WARNINGS),
    facts.CreationRefused: Rule(_refuse_creation),
    facts.CanceledUnasked: Rule(_cancel_unasked),
    facts.DeadlineKept: Rule(_keep_deadline),
    facts.PayableCanceled: Rule(_cancel_payable),
    facts.ExpiryDropped: Rule(_drop_expiry),
    facts.OpenElsewhere: Rule(_leave_open),
    facts.AmountRequested: Rule(_request_amount),
    facts.AmountTaken: Rule(said.take_amount, REFUNDS | DISPUTES),
    facts.AmountRefused: Rule(_refuse_amount),
    facts.CaptureReminded: Rule(_remind_of_capture),
    facts.SyncNeeded: Rule(_need_sync),
    facts.Adopted: Rule(_adopt),
    facts.Regained: Rule(said.regain, REFUNDS | DISPUTES),
    facts.RefundRegained: Rule(said.regain_refund, REFUNDS),
    facts.AdoptionConfirmed: Rule(_confirm_adoption),
    facts.Erased: Rule(_erase),
    facts.Booked: Rule(_book),
    facts.ReversalFailed: Rule(_tell_of_held_money),
    facts.PartRefused: Rule(_tell_of_part),
    facts.Forgiven: Rule(_forgive, REFUNDS | DISPUTES),
    facts.Settled: Rule(_settle, DISPUTES),
}
