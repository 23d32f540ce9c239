"""Finds what events and answers missed, by asking Stripe."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.management.times import make_aware, parse_moment
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest
from octo_stripe_gateway.models.batches import iterate_batches, iterate_keys
from octo_stripe_gateway.services import Audit, acting, postpone_check, reconcile_payment
from octo_stripe_gateway.services.audit import Finding, Kind


class Command(BaseCommand):
    help = (
        "Asks Stripe about payments that are unsettled and due for a check (pending, declined, authorized,"
        " with a refund under way, rejected with money held, or with a request without an answer), or about"
        " all that were created in a time, applies what it says and prints the difference. Safe to run twice"
        " and beside live traffic."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=int,
            metavar="MINUTES",
            help="check all unsettled payments that are older than this, due or not",
        )
        parser.add_argument(
            "--from", dest="since", help="compare all that was created from this time on, both ways"
        )
        parser.add_argument(
            "--to", dest="until", help="compare all that was created before this time, both ways"
        )
        parser.add_argument(
            "--adopt",
            action="store_true",
            help="with --from or --to: write the rows of our payments that Stripe knows and we don't",
        )
        parser.add_argument("--dry-run", action="store_true", help="print the difference, change nothing")

    def handle(
        self,
        *,
        older_than: int | None,
        since: str | None,
        until: str | None,
        adopt: bool,
        dry_run: bool,
        **options: Any,
    ) -> None:
        """Reconcile each payment, and fail at the end if that did not work with some."""
        if adopt and not (since or until):
            raise CommandError("--adopt needs a time: --from, --to or both.")
        with acting(source=PaymentChange.Source.COMMAND):
            if since or until:
                start = parse_moment(since) if since else make_aware(dt.datetime(1970, 1, 2))  # noqa: DTZ001
                end = parse_moment(until) if until else timezone.now()
                self.compare(Audit(start, end, adopts=adopt, dry_run=dry_run), dry_run=dry_run)
            else:
                self.reconcile(iterate_unsettled(older_than), dry_run=dry_run)

    def compare(self, audit: Audit, *, dry_run: bool) -> None:
        """Print what an audit finds, and fail at the end if something differs or is on one side only."""
        kinds: Counter[str] = Counter()
        changed = 0
        for finding in audit.run():
            kinds[finding.kind] += 1
            changed += bool(finding.differences)
            self.show(finding)
            if self.stderr.isatty():
                self.stderr.write(f"{kinds.total()} checked", ending="\r")
        verb = "would change" if dry_run else "changed"
        total = kinds[Kind.CHECKED] + kinds[Kind.MISMATCHED]
        checked = f"{total} payments checked, {changed} {verb}, {kinds[Kind.FAILED]} failed"
        others = (Kind.MISMATCHED, Kind.ADOPTED, Kind.UNPROVEN, Kind.UNKNOWN_HERE, Kind.UNKNOWN_AT_STRIPE)
        self.stdout.write(", ".join([checked, *(f"{kinds[kind]} {kind}" for kind in others if kinds[kind])]))
        if kinds[Kind.UNKNOWN_HERE]:
            raise CommandError("Stripe has payments of ours that are not here; --adopt writes them.")
        if kinds[Kind.FAILED] or kinds[Kind.MISMATCHED] or kinds[Kind.UNKNOWN_AT_STRIPE]:
            raise CommandError("Not everything here is as it is at Stripe; see above.")

    def show(self, finding: Finding) -> None:
        """Print what was found about one payment or object, if anything."""
        if finding.kind == Kind.FAILED:
            self.stderr.write(self.style.ERROR(f"{finding.name}: {finding.error}"))
        elif finding.kind == Kind.MISMATCHED:
            self.stdout.write(f"{finding.name}: {finding.error}")
        elif finding.kind != Kind.CHECKED:
            self.stdout.write(f"{finding.name}: {finding.kind}")
        for name, (was, is_now) in finding.differences.items():
            self.stdout.write(f"{finding.name}: {name} {was} -> {is_now}")

    def reconcile(self, payments: Iterable[int], *, dry_run: bool) -> None:
        """Go through the payments, and report what changed and how far it is."""
        checked = changed = failed = 0
        for pk in payments:
            outcome = self.reconcile_one(Payment.ledger.get(pk=pk), dry_run=dry_run)
            changed += outcome is True
            failed += outcome is None
            checked += 1
            if self.stderr.isatty():
                self.stderr.write(f"{checked} checked", ending="\r")
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
        finally:
            if not dry_run:
                postpone_check(payment)
        for name, (was, is_now) in differences.items():
            self.stdout.write(f"{payment.uuid}: {name} {was} -> {is_now}")
        return bool(differences)


def iterate_unsettled(older_than: int | None) -> Iterator[int]:
    """Yield the keys of payments that are due for a check, or unsettled and older than that, each once."""
    now = timezone.now()
    cutoff = now - dt.timedelta(minutes=10 if older_than is None else older_than)
    if older_than is None:
        unsettled = Payment.ledger.get_queryset().due_for_check(now=now)
    else:
        unsettled = Payment.ledger.get_queryset().unsettled().filter(created_at__lt=cutoff)
    # The checks of this run move payments on, so that they may come up again.
    seen: set[int] = set()
    for keys in (iterate_keys(unsettled, by="next_check_at"), _iterate_asked(cutoff)):
        for pk in keys:
            if pk not in seen:
                seen.add(pk)
                yield pk


def _iterate_asked(cutoff: dt.datetime) -> Iterator[int]:
    """Yield the keys of payments with a request without an answer."""
    unanswered = StripeRequest.ledger.get_queryset().open().filter(created_at__lt=cutoff)
    for batch in iterate_batches(unanswered, by="created_at"):
        yield from StripeRequest.ledger.get_queryset().filter(pk__in=batch).values_list("payment", flat=True)
