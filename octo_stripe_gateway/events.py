"""The inbox: takes each of Stripe's events in once, and applies it through the services.

One transaction takes the event in by its unique id, locks the payment, applies, and marks the event
processed. Where that fails it is rolled back, and the event is written as failed in a transaction of its
own, to be tried again when Stripe delivers it again or by command. Processing makes no call to Stripe.

A new event is written last, in one statement with its outcome. Deliveries of it at the same moment wait for
each other on the payment's lock, and all but the first then fail on its unique id.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway import services
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import BadRequestError, GatewayError
from octo_stripe_gateway.facts import (
    ChargeFact,
    DisputeFact,
    PaymentIntentFact,
    RefundFact,
    read_text,
)
from octo_stripe_gateway.models import Payment, WebhookEvent, WebhookEventQuerySet
from octo_stripe_gateway.redaction import clean_text, redact
from octo_stripe_gateway.transactions import get_database, write_transaction

logger = logging.getLogger(__name__)

HostHandler = Callable[[WebhookEvent, Payment | None], object]
Handler = Callable[[WebhookEvent, Payment], str]

# How long an event may wait for a payment of ours that isn't in the database yet.
PATIENCE = dt.timedelta(hours=1)


def receive_event(payload: dict[str, Any]) -> WebhookEvent:
    """Take a verified event in and process it, or leave that to a worker; a finished one is left alone.

    Raises BadRequestError where it can't be taken in, and what its processing raised after that is on
    record.
    """
    event = _read(payload)
    earlier = _find(event)
    if earlier and earlier.is_finished:
        return earlier
    if gateway_settings.webhook_processing == "task":
        return _defer(earlier or event)
    return process_event(earlier or event)


def process_event(event: WebhookEvent) -> WebhookEvent:
    """Apply an event that isn't finished; raises what that raised, after it is on record."""
    try:
        with write_transaction():
            event = _process(_rows().select_for_update().get(pk=event.pk) if event.pk else event)
    except Exception as error:
        # Another delivery may have been quicker, as the event's unique id tells.
        quicker = _find(event) if isinstance(error, IntegrityError) and not event.pk else None
        if quicker:
            return process_event(quicker)
        _record_failure(event, error)
        raise
    if event.payment and event.payment.is_unwanted:
        _send_back(event.payment)
    return event


def register(*types: str) -> Callable[[HostHandler], HostHandler]:
    """Make a function of the host's a handler of more types of events, or of ours besides.

    It gets the event and, locked, the payment if it is about one. It runs in the event's transaction: what
    it raises fails the event, which is then tried again.
    """

    def add(handler: HostHandler) -> HostHandler:
        for each in types:
            HOST_HANDLERS.setdefault(each, []).append(handler)
        return handler

    return add


def handle_payment_intent(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of the family `payment_intent.*`; as all of these, return what didn't match."""
    fact = PaymentIntentFact.from_object(event.stripe_object, as_of=event.as_of)
    return services.apply_payment_intent(payment, fact)


def handle_charge(event: WebhookEvent, payment: Payment) -> str:
    """Apply `charge.refunded`, which carries the charge with all that was refunded of it."""
    return services.apply_charge(payment, ChargeFact.from_object(event.stripe_object, as_of=event.as_of))


def handle_refund(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of the family `refund.*`, refunds made in Stripe's dashboard included."""
    fact = RefundFact.from_object(event.stripe_object, as_of=event.as_of)
    return services.apply_refund(payment, fact).find_mismatch(fact)


def handle_dispute(event: WebhookEvent, payment: Payment) -> str:
    """Apply an event of the family `charge.dispute.*`."""
    return services.apply_dispute(payment, DisputeFact.from_object(event.stripe_object, as_of=event.as_of))


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
}

HOST_HANDLERS: dict[str, list[HostHandler]] = {}


def _read(payload: dict[str, Any]) -> WebhookEvent:
    try:
        kept = redact(payload)
        return WebhookEvent(
            stripe_event_id=read_text(kept, "id"),
            stripe_account=read_text(kept, "account", default=""),
            type=read_text(kept, "type", default=""),
            livemode=kept.get("livemode") is True,
            payload=kept,
        )
    except (BadRequestError, RecursionError) as error:
        logger.error("[OctoStripeGateway] A signed event can't be taken in: %s", error)  # noqa: TRY400
        raise BadRequestError(_("The event is not one of Stripe's.")) from error


def _process(event: WebhookEvent) -> WebhookEvent:
    if event.is_finished:
        return event
    handler, host_handlers = HANDLERS.get(event.type), HOST_HANDLERS.get(event.type, [])
    event.error = ""
    event.payment = _find_payment(event) if handler or host_handlers else None
    if handler and event.payment:
        event.error = _apply(event, event.payment, handler=handler)
    for host_handler in host_handlers:
        host_handler(event, event.payment)
    event.status = _get_outcome(event)
    if event.status == WebhookEvent.Status.IGNORED:
        event.minimize()
    event.attempts += 1
    event.processed_at = timezone.now() if event.is_finished else None
    if event.pk:
        event.save()
    else:
        _rows().insert(event)
    return event


def _apply(event: WebhookEvent, payment: Payment, *, handler: Handler) -> str:
    source = (event.stripe_account, event.livemode)
    if source == (payment.stripe_account, payment.livemode):
        return handler(event, payment)
    mismatch = f"event {event.stripe_event_id} is of another account or mode"
    return services.flag_mismatch(payment, mismatch)


def _send_back(payment: Payment) -> None:
    try:
        services.send_back(payment)
    except GatewayError:
        # The event is done with; what is left to do is reserved in the ledger.
        message = "[OctoStripeGateway] Payment %s is not sent back yet: reconcile_payments tries again"
        logger.exception(message, payment.uuid)


def _find_payment(event: WebhookEvent) -> Payment | None:
    return Payment.objects.using(get_database()).find_locked(
        payment_intent_id=event.payment_intent_id, payment_uuid=event.payment_uuid
    )


def _get_outcome(event: WebhookEvent) -> WebhookEvent.Status:
    if event.payment:
        return WebhookEvent.Status.PROCESSED
    waits = event.received_at is None or event.received_at > timezone.now() - PATIENCE
    if event.type in HANDLERS and event.is_ours and waits:
        return WebhookEvent.Status.RECEIVED
    if event.type in HOST_HANDLERS:
        return WebhookEvent.Status.PROCESSED
    return WebhookEvent.Status.IGNORED


def _defer(event: WebhookEvent) -> WebhookEvent:
    from octo_stripe_gateway import tasks

    with write_transaction():
        row = _take_in(event)
    tasks.process_webhook_event.enqueue(row.pk)
    return row


def _record_failure(event: WebhookEvent, error: Exception) -> None:
    message = "[OctoStripeGateway] Event %s (%s) failed"
    logger.error(message, event.stripe_event_id, event.type, exc_info=error)
    with write_transaction():
        row = _take_in(event)
        if row.is_finished:
            return
        row.status = WebhookEvent.Status.FAILED
        row.error = clean_text(f"{type(error).__name__}: {error}")
        row.attempts += 1
        row.save()


def _take_in(event: WebhookEvent) -> WebhookEvent:
    """Write the event as received unless it is there already, and lock it."""
    row, _created = (
        _rows()
        .select_for_update()
        .get_or_create(
            stripe_event_id=event.stripe_event_id,
            stripe_account=event.stripe_account,
            defaults={"type": event.type, "livemode": event.livemode, "payload": event.payload},
        )
    )
    return row


def _find(event: WebhookEvent) -> WebhookEvent | None:
    return _rows().find_one(stripe_event_id=event.stripe_event_id, stripe_account=event.stripe_account)


def _rows() -> WebhookEventQuerySet:
    return WebhookEvent.objects.using(get_database())
