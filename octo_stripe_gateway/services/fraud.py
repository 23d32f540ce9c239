"""What a bank's warning of fraud leads to."""

from __future__ import annotations

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.ledger.facts import FraudWarned
from octo_stripe_gateway.ledger.rules import FRAUDULENT
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.services.refunds import open_reversal
from octo_stripe_gateway.services.syncing import resume_requests
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.stripe.snapshots import FraudWarningSnapshot

logger = get_logger(__name__)


def apply_fraud_warning(payment: Payment, snapshot: FraudWarningSnapshot) -> str:
    """Journal a bank's warning on a locked payment, and return the code of the concern that contradicts it.

    With `REFUND_FRAUD_WARNINGS` the refund is reserved; `reverse_warned` asks Stripe for it after the commit.
    Otherwise an operator is called. If no money is left to return, the warning is only journaled.
    """
    refunds = gateway_settings.refund_fraud_warnings
    rows = record(payment, FraudWarned(snapshot, refunds=refunds))
    waits = rows.is_warned and snapshot.actionable and not payment.is_reversed
    if waits and refunds and payment.is_reversible:
        open_reversal(payment, reason=FRAUDULENT)
    return rows.contradiction


def reverse_warned(payment: Payment) -> Payment:
    """Return the money of a payment that was warned of; if Stripe can't now, maintenance tries again."""
    try:
        return resume_requests(payment)
    except GatewayError:
        message = "[OctoStripeGateway] The money of payment %s, warned of as fraudulent, is not returned yet"
        logger.exception(message, payment.uuid)
        return Payment.ledger.get(pk=payment.pk)
