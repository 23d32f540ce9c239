"""This database, as against others on the same Stripe account."""

from __future__ import annotations

import datetime as dt
import hmac
import json
import secrets
import uuid as uuids

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.schema import check

THE_ONE = 1
# For so long after a recovery, what a key stands for may be at Stripe and not yet here.
RECOVERY = dt.timedelta(days=1)


class InstallationManager(LedgerManager["Installation"]):
    """The ledger's way to the one row."""

    def get_own(self) -> Installation:
        """Return the row of this database, which is made when there is none."""
        return self.get_by(id=THE_ONE) or self.get_queryset().get_or_create(pk=THE_ONE)[0]


class Installation(LedgerRow):
    """What tells this database from others, and its recoveries. One row, made by the first `migrate`."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    uuid = models.UUIDField(default=uuids.uuid4, editable=False)
    key = models.CharField(
        max_length=64,
        default=secrets.token_hex,
        editable=False,
        help_text=_("What uuids are derived with. It never changes."),
    )
    lost_since = models.DateTimeField(
        null=True, help_text=_("From when on the last recovery may have lost what was written.")
    )
    recovered_at = models.DateTimeField(null=True, help_text=_("When the last recovery began."))
    reconcile_at = models.DateTimeField(null=True, help_text=_("When to compare with Stripe again."))
    reconciled_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = models.Manager()
    ledger = InstallationManager()

    class Meta:
        verbose_name = _("installation")
        verbose_name_plural = _("installations")
        constraints = [check("installation_one", models.Q(id=THE_ONE))]

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Return what Stripe's metadata calls it."""
        return gateway_settings.installation_id or str(self.uuid)

    @property
    def may_lack_rows(self) -> bool:
        """Tell whether a recovery is so recent that Stripe may know of payments which are not here."""
        return self.recovered_at is not None and timezone.now() < self.recovered_at + RECOVERY

    def derive(self, *texts: str) -> uuids.UUID:
        """Return the uuid that these texts lead to in this installation, always the same one."""
        message = json.dumps([self.name, *texts]).encode()
        digest = hmac.digest(self.key.encode(), message, "sha256")
        return uuids.UUID(bytes=digest[:16], version=4)
