"""What a worker does where `WEBHOOK_PROCESSING` is `task`."""

from __future__ import annotations

from octo_stripe_gateway import inbox
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import WebhookEvent

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    try:
        from django_tasks import task  # type: ignore[no-redef]
    except ImportError as error:
        raise ConfigurationError(
            "WEBHOOK_PROCESSING 'task' needs Django 6 or django-tasks: "
            "pip install 'octo-stripe-gateway[tasks]'"
        ) from error


@task()
def process_webhook_event(event_pk: int) -> None:
    """Process one event of the inbox; a failure is on record there, and raised for the worker's."""
    inbox.process_event(WebhookEvent.ledger.get(pk=event_pk))
