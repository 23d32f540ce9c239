"""Things to pay for, with every kind of primary key."""

import uuid
from typing import Any

from django.db import models

from octo_stripe_gateway.models import PaymentRelation


class Booking(models.Model):
    """Says its own price."""

    price = models.PositiveIntegerField(default=2000)
    currency = models.CharField(max_length=3, default="eur")
    payments = PaymentRelation()

    def __str__(self) -> str:
        return f"Booking {self.pk}"

    def get_payment_amount(self) -> tuple[int, str]:
        return self.price, self.currency


class Voucher(models.Model):
    """Costs what the caller says."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    payments = PaymentRelation()

    def __str__(self) -> str:
        return f"Voucher {self.pk}"


class Ticket(models.Model):
    """Costs what the caller says."""

    code = models.CharField(primary_key=True, max_length=20)
    payments = PaymentRelation()

    def __str__(self) -> str:
        return f"Ticket {self.pk}"


class Excursion(models.Model):
    """Says its own price, for its children too."""

    price = models.PositiveIntegerField(default=2000)
    payments = PaymentRelation()

    def __str__(self) -> str:
        return f"Excursion {self.pk}"

    def get_payment_amount(self) -> tuple[int, str]:
        return self.price, "eur"


class NightExcursion(Excursion):
    """Has a row in both tables."""

    lantern = models.BooleanField(default=True)


class Guest(models.Model):
    """Says nothing of itself, as a model of another app's."""

    name = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.name


class PayingGuest(Guest):
    """Says what a guest pays."""

    class Meta:
        proxy = True

    def get_payment_amount(self) -> tuple[int, str]:
        return 5000, "eur"

    def on_payment_completed(self, payment: Any) -> None:
        self.name = "Paid"
        self.save()
