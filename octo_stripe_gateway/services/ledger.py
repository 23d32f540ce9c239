"""The one writer of a payment's state: snapshots are applied under the row's lock, and journaled.

A snapshot that contradicts the row is not applied: the mismatch is recorded on the payment and returned.
"""

from __future__ import annotations

import copy
import uuid as uuids
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.models import Dispute, PayableLock, Payment, PaymentChange, Refund, is_uuid
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.models.payments import HOST_COLUMNS
from octo_stripe_gateway.redaction import get_logger
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.delivery import deliver_change, get_undelivered, schedule_delivery
from octo_stripe_gateway.services.journal import get_cause
from octo_stripe_gateway.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)
from octo_stripe_gateway.transactions import write_transaction

logger = get_logger(__name__)

JOURNALED = (
    "stripe_payment_intent_id",
    "stripe_charge_id",
    "status",
    "intent_status",
    "amount_capturable",
    "amount_received",
    "amount_refunded",
    "amount_reserved",
    "amount_lost",
    "amount_forgiven",
    "disputed",
    "failure_code",
    "accepted_at",
    "authorized_at",
    "capture_reminded_at",
    "rejection_reason",
    "mismatch",
    "attention",
)

# Columns that change what a payable owes when money goes back.
OWED = ("amount_refunded", "amount_lost", "amount_forgiven")
# Columns that change when money moves in Stripe's balance.
MOVED = ("amount_received", "refunds_total", "open_refunds", "amount_lost", "disputed")
PROCESSING = "processing"


@contextmanager
def lock_payment(payment: Payment) -> Iterator[Payment]:
    """Lock the payment's row in a transaction of its own, and yield it as it is now."""
    with write_transaction():
        yield Payment.ledger.get_locked(payment.pk)


class Unsaved:
    """A locked payment's columns before it was changed, and what changed in its refunds and disputes."""

    def __init__(self, payment: Payment, *, announces: bool = True) -> None:
        self.payment = payment
        self.announces = announces
        self.others: dict[str, list[Any]]
        self.remember()

    def remember(self) -> None:
        """Take the row as saved: only what changes from now on counts."""
        self.others = {}
        # A host's hook may change the metadata in place.
        self.before = _get_columns(self.payment) | {"metadata": copy.deepcopy(self.payment.metadata)}

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Save, then undo what the block sets in the ledger's columns: a host's hook may do anything."""
        self.save()
        self.remember()
        try:
            yield
        finally:
            for name, value in self.before.items():
                if name not in HOST_COLUMNS:
                    setattr(self.payment, name, value)

    def save(self) -> None:
        """Write the columns that changed, and journal the change with the signals to send."""
        payment, before = self.payment, self.before
        if payment.payable_type_id and (
            payment.refunds_total or payment.amount_lost or payment.amount_forgiven
        ):
            refunds, disputes = Refund.ledger.list_of(payment), Dispute.ledger.list_by(payment_id=payment.pk)
            forgiven = (*(each.forgiven for each in refunds), *(each.forgiven for each in disputes))
            payment.amount_forgiven = sum(forgiven)
        if payment.payable_type_id and any(before[name] != getattr(payment, name) for name in OWED):
            PayableLock.ledger.recall(payment)
        if _has_moved(payment, before=before, others=self.others):
            payment.await_booking()
        if changed := _get_changed(payment, before=before):
            Payment.ledger.save_changed(payment, names=changed)
        changes = {name: [before[name], getattr(payment, name)] for name in JOURNALED if name in changed}
        if changes or self.others:
            names = _get_signals(payment, before=before, changes=changes | self.others)
            _record_change(payment, changes | self.others, names=list(names) if self.announces else [])


@contextmanager
def saving_changes(payment: Payment, *, announces: bool = True) -> Iterator[Unsaved]:
    """Save what the block changes in a locked payment, and announce it after the commit."""
    unsaved = Unsaved(payment, announces=announces)
    yield unsaved
    unsaved.save()


def apply_payment_intent(
    payment: Payment, snapshot: PaymentIntentSnapshot, *, asks_host: bool = True, announces: bool = True
) -> str:
    """Bring a locked payment to what Stripe says of its intent, and give its payable the last word."""
    with saving_changes(payment, announces=announces) as unsaved:
        mismatch = payment.compare_intent(snapshot)
        if mismatch:
            return record_mismatch(payment, mismatch, as_of=snapshot.as_of)
        payment.apply_intent(snapshot)
        mismatch = _apply_charge(unsaved, snapshot.charge) if snapshot.charge else ""
        for dispute in snapshot.disputes:
            mismatch = _apply_dispute(unsaved, dispute) or mismatch
        if not mismatch:
            _clear_mismatch(payment, as_of=snapshot.as_of, complete=snapshot.charge is not None)
        if asks_host:
            _ask_host(unsaved)
        return mismatch


def apply_charge(payment: Payment, snapshot: ChargeSnapshot) -> str:
    """Bring a locked payment to what Stripe says of its charge's refunds."""
    with saving_changes(payment) as unsaved:
        return _apply_charge(unsaved, snapshot)


def apply_refund(payment: Payment, snapshot: RefundSnapshot) -> tuple[Refund, str]:
    """Bring a locked payment and the refund's row to what Stripe says of the refund."""
    with saving_changes(payment) as unsaved:
        refunds = Refund.ledger.list_of(payment)
        refund, mismatch = _apply_refund(unsaved, snapshot, refunds=refunds)
        payment.update_refunded(refunds)
    return refund, mismatch


def apply_dispute(payment: Payment, snapshot: DisputeSnapshot) -> str:
    """Bring a locked payment and the dispute's row to what Stripe says of the dispute."""
    with saving_changes(payment) as unsaved:
        return _apply_dispute(unsaved, snapshot)


def flag_mismatch(payment: Payment, mismatch: str, *, as_of: int) -> str:
    """Record on a locked payment why Stripe's object was not applied, and return that reason."""
    with saving_changes(payment):
        return record_mismatch(payment, mismatch, as_of=as_of)


def settle_attention(payment: Payment, *, reason: str) -> Payment:
    """Clear a payment's mismatch and attention, with the operator's reason on the journal."""
    with lock_payment(payment) as locked, saving_changes(locked) as unsaved:
        if locked.mismatch or locked.attention:
            locked.mismatch = locked.attention = ""
            unsaved.others["settled"] = ["", reason]
    return locked


def record_mismatch(payment: Payment, mismatch: str, *, as_of: int) -> str:
    """Set the mismatch of a payment that is being changed; log it only if it is new."""
    # An intent's mismatch is void if a later snapshot of the intent agreed; those of other objects stand.
    agreed_as_of = 0 if payment.mismatch or _is_of_another_object(mismatch) else payment.intent_as_of
    if as_of >= max(payment.mismatch_as_of, agreed_as_of):
        if mismatch != payment.mismatch:
            logger.error("[OctoStripeGateway] Payment %s contradicts Stripe: %s", payment.uuid, mismatch)
        payment.mismatch, payment.mismatch_as_of = mismatch, as_of
    return mismatch


def _clear_mismatch(payment: Payment, *, as_of: int, complete: bool) -> None:
    """Drop a mismatch that a later snapshot of the same object disproves."""
    contradicted = complete or not _is_of_another_object(payment.mismatch)
    if payment.mismatch and as_of >= payment.mismatch_as_of and contradicted:
        payment.mismatch = ""


def _is_of_another_object(mismatch: str) -> bool:
    return mismatch.startswith(("charge ", "refund ", "dispute ", "event ", "fraud warning "))


def _ask_host(unsaved: Unsaved) -> None:
    payment = unsaved.payment
    if not (payment.needs_acceptance or payment.needs_authorization):
        return
    reason = ask_host(payment, protected=unsaved.protected)
    if reason is None:
        payment.next_check_at = timezone.now()
    elif reason:
        logger.warning("[OctoStripeGateway] The host rejects payment %s: %s", payment.uuid, reason)
        payment.metadata = copy.deepcopy(unsaved.before["metadata"])
        payment.reject(reason)
    elif payment.needs_acceptance:
        payment.accept()
        if payment.balance and not payment.balance.due:
            unsaved.others["balance settled"] = [None, payment.balance.price]
    else:
        payment.authorized_at = timezone.now()


def _apply_charge(unsaved: Unsaved, snapshot: ChargeSnapshot) -> str:
    payment = unsaved.payment
    mismatch = payment.compare_charge(snapshot)
    if mismatch:
        return record_mismatch(payment, f"charge {snapshot.id}: {mismatch}", as_of=snapshot.as_of)
    payment.apply_charge(snapshot)
    refunds = Refund.ledger.list_of(payment)
    for refund_snapshot in snapshot.refunds:
        mismatch = _apply_refund(unsaved, refund_snapshot, refunds=refunds)[1] or mismatch
    if snapshot.has_all_refunds:
        _disown_others(unsaved, snapshot, refunds=refunds)
    payment.update_refunded(refunds)
    return mismatch


def _apply_refund(unsaved: Unsaved, snapshot: RefundSnapshot, *, refunds: list[Refund]) -> tuple[Refund, str]:
    payment = unsaved.payment
    refund = _pick_refund(snapshot, refunds=refunds) or _make_refund(payment, snapshot)
    mismatch = refund.compare(snapshot)
    if mismatch:
        return refund, record_mismatch(payment, mismatch, as_of=snapshot.as_of)
    before = _get_columns(refund)
    refund.apply(snapshot)
    if refund.status == "failed" != before["status"]:
        # Whether we saw it succeed before depends on the order of arrival.
        payment.attention = _("A refund failed: the customer does not have the money.")
    if refund.pk is None:
        Refund.ledger.insert(refund)
        refunds.append(refund)
    elif changed := _get_changed(refund, before=before):
        Refund.ledger.save_changed(refund, names=changed)
    if refund.status != before["status"]:
        unsaved.others[f"refund {refund.uuid}"] = [before["status"], refund.status]
    return refund, ""


def _disown_others(unsaved: Unsaved, snapshot: ChargeSnapshot, *, refunds: list[Refund]) -> None:
    """Cancel refunds that Stripe's complete list lacks: only an old event can have reported them."""
    listed = {each.id for each in snapshot.refunds}
    for refund in refunds:
        if (
            refund.is_live
            and refund.stripe_refund_id not in listed
            and refund.stripe_created < snapshot.as_of
        ):
            unsaved.others[f"refund {refund.uuid}"] = [refund.status, "canceled"]
            refund.disown(snapshot.as_of)
            Refund.ledger.save_changed(
                refund, names=["status", "status_as_of", "failure_reason", "updated_at"]
            )


def _apply_dispute(unsaved: Unsaved, snapshot: DisputeSnapshot) -> str:
    payment = unsaved.payment
    mismatch = payment.compare_dispute(snapshot)
    if mismatch:
        return record_mismatch(payment, f"dispute {snapshot.id}: {mismatch}", as_of=snapshot.as_of)
    disputes = Dispute.ledger.list_by(payment_id=payment.pk)
    known = next((each for each in disputes if each.stripe_dispute_id == snapshot.id), None)
    dispute = known or Dispute(payment=payment, stripe_dispute_id=snapshot.id)
    before = _get_columns(dispute)
    dispute.apply(snapshot)
    if known is None:
        Dispute.ledger.insert(dispute)
        disputes.append(dispute)
    elif changed := _get_changed(dispute, before=before):
        Dispute.ledger.save_changed(dispute, names=changed)
    if dispute.status != before["status"]:
        unsaved.others[f"dispute {dispute.stripe_dispute_id}"] = [before["status"], dispute.status]
    payment.update_disputed(disputes)
    return ""


def _pick_refund(snapshot: RefundSnapshot, *, refunds: list[Refund]) -> Refund | None:
    by_id = (each for each in refunds if each.stripe_refund_id == snapshot.id)
    by_uuid = (
        each
        for each in refunds
        if each.stripe_refund_id is None and str(each.uuid) == snapshot.refund_uuid.lower()
    )
    return next(by_id, None) or next(by_uuid, None)


def _make_refund(payment: Payment, snapshot: RefundSnapshot) -> Refund:
    """Make the row of a refund found at Stripe; one of ours that was lost gets its uuid back."""
    refund = Refund(payment=payment, amount=snapshot.amount, status="")
    lost = snapshot.refund_uuid
    if is_uuid(lost) and not Refund.ledger.filter(uuid=lost).exists():
        refund.uuid, refund.request_fingerprint = uuids.UUID(lost), snapshot.request_fingerprint
    return refund


def _record_change(payment: Payment, changes: dict[str, list[Any]], *, names: list[str]) -> None:
    cause = get_cause()
    undelivered = get_undelivered(names)
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


def _has_moved(payment: Payment, *, before: dict[str, Any], others: dict[str, list[Any]]) -> bool:
    """Tell whether Stripe's balance may have changed; a bank debit moves money before it succeeds."""
    if any(before[name] != getattr(payment, name) for name in MOVED):
        return True
    statuses = {before["intent_status"], payment.intent_status}
    return (PROCESSING in statuses and len(statuses) > 1) or any(
        name.startswith("refund ") for name in others
    )


def _get_signals(payment: Payment, *, before: dict[str, Any], changes: dict[str, list[Any]]) -> Iterator[str]:
    if payment.stripe_payment_intent_id and not before["stripe_payment_intent_id"]:
        yield "payment_created"
    if payment.accepted_at and not before["accepted_at"]:
        yield "payment_succeeded"
    if "balance settled" in changes:
        yield "balance_settled"
    if payment.capture_reminded_at and not before["capture_reminded_at"]:
        yield "payment_capture_due"
    if "status" in changes and payment.status in {"failed", "canceled", "expired"}:
        yield f"payment_{payment.status}"
    if payment.amount_refunded > before["amount_refunded"]:
        yield "payment_refunded"
    yield from _get_signals_of_trouble(payment, changes)


def _get_signals_of_trouble(payment: Payment, changes: dict[str, list[Any]]) -> Iterator[str]:
    if any(name.startswith("dispute ") for name in changes):
        yield "payment_disputed"
    if FRAUD_WARNING in changes:
        yield "payment_fraud_warned"
    if "mismatch" in changes and payment.mismatch:
        yield "payment_mismatched"
    if "attention" in changes and payment.attention:
        yield "payment_needs_attention"


def _to_json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _get_columns(row: Payment | Refund | Dispute) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def _get_changed(row: Payment | Refund | Dispute, *, before: dict[str, Any]) -> list[str]:
    changed = [name for name, value in before.items() if getattr(row, name) != value and name != "updated_at"]
    return [*changed, "updated_at"] if changed else []
