"""What can be done with a payment: one function per operation, for every caller.

An operation first puts on record what it will ask of Stripe and commits, then calls Stripe with the record's
idempotency key, then locks the row, applies the answer and closes the record. Repeating it after a crash, a
time-out or a lost answer finds the same record, sends the same key and ends the same. No lock and no
transaction is held during a call, so the operations refuse to run inside the caller's transaction.

Locks are taken in one order: event, payment, payable, refund, idempotency key.
"""

from octo_stripe_gateway.services.adoption import adopt_payment, confirm_adoption
from octo_stripe_gateway.services.cancellation import Cancellation, cancel_payable
from octo_stripe_gateway.services.creation import CreatedPayment, create_payment
from octo_stripe_gateway.services.dues import get_dues
from octo_stripe_gateway.services.idempotency import Caller
from octo_stripe_gateway.services.payment_links import create_payment_link, revoke_payment_links
from octo_stripe_gateway.services.payments import cancel_payment, capture_payment, complete_payment
from octo_stripe_gateway.services.refunds import forgive, refund_payable, refund_payment
from octo_stripe_gateway.services.retention import erase_personal_data
from octo_stripe_gateway.services.settling import settle_concern
from octo_stripe_gateway.services.syncing import sync_payment

__all__ = [
    "Caller",
    "Cancellation",
    "CreatedPayment",
    "adopt_payment",
    "cancel_payable",
    "cancel_payment",
    "capture_payment",
    "complete_payment",
    "confirm_adoption",
    "create_payment",
    "create_payment_link",
    "erase_personal_data",
    "forgive",
    "get_dues",
    "refund_payable",
    "refund_payment",
    "revoke_payment_links",
    "settle_concern",
    "sync_payment",
]
