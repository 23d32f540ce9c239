"""Says what is wrong with this installation."""

from __future__ import annotations

import datetime as dt
from json import dumps as to_line
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from octo_stripe_gateway.doctor.examination import Report, examine
from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths
from octo_stripe_gateway.management.arguments import get_webhook_url


class Command(BaseCommand):
    """Examines settings, Stripe's accounts and the ledger; fails where something needs doing."""

    help = (
        "Looks at the settings, the database, each Stripe account and the ledger, and says what is wrong and"
        " what to do about it. Changes nothing. Fails where something needs doing."
    )
    # The checks are among the diagnoses, and an error of theirs is not to keep the rest from being said.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object, for monitoring")
        parser.add_argument("--host", help="the site's name: only endpoints there count as its own")
        parser.add_argument("--url", help="the endpoint's whole address, instead of --host")
        parser.add_argument(
            "--older-than", type=int, default=15, metavar="MINUTES", help="how long things may wait (15)"
        )

    @no_translations
    def handle(
        self, *, json: bool, host: str | None, url: str | None, older_than: int, **options: Any
    ) -> None:
        # Without a route the host tells no address, which is a diagnosis.
        address = get_webhook_url(url=url, host=host) if url or (host and find_webhook_paths()) else ""
        report = examine(url=address, patience=dt.timedelta(minutes=older_than))
        self.stdout.write(to_line(report.to_json()) if json else self.describe(report))
        if not report.is_healthy:
            number = len(report.diagnoses)
            raise CommandError("1 thing needs doing." if number == 1 else f"{number} things need doing.")

    def describe(self, report: Report) -> str:
        """Return the report for people: what is wrong, by its code, and what to do."""
        lines = []
        for each in report.diagnoses:
            account = f" [{each.account}]" if each.account else ""
            lines.append(f"{self.style.ERROR(each.code + account)}: {each.message}\n  {each.action}")
        lines = lines or ["Nothing needs doing."]
        if report.last_event_seconds is not None:
            lines.append(f"The last event came {report.last_event_seconds} seconds ago.")
        return "\n".join(lines)
