"""What the ledger asks of Stripe, on record before it is asked."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.refunds import Refund
from octo_stripe_gateway.models.schema import check, index

# Stripe keeps idempotency keys for at least 24 hours; after that a repeat might act twice.
KEY_LIFETIME = dt.timedelta(hours=23)


class StripeRequestQuerySet(models.QuerySet["StripeRequest"]):
    """Requests by how they stand."""

    def open(self) -> Self:
        """Return requests without a final answer."""
        return self.filter(state=StripeRequest.State.OPEN)

    def open_of(self, payment: Payment) -> Self:
        """Return a payment's requests without a final answer, the oldest first."""
        return self.open().filter(payment=payment).order_by("pk")


class StripeRequest(LedgerRow):
    """One thing asked of Stripe for a payment or refund, and Stripe's last answer to it."""

    class Kind(models.TextChoices):
        CREATE = "create", _("create")
        CAPTURE = "capture", _("capture")
        CANCEL = "cancel", _("cancel")
        REFUND = "refund", _("refund")
        UPDATE = "update", _("update")

    class State(models.TextChoices):
        OPEN = "open", _("open")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        ABANDONED = "abandoned", _("abandoned")

    ANSWER_COLUMNS = ("state", "attempts", "stripe_request_id", "http_status", "error_code", "answered_at")

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    payment = models.ForeignKey(Payment, models.PROTECT, related_name="stripe_requests")
    refund = models.ForeignKey(
        Refund, models.PROTECT, null=True, related_name="stripe_requests", db_index=False
    )
    parameters = models.JSONField(
        default=dict, help_text=_("What Stripe is asked for, so that a repeat asks the same.")
    )
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    key_version = models.IntegerField(
        default=0, help_text=_("Raised when Stripe will answer the idempotency key with an error for good.")
    )
    attempts = models.IntegerField(default=0)
    stripe_request_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    http_status = models.SmallIntegerField(null=True)
    error_code = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    answered_at = models.DateTimeField(null=True)

    objects = models.Manager.from_queryset(StripeRequestQuerySet)()
    ledger = LedgerManager.from_queryset(StripeRequestQuerySet)()

    class Meta:
        verbose_name = _("Stripe request")
        verbose_name_plural = _("Stripe requests")
        indexes = [index("stripe_request_open", "created_at", "id", where=Q(state="open"))]
        constraints = [
            check("stripe_request_kind", Q(kind__in=["create", "capture", "cancel", "refund", "update"])),
            check("stripe_request_state", Q(state__in=["open", "done", "failed", "abandoned"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.uuid}"

    @property
    def idempotency_key(self) -> str:
        """Return the key that Stripe knows the request by."""
        return f"{self.uuid}-{self.key_version}"

    @property
    def is_open(self) -> bool:
        """Tell whether it has no final answer."""
        return self.state == self.State.OPEN

    @property
    def may_be_forgotten(self) -> bool:
        """Tell whether Stripe may have forgotten the key, so that a repeat might do the work twice."""
        return self.created_at < timezone.now() - KEY_LIFETIME

    def close(self, state: StripeRequest.State) -> None:
        """Record how it ended."""
        self.state = state
        self.answered_at = timezone.now()

    def record_answer(self, *, http_status: int | None, request_id: str, error_code: str = "") -> None:
        """Record Stripe's last answer, by what its support asks for."""
        self.attempts += 1
        self.http_status = http_status
        self.stripe_request_id = request_id
        self.error_code = error_code
