"""Processes the events that failed or were left behind."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.models import WebhookEvent
from octo_stripe_gateway.models.batches import iterate_keys
from octo_stripe_gateway.webhooks.inbox import process_event


class Command(BaseCommand):
    help = (
        "Processes again the events that failed, and those that were taken in but not processed for a while."
        " Safe to run twice and beside live traffic."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=int, default=5, metavar="MINUTES", help="leave out younger received ones (5)"
        )

    def handle(self, *, older_than: int, **options: Any) -> None:
        """Try each event once, whatever becomes of the others, and fail at the end if some failed."""
        cutoff = timezone.now() - dt.timedelta(minutes=older_than)
        waiting = WebhookEvent.ledger.get_queryset().unprocessed(until=cutoff)
        outcomes = Counter(self.process(pk) for pk in iterate_keys(waiting))
        counts = ", ".join(f"{count} {status}" for status, count in sorted(outcomes.items()))
        self.stdout.write(counts or "nothing to do")
        if outcomes[WebhookEvent.Status.FAILED]:
            raise CommandError("Some events failed again; why is on them, and in the log.")

    def process(self, pk: int) -> str:
        """Return the event's new status; why it failed is on the event and in the log."""
        try:
            return process_event(WebhookEvent.ledger.get(pk=pk)).status
        except WebhookEvent.DoesNotExist:
            return "deleted"
        except Exception as error:  # noqa: BLE001 - the next event is to have its turn
            self.stderr.write(self.style.ERROR(f"event {pk}: {error}"))
            return WebhookEvent.Status.FAILED
