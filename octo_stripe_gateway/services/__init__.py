"""What can be done with a payment: one function per operation, for every caller.

An operation first puts on record what it will ask of Stripe and commits, then calls Stripe with the record's
idempotency key, then locks the row, applies the answer and closes the record. Repeating it after a crash, a
time-out or a lost answer finds the same record, sends the same key and ends the same. No lock and no
transaction is held during a call, so the operations refuse to run inside the caller's transaction.

Locks are taken in one order: event, payment, payable, refund, idempotency key.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octo_stripe_gateway.services.adoption import adopt_payment as adopt_payment
    from octo_stripe_gateway.services.adoption import confirm_adoption as confirm_adoption
    from octo_stripe_gateway.services.cancellation import Cancellation as Cancellation
    from octo_stripe_gateway.services.cancellation import cancel_payable as cancel_payable
    from octo_stripe_gateway.services.creation import CreatedPayment as CreatedPayment
    from octo_stripe_gateway.services.creation import create_payment as create_payment
    from octo_stripe_gateway.services.dues import get_dues as get_dues
    from octo_stripe_gateway.services.idempotency import Caller as Caller
    from octo_stripe_gateway.services.payment_links import create_payment_link as create_payment_link
    from octo_stripe_gateway.services.payment_links import revoke_payment_links as revoke_payment_links
    from octo_stripe_gateway.services.payments import cancel_payment as cancel_payment
    from octo_stripe_gateway.services.payments import capture_payment as capture_payment
    from octo_stripe_gateway.services.payments import complete_payment as complete_payment
    from octo_stripe_gateway.services.refunds import forgive as forgive
    from octo_stripe_gateway.services.refunds import refund_payable as refund_payable
    from octo_stripe_gateway.services.refunds import refund_payment as refund_payment
    from octo_stripe_gateway.services.retention import erase_personal_data as erase_personal_data
    from octo_stripe_gateway.services.settling import settle_concern as settle_concern
    from octo_stripe_gateway.services.syncing import sync_payment as sync_payment

# Each is imported when it is first used: the admin has them all, and most processes use none.
MODULES = {
    "adoption": "adopt_payment confirm_adoption",
    "cancellation": "Cancellation cancel_payable",
    "creation": "CreatedPayment create_payment",
    "dues": "get_dues",
    "idempotency": "Caller",
    "payment_links": "create_payment_link revoke_payment_links",
    "payments": "cancel_payment capture_payment complete_payment",
    "refunds": "forgive refund_payable refund_payment",
    "retention": "erase_personal_data",
    "settling": "settle_concern",
    "syncing": "sync_payment",
}
__all__ = sorted(" ".join(MODULES.values()).split())


def __getattr__(name: str) -> Any:
    for module, names in MODULES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
