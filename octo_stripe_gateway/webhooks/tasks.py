"""What a worker does where `WEBHOOK_PROCESSING` is `task`."""

from __future__ import annotations

import contextvars
import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from django.db import connections
from django.db.models import F
from django.utils import timezone

from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.ledger.claims import work_off
from octo_stripe_gateway.models import WebhookEvent
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.webhooks import inbox

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


class Bound:
    """Makes calls that may hang, in threads of their own: so many at once, for so many seconds at most."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self.seconds = seconds
        self.free = threading.Semaphore(most)

    def call(self, function: Callable[[], object]) -> object:
        """Return what the function returns; raises what it raises, and TimeoutError if it takes too long.

        While too many calls hang, further ones aren't made. One that comes back later than that is ignored.
        """
        if not self.free.acquire(blocking=False):
            raise TimeoutError("Too many such calls hang.")
        future: Future[object] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
            finally:
                connections.close_all()
                self.free.release()

        # Not a pool's thread: those are waited for when the process ends.
        threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
        return future.result(self.seconds)


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

    Where the queue doesn't answer, upkeep processes it.
    """
    event, is_new = inbox.keep_event(payload, account=account)
    # Where another event waits for a worker that was called lately, that worker takes this one as well: it
    # takes what is committed when it comes, and goes on until nothing is left.
    lately = timezone.now() - CALL_TIMEOUT
    untaken = WebhookEvent.ledger.filter(retry_at__gte=lately, retry_at__lte=F("received_at"))
    if not is_new or untaken.exclude(pk=event.pk).exists():
        return event
    if isinstance(process_due_events.get_backend(), ImmediateBackend):
        process_due_events.enqueue()
        return event
    try:
        BROKER.call(process_due_events.enqueue)
    except Exception:
        logger.exception("[OctoStripeGateway] Event %s waits for upkeep: no queue", event.stripe_event_id)
        # So that the next event calls for a worker again.
        event.retry_at = timezone.now() + inbox.LEASE
        WebhookEvent.ledger.filter(pk=event.pk, attempts=0).update(retry_at=event.retry_at)
    return event
