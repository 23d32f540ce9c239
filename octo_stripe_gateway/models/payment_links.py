"""Addresses at which anyone who has them pays for one thing."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.families import PayableRow, identify
from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.payments import PURPOSE_LENGTH
from octo_stripe_gateway.models.schema import index


class PaymentLinkQuerySet(models.QuerySet["PaymentLink"]):
    """Pay links by whether they still lead anywhere."""

    def usable(self) -> Self:
        """Return links that are neither revoked nor past their time."""
        lasting = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(lasting, revoked_at=None)

    def of_payable(self, payable: Any) -> Self:
        """Return a payable's usable links."""
        payable_type, key = identify(payable, using=self.db)
        return self.usable().filter(payable_type=payable_type, payable_id=key)


class PaymentLink(PayableRow):
    """A link to the pay page, for one payable and purpose; its address has the uuid and a signature."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    purpose = models.CharField(_("purpose"), max_length=PURPOSE_LENGTH, blank=True)
    expires_at = models.DateTimeField(_("expires at"), null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = models.Manager.from_queryset(PaymentLinkQuerySet)()
    ledger = LedgerManager.from_queryset(PaymentLinkQuerySet)()

    class Meta:
        verbose_name = _("pay link")
        verbose_name_plural = _("pay links")
        indexes = [index("payment_link_payable", "payable_type", "payable_id")]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def is_usable(self) -> bool:
        """Tell whether it is neither revoked nor past its time."""
        return not self.revoked_at and (self.expires_at is None or self.expires_at > timezone.now())
