"""What each type of event does, and the host's own handlers."""

from __future__ import annotations

from collections.abc import Callable

from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.fraud import apply_fraud_warning
from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    FraudWarningSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)

HostHandler = Callable[[WebhookEvent, Payment | None], object]
Handler = Callable[[WebhookEvent, Payment], str]


def handle_payment_intent(event: WebhookEvent, payment: Payment) -> str:
    """Apply a `payment_intent.*` event; like all handlers, return the code of what contradicts it."""
    snapshot = PaymentIntentSnapshot.from_object(event.stripe_object, as_of=event.as_of)
    return record(payment, snapshot, ask=ask_host).contradiction


def handle_charge(event: WebhookEvent, payment: Payment) -> str:
    """Apply `charge.refunded`, which carries the charge with its refunded total."""
    snapshot = ChargeSnapshot.from_object(event.stripe_object, as_of=event.as_of)
    return record(payment, snapshot, is_answer=event.is_thin).contradiction


def handle_refund(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of the family `refund.*`, refunds made in Stripe's dashboard included."""
    snapshot = RefundSnapshot.from_object(event.stripe_object, as_of=event.as_of)
    return record(payment, snapshot, is_answer=event.is_thin).contradiction


def handle_dispute(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of the family `charge.dispute.*`."""
    snapshot = DisputeSnapshot.from_object(event.stripe_object, as_of=event.as_of)
    return record(payment, snapshot, is_answer=event.is_thin).contradiction


def handle_fraud_warning(event: WebhookEvent, payment: Payment) -> str:
    """Apply `radar.early_fraud_warning.created`."""
    snapshot = FraudWarningSnapshot.from_object(event.stripe_object, as_of=event.as_of)
    return apply_fraud_warning(payment, snapshot)


HANDLERS: dict[str, Handler] = {
    "payment_intent.amount_capturable_updated": handle_payment_intent,
    "payment_intent.canceled": handle_payment_intent,
    "payment_intent.payment_failed": handle_payment_intent,
    "payment_intent.processing": handle_payment_intent,
    "payment_intent.requires_action": handle_payment_intent,
    "payment_intent.succeeded": handle_payment_intent,
    "charge.refunded": handle_charge,
    "charge.refund.updated": handle_refund,
    "refund.created": handle_refund,
    "refund.failed": handle_refund,
    "refund.updated": handle_refund,
    "charge.dispute.closed": handle_dispute,
    "charge.dispute.created": handle_dispute,
    "charge.dispute.updated": handle_dispute,
    "radar.early_fraud_warning.created": handle_fraud_warning,
}

# Handlers of events that say the same in every API version.
SAME_IN_ALL_VERSIONS = (handle_payment_intent, handle_fraud_warning)

# Only endpoints of older API versions send these; today it is `refund.updated`.
OLDER_EVENT_TYPES = frozenset({"charge.refund.updated"})

HOST_HANDLERS: dict[str, list[HostHandler]] = {}


def register(*types: str) -> Callable[[HostHandler], HostHandler]:
    """Register a function of the host's for further types of events, or for ours as well.

    It gets the event and, locked, its payment if there is one. It runs in the event's transaction: if it
    raises, the event fails and is tried again.
    """

    def add(handler: HostHandler) -> HostHandler:
        for each in types:
            HOST_HANDLERS.setdefault(each, []).append(handler)
        return handler

    return add


def list_event_types() -> list[str]:
    """Return the types of events that Stripe should send: ours, and those that the host registered."""
    registered = {each for each, handlers in HOST_HANDLERS.items() if handlers}
    types = (HANDLERS.keys() - OLDER_EVENT_TYPES) | registered
    # Endpoints of this kind get no thin events.
    return sorted(each for each in types if not each.startswith("v2."))


def is_handled(event: WebhookEvent) -> bool:
    """Tell whether anybody handles events of this type."""
    return event.type in HANDLERS or bool(HOST_HANDLERS.get(event.type))
