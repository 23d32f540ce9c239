"""What a worker does where `WEBHOOK_PROCESSING` is `task`."""

from __future__ import annotations

from octo_stripe_gateway import events
from octo_stripe_gateway.models import WebhookEvent

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]


@task()
def process_webhook_event(event_pk: int) -> None:
    """Process one event of the inbox; a failure is on record there, and raised for the worker's."""
    events.process_event(WebhookEvent.objects.get(pk=event_pk))
