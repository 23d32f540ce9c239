"""Writes the books as CSV."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from octo_stripe_gateway.books.exports import export_movements, export_payments
from octo_stripe_gateway.management.arguments import add_period, parse_period
from octo_stripe_gateway.management.output import Progress, count
from octo_stripe_gateway.models import BalanceTransaction, Payment


class Command(BaseCommand):
    help = (
        "Writes payments as CSV, or each movement of money in Stripe's balance: payments, refunds, disputes"
        " and fees. Movements of a day add up to what Stripe's balance did, for the payments of this"
        " database. Run maintain_payments before: it asks Stripe for them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_period(parser, what="payments created, or money moved,")
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
        """Write line by line, so that the period may be as long as it likes."""
        period = parse_period(since, until)
        rows: QuerySet[Any]
        if movements:
            rows = BalanceTransaction.objects.moved_between(*period)
            lines = export_movements(rows)
        else:
            rows = Payment.objects.created_between(*period)
            lines = export_payments(rows)
        if not output:
            for line in lines:
                self.stdout.write(line, ending="")
            return
        total = rows.count() if self.stderr.isatty() else 0
        progress, written = Progress(self.stderr), -1
        try:
            with open(output, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123
                for written, line in enumerate(lines):
                    file.write(line)
                    if written:
                        progress.show("lines", written, max(total, written))
        except OSError as error:
            raise CommandError(f"{output} can't be written: {error.strerror}") from error
        self.stderr.write(f"{count(written, 'line')} written to {output}", str)
