"""Forgetting a person while the books are kept."""

from __future__ import annotations

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import OperationInProgressError
from octo_stripe_gateway.ledger.facts import Erased
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.stripe.snapshots import PAYMENT_METADATA_KEYS, REFUND_METADATA_KEY

PERSONAL_PARAMETERS = ("description", "metadata", "receipt_email", "shipping", "statement_descriptor_suffix")


def erase_personal_data(payment: Payment) -> None:
    """Remove what may identify a person from a payment and its records; amounts and Stripe's ids stay.

    Stripe keeps its own copy: https://docs.stripe.com/privacy/redaction. Raises OperationInProgressError
    while a request has no answer: its repeat needs the parameters.
    """
    with lock_payment(payment) as locked:
        requests = list(StripeRequest.ledger.filter(payment=locked))
        if any(request.is_open for request in requests):
            raise OperationInProgressError(_("Stripe has not answered a request for this payment yet."))
        record(locked, Erased())
        for request in requests:
            kept = {
                name: value for name, value in request.parameters.items() if name not in PERSONAL_PARAMETERS
            }
            if "metadata" in request.parameters:
                # A repeat must still name its row.
                own = {*PAYMENT_METADATA_KEYS, REFUND_METADATA_KEY}
                metadata = request.parameters["metadata"]
                kept["metadata"] = {name: metadata[name] for name in own & metadata.keys()}
            if kept != request.parameters:
                request.parameters = kept
                StripeRequest.ledger.save_changed(request, names=["parameters"])
        for change in PaymentChange.ledger.filter(payment=locked):
            # Concerns and settlements are told in words, of Stripe's or of an operator's.
            kept = {
                name: values
                for name, values in change.changes.items()
                if name not in {"settled", "rejection_parameters"} and not name.startswith("concern ")
            }
            if kept != change.changes or change.delivery_errors:
                change.changes, change.delivery_errors = kept, {}
                PaymentChange.ledger.save_changed(change, names=["changes", "delivery_errors"])
    # Events come before payments in the lock order.
    for key in list(WebhookEvent.ledger.about(locked).values_list("pk", flat=True)):
        with write_transaction():
            event = WebhookEvent.ledger.get_by(lock=True, id=key)
            if event is None:
                continue
            event.minimize()
            # What a host's handler raised may name a person.
            event.error_parameters.pop("message", None)
            WebhookEvent.ledger.save_changed(event, names=["payload", "error_parameters"])
            concerns = Concern.ledger.filter(payment=None, object_id=event.stripe_event_id)
            for concern in concerns.filter(parameters__has_key="message"):
                del concern.parameters["message"]
                Concern.ledger.save_changed(concern, names=["parameters"])
