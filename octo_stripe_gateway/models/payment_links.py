"""Addresses at which anyone who has them pays for one thing."""

from __future__ import annotations

import uuid
from typing import Any, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.families import find_payable, identify
from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.payments import PURPOSE_LENGTH


class PaymentLinkQuerySet(models.QuerySet["PaymentLink"]):
    """Pay links by whether they still lead anywhere."""

    def usable(self) -> Self:
        """Return links that are neither revoked nor past their time."""
        lasting = models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now())
        return self.filter(lasting, revoked_at=None)


class PaymentLinkManager(LedgerManager["PaymentLink"]):
    """The ledger's way to pay links."""

    def get_queryset(self) -> PaymentLinkQuerySet:
        """Return the links of the database that is written to."""
        return PaymentLinkQuerySet(self.model, using=self.database)

    def of_payable(self, payable: Any) -> PaymentLinkQuerySet:
        """Return a payable's usable links."""
        payable_type, key = identify(payable, using=self.database)
        return self.get_queryset().filter(payable_type=payable_type, payable_id=key).usable()


class PaymentLink(models.Model):
    """A link to the pay page, for one payable and purpose; its address has the uuid and a signature."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    payable_type = models.ForeignKey(ContentType, models.PROTECT, db_index=False)
    payable_id = models.CharField(max_length=255)
    purpose = models.CharField(_("purpose"), max_length=PURPOSE_LENGTH, blank=True)
    expires_at = models.DateTimeField(_("expires at"), null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = models.Manager.from_queryset(PaymentLinkQuerySet)()
    ledger = PaymentLinkManager()

    class Meta:
        verbose_name = _("pay link")
        verbose_name_plural = _("pay links")
        default_manager_name = "objects"
        indexes = [models.Index(fields=["payable_type", "payable_id"], name="octo_payment_link_payable")]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def payable(self) -> Any:
        """Return the host's object, None where it is gone; raises PayableUnavailableError."""
        return find_payable(self.payable_type_id, self.payable_id)
