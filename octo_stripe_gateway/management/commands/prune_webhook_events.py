"""Deletes events that are done with."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from octo_stripe_gateway.services import prune_events


class Command(BaseCommand):
    help = (
        "Deletes processed and ignored events past an age. Failed and waiting ones stay. Stripe delivers"
        " an event for up to three days, so keep them for longer than that. `prune_records` deletes these"
        " and more."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=90, help="how long to keep events (90)")
        parser.add_argument("--batch-size", type=int, default=1000, help="rows deleted at a time (1000)")

    def handle(self, *, days: int, batch_size: int, **options: Any) -> None:
        """Delete batch by batch, so that no statement holds many locks for long."""
        until = timezone.now() - dt.timedelta(days=days)
        self.stdout.write(f"{prune_events(until=until, size=batch_size)} events deleted")
