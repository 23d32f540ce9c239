"""The ledger in Django's admin: read-only, but for operations that go through the services.

Django imports it only where `django.contrib.admin` is installed. A host extends it with the classes named
below. `PaymentInline` shows on a payable's own page what is due and what was paid, and `RefundPayableMixin`
adds the buttons that refund it.
"""

from octo_stripe_gateway.admin.books import BalanceTransactionAdmin as BalanceTransactionAdmin
from octo_stripe_gateway.admin.concerns import ConcernAdmin as ConcernAdmin
from octo_stripe_gateway.admin.events import WebhookEventAdmin as WebhookEventAdmin
from octo_stripe_gateway.admin.operations import CancelOperation as CancelOperation
from octo_stripe_gateway.admin.operations import CaptureOperation as CaptureOperation
from octo_stripe_gateway.admin.operations import ConfirmOperation as ConfirmOperation
from octo_stripe_gateway.admin.operations import Operation as Operation
from octo_stripe_gateway.admin.operations import RefundOperation as RefundOperation
from octo_stripe_gateway.admin.operations import SettleOperation as SettleOperation
from octo_stripe_gateway.admin.operations import SyncOperation as SyncOperation
from octo_stripe_gateway.admin.payables import PayableLockAdmin as PayableLockAdmin
from octo_stripe_gateway.admin.payables import PaymentInline as PaymentInline
from octo_stripe_gateway.admin.payables import RefundPayableMixin as RefundPayableMixin
from octo_stripe_gateway.admin.payables import RefundPayableOperation as RefundPayableOperation
from octo_stripe_gateway.admin.payments import PaymentAdmin as PaymentAdmin
