"""Finds what events and answers missed, by asking Stripe."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.management.arguments import add_period, make_aware, parse_period
from octo_stripe_gateway.management.output import Progress, count
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.services.reconciliation import Finding, Kind, Reconciliation


class Command(BaseCommand):
    help = (
        "Compares all that was created in a period with Stripe's lists, both ways, applies what Stripe says"
        " and prints the differences. Safe to run twice and beside live traffic. Payments that are not"
        " settled yet are maintain_payments' work."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_period(parser, what="compare what was created")
        parser.add_argument(
            "--adopt",
            action="store_true",
            help="write rows for payments of ours that only Stripe has",
        )
        parser.add_argument("--dry-run", action="store_true", help="print the differences, change nothing")

    def handle(
        self, *, since: str | None, until: str | None, adopt: bool, dry_run: bool, **options: Any
    ) -> None:
        """Compare a period, and fail at the end if something differs or could not be compared."""
        if not (since or until):
            raise CommandError("Say which period: --from, --to or both.")
        start, end = parse_period(since, until)
        first = start or make_aware(dt.datetime(1970, 1, 2))  # noqa: DTZ001
        with acting(source=PaymentChange.Source.COMMAND):
            self.compare(Reconciliation(first, end or timezone.now(), adopts=adopt, dry_run=dry_run))

    def compare(self, audit: Reconciliation) -> None:
        """Print what an audit finds, and fail at the end if something differs or is on one side only."""
        kinds: Counter[str] = Counter()
        checked: set[str] = set()
        changed: set[str] = set()
        unknown = False
        progress = Progress(self.stderr)
        total = Payment.ledger.created_between(audit.since, audit.until).count()
        for finding in audit.run():
            kinds[finding.kind] += 1
            if finding.kind in {Kind.CHECKED, Kind.MISMATCHED}:
                checked.add(finding.name)
                progress.show("payments", len(checked), max(total, len(checked)))
            unknown |= finding.kind == Kind.UNKNOWN_HERE and finding.name.startswith("pi_")
            # A payment may come twice, with its intent and with what moved in the balance.
            self.show(finding, with_differences=finding.name not in changed)
            if finding.differences:
                changed.add(finding.name)
        verb = "would change" if audit.dry_run else "changed"
        parts = [f"{count(len(checked), 'payment')} checked", f"{len(changed)} {verb}"]
        told = [kind for kind in Kind if kind != Kind.CHECKED and kinds[kind]]
        self.stdout.write(", ".join([*parts, *(f"{kinds[kind]} {kind}" for kind in told)]))
        if unknown:
            raise CommandError("Stripe has payments of ours that are not here; --adopt writes them.")
        if kinds.keys() - {Kind.CHECKED, Kind.ADDED, Kind.ADOPTED, Kind.UNPROVEN}:
            raise CommandError("Not everything here is as it is at Stripe; see above.")

    def show(self, finding: Finding, *, with_differences: bool) -> None:
        """Print what was found about one payment or object, if anything."""
        if finding.kind == Kind.FAILED:
            self.stderr.write(self.style.ERROR(f"{finding.name}: {finding.error}"))
        elif finding.kind == Kind.MISMATCHED:
            self.stdout.write(f"{finding.name}: {finding.error}")
        elif finding.kind != Kind.CHECKED:
            self.stdout.write(f"{finding.name}: {finding.kind}")
        for name, (was, is_now) in finding.differences.items() if with_differences else ():
            self.stdout.write(f"{finding.name}: {name} {was} -> {is_now}")
