"""What can be done with a payment: one function per operation, for every caller.

An operation first reserves what it is about to do and commits, then calls Stripe with an idempotency key
made from the reserved row, then locks the row and applies the answer. Repeating it after a crash, a
time-out or a lost answer finds the same row, sends the same key and ends the same. No lock and no
transaction is held during a call, so the operations refuse to run inside the caller's transaction.

Locks are taken in one order: event, payment, refund.
"""

from octo_stripe_gateway.services.idempotency import ANYONE, Caller
from octo_stripe_gateway.services.ledger import (
    apply_charge,
    apply_dispute,
    apply_payment_intent,
    apply_refund,
    flag_mismatch,
    lock_payment,
)
from octo_stripe_gateway.services.payments import (
    CreatedPayment,
    cancel_payment,
    capture_payment,
    complete_payment,
    create_payment,
    send_back,
)
from octo_stripe_gateway.services.reconciliation import reconcile_payment
from octo_stripe_gateway.services.refunds import refund_payment
from octo_stripe_gateway.services.retention import erase_personal_data

__all__ = [
    "ANYONE",
    "Caller",
    "CreatedPayment",
    "apply_charge",
    "apply_dispute",
    "apply_payment_intent",
    "apply_refund",
    "cancel_payment",
    "capture_payment",
    "complete_payment",
    "create_payment",
    "erase_personal_data",
    "flag_mismatch",
    "lock_payment",
    "reconcile_payment",
    "refund_payment",
    "send_back",
]
