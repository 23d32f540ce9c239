"""Finds what events and answers missed, by asking Stripe."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.services import reconcile_payment


class Command(BaseCommand):
    help = (
        "Asks Stripe about payments that have been unsettled for a while (pending, declined, authorized, with"
        " a refund under way or a call without an answer), or about all that were created in a time, applies"
        " what it says and prints the difference. Safe to run twice and beside live traffic."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=int, default=10, metavar="MINUTES", help="leave out younger ones (10)"
        )
        parser.add_argument(
            "--days", type=int, default=7, help="how far back to look for payments that nobody has paid (7)"
        )
        parser.add_argument("--from", dest="since", help="check every payment created from this time on")
        parser.add_argument("--to", dest="until", help="check every payment created before this time")
        parser.add_argument("--dry-run", action="store_true", help="print the difference, change nothing")
        parser.add_argument("--batch-size", type=int, default=100, help="payments read at a time (100)")

    def handle(
        self,
        *,
        older_than: int,
        days: int,
        since: str | None,
        until: str | None,
        dry_run: bool,
        batch_size: int,
        **options: Any,
    ) -> None:
        """Reconcile each payment, and fail at the end if that did not work with some."""
        cutoff = timezone.now() - dt.timedelta(minutes=older_than)
        if since or until:
            start = _parse(since) if since else dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
            end = _parse(until) if until else timezone.now()
            payments = Payment.objects.created_between(start, end)
        else:
            start = timezone.now() - dt.timedelta(days=days)
            payments = Payment.objects.unsettled(since=start, until=cutoff)
        self.reconcile(payments, dry_run=dry_run, batch_size=batch_size)

    def reconcile(self, payments: PaymentQuerySet, *, dry_run: bool, batch_size: int) -> None:
        """Go through the payments in batches, and report what changed and how far it is."""
        checked = changed = failed = 0
        for batch in payments.in_batches(batch_size):
            for payment in batch:
                outcome = self.reconcile_one(payment, dry_run=dry_run)
                changed += outcome is True
                failed += outcome is None
            checked += len(batch)
            self.stderr.write(f"{checked} checked", ending="\r" if self.stderr.isatty() else "\n")
        verb = "would change" if dry_run else "changed"
        self.stdout.write(f"{checked} payments checked, {changed} {verb}, {failed} failed")
        if failed:
            raise CommandError(f"{failed} payments could not be reconciled; run it again.")

    def reconcile_one(self, payment: Payment, *, dry_run: bool) -> bool | None:
        """Tell whether there was a difference, None where that could not be found out."""
        try:
            differences = reconcile_payment(payment, dry_run=dry_run)
        except Exception as error:  # noqa: BLE001 - the next payment is to have its turn
            self.stderr.write(self.style.ERROR(f"{payment.uuid}: {error}"))
            return None
        for name, (was, is_now) in differences.items():
            self.stdout.write(f"{payment.uuid}: {name} {was} -> {is_now}")
        return bool(differences)


def _parse(text: str) -> dt.datetime:
    moment = parse_datetime(text)
    if moment is None:
        day = parse_date(text)
        if day is None:
            raise CommandError(f"{text} is neither a date nor a time in ISO 8601.")
        moment = dt.datetime.combine(day, dt.time())
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
