"""The one writer of the ledger: saves what a fact has changed, with one row of the journal.

That row is the outbox as well: it names the signals that are sent once the change is committed.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils import timezone

from octo_stripe_gateway.ledger.facts import Accepted, Authorized, Rejected, SyncNeeded
from octo_stripe_gateway.ledger.journal import get_cause
from octo_stripe_gateway.ledger.load import load
from octo_stripe_gateway.ledger.outbox import deliver_change, get_undelivered, schedule_delivery
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import apply
from octo_stripe_gateway.models import Concern, Dispute, PayableLock, Payment, PaymentChange, Refund
from octo_stripe_gateway.models.payments import HOST_COLUMNS
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

JOURNALED = (
    "stripe_payment_intent_id",
    "stripe_charge_id",
    "status",
    "intent_status",
    "amount",
    "amount_capturable",
    "amount_received",
    "amount_refunded",
    "amount_reserved",
    "amount_lost",
    "amount_forgiven",
    "amount_kept",
    "disputed",
    "failure_code",
    "accepted_at",
    "authorized_at",
    "capture_reminded_at",
    "rejection_code",
    "rejection_parameters",
)

# A row gets its key, and its last change, when it is written.
UNCOMPARED = frozenset({"id", "updated_at"})
# These plan work, and say nothing new of a payment.
PLANNED = frozenset({"next_check_at", "checks", "next_booking_at", "bookings"})
# Columns that change what a payable owes when money goes back.
OWED = ("amount_refunded", "amount_lost", "amount_forgiven")
# Signals that are sent when a column is set for the first time, and when a note is taken.
SIGNALS_OF_COLUMNS = {
    "stripe_payment_intent_id": "payment_created",
    "accepted_at": "payment_succeeded",
    "capture_reminded_at": "payment_capture_due",
}
SIGNALS_OF_NOTES = {
    "payable": "payable_paid",
    "dispute": "payment_disputed",
    "fraud": "payment_fraud_warned",
    "concern": "payment_needs_attention",
}

# Asks the host for its word on a payment; a hook of the host's runs inside the given block.
Ask = Callable[..., Accepted | Authorized | Rejected | None]


def record(
    payment: Payment,
    fact: Any,
    *,
    ask: Ask | None = None,
    announces: bool = True,
    refunds: list[Refund] | None = None,
    is_answer: bool = False,
) -> Rows:
    """Bring a locked payment to a fact, give its host the last word where that is due, and write both.

    `announces` where signals tell of it, `refunds` where they are loaded already; `is_answer` where the fact
    was asked for, so that it may be later than it is dated. The rows that are returned say what contradicted
    them, if anything.
    """
    now = timezone.now()
    rows = load(payment, fact, refunds=refunds)
    rows.is_answer = is_answer
    apply(rows, fact, now=now)
    if ask and (payment.needs_acceptance or payment.needs_authorization):
        word = ask(payment, protected=lambda: _protected(rows, announces=announces))
        if isinstance(word, Rejected):
            logger.warning("[OctoStripeGateway] Payment %s is rejected: %s", payment.uuid, word.code)
            payment.metadata = rows.before[id(payment)]["metadata"]
        # As long as the host can't tell, Stripe is asked for what is missing.
        apply(rows, SyncNeeded() if word is None else word, now=now)
    write(rows, announces=announces)
    return rows


@contextmanager
def _protected(rows: Rows, *, announces: bool) -> Iterator[None]:
    """Save what is known, then undo what a host's hook sets in the ledger's columns: it may do anything."""
    write(rows, announces=announces)
    before = rows.before[id(rows.payment)]
    # A hook may change the metadata in place.
    before["metadata"] = copy.deepcopy(rows.payment.metadata)
    try:
        yield
    finally:
        for name in _list_columns(Payment):
            if name not in HOST_COLUMNS:
                setattr(rows.payment, name, before[name])


def write(rows: Rows, *, announces: bool = True) -> None:
    """Write the columns and rows that changed, and journal the change with the signals to send."""
    payment = rows.payment
    changes = rows.notes | _save_parts(rows)
    changed = _save(Payment, payment, rows=rows)
    for name in JOURNALED:
        if name in changed:
            changes[name] = [rows.get_before(payment, name), getattr(payment, name)]
    if changes:
        names = _list_signals(rows, changes) if announces else []
        _record_change(payment, changes, names=list(dict.fromkeys(names)))
    if payment.payable_type_id and any(name in changed for name in OWED):
        PayableLock.ledger.recall(payment)
    rows.remember()


def _save_parts(rows: Rows) -> dict[str, list[Any]]:
    """Save refunds, disputes and concerns, and return what the journal says of them."""
    changes: dict[str, list[Any]] = {}
    for refund in rows.refunds or ():
        if _save(Refund, refund, rows=rows) and refund.stripe_refund_id:
            _note_status(changes, f"refund {refund.uuid}", refund, rows=rows)
    for dispute in rows.disputes or ():
        if _save(Dispute, dispute, rows=rows):
            _note_status(changes, f"dispute {dispute.stripe_dispute_id}", dispute, rows=rows)
    for concern in rows.concerns:
        if _save(Concern, concern, rows=rows):
            _note_concern(changes, concern, rows=rows)
    return changes


@functools.cache
def _list_columns(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def _save(model: Any, row: Any, *, rows: Rows) -> list[str]:
    """Insert a new row, or write the columns that changed; return their names."""
    before, names = rows.before.get(id(row)), _list_columns(model)
    if row.pk is None and row._state.adding:
        model.ledger.insert(row)
        return names
    if before is None:
        return []
    values = row.__dict__
    changed = [name for name in names if values[name] != before[name] and name not in UNCOMPARED]
    if changed:
        is_news = "updated_at" in names and not PLANNED.issuperset(changed)
        model.ledger.save_changed(row, names=[*changed, "updated_at"] if is_news else changed)
    return changed


def _note_status(changes: dict[str, list[Any]], name: str, row: Refund | Dispute, *, rows: Rows) -> None:
    before = rows.get_before(row, "status")
    if row.status != before:
        changes[name] = [before or "", row.status]


def _note_concern(changes: dict[str, list[Any]], concern: Concern, *, rows: Rows) -> None:
    was_open = id(concern) in rows.before and rows.get_before(concern, "settled_at") is None
    was = rows.get_before(concern, "parameters") if was_open else None
    told = concern.parameters if concern.is_open else None
    if was != told:
        changes[f"concern {concern.code}"] = [was, told]


def _list_signals(rows: Rows, changes: dict[str, list[Any]]) -> Iterator[str]:
    payment = rows.payment
    for column, signal in SIGNALS_OF_COLUMNS.items():
        if getattr(payment, column) and not rows.get_before(payment, column):
            yield signal
    if "status" in changes and payment.status in {"failed", "canceled", "expired"}:
        yield f"payment_{payment.status}"
    if payment.amount_refunded > rows.get_before(payment, "amount_refunded"):
        yield "payment_refunded"
    for name, (_was, told) in changes.items():
        # A concern that has ended needs nobody.
        noted = SIGNALS_OF_NOTES.get(name.split()[0])
        if noted and told is not None:
            yield noted


def _record_change(payment: Payment, changes: dict[str, list[Any]], *, names: list[str]) -> None:
    cause, undelivered = get_cause(), get_undelivered(names)
    change = PaymentChange(
        payment=payment,
        changes={name: [_to_json(value) for value in values] for name, values in changes.items()},
        source=cause.source,
        actor=cause.actor,
        event_id=cause.event_id,
        request_id=cause.request_id,
        undelivered=undelivered,
    )
    if undelivered:
        schedule_delivery(change)
    PaymentChange.ledger.insert(change)
    if undelivered:
        # Not a partial function: Django can't log the failure of one.
        transaction.on_commit(
            lambda: deliver_change(change, payment=payment), using=Payment.ledger.database, robust=True
        )


def _to_json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
