"""The ledger in Django's admin: read-only, but for operations that go through the services.

Django imports it only where `django.contrib.admin` is installed. A host extends it with the classes named
below. `PaymentInline` shows on a payable's own page what is due and what was paid, and `RefundPayableMixin`
adds the buttons that refund it.
"""

from octo_stripe_gateway.admin.books import BalanceTransactionAdmin
from octo_stripe_gateway.admin.concerns import ConcernAdmin
from octo_stripe_gateway.admin.events import WebhookEventAdmin
from octo_stripe_gateway.admin.operations import (
    CancelOperation,
    CaptureOperation,
    ConfirmOperation,
    Operation,
    RefundOperation,
    SettleOperation,
    SyncOperation,
)
from octo_stripe_gateway.admin.payables import (
    PayableLockAdmin,
    PaymentInline,
    RefundPayableMixin,
    RefundPayableOperation,
)
from octo_stripe_gateway.admin.payments import PaymentAdmin

__all__ = [
    "BalanceTransactionAdmin",
    "CancelOperation",
    "CaptureOperation",
    "ConcernAdmin",
    "ConfirmOperation",
    "Operation",
    "PayableLockAdmin",
    "PaymentAdmin",
    "PaymentInline",
    "RefundOperation",
    "RefundPayableMixin",
    "RefundPayableOperation",
    "SettleOperation",
    "SyncOperation",
    "WebhookEventAdmin",
]
