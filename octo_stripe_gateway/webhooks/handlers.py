"""What each type of event brings, how it is applied, and the host's own handlers."""

from __future__ import annotations

from collections.abc import Callable

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.ledger.facts import FraudWarned
from octo_stripe_gateway.ledger.rules import FRAUDULENT
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.refunds import open_reversal
from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    FraudWarningSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
    Snapshot,
)

HostHandler = Callable[[WebhookEvent, Payment | None], object]

SNAPSHOTS: dict[str, type[Snapshot]] = {
    "payment_intent.amount_capturable_updated": PaymentIntentSnapshot,
    "payment_intent.canceled": PaymentIntentSnapshot,
    "payment_intent.payment_failed": PaymentIntentSnapshot,
    "payment_intent.processing": PaymentIntentSnapshot,
    "payment_intent.requires_action": PaymentIntentSnapshot,
    "payment_intent.succeeded": PaymentIntentSnapshot,
    # The charge, with its refunded total.
    "charge.refunded": ChargeSnapshot,
    "charge.refund.updated": RefundSnapshot,
    "refund.created": RefundSnapshot,
    "refund.failed": RefundSnapshot,
    "refund.updated": RefundSnapshot,
    "charge.dispute.closed": DisputeSnapshot,
    "charge.dispute.created": DisputeSnapshot,
    "charge.dispute.updated": DisputeSnapshot,
    "radar.early_fraud_warning.created": FraudWarningSnapshot,
}

# Events of these say the same in every API version.
SAME_IN_ALL_VERSIONS = (PaymentIntentSnapshot, FraudWarningSnapshot)

# Only endpoints of older API versions send these; today it is `refund.updated`.
OLDER_EVENT_TYPES = frozenset({"charge.refund.updated"})

HOST_HANDLERS: dict[str, list[HostHandler]] = {}


def apply(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of ours to its locked payment, and return the code of the concern that contradicts it.

    The host has its last word on what an intent's event says. With `REFUND_FRAUD_WARNINGS`, the refund of a
    payment that is warned of is reserved; Stripe is asked for it after the commit.
    """
    snapshot = SNAPSHOTS[event.type].from_object(event.stripe_object, as_of=event.as_of)
    if isinstance(snapshot, FraudWarningSnapshot):
        refunds = gateway_settings.refund_fraud_warnings
        rows = record(payment, FraudWarned(snapshot, refunds=refunds))
        waits = rows.is_warned and snapshot.actionable and not payment.is_reversed
        if waits and refunds and payment.is_reversible:
            open_reversal(payment, reason=FRAUDULENT)
        return rows.contradiction
    ask = ask_host if isinstance(snapshot, PaymentIntentSnapshot) else None
    return record(payment, snapshot, ask=ask, is_answer=event.is_thin).contradiction


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
    types = (SNAPSHOTS.keys() - OLDER_EVENT_TYPES) | registered
    # Endpoints of this kind get no thin events.
    return sorted(each for each in types if not each.startswith("v2."))


def is_handled(event: WebhookEvent) -> bool:
    """Tell whether anybody handles events of this type."""
    return event.type in SNAPSHOTS or bool(HOST_HANDLERS.get(event.type))
