"""What can be done with a payment: one function per operation, for every caller.

An operation first puts on record what it will ask of Stripe and commits, then calls Stripe with the record's
idempotency key, then locks the row, applies the answer and closes the record. Repeating it after a crash, a
time-out or a lost answer finds the same record, sends the same key and ends the same. No lock and no
transaction is held during a call, so the operations refuse to run inside the caller's transaction.

Locks are taken in one order: event, payment, payable, refund, idempotency key.
"""

from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.adoption import adopt_payment, confirm_adoption
from octo_stripe_gateway.services.audit import Audit
from octo_stripe_gateway.services.cancellation import Cancellation, cancel_payable
from octo_stripe_gateway.services.creation import CreatedPayment, create_payment
from octo_stripe_gateway.services.deadlines import expire_payment, update_due
from octo_stripe_gateway.services.dues import get_dues, list_dues
from octo_stripe_gateway.services.fraud import apply_fraud_warning, reverse_warned
from octo_stripe_gateway.services.idempotency import ANYONE, Caller
from octo_stripe_gateway.services.payments import cancel_payment, capture_payment, complete_payment
from octo_stripe_gateway.services.pruning import (
    prune_changes,
    prune_concerns,
    prune_events,
    prune_idempotency_keys,
)
from octo_stripe_gateway.services.reconciliation import (
    reconcile_listed,
    reconcile_payment,
)
from octo_stripe_gateway.services.recovery import begin_recovery
from octo_stripe_gateway.services.refunds import (
    forgive,
    refund_payable,
    refund_payment,
    reverse_rejected,
    void_or_refund,
)
from octo_stripe_gateway.services.retention import erase_personal_data
from octo_stripe_gateway.services.settling import settle_concern

__all__ = [
    "ANYONE",
    "Audit",
    "Caller",
    "Cancellation",
    "CreatedPayment",
    "acting",
    "adopt_payment",
    "apply_fraud_warning",
    "ask_host",
    "begin_recovery",
    "cancel_payable",
    "cancel_payment",
    "capture_payment",
    "complete_payment",
    "confirm_adoption",
    "create_payment",
    "erase_personal_data",
    "expire_payment",
    "forgive",
    "get_dues",
    "list_dues",
    "lock_payment",
    "prune_changes",
    "prune_concerns",
    "prune_events",
    "prune_idempotency_keys",
    "reconcile_listed",
    "reconcile_payment",
    "record",
    "refund_payable",
    "refund_payment",
    "reverse_rejected",
    "reverse_warned",
    "settle_concern",
    "update_due",
    "void_or_refund",
]
