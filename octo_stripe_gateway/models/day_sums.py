"""What moved by day, so that charts read a few rows however many movements there are."""

from __future__ import annotations

from django.db import models

from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.schema import unique


class DaySum(models.Model):
    """One day's balance transactions of a currency and category, added up where the host is.

    A balance transaction counts here once it has `summed_at`.
    """

    day = models.DateField()
    livemode = models.BooleanField()
    currency = models.CharField(max_length=3)
    reporting_category = models.CharField(max_length=64)
    total = models.BigIntegerField(default=0)

    objects = models.Manager()
    ledger = LedgerManager["DaySum"]()

    class Meta:
        default_permissions = ()
        constraints = [unique("day_sum", "day", "livemode", "currency", "reporting_category")]

    def __str__(self) -> str:
        return f"{self.day} {self.currency} {self.reporting_category}"
