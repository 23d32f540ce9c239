"""Deletes records that are past their time."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.management.output import count
from octo_stripe_gateway.services import retention


class Command(BaseCommand):
    help = (
        "Deletes old records: finished events and concerns, callers' idempotency keys, and the journal of"
        " settled payments. Payments, refunds, disputes and what was asked of Stripe stay, as does everything"
        " that is not finished. Safe beside live traffic, to run twice and to stop."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--event-days",
            type=int,
            default=90,
            metavar="DAYS",
            help="how long to keep events, except the newest, and their concerns (90); Stripe delivers one"
            " for up to three days",
        )
        parser.add_argument(
            "--key-days",
            type=int,
            metavar="DAYS",
            help="how long to keep idempotency keys (as IDEMPOTENCY_KEY_DAYS says, or else for good)",
        )
        parser.add_argument(
            "--change-days", type=int, metavar="DAYS", help="how long to keep the journal (for good)"
        )
        parser.add_argument("--batch-size", type=int, default=1000, help="rows deleted at a time (1000)")

    def handle(
        self,
        *,
        event_days: int,
        key_days: int | None,
        change_days: int | None,
        batch_size: int,
        **options: Any,
    ) -> None:
        """Delete batch by batch, so that no statement holds many locks for long."""
        if key_days is None:
            key_days = gateway_settings.idempotency_key_days
        for name, days, prune in (
            ("event", event_days, retention.prune_events),
            ("concern", event_days, retention.prune_concerns),
            ("idempotency key", key_days, retention.prune_idempotency_keys),
            ("change", change_days, retention.prune_changes),
        ):
            if days is None:
                continue
            if days < 0:
                raise CommandError("A number of days can't be negative.")
            deleted = prune(until=timezone.now() - dt.timedelta(days=days), size=batch_size)
            self.stdout.write(f"{count(deleted, name)} deleted")
