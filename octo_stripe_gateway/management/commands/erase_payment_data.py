"""Removes what payments and their events tell of a person."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import OperationInProgressError, PaymentNotFoundError
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.management.output import count
from octo_stripe_gateway.models import Payment, PaymentChange, get_payable_type
from octo_stripe_gateway.services import erase_personal_data


class Command(BaseCommand):
    help = (
        "Removes metadata, references and free text from payments, and all of their events that may tell of"
        " a person. Amounts, states and Stripe's ids stay. Stripe keeps its own copy. Asks first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("payments", nargs="*", metavar="ID", help="ids or uuids of payments")
        parser.add_argument("--owner", help="all payments of this owner, such as auth.user:42")
        parser.add_argument("--payable", metavar="TYPE:KEY", help="all payments for this, such as booking:7")
        parser.add_argument("--dry-run", action="store_true", help="only say which payments it would erase")
        parser.add_argument(
            "--no-input", "--noinput", action="store_false", dest="asks", help="don't ask first"
        )

    def handle(
        self,
        *,
        payments: list[str],
        owner: str | None,
        payable: str | None,
        dry_run: bool,
        asks: bool,
        **options: Any,
    ) -> None:
        """Look all of them up before the first is changed."""
        found = find_payments(payments, owner=owner, payable=payable)
        for payment in found if dry_run or asks else ():
            self.stdout.write(f"{payment.uuid} {payment.owner}".strip())
        number = count(len(found), "payment")
        if dry_run or not found:
            self.stdout.write(f"{number} would be erased" if dry_run else "0 payments erased")
            return
        if asks and input(f"Erase {number} for good? Type 'yes' to continue: ") != "yes":
            raise CommandError("Nothing is erased.")
        waiting = []
        with acting(source=PaymentChange.Source.COMMAND):
            for payment in found:
                try:
                    erase_personal_data(payment)
                except OperationInProgressError:
                    waiting.append(str(payment.uuid))
        report = f"{count(len(found) - len(waiting), 'payment')} erased"
        if waiting:
            raise CommandError(
                f"{report}. Stripe has not answered a request yet for {', '.join(waiting)}:"
                " run maintain_payments --now, then this again."
            )
        self.stdout.write(report)


def find_payments(public_ids: list[str], *, owner: str | None, payable: str | None) -> list[Payment]:
    """Return the payments that are named, each once; raises CommandError for what names none."""
    rows = Payment.ledger.all()
    found: dict[int, Payment] = {}
    try:
        named = [rows.get_by_public_id(public_id) for public_id in public_ids]
    except PaymentNotFoundError as error:
        raise CommandError(f"{error} {error.values['paymentId']}") from None
    found |= {payment.pk: payment for payment in named}
    if owner is not None:
        found |= rows.owned_by(owner).in_bulk()
    if payable is not None:
        name, _colon, key = payable.partition(":")
        try:
            model = apps.get_model(gateway_settings.payables.get(name, name))
        except (LookupError, ValueError) as error:
            raise CommandError(f"{payable} has no type of PAYABLES, and no model, before its key.") from error
        found |= rows.filter(payable_type=get_payable_type(model), payable_id=key).in_bulk()
    if not (public_ids or owner or payable):
        raise CommandError("Say which payments: by their ids, --owner or --payable.")
    return list(found.values())
