"""The inbox's table: each event that Stripe signed, once."""

from __future__ import annotations

import datetime as dt
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.schema import check, index, unique
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import read_id, read_metadata, read_time

RETAINED_EVENT_FIELDS = frozenset(
    "id object type created livemode account api_version data status amount amount_received"
    " amount_capturable amount_refunded currency payment_intent charge latest_charge refunded reason".split()
)

# What Stripe sent; the rest is what came of it.
RECEIVED_COLUMNS = tuple(
    "stripe_event_id account stripe_account type livemode payload payment_intent_id".split()
)

# What thin events are: https://docs.stripe.com/event-destinations#thin-events.
THIN = "v2.core.event"
FINISHED = frozenset({"processed", "ignored"})
# How long an event may wait for its first processing, before maintenance sees to it.
FIRST_RETRY_AFTER = dt.timedelta(minutes=5)
SHORTEST_PAUSE = dt.timedelta(minutes=1)
LONGEST_PAUSE = dt.timedelta(days=1)


def get_first_retry() -> dt.datetime:
    """Return when maintenance processes an event that nobody has processed by then."""
    return timezone.now() + FIRST_RETRY_AFTER


class WebhookEventQuerySet(models.QuerySet["WebhookEvent"]):
    """Events by what is to be done with them."""

    def unprocessed(self) -> Self:
        """Return events that failed or are still to be processed."""
        return self.filter(status__in=[WebhookEvent.Status.RECEIVED, WebhookEvent.Status.FAILED])

    def finished(self, *, until: dt.datetime) -> Self:
        """Return events that came before that moment and have nothing left to do."""
        return self.filter(status__in=FINISHED, received_at__lt=until)

    def about(self, payment: Payment) -> Self:
        """Return a payment's events, also those that failed, came too early or were ignored."""
        intent_id = payment.stripe_payment_intent_id
        return self.filter(payment_intent_id=intent_id) if intent_id else self.none()


class WebhookEvent(LedgerRow):
    """One event that Stripe signed, taken in once however often it is delivered."""

    class Status(models.TextChoices):
        RECEIVED = "received", _("received")
        PROCESSED = "processed", _("processed")
        IGNORED = "ignored", _("ignored")
        FAILED = "failed", _("failed")

    stripe_event_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    account = models.CharField(max_length=255, blank=True, help_text=_("Whose secret signed it."))
    stripe_account = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    type = models.CharField(_("type"), max_length=255)
    livemode = models.BooleanField(default=False)
    payload = models.JSONField(help_text=_("As Stripe sent it, without client secrets."))
    payment_intent_id = models.CharField(_("payment intent"), max_length=STRIPE_ID_LENGTH, blank=True)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.RECEIVED)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    error_code = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("What went wrong, as a concern's code; empty where nothing did."),
    )
    error_parameters = models.JSONField(default=dict, blank=True)
    received_at = models.DateTimeField(_("received at"), auto_now_add=True)
    processed_at = models.DateTimeField(_("processed at"), null=True, blank=True)
    retry_at = models.DateTimeField(
        null=True, default=get_first_retry, help_text=_("When to process it again; empty once finished.")
    )

    objects = models.Manager.from_queryset(WebhookEventQuerySet)()
    ledger = LedgerManager.from_queryset(WebhookEventQuerySet)()

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        permissions = [("reprocess_webhookevent", "Can reprocess webhook event")]
        indexes = [
            # With the id, which lists are ordered by: see `octo_stripe_gateway.api.lists`.
            index("webhook_event_received", "received_at", "id"),
            index("webhook_event_status", "status", "id", where=~Q(status="processed")),
            index("webhook_event_ours", "id", where=~Q(status="ignored")),
            index("webhook_event_type", "type", "id"),
            index("webhook_event_waiting", "id", where=Q(status__in=["received", "failed"])),
            index("webhook_event_intent", "payment_intent_id", where=~Q(payment_intent_id="")),
            index("webhook_event_test", "id", where=Q(livemode=False)),
            index("webhook_event_retry", "retry_at", where=Q(retry_at__isnull=False)),
        ]
        constraints = [
            unique("webhook_event", "stripe_event_id", "account", "stripe_account"),
            check(
                "webhook_event_status_known",
                Q(status__in=["received", "processed", "ignored", "failed"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"

    @property
    def origin(self) -> Origin:
        """Return whose Stripe objects the event is about."""
        return Origin(self.account, self.stripe_account, self.livemode)

    @property
    def is_finished(self) -> bool:
        """Tell whether nothing is left to do with it."""
        return self.status in FINISHED

    def minimize(self) -> None:
        """Reduce the payload to what the books need, which says nothing about a person."""
        self.payload = _minimize(self.payload)

    @property
    def is_thin(self) -> bool:
        """Tell whether it came without its object, which was asked for since."""
        return bool(self.payload.get("object") == THIN)

    @property
    def has_object(self) -> bool:
        """Tell whether the event brings its object along, which thin events don't."""
        content = self.payload.get("data")
        return isinstance(content, dict) and isinstance(content.get("object"), dict)

    def schedule_retry(self) -> None:
        """Set when to process it again: after a pause as long as it has waited, never if it is finished."""
        now = timezone.now()
        waited = now - (self.received_at or now)
        pause = min(max(waited, SHORTEST_PAUSE), LONGEST_PAUSE)
        self.retry_at = None if self.is_finished else now + pause

    @property
    def stripe_object(self) -> dict[str, Any]:
        """Return the object that the event is about, as it was then; raises BadRequestError."""
        if not self.has_object:
            raise BadRequestError("The event has no object.")
        stripe_object: dict[str, Any] = self.payload["data"]["object"]
        return stripe_object

    @property
    def metadata(self) -> dict[str, str]:
        """Return the object's metadata."""
        return read_metadata(self.stripe_object)

    @property
    def as_of(self) -> int:
        """Return the second of Stripe's clock that the event's object is a snapshot of."""
        return read_time(self.payload, "created")

    @property
    def api_version(self) -> str:
        """Return the API version that the event's endpoint is set to."""
        return str(self.payload.get("api_version") or "")

    def read_payment_intent_id(self) -> str:
        """Return the id of the intent that the event is about, empty where it is about none."""
        stripe_object = self.stripe_object
        is_intent = stripe_object.get("object") == "payment_intent"
        return read_id(stripe_object, "id" if is_intent else "payment_intent")


def _minimize(stripe_object: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name in RETAINED_EVENT_FIELDS & stripe_object.keys():
        value = stripe_object[name]
        if name == "data" and isinstance(value, dict) and isinstance(value.get("object"), dict):
            kept[name] = {"object": _minimize(value["object"])}
        elif isinstance(value, dict):
            # An object that was expanded.
            kept[name] = value.get("id")
        elif not isinstance(value, list):
            kept[name] = value
    return kept
