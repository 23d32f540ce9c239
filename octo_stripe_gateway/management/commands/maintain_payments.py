"""Does all that is due: the one command to run by the clock."""

from __future__ import annotations

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.models import PaymentChange
from octo_stripe_gateway.services import acting
from octo_stripe_gateway.upkeep import Counts, run_upkeep

BAR_LENGTH = 30
SHOWN_EVERY = 0.1
FAILURES = ("failed", "unanswered", "aborted")


class Command(BaseCommand):
    help = (
        "Does all that is due: processes events that failed or were left behind, asks Stripe about unsettled"
        " payments and requests without an answer, delivers signals that a receiver failed to take. Run it"
        " every minute; it is safe to run twice at once and to kill. Prints a line of JSON, or to a terminal"
        " a sentence."
    )
    shown_at = 0.0

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--limit", type=int, default=100_000, help="how many of each kind to do at most (100000)"
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=0,
            help="how many calls to make at once (4), if the database can take it",
        )

    def handle(self, *, limit: int, threads: int, **options: Any) -> None:
        """Do what is due, and fail at the end if some of it failed."""
        began = time.monotonic()
        with acting(source=PaymentChange.Source.COMMAND):
            done = run_upkeep(limit=limit, threads=threads, report=self.show_progress)
        self.show(done, seconds=time.monotonic() - began)
        failed = {kind: sum(counts.get(name, 0) for name in FAILURES) for kind, counts in done.items()}
        if any(failed.values()):
            what = ", ".join(f"{count} {kind}" for kind, count in failed.items() if count)
            raise CommandError(f"{what} failed: why is in the log. They are tried again when they are due.")

    def show_progress(self, kind: str, done: int, total: int) -> None:
        """Draw a bar on a terminal, some times a second."""
        now = time.monotonic()
        if not self.stderr.isatty() or (done < total and now < self.shown_at + SHOWN_EVERY):
            return
        self.shown_at = now
        bar = ("#" * (BAR_LENGTH * done // total)).ljust(BAR_LENGTH)
        self.stderr.write(f"{kind:<8} [{bar}] {done}/{total}", ending="\n" if done == total else "\r")

    def show(self, done: dict[str, Counts], *, seconds: float) -> None:
        """Say what was done, to a terminal in words and otherwise as JSON."""
        if not self.stdout.isatty():
            self.stdout.write(json.dumps({**done, "seconds": round(seconds, 3)}))
            return
        kinds = [f"{kind}: {_describe(counts)}" for kind, counts in done.items() if counts]
        self.stdout.write(f"{'; '.join(kinds) or 'nothing was due'} ({seconds:.1f} s)")


def _describe(counts: Counts) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
