"""Writes the books as CSV."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.books.exports import export_movements, export_payments
from octo_stripe_gateway.management.times import parse_moment
from octo_stripe_gateway.models import BalanceTransaction, Payment


class Command(BaseCommand):
    help = (
        "Writes payments as CSV, or each movement of money in Stripe's balance: payments, refunds, disputes"
        " and fees. Movements of a day add up to what Stripe's balance did, for the payments of this"
        " database. Run maintain_payments before: it asks Stripe for them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="since", help="payments created, or money moved, from this date or time on"
        )
        parser.add_argument(
            "--to", dest="until", help="payments created, or money moved, before this date or time"
        )
        parser.add_argument(
            "--movements", action="store_true", help="a line for each movement of money, by when it moved"
        )
        parser.add_argument("--output", metavar="FILE", help="the file to write to instead of printing")

    def handle(
        self,
        *,
        since: str | None,
        until: str | None,
        movements: bool,
        output: str | None,
        **options: Any,
    ) -> None:
        """Write line by line, so that the time may be as long as it likes."""
        start, end = (parse_moment(text) if text else None for text in (since, until))
        lines = _export(start, end, movements=movements)
        if output:
            self.write_file(lines, path=output)
        else:
            for line in lines:
                self.stdout.write(line, ending="")

    def write_file(self, lines: Iterator[str], *, path: str) -> None:
        """Write the lines to a file, and say how many there are."""
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123
                count = sum(bool(file.write(line)) for line in lines) - 1
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror}") from error
        self.stderr.write(f"{count} lines written to {path}")


def _export(since: dt.datetime | None, until: dt.datetime | None, *, movements: bool) -> Iterator[str]:
    if movements:
        return export_movements(BalanceTransaction.objects.moved_between(since, until))
    payments = Payment.objects.all()
    if since:
        payments = payments.filter(created_at__gte=since)
    if until:
        payments = payments.filter(created_at__lt=until)
    return export_payments(payments)
