"""Brings the ledger back after a failover or a restored backup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.ledger.concerns import ADOPTED, INTENT_UNPROVEN, PAYABLE_UNKNOWN
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.management.arguments import parse_moment
from octo_stripe_gateway.management.commands.reconcile_payments import Command as ReconcilePayments
from octo_stripe_gateway.management.output import count
from octo_stripe_gateway.models import Concern, Payment, PaymentChange
from octo_stripe_gateway.services import confirm_adoption
from octo_stripe_gateway.services.adoption import begin_recovery
from octo_stripe_gateway.services.reconciliation import Reconciliation

LEAP = 1_000_000


class Command(BaseCommand):
    help = (
        "After a failover or a restored backup: makes payments' ids leap past those that may have been"
        " given out, compares everything from the time on with Stripe, writes what is missing here, and says"
        " what is left to do. Adopted money waits: --confirm lets the host have its last word on it. Safe to"
        " run twice and beside live traffic."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from", dest="since", help="when the backup was made, or the last commit that is certainly here"
        )
        parser.add_argument(
            "--leap", type=int, default=LEAP, help=f"more payments than may have been lost ({LEAP})"
        )
        parser.add_argument(
            "--confirm", nargs="*", metavar="UUID", help="confirm these adopted payments, or all that wait"
        )

    def handle(self, *, since: str | None, leap: int, confirm: list[str] | None, **options: Any) -> None:
        if (since is None) == (confirm is None):
            raise CommandError("Say from when on something may be lost (--from), or what to confirm.")
        with acting(source=PaymentChange.Source.COMMAND):
            if since is not None:
                self.recover(since, leap=leap)
            else:
                self.confirm(list_waiting(confirm or []))

    def recover(self, since: str, *, leap: int) -> None:
        """Leap, reconcile and adopt, say what is left, and fail at the end if it has to run again."""
        start = parse_moment(since)
        first = begin_recovery(since=start, leap=leap)
        self.stdout.write(f"New payments' ids begin at {first}. An older id that is gone answers 404.")
        reconcile = ReconcilePayments()
        reconcile.stdout, reconcile.stderr = self.stdout, self.stderr
        audit = Reconciliation(start, timezone.now(), adopts=True, dry_run=False)
        failure = None
        try:
            reconcile.compare(audit)
        except CommandError as error:
            failure = error
        self.say_what_is_left()
        if failure:
            raise CommandError(f"{failure} Then run it again.")

    def say_what_is_left(self) -> None:
        """Print what only people can do."""
        waiting = count_open(ADOPTED.code, PAYABLE_UNKNOWN.code)
        unproven = count_open(INTENT_UNPROVEN.code)
        if waiting:
            self.stdout.write(
                f"{count(waiting, 'adopted payment')} still to be confirmed. See in the admin's"
                " concerns what each is for, then confirm it there or here, or all with --confirm."
            )
        if unproven:
            self.stdout.write(f"{count(unproven, 'paid intent')} not provably ours: see the concerns.")
        if not (waiting or unproven):
            self.stdout.write("Nothing is left to do.")

    def confirm(self, payments: Iterable[Payment]) -> None:
        """Confirm payments, whatever becomes of the others, and fail at the end if some failed."""
        confirmed = failed = 0
        for payment in payments:
            try:
                confirm_adoption(payment)
                confirmed += 1
            except GatewayError as error:
                failed += 1
                self.stderr.write(self.style.ERROR(f"{payment.uuid}: {error}"))
        self.stdout.write(f"{count(confirmed, 'adopted payment')} confirmed, {failed} failed")
        if failed:
            raise CommandError("Not all are confirmed; run it again.")


def count_open(*codes: str) -> int:
    return Concern.ledger.open().filter(code__in=codes).count()


def list_waiting(uuids: list[str]) -> list[Payment]:
    """Return the adopted payments that wait, all or those named; raises CommandError for another."""
    codes = [ADOPTED.code, PAYABLE_UNKNOWN.code]
    concerns = Concern.ledger.open().filter(code__in=codes).order_by("pk")
    waiting = {
        str(each.payment.uuid): each.payment for each in concerns.select_related("payment") if each.payment
    }
    for uuid in uuids:
        if uuid.lower() not in waiting:
            raise CommandError(f"{uuid} is no adopted payment that waits.")
    return [waiting[uuid.lower()] for uuid in uuids] if uuids else list(waiting.values())
