"""Forgetting a person while the books are kept."""

from __future__ import annotations

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.services.ledger import lock_payment

FREE_TEXT = ("description", "metadata", "receipt_email", "statement_descriptor_suffix")


def erase_personal_data(payment: Payment) -> None:
    """Remove from a payment and its events what may tell of a person; amounts and Stripe's ids stay.

    Stripe keeps its own copy: https://docs.stripe.com/privacy/redaction.
    """
    with lock_payment(payment) as locked:
        locked.metadata = {}
        locked.reseller_reference = ""
        locked.failure_message = ""
        locked.stripe_params = {
            name: value for name, value in locked.stripe_params.items() if name not in FREE_TEXT
        }
        locked.save()
        for event in locked.webhook_events.select_for_update().iterator():
            event.minimize()
            event.save(update_fields=["payload"])
