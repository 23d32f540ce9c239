"""Removes what payments and their events tell of a person."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.exceptions import OperationInProgressError, PaymentNotFoundError
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.services import acting, erase_personal_data


class Command(BaseCommand):
    help = (
        "Removes metadata, references and free text from payments, and all of their events that may tell of"
        " a person. Amounts, states and Stripe's ids stay. Stripe keeps its own copy."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("payments", nargs="+", metavar="ID", help="ids or uuids of payments")

    def handle(self, *, payments: list[str], **options: Any) -> None:
        """Look all of them up before the first is changed."""
        rows = Payment.ledger.get_queryset()
        try:
            found = [rows.get_by_public_id(public_id) for public_id in payments]
        except PaymentNotFoundError as error:
            raise CommandError(f"{error} {error.values['paymentId']}") from None
        with acting(source=PaymentChange.Source.COMMAND):
            waiting = [str(payment.uuid) for payment in found if not _erase(payment)]
        report = f"{len(found) - len(waiting)} payments erased"
        if waiting:
            raise CommandError(
                f"{report}. Stripe has not answered a request yet for {', '.join(waiting)}:"
                " run reconcile_payments, then this again."
            )
        self.stdout.write(report)


def _erase(payment: Payment) -> bool:
    try:
        erase_personal_data(payment)
    except OperationInProgressError:
        return False
    return True
