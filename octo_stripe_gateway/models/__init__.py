"""The ledger's tables, a file a table."""

from octo_stripe_gateway.models.balance_transactions import BalanceTransaction, BalanceTransactionQuerySet
from octo_stripe_gateway.models.concerns import Concern, ConcernQuerySet
from octo_stripe_gateway.models.disputes import Dispute
from octo_stripe_gateway.models.dues import (
    FULL,
    Dues,
    Installment,
    RefundTerm,
    compute_dues,
    get_deadline,
    get_price,
    get_refund_terms,
    has_deadline,
    is_priced,
    list_counted,
)
from octo_stripe_gateway.models.families import (
    find_payable,
    find_payables,
    get_payable_class,
    get_payable_type,
    identify,
    is_keyed,
    resolve,
)
from octo_stripe_gateway.models.idempotency_keys import IdempotencyKey
from octo_stripe_gateway.models.installations import Installation
from octo_stripe_gateway.models.ledger_manager import is_narrowed
from octo_stripe_gateway.models.payable_locks import PayableLock, PayableLockQuerySet
from octo_stripe_gateway.models.payables import (
    AuthorizedPayable,
    CancelablePayable,
    CompletedPayable,
    HoldablePayable,
    LimitedPayable,
    OwnedPayable,
    PartedPayable,
    PaymentRelation,
    PricedPayable,
    payments_of_each,
)
from octo_stripe_gateway.models.payment_changes import PaymentChange
from octo_stripe_gateway.models.payment_links import PaymentLink, PaymentLinkQuerySet
from octo_stripe_gateway.models.payments import ASK_PAUSE, Payment, PaymentQuerySet
from octo_stripe_gateway.models.public_ids import is_uuid
from octo_stripe_gateway.models.refunds import Refund
from octo_stripe_gateway.models.stripe_requests import StripeRequest
from octo_stripe_gateway.models.webhook_events import WebhookEvent, WebhookEventQuerySet

__all__ = [
    "ASK_PAUSE",
    "FULL",
    "AuthorizedPayable",
    "BalanceTransaction",
    "BalanceTransactionQuerySet",
    "CancelablePayable",
    "CompletedPayable",
    "Concern",
    "ConcernQuerySet",
    "Dispute",
    "Dues",
    "HoldablePayable",
    "IdempotencyKey",
    "Installation",
    "Installment",
    "LimitedPayable",
    "OwnedPayable",
    "PartedPayable",
    "PayableLock",
    "PayableLockQuerySet",
    "Payment",
    "PaymentChange",
    "PaymentLink",
    "PaymentLinkQuerySet",
    "PaymentQuerySet",
    "PaymentRelation",
    "PricedPayable",
    "Refund",
    "RefundTerm",
    "StripeRequest",
    "WebhookEvent",
    "WebhookEventQuerySet",
    "compute_dues",
    "find_payable",
    "find_payables",
    "get_deadline",
    "get_payable_class",
    "get_payable_type",
    "get_price",
    "get_refund_terms",
    "has_deadline",
    "identify",
    "is_keyed",
    "is_narrowed",
    "is_priced",
    "is_uuid",
    "list_counted",
    "payments_of_each",
    "resolve",
]
