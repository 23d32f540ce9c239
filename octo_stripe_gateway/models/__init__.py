"""The ledger's tables, a file a table, and what payables say and owe."""

from octo_stripe_gateway.models.balance_transactions import BalanceTransaction as BalanceTransaction
from octo_stripe_gateway.models.balance_transactions import (
    BalanceTransactionQuerySet as BalanceTransactionQuerySet,
)
from octo_stripe_gateway.models.concerns import Concern as Concern
from octo_stripe_gateway.models.day_sums import DaySum as DaySum
from octo_stripe_gateway.models.disputes import Dispute as Dispute
from octo_stripe_gateway.models.dues import FULL as FULL
from octo_stripe_gateway.models.dues import Dues as Dues
from octo_stripe_gateway.models.dues import Installment as Installment
from octo_stripe_gateway.models.dues import RefundTerm as RefundTerm
from octo_stripe_gateway.models.dues import compute_dues as compute_dues
from octo_stripe_gateway.models.dues import get_deadline as get_deadline
from octo_stripe_gateway.models.dues import get_price as get_price
from octo_stripe_gateway.models.dues import get_refund_terms as get_refund_terms
from octo_stripe_gateway.models.dues import has_deadline as has_deadline
from octo_stripe_gateway.models.dues import is_priced as is_priced
from octo_stripe_gateway.models.dues import list_counted as list_counted
from octo_stripe_gateway.models.families import find_payable as find_payable
from octo_stripe_gateway.models.families import find_payables as find_payables
from octo_stripe_gateway.models.families import get_payable_class as get_payable_class
from octo_stripe_gateway.models.families import get_payable_type as get_payable_type
from octo_stripe_gateway.models.families import identify as identify
from octo_stripe_gateway.models.families import is_keyed as is_keyed
from octo_stripe_gateway.models.families import resolve as resolve
from octo_stripe_gateway.models.idempotency_keys import IdempotencyKey as IdempotencyKey
from octo_stripe_gateway.models.installations import Installation as Installation
from octo_stripe_gateway.models.ledger_manager import is_narrowed as is_narrowed
from octo_stripe_gateway.models.payable_locks import PayableLock as PayableLock
from octo_stripe_gateway.models.payables import PaymentRelation as PaymentRelation
from octo_stripe_gateway.models.payables import payments_of_each as payments_of_each
from octo_stripe_gateway.models.payment_changes import PaymentChange as PaymentChange
from octo_stripe_gateway.models.payment_links import PaymentLink as PaymentLink
from octo_stripe_gateway.models.payments import ASK_PAUSE as ASK_PAUSE
from octo_stripe_gateway.models.payments import Payment as Payment
from octo_stripe_gateway.models.payments import PaymentQuerySet as PaymentQuerySet
from octo_stripe_gateway.models.public_ids import is_uuid as is_uuid
from octo_stripe_gateway.models.refunds import Refund as Refund
from octo_stripe_gateway.models.stripe_requests import StripeRequest as StripeRequest
from octo_stripe_gateway.models.webhook_events import WebhookEvent as WebhookEvent
