"""Locks a payment, and loads what a fact may change of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from octo_stripe_gateway.ledger.facts import FraudWarned, RefundRefused
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import NEEDS
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.models import Concern, Dispute, Payment, PaymentChange, Refund, is_uuid
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.stripe.snapshots import ChargeSnapshot, PaymentIntentSnapshot, RefundSnapshot


@contextmanager
def lock_payment(payment: Payment) -> Iterator[Payment]:
    """Lock the payment's row in a transaction of its own, and yield it as it is now."""
    with write_transaction():
        yield Payment.ledger.get_by_pk(payment.pk, lock=True)


def load(payment: Payment, fact: Any, *, refunds: list[Refund] | None = None) -> Rows:
    """Load what a fact, or one of that class, may change of a locked payment.

    `refunds` where they are loaded already. Most events change no more than the payment's row.
    """
    needs = NEEDS.get(fact if isinstance(fact, type) else type(fact), frozenset())
    snapshot = getattr(fact, "snapshot", fact)
    is_intent = isinstance(snapshot, PaymentIntentSnapshot)
    charge = snapshot.charge if is_intent else None
    # Refunds that failed change no total, and have their concerns.
    may_count = charge and (charge.refunds or charge.amount_refunded or payment.has_refunds_that_count)
    has_refunds = "refunds" in needs and bool(may_count or not is_intent)
    has_disputes = "disputes" in needs and not (is_intent and not snapshot.disputes)
    # What is forgiven is summed up over both.
    has_refunds |= has_disputes and payment.refunds_total > 0
    has_disputes |= has_refunds and payment.losses_total > 0
    rows = Rows(
        payment,
        refunds=Refund.ledger.list_of(payment) if has_refunds and refunds is None else refunds,
        disputes=Dispute.ledger.list_by(payment_id=payment.pk) if has_disputes else None,
        concerns=Concern.ledger.list_of(payment),
    )
    if rows.refunds is not None:
        rows.taken_uuids = _find_taken(rows.refunds, snapshot)
    if isinstance(fact, FraudWarned | RefundRefused):
        changes = PaymentChange.ledger.of_fraud_warnings(payment)
        told = (change.changes[FRAUD_WARNING][1] for change in changes)
        rows.warnings = frozenset((each["warning"], each["type"]) for each in told)
    return rows


def _find_taken(refunds: list[Refund], snapshot: Any) -> frozenset[str]:
    """Return which uuids of unknown refunds belong to other payments' refunds."""
    charge = snapshot.charge if isinstance(snapshot, PaymentIntentSnapshot) else snapshot
    told = charge.refunds if isinstance(charge, ChargeSnapshot) else [snapshot]
    known = {each.stripe_refund_id for each in refunds} | {str(each.uuid) for each in refunds}
    lost = {
        each.refund_uuid.lower()
        for each in told
        if isinstance(each, RefundSnapshot) and not known & {each.id, each.refund_uuid.lower()}
    }
    wanted = {each for each in lost if is_uuid(each)}
    if not wanted:
        return frozenset()
    taken = Refund.ledger.filter(uuid__in=wanted).values_list("uuid", flat=True)
    return frozenset(str(each) for each in taken)
