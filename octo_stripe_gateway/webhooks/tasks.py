"""What a worker does where `WEBHOOK_PROCESSING` is `task`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import F
from django.utils import timezone

from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.ledger.claims import work_off
from octo_stripe_gateway.models import WebhookEvent
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.webhooks import inbox
from octo_stripe_gateway.webhooks.bounded import Bound

try:
    from django.tasks import task
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
except ImportError:  # Django 5.2
    try:
        from django_tasks import task  # type: ignore[no-redef]
        from django_tasks.backends.dummy import DummyBackend  # type: ignore[assignment]
        from django_tasks.backends.immediate import ImmediateBackend  # type: ignore[assignment]
    except ImportError as error:
        raise ConfigurationError(
            "WEBHOOK_PROCESSING 'task' needs Django 6 or django-tasks: "
            "pip install 'octo-stripe-gateway[tasks]'"
        ) from error

logger = get_logger(__name__)

# A task that goes on for ever could not be stopped.
MOST_EVENTS = 10_000
# How long a worker may take to come before another one is called.
CALL_TIMEOUT = dt.timedelta(minutes=1)
# Stripe waits for the answer, and so may a customer for this thread.
BROKER = Bound(seconds=1, most=8)


@task()
def process_due_events() -> None:
    """Process all that waits in the inbox. A failure is on record there, and upkeep tries again."""
    if work_off(inbox.EventStep(), limit=MOST_EVENTS).total() == MOST_EVENTS:
        process_due_events.enqueue()


def has_worker() -> bool:
    """Tell whether tasks are run by anyone but the process that calls for them."""
    return not isinstance(process_due_events.get_backend(), ImmediateBackend | DummyBackend)


def defer_event(payload: dict[str, Any], *, account: str = "") -> WebhookEvent:
    """Take in a verified event, and have a worker process it; raises BadRequestError.

    A worker that was called for an earlier event takes this one as well. Where the queue doesn't answer,
    upkeep processes it.
    """
    event, is_new = inbox.keep_event(payload, account=account)
    if is_new and not _is_worker_on_its_way(event):
        _call_worker(event)
    return event


def _is_worker_on_its_way(event: WebhookEvent) -> bool:
    """Tell whether a worker was called for another new event lately, and has taken up nothing since.

    It takes what is committed when it comes, and goes on until nothing is left.
    """
    lately = timezone.now() - CALL_TIMEOUT
    untaken = WebhookEvent.ledger.filter(retry_at__gte=lately, retry_at__lte=F("received_at"))
    return untaken.exclude(pk=event.pk).exists()


def _call_worker(event: WebhookEvent) -> None:
    if isinstance(process_due_events.get_backend(), ImmediateBackend):
        process_due_events.enqueue()
        return
    try:
        BROKER.call(process_due_events.enqueue)
    except Exception:
        logger.exception("[OctoStripeGateway] Event %s waits for upkeep: no queue", event.stripe_event_id)
        # So that the next event calls for a worker again.
        event.retry_at = timezone.now() + inbox.LEASE
        WebhookEvent.ledger.filter(pk=event.pk, attempts=0).update(retry_at=event.retry_at)
