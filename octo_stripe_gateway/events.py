"""The inbox: takes each of Stripe's events in once, and applies it through the services.

One transaction takes the event in by its unique id, locks the payment, applies, and marks the event
processed. Where that fails it is rolled back, and the event is written as failed in a transaction of its
own, to be tried again when Stripe delivers it again. Processing makes no call to Stripe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.facts import ChargeFact, PaymentIntentFact, RefundFact
from octo_stripe_gateway.models import Payment, PaymentQuerySet, WebhookEvent
from octo_stripe_gateway.stripe_client import redact_text

logger = logging.getLogger(__name__)

Handler = Callable[[WebhookEvent], Payment | None]


def receive_event(payload: dict[str, Any]) -> WebhookEvent:
    """Take a verified event in and process it; a finished one is left as it is.

    Raises what its processing raised, after that is on record.
    """
    event = WebhookEvent(
        stripe_event_id=payload["id"],
        stripe_account=payload.get("account") or "",
        type=str(payload.get("type", "")),
        livemode=payload.get("livemode") is True,
        payload=redact(payload),
    )
    earlier = _find(event)
    if earlier and earlier.is_finished:
        return earlier
    try:
        with transaction.atomic(using=_database(), durable=True):
            return process_event(_lock(earlier) if earlier else event)
    except Exception as error:
        # Another delivery may have been quicker, which the event's unique id told us.
        quicker = _find(event)
        if quicker and quicker.is_finished:
            return quicker
        _record_failure(event, error)
        raise


def process_event(event: WebhookEvent) -> WebhookEvent:
    """Apply a new or locked event and save how it ended, unless it is finished already.

    A new event is written last, in one statement with its outcome. Deliveries of it at the same moment
    wait for each other on the payment's lock, and all but the first then fail on its unique id.
    """
    if event.is_finished:
        return event
    handler = HANDLERS.get(event.type)
    event.payment = handler(event) if handler else None
    event.status = WebhookEvent.Status.PROCESSED if event.payment else WebhookEvent.Status.IGNORED
    event.error = event.payment.mismatch if event.payment else ""
    event.attempts += 1
    event.processed_at = timezone.now()
    event.save()
    return event


def redact(value: Any) -> Any:
    """Copy a JSON value without the client secrets in it."""
    if isinstance(value, dict):
        return {key: redact(each) for key, each in value.items() if key != "client_secret"}
    if isinstance(value, list):
        return [redact(each) for each in value]
    return redact_text(value) if isinstance(value, str) else value


def handle_payment_intent(event: WebhookEvent) -> Payment | None:
    """Apply an event of the family `payment_intent.*`."""
    fact = PaymentIntentFact.from_object(event.stripe_object, as_of=event.as_of, account=event.stripe_account)
    payment = _payments().find_locked(payment_intent_id=fact.id, payment_uuid=fact.payment_uuid)
    if payment:
        services.apply_payment_intent(payment, fact)
    return payment


def handle_charge(event: WebhookEvent) -> Payment | None:
    """Apply `charge.refunded`, which carries the charge with all that was refunded of it."""
    fact = ChargeFact.from_object(event.stripe_object, as_of=event.as_of)
    payment = _payments().find_locked(payment_intent_id=fact.payment_intent_id)
    if payment:
        services.apply_charge(payment, fact)
    return payment


def handle_refund(event: WebhookEvent) -> Payment | None:
    """Apply an event of the family `refund.*`, refunds made in Stripe's dashboard included."""
    fact = RefundFact.from_object(event.stripe_object, as_of=event.as_of)
    payment = _payments().find_locked(payment_intent_id=fact.payment_intent_id)
    if payment:
        services.apply_refund(payment, fact)
    return payment


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
}


def _record_failure(event: WebhookEvent, error: Exception) -> None:
    message = "[OctoStripeGateway] Event %s (%s) failed"
    logger.error(message, event.stripe_event_id, event.type, exc_info=error)
    with transaction.atomic(using=_database(), durable=True):
        row, _created = _rows().get_or_create(
            stripe_event_id=event.stripe_event_id,
            stripe_account=event.stripe_account,
            defaults={"type": event.type, "livemode": event.livemode, "payload": event.payload},
        )
        row = _lock(row)
        if row.is_finished:
            return
        row.status = WebhookEvent.Status.FAILED
        row.error = redact_text(f"{type(error).__name__}: {error}")
        row.attempts += 1
        row.save()


def _find(event: WebhookEvent) -> WebhookEvent | None:
    return _rows().filter(stripe_event_id=event.stripe_event_id, stripe_account=event.stripe_account).first()


def _lock(event: WebhookEvent) -> WebhookEvent:
    return _rows().select_for_update().get(pk=event.pk)


def _rows() -> QuerySet[WebhookEvent]:
    return WebhookEvent.objects.using(_database())


def _payments() -> PaymentQuerySet:
    return Payment.objects.using(_database())


def _database() -> str:
    return router.db_for_write(WebhookEvent)
