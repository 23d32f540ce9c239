"""The refunds of a payment, ours or found at Stripe."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.schema import check, index, unique
from octo_stripe_gateway.stripe.snapshots import FINGERPRINT_LENGTH

if TYPE_CHECKING:
    from octo_stripe_gateway.models.balance_transactions import BalanceTransaction

OPEN_STATUSES = ("pending", "requires_action")
DEAD_STATUSES = frozenset({"failed", "canceled"})
NOT_AT_STRIPE = "not_at_stripe"


class Refund(LedgerRow):
    """One refund, on record here before Stripe is asked for it, or found at Stripe."""

    class Reason(models.TextChoices):
        DUPLICATE = "duplicate", _("duplicate")
        FRAUDULENT = "fraudulent", _("fraudulent")
        REQUESTED_BY_CUSTOMER = "requested_by_customer", _("requested by customer")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    payment = models.ForeignKey(Payment, models.PROTECT, related_name="refunds")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=64, blank=True)
    request_fingerprint = models.CharField(max_length=FINGERPRINT_LENGTH, blank=True)
    status = models.CharField(max_length=64, default="pending", help_text=_("Stripe's word."))
    status_as_of = models.BigIntegerField(default=0)
    failure_reason = models.CharField(max_length=255, blank=True)
    stripe_refund_id = models.CharField(  # noqa: DJ001 - unique once it is known
        max_length=STRIPE_ID_LENGTH, null=True, editable=False
    )
    stripe_created = models.BigIntegerField(default=0)
    amount_forgiven = models.BigIntegerField(
        null=True, help_text=_("How much of it is not owed again; empty until the price was asked for.")
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = models.Manager()
    ledger = LedgerManager["Refund"]()

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        indexes = [index("refund_stripe_created", "stripe_created")]
        constraints = [
            # `unique` on the column would add an index for prefix searches, which nobody makes here.
            unique("refund_stripe_id", "stripe_refund_id"),
            check("refund_amount", Q(amount__gt=0)),
            check("refund_status", ~Q(status="")),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def balance_transactions(self) -> QuerySet[BalanceTransaction]:
        """Return what moved in Stripe's balance because of it: what it cost, and what came back."""
        return self.payment.balance_transactions.filter(source_id=self.stripe_refund_id or "")

    @property
    def is_reserved(self) -> bool:
        """Tell whether Stripe was asked for it and has not answered yet."""
        return self.stripe_refund_id is None and self.is_open

    @property
    def is_open(self) -> bool:
        """Tell whether it may still succeed or fail."""
        return self.status in OPEN_STATUSES

    @property
    def is_live(self) -> bool:
        """Tell whether Stripe counts the amount as refunded; pending refunds do."""
        return self.stripe_refund_id is not None and self.status not in DEAD_STATUSES

    @property
    def forgiven(self) -> int:
        """Return how much it takes off the price: all of it until that is known, lest it be paid twice."""
        known = self.amount if self.amount_forgiven is None else self.amount_forgiven
        return known if self.is_live else 0

    @property
    def is_disowned(self) -> bool:
        """Tell whether Stripe's own list doesn't have it."""
        return self.failure_reason == NOT_AT_STRIPE

    def was_in_charge_total(self, as_of: int) -> bool:
        """Tell whether a charge's refunded total of that second includes this refund.

        A refund that failed in the same second as the total was taken counts as still in it.
        """
        if not self.stripe_refund_id or self.stripe_created > as_of:
            return False
        return self.is_live or self.status_as_of >= as_of
