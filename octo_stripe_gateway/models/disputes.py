"""The disputes of a payment: a charge can have several."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.schema import unique
from octo_stripe_gateway.stripe.snapshots import CLOSED_DISPUTES

if TYPE_CHECKING:
    from octo_stripe_gateway.models.balance_transactions import BalanceTransaction

# How the statuses of an inquiry begin: https://docs.stripe.com/disputes/how-disputes-work
INQUIRY = "warning_"


class Dispute(models.Model):
    """One dispute, as the customer's bank states it. The amount is in the minor unit of its currency."""

    payment = models.ForeignKey(Payment, models.PROTECT, related_name="disputes")
    stripe_dispute_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=64, help_text=_("Stripe's word."))
    status_as_of = models.BigIntegerField(default=0)
    stripe_created = models.BigIntegerField(default=0)
    evidence_due_by = models.BigIntegerField(default=0)
    amount_forgiven = models.BigIntegerField(default=0, help_text=_("How much of a loss is not owed again."))
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = models.Manager()
    ledger = LedgerManager["Dispute"]()

    class Meta:
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        constraints = [unique("dispute_stripe_id", "stripe_dispute_id")]

    def __str__(self) -> str:
        return self.stripe_dispute_id

    @property
    def balance_transactions(self) -> QuerySet[BalanceTransaction]:
        """Return what moved in Stripe's balance because of it: what it cost, and what came back."""
        return self.payment.balance_transactions.filter(source_id=self.stripe_dispute_id or "")

    @property
    def is_open(self) -> bool:
        """Tell whether it is not decided yet."""
        return self.status not in CLOSED_DISPUTES

    @property
    def forgiven(self) -> int:
        """Return how much its loss takes off the price."""
        return self.amount_forgiven if self.status == "lost" else 0

    @property
    def blocks_refunds(self) -> bool:
        """Tell whether Stripe refuses refunds meanwhile; not during an inquiry, which took no money."""
        return self.is_open and not self.status.startswith(INQUIRY)

    @property
    def evidence_due_at(self) -> dt.datetime | None:
        """Return until when Stripe takes evidence."""
        return dt.datetime.fromtimestamp(self.evidence_due_by, tz=dt.UTC) if self.evidence_due_by else None
