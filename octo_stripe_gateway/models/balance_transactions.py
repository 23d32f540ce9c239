"""The books: every movement of money in Stripe's balance that belongs to a payment."""

from __future__ import annotations

import datetime as dt
from typing import Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.schema import between, index
from octo_stripe_gateway.stripe.snapshots import BalanceTransactionSnapshot
from octo_stripe_gateway.stripe.times import get_moment

# By Stripe's reporting category: https://docs.stripe.com/reports/reporting-categories
KINDS = {
    "charge": "payment",
    "charge_failure": "payment",
    "partial_capture_reversal": "payment",
    "refund": "refund",
    "refund_failure": "refund",
    "dispute": "dispute",
    "dispute_reversal": "dispute",
}


class BalanceTransactionQuerySet(models.QuerySet["BalanceTransaction"]):
    """Balance transactions by what the books ask for."""

    def moved_between(self, since: dt.datetime | None, until: dt.datetime | None) -> Self:
        """Return those moved from `since` on and before `until`; None is no bound."""
        return self.filter(between("moved_at", since, until))


class BalanceTransaction(models.Model):
    """One of Stripe's balance transactions, as Stripe booked it; it never changes.

    Amounts are minor units of `currency`, which is the one that the account is paid out in. `source_id` is
    Stripe's id of the charge, refund or dispute that moved the money. `summed_at` is when it was added to its
    day's `DaySum`.
    """

    payment = models.ForeignKey(Payment, models.PROTECT, related_name="balance_transactions")
    stripe_balance_transaction_id = models.CharField(max_length=STRIPE_ID_LENGTH, unique=True)
    source_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    type = models.CharField(max_length=64)
    reporting_category = models.CharField(max_length=64)
    amount = models.BigIntegerField()
    fee = models.BigIntegerField()
    net = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    exchange_rate = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    moved_at = models.DateTimeField(help_text=_("When Stripe booked it."))
    available_at = models.DateTimeField(help_text=_("When the money can be paid out."))
    created_at = models.DateTimeField(auto_now_add=True)
    summed_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(BalanceTransactionQuerySet)()
    ledger = LedgerManager.from_queryset(BalanceTransactionQuerySet)()

    class Meta:
        verbose_name = _("balance transaction")
        verbose_name_plural = _("balance transactions")
        indexes = [
            index("balance_moved", "moved_at", "id"),
            index("balance_unsummed", "moved_at", "id", where=models.Q(summed_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.stripe_balance_transaction_id

    @classmethod
    def from_snapshot(cls, snapshot: BalanceTransactionSnapshot, *, payment: Payment) -> BalanceTransaction:
        """Return the unsaved row of a payment's balance transaction."""
        return cls(
            payment=payment,
            stripe_balance_transaction_id=snapshot.id,
            source_id=snapshot.source_id,
            type=snapshot.type,
            reporting_category=snapshot.reporting_category,
            amount=snapshot.amount,
            fee=snapshot.fee,
            net=snapshot.net,
            currency=snapshot.currency,
            exchange_rate=snapshot.exchange_rate,
            moved_at=get_moment(snapshot.created),
            available_at=get_moment(snapshot.available_on),
        )

    @property
    def kind(self) -> str:
        """Return `payment`, `refund` or `dispute`, and Stripe's own word for what is none of these."""
        return KINDS.get(self.reporting_category, self.reporting_category)
