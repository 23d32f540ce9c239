"""What a bank's warning of fraud leads to."""

from __future__ import annotations

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.redaction import get_logger
from octo_stripe_gateway.services.kinds import FRAUDULENT
from octo_stripe_gateway.services.ledger import record_mismatch, saving_changes
from octo_stripe_gateway.services.reconciliation import resume_requests
from octo_stripe_gateway.services.refunds import open_reversal
from octo_stripe_gateway.snapshots import FraudWarningSnapshot

logger = get_logger(__name__)


def apply_fraud_warning(payment: Payment, snapshot: FraudWarningSnapshot) -> str:
    """Journal a bank's warning on a locked payment, and return the mismatch, empty if there is none.

    With `REFUND_FRAUD_WARNINGS` the refund is reserved; `reverse_warned` asks Stripe for it after the commit.
    Otherwise an operator is called. If no money is left to return, the warning is only journaled.
    """
    mismatch = payment.compare_fraud_warning(snapshot)
    told = f"{snapshot.id}: {snapshot.fraud_type}"
    with saving_changes(payment) as unsaved:
        if mismatch:
            return record_mismatch(
                payment, f"{FRAUD_WARNING} {snapshot.id}: {mismatch}", as_of=snapshot.as_of
            )
        if _is_on_record(payment, told):
            return ""
        unsaved.others[FRAUD_WARNING] = ["", told]
        waits = snapshot.actionable and not payment.is_reversed
        reverses = waits and payment.is_reversible and gateway_settings.refund_fraud_warnings
        if waits and not reverses:
            attention = _("The card's bank warns of fraud (%s): a refund now avoids most disputes.")
            payment.attention = attention % snapshot.fraud_type
    if reverses:
        open_reversal(payment, reason=FRAUDULENT)
    return ""


def reverse_warned(payment: Payment) -> Payment:
    """Return the money of a payment that was warned of; if Stripe can't now, maintenance tries again."""
    try:
        return resume_requests(payment)
    except GatewayError:
        message = "[OctoStripeGateway] The money of payment %s, warned of as fraudulent, is not returned yet"
        logger.exception(message, payment.uuid)
        return Payment.ledger.get(pk=payment.pk)


def _is_on_record(payment: Payment, told: str) -> bool:
    warnings = PaymentChange.objects.using(PaymentChange.ledger.database).of_fraud_warnings(payment)
    return any(change.changes[FRAUD_WARNING][1] == told for change in warnings)
