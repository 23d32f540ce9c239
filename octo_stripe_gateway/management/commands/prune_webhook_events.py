"""Deletes events that are done with."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from octo_stripe_gateway.models import WebhookEvent


class Command(BaseCommand):
    help = (
        "Deletes processed and ignored events past an age. Failed and waiting ones stay. Stripe delivers"
        " an event for up to three days, so keep them for longer than that."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="how long to keep events (90)")
        parser.add_argument("--batch-size", type=int, default=1000, help="rows deleted at a time (1000)")

    def handle(self, *, days: int, batch_size: int, **options: Any) -> None:
        """Delete batch by batch, so that no statement holds many locks for long."""
        cutoff = timezone.now() - dt.timedelta(days=days)
        deleted = 0
        events = WebhookEvent.ledger.get_queryset()
        # In the index's order, so that a batch reads no more than itself.
        finished = events.finished(until=cutoff).order_by("status", "received_at")
        while batch := list(finished.values_list("pk", flat=True)[:batch_size]):
            deleted += events.filter(pk__in=batch).delete()[0]
        self.stdout.write(f"{deleted} events deleted")
