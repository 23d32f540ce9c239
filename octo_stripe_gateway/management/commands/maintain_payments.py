"""Does all that is due: the one command to run by the clock."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.management.output import Progress
from octo_stripe_gateway.models import PaymentChange
from octo_stripe_gateway.upkeep import Counts, make_due, run_upkeep

FAILURES = ("failed", "unanswered", "aborted")


class Command(BaseCommand):
    help = (
        "Does all that is due: processes events that failed or were left behind, asks Stripe about unsettled"
        " payments and requests without an answer, delivers signals that a receiver failed to take. Run it"
        " every minute; it is safe to run twice at once and to kill. Prints a line of JSON, or to a terminal"
        " a sentence."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--limit", type=int, default=100_000, help="how many of each kind to do at most (100000)"
        )
        parser.add_argument(
            "--threads", type=int, default=0, help="how many calls to make at once, if the database can (4)"
        )
        parser.add_argument(
            "--now",
            action="store_true",
            help="do what waits for its time too: failed events, unsettled payments, unanswered requests",
        )

    def handle(self, *, limit: int, threads: int, now: bool, **options: Any) -> None:
        """Do what is due, and fail at the end if some of it failed."""
        began = time.monotonic()
        with acting(source=PaymentChange.Source.COMMAND):
            if now:
                make_due()
            done = run_upkeep(limit=limit, threads=threads, report=Progress(self.stderr).show)
        self.show(done, seconds=time.monotonic() - began)
        failed = {kind: sum(counts.get(name, 0) for name in FAILURES) for kind, counts in done.items()}
        if any(failed.values()):
            what = ", ".join(f"{count} {kind}" for kind, count in failed.items() if count)
            raise CommandError(f"{what} failed: why is in the log. They are tried again when they are due.")

    def show(self, done: dict[str, Counts], *, seconds: float) -> None:
        """Say what was done, to a terminal in words and otherwise as JSON."""
        if not self.stdout.isatty():
            self.stdout.write(json.dumps({**done, "seconds": round(seconds, 3)}))
            return
        kinds = [
            f"{kind}: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}"
            for kind, counts in done.items()
            if counts
        ]
        self.stdout.write(f"{'; '.join(kinds) or 'nothing was due'} ({seconds:.1f} s)")
