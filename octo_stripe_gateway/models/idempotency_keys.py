"""Callers' own idempotency keys."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import Payment
from octo_stripe_gateway.models.refunds import Refund
from octo_stripe_gateway.models.schema import index, unique


class IdempotencyKey(LedgerRow):
    """A key that a caller sent, and what it stands for."""

    owner = models.CharField(max_length=255, blank=True)
    key = models.CharField(max_length=64, help_text=_("Its hash."))
    request_fingerprint = models.CharField(max_length=64)
    payment = models.ForeignKey(Payment, models.CASCADE, related_name="+")
    # Most keys are of payments: the index leaves those out.
    refund = models.ForeignKey(
        Refund, models.CASCADE, null=True, related_name="idempotency_keys", db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = models.Manager()
    ledger = LedgerManager["IdempotencyKey"]()

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        indexes = [index("idempotency_key_refund", "refund", where=models.Q(refund__isnull=False))]
        constraints = [unique("idempotency_key", "owner", "key")]

    def __str__(self) -> str:
        return self.key
