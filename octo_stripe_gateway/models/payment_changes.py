"""The journal of payments, which is also the outbox of their signals."""

from __future__ import annotations

import datetime as dt
from typing import Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import Payment
from octo_stripe_gateway.models.schema import check, index
from octo_stripe_gateway.models.stripe_requests import StripeRequest
from octo_stripe_gateway.models.webhook_events import WebhookEvent

# The change that a warning of fraud makes, with what the bank said.
FRAUD_WARNING = "fraud warning"


class PaymentChangeQuerySet(models.QuerySet["PaymentChange"]):
    """Changes by what is to be done with them."""

    def due_for_delivery(self, *, now: dt.datetime) -> Self:
        """Return changes that a listener still has to hear of, and whose pause is over."""
        return self.filter(deliver_at__lte=now)

    def of_fraud_warnings(self, *payments: Payment) -> Self:
        """Return the changes that tell of fraud in payments."""
        return self.filter(payment__in=payments, changes__has_key=FRAUD_WARNING)


class PaymentChange(LedgerRow):
    """One change of a payment: what, when, by whom, and because of which event or request.

    Append-only, but for what delivery and erasure write. `undelivered` names the signals that have yet to
    reach all listeners, each with the receivers that failed; with none, nobody was tried yet.
    """

    class Source(models.TextChoices):
        API = "api", _("API")
        WEBHOOK = "webhook", _("webhook")
        ADMIN = "admin", _("admin")
        COMMAND = "command", _("command")
        PYTHON = "python", _("Python")

    payment = models.ForeignKey(Payment, models.CASCADE, related_name="changes")
    changes = models.JSONField(help_text=_("By column, what it was and what it became."))
    source = models.CharField(max_length=16, choices=Source)
    actor = models.CharField(max_length=255, blank=True)
    # Not constrained, so that pruning events and requests never searches the journal.
    event = models.ForeignKey(
        WebhookEvent, models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    request = models.ForeignKey(
        StripeRequest, models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    created_at = models.DateTimeField(auto_now_add=True)

    undelivered = models.JSONField(default=dict)
    deliver_at = models.DateTimeField(null=True)
    deliveries = models.SmallIntegerField(default=0)
    # By receiver, what it raised last: the exception's name, and its own words.
    delivery_errors = models.JSONField(default=dict)

    objects = models.Manager.from_queryset(PaymentChangeQuerySet)()
    ledger = LedgerManager.from_queryset(PaymentChangeQuerySet)()

    class Meta:
        verbose_name = _("payment change")
        verbose_name_plural = _("payment changes")
        indexes = [
            index("payment_change_deliver", "deliver_at", where=Q(deliver_at__isnull=False)),
            index("payment_change_fraud", "payment", where=Q(changes__has_key=FRAUD_WARNING)),
        ]
        constraints = [
            check("payment_change_source", Q(source__in=["api", "webhook", "admin", "command", "python"])),
        ]

    def __str__(self) -> str:
        return ", ".join(self.changes)
