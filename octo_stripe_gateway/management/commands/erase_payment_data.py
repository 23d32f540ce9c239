"""Removes what payments and their events tell of a person."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from octo_stripe_gateway.exceptions import PaymentNotFoundError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.services import erase_personal_data


class Command(BaseCommand):
    help = (
        "Removes metadata, references and free text from payments, and all of their events that may tell of"
        " a person. Amounts, states and Stripe's ids stay. Stripe keeps its own copy."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("payments", nargs="+", metavar="ID", help="ids or uuids of payments")

    def handle(self, *, payments: list[str], **options: Any) -> None:
        """Look all of them up before the first is changed."""
        try:
            found = [Payment.objects.get_by_public_id(public_id) for public_id in payments]
        except PaymentNotFoundError as error:
            raise CommandError(f"{error} {error.values['paymentId']}") from None
        for payment in found:
            erase_personal_data(payment)
        self.stdout.write(f"{len(found)} payments erased")
