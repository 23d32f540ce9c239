"""One row per priced payable: its lock, and what it owed when last worked out."""

from __future__ import annotations

import datetime as dt
from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.dues import Dues
from octo_stripe_gateway.models.families import PayableRow, identify
from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.schema import index, unique

# A cancellation may take this long before an operator is called for what has not gone back.
UNWATCHED = dt.timedelta(minutes=2)


class PayableLockQuerySet(models.QuerySet["PayableLock"]):
    """Payables by what they owed when that was last worked out."""

    def overdue(self, *, now: dt.datetime) -> Self:
        """Return payables with an overdue installment: it was due before that moment, and is owed."""
        return self.filter(next_due_at__lt=now)

    def due_for_update(self, *, now: dt.datetime) -> Self:
        """Return payables that may owe something else than was last worked out."""
        return self.filter(next_update_at__lte=now)


_PayableLedger = LedgerManager.from_queryset(PayableLockQuerySet)


class PayableLockManager(_PayableLedger["PayableLock"]):
    """The ledger's way to locks."""

    def hold(self, payable: Any) -> PayableLock:
        """Lock the payable's row until the transaction ends, and return it; it is made if need be."""
        payable_type, key = identify(payable, using=self.database)
        named = {"payable_type_id": payable_type.pk, "payable_id": key}
        self.insert(PayableLock(**named), or_ignore=True)
        lock = self.get_by(lock=True, **named)
        if lock is None:
            raise PayableLock.DoesNotExist
        return lock

    def get_kept(self, payable: Any) -> int | None:
        """Return what the terms keep of a payable that is canceled, None of one that isn't."""
        payable_type, key = identify(payable, using=self.database)
        lock = self.get_by(payable_type_id=payable_type.pk, payable_id=key)
        return lock.amount_kept if lock else None

    def recall(self, payment: Any) -> None:
        """Have maintenance work out anew what a payment's payable owes, where it is priced."""
        named = {"payable_type": payment.payable_type_id, "payable_id": payment.payable_id}
        self.filter(**named).update(next_update_at=timezone.now())


class PayableLock(PayableRow):
    """A priced payable: locked while its dues are decided on, with what it owed when last worked out."""

    amount_due = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    next_due_at = models.DateTimeField(null=True)
    reminded_at = models.DateTimeField(null=True)
    claimed_until = models.DateTimeField(null=True)
    next_update_at = models.DateTimeField(
        null=True, help_text=_("When to work out anew what it owes; empty while nothing has changed.")
    )

    canceled_at = models.DateTimeField(_("canceled at"), null=True)
    amount_kept = models.BigIntegerField(
        null=True, help_text=_("What the cancellation terms keep; empty where it isn't canceled.")
    )

    objects = models.Manager.from_queryset(PayableLockQuerySet)()
    ledger = PayableLockManager()

    class Meta:
        verbose_name = _("payable")
        verbose_name_plural = _("payables")
        permissions = [("cancel_payable", "Can cancel payable")]
        constraints = [unique("payable_lock", "payable_type", "payable_id")]
        indexes = [
            index("payable_lock_due", "next_due_at", where=models.Q(next_due_at__isnull=False)),
            index("payable_lock_update", "next_update_at", where=models.Q(next_update_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.payable_type} {self.payable_id}"

    def cancel(self, *, kept: int, at: dt.datetime) -> None:
        """Mark a locked payable as canceled for good, and have upkeep see later that the rest went back."""
        self.canceled_at, self.amount_kept = self.canceled_at or at, kept
        self.amount_due, self.next_due_at, self.next_update_at = 0, None, at + UNWATCHED
        names = ["canceled_at", "amount_kept", "amount_due", "next_due_at", "next_update_at"]
        PayableLock.ledger.save_changed(self, names=names)

    def record(self, dues: Dues | None) -> None:
        """Keep what the payable owes, for lists of what is overdue; without dues it owes nothing."""
        if self.set_due(dues) or self.next_update_at:
            self.next_update_at = None
            names = ["amount_due", "currency", "next_due_at", "reminded_at", "next_update_at"]
            PayableLock.ledger.save_changed(self, names=names)

    def set_due(self, dues: Dues | None) -> bool:
        """Set what the payable owes, and tell whether that changed anything."""
        due = dues.due if dues else 0
        currency = dues.currency if dues else self.currency
        due_at = dues.next.due_at if dues and dues.next else None
        if (self.amount_due, self.currency, self.next_due_at) == (due, currency, due_at):
            return False
        self.reminded_at = self.reminded_at if self.next_due_at == due_at else None
        self.amount_due, self.currency, self.next_due_at = due, currency, due_at
        return True
