"""The ledger's rows, and the rules by which a fact from Stripe changes one."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, Self, runtime_checkable

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.exceptions import BadRequestError, PaymentNotFoundError
from octo_stripe_gateway.facts import (
    DISPUTE_STAGES,
    LARGEST_INTEGER,
    PAYMENT_METADATA_KEY,
    REFUND_METADATA_KEY,
    ChargeFact,
    DisputeFact,
    PaymentIntentFact,
    Precedence,
    RefundFact,
    read_id,
    read_metadata,
    read_time,
)
from octo_stripe_gateway.rows import RowQuerySet

STRIPE_ID_LENGTH = 255
KEPT_OF_EVENTS = frozenset(
    "id object type created livemode account api_version data status amount amount_received"
    " amount_capturable amount_refunded currency payment_intent charge latest_charge refunded reason".split()
)
INTEGER_ID = re.compile(r"[1-9][0-9]{0,18}")


@runtime_checkable
class PricedPayable(Protocol):
    """A payable that says its price, so that no client can."""

    def get_payment_amount(self) -> tuple[int, str]:
        """Return the amount in Stripe's minor unit, and the currency."""


@runtime_checkable
class ConsentingPayable(Protocol):
    """A payable that has a last word before a payment counts as paid."""

    def on_payment_completed(self, payment: Payment) -> None:
        """Take note under the payment's lock; raise PaymentRefusedError to have the money go back."""


class PaymentQuerySet(RowQuerySet["Payment"]):
    """Payments, found as callers name them."""

    def get_by_public_id(self, public_id: str) -> Payment:
        """Return the payment with this integer id or uuid; raises PaymentNotFoundError."""
        named = _get_lookup(public_id)
        payment = self.find_one(**named) if named else None
        if payment is None:
            raise PaymentNotFoundError(_("No such payment."), paymentId=public_id)
        return payment

    def owned_by(self, owner: str) -> Self:
        """Return the owner's payments."""
        return self.filter(idempotency_scope=owner)

    def includes(self, payment: Payment) -> bool:
        """Tell whether a payment is one of these."""
        return not self._is_narrowed or self.filter(pk=payment.pk).exists()

    def unsettled(self, *, since: dt.datetime, until: dt.datetime) -> Self:
        """Return those created before `until` of which Stripe may know something later than the row.

        Those that nobody may ever pay are left alone from the age of `since` on. Money that is held or on
        its way back is looked at however old the payment is.
        """
        earlier = self.filter(created_at__lt=until)
        recent = earlier.filter(created_at__gte=since)
        open_refunds = Refund.objects.using(self.db).filter(status__in=Refund.OPEN_STATUSES)
        # Each of these has an index of its own, which one condition with OR would not use.
        found = recent.filter(status=Payment.Status.PENDING).values("pk")
        found = found.union(
            recent.filter(status=Payment.Status.FAILED, stripe_payment_intent_id__isnull=False).values("pk"),
            earlier.filter(status=Payment.Status.AUTHORIZED).values("pk"),
            earlier.filter(pk__in=open_refunds.values("payment")).values("pk"),
        )
        return self.filter(pk__in=found)

    def created_between(self, since: dt.datetime, until: dt.datetime) -> Self:
        """Return those created from one moment up to another, this excluded."""
        return self.filter(created_at__gte=since, created_at__lt=until)

    def in_batches(self, size: int) -> Iterator[list[Payment]]:
        """Yield all of them by id, a batch at a time, beside live traffic; only their ids are kept."""
        ids = array("q", self.order_by("pk").values_list("pk", flat=True).iterator())
        for start in range(0, len(ids), size):
            batch = Payment.objects.using(self.db).filter(pk__in=ids[start : start + size])
            yield list(batch.order_by("pk"))

    def get_locked(self, pk: int) -> Payment:
        """Return the payment with its row locked until the transaction ends."""
        payment = self.find_one(lock=True, id=pk)
        if payment is None:
            raise Payment.DoesNotExist
        return payment

    def find_locked(self, *, payment_intent_id: str, payment_uuid: str = "") -> Payment | None:
        """Return the intent's payment, locked.

        The uuid in the intent's metadata finds a row that doesn't know its intent yet.
        """
        payment = self.find_one(lock=True, stripe_payment_intent_id=payment_intent_id)
        if payment is None and is_uuid(payment_uuid):
            # The creation's answer may tell the row its intent while this waits for the lock.
            payment = self.find_one(lock=True, uuid=payment_uuid)
        known = payment and payment.stripe_payment_intent_id
        return payment if known in {None, payment_intent_id} else None


class Payment(models.Model):
    """One PaymentIntent, reserved here before Stripe is asked for it. Amounts are minor units."""

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        AUTHORIZED = "authorized", _("authorized")
        PAID = "paid", _("paid")
        FAILED = "failed", _("failed")
        CANCELED = "canceled", _("canceled")
        REFUNDED = "refunded", _("refunded")

    class CaptureMethod(models.TextChoices):
        AUTOMATIC = "automatic", _("automatic")
        MANUAL = "manual", _("manual")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    capture_method = models.CharField(max_length=16, choices=CaptureMethod, default=CaptureMethod.AUTOMATIC)
    metadata = models.JSONField(default=dict, blank=True)
    reseller_reference = models.CharField(max_length=255, blank=True)
    # The index of it together with the id serves for it alone.
    payable_type = models.ForeignKey(ContentType, models.PROTECT, null=True, blank=True, db_index=False)
    payable_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - null with its type
    payable = GenericForeignKey("payable_type", "payable_id")

    stripe_payment_intent_id = models.CharField(  # noqa: DJ001 - unique once it is known
        max_length=STRIPE_ID_LENGTH, null=True, unique=True, editable=False
    )
    stripe_charge_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    stripe_account = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    stripe_params = models.JSONField(
        default=dict, help_text=_("What Stripe was asked for, so that a repeat asks the same.")
    )
    stripe_attempt = models.PositiveIntegerField(
        default=0, help_text=_("Raised when Stripe's answer to an idempotency key is an error.")
    )
    livemode = models.BooleanField(default=False)

    intent_status = models.CharField(max_length=64, blank=True)
    intent_as_of = models.BigIntegerField(default=0)
    amount_capturable = models.BigIntegerField(default=0)
    amount_received = models.BigIntegerField(default=0)
    amount_to_capture = models.BigIntegerField(null=True)
    charge_amount_refunded = models.BigIntegerField(default=0)
    charge_as_of = models.BigIntegerField(default=0)
    amount_refunded = models.BigIntegerField(default=0)
    refunds_total = models.BigIntegerField(
        default=0, help_text=_("All refunds heard of, also before the payment itself is.")
    )
    amount_reserved = models.BigIntegerField(
        default=0, help_text=_("Refunds asked for that Stripe has not answered yet.")
    )
    disputed = models.BooleanField(default=False)
    stripe_dispute_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    dispute_status = models.CharField(max_length=64, blank=True)
    dispute_created = models.BigIntegerField(default=0)
    dispute_as_of = models.BigIntegerField(default=0)
    failure_code = models.CharField(max_length=255, blank=True)
    failure_message = models.TextField(blank=True)
    accepted = models.BooleanField(default=False, help_text=_("Whether the host has agreed to the payment."))
    refusal = models.TextField(blank=True, help_text=_("Why the host did not want the payment."))
    mismatch = models.TextField(
        blank=True, help_text=_("Why Stripe's object was not taken for this payment.")
    )

    idempotency_scope = models.CharField(max_length=255, blank=True)
    request_fingerprint = models.CharField(max_length=64, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    refunded_at = models.DateTimeField(null=True, blank=True)
    canceled_at = models.DateTimeField(null=True, blank=True)

    objects = PaymentQuerySet.as_manager()

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        indexes = [
            models.Index(fields=["created_at"], name="octo_payment_created"),
            models.Index(fields=["payable_type", "payable_id"], name="octo_payment_payable"),
            # The rest are of the few rows that anybody looks for by it: what is in no index costs no writing.
            models.Index(
                fields=["status", "created_at"],
                condition=~models.Q(status="paid"),
                name="octo_payment_status",
            ),
            # The operator class lets PostgreSQL find a text by its beginning; other databases ignore it.
            models.Index(
                fields=["reseller_reference"],
                condition=~models.Q(reseller_reference=""),
                opclasses=["varchar_pattern_ops"],
                name="octo_payment_reference",
            ),
            models.Index(
                fields=["stripe_charge_id"],
                condition=~models.Q(stripe_charge_id=""),
                opclasses=["varchar_pattern_ops"],
                name="octo_payment_charge",
            ),
            models.Index(fields=["id"], condition=models.Q(disputed=True), name="octo_payment_disputed"),
            models.Index(fields=["id"], condition=~models.Q(mismatch=""), name="octo_payment_mismatch"),
            models.Index(fields=["id"], condition=models.Q(livemode=False), name="octo_payment_test"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="octo_payment_amount"),
        ]
        permissions = [
            ("refund_payment", "Can refund payment"),
            ("capture_payment", "Can capture payment"),
            ("cancel_payment", "Can cancel payment"),
            ("sync_payment", "Can sync payment from Stripe"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def owner(self) -> str:
        """Return whose payment it is, empty for the integrator's own."""
        return self.idempotency_scope

    @property
    def is_paid(self) -> bool:
        """Tell whether Stripe has the money, refunded in part or not at all."""
        return self.status == self.Status.PAID

    @property
    def amount_refundable(self) -> int:
        """Return what is left to refund, with refunds under way counted as gone."""
        return max(0, self.amount_received - self.amount_refunded - self.amount_reserved)

    @property
    def intent_precedence(self) -> Precedence:
        """Return what a new fact of the intent must exceed to hold."""
        return Precedence.of_intent(
            self.intent_status,
            as_of=self.intent_as_of,
            failure_code=self.failure_code,
            failure_message=self.failure_message,
            charge_id=self.stripe_charge_id,
            amount_received=self.amount_received,
            amount_capturable=self.amount_capturable,
        )

    @property
    def awaits_consent(self) -> bool:
        """Tell whether the money is secured and the host has not been asked about it."""
        secured = self.intent_status in {"requires_capture", "succeeded"}
        return secured and not self.accepted and not self.refusal

    @property
    def is_unwanted(self) -> bool:
        """Tell whether the host refused the payment and its money has not been sent back."""
        return bool(self.refusal) and (self.intent_status == "requires_capture" or self.amount_reserved > 0)

    def find_mismatch(self, fact: PaymentIntentFact) -> str:
        """Return what of an intent contradicts this row, empty where nothing does."""
        expected = {
            "id": self.stripe_payment_intent_id or fact.id,
            "amount": self.amount,
            "currency": self.currency,
            "livemode": self.livemode,
        }
        if fact.status == "succeeded" and self.capture_method == self.CaptureMethod.AUTOMATIC:
            expected["amount_received"] = self.amount
        most = {"amount_received": self.amount, "amount_capturable": self.amount}
        return _compare(fact, expected=expected, most=most)

    def find_charge_mismatch(self, fact: ChargeFact | DisputeFact) -> str:
        """Return what of a charge or its dispute contradicts this row, empty where nothing does."""
        expected = {
            "payment_intent_id": self.stripe_payment_intent_id or fact.payment_intent_id,
            "livemode": self.livemode,
        }
        if isinstance(fact, DisputeFact):
            return _compare(fact, expected=expected)
        return _compare(
            fact, expected=expected | {"currency": self.currency}, most={"amount_refunded": self.amount}
        )

    def take_intent(self, fact: PaymentIntentFact) -> None:
        """Take over how the intent stands, unless the row knows something later."""
        self.stripe_payment_intent_id = fact.id
        self._date_outcome(fact)
        if fact.precedence <= self.intent_precedence:
            return
        self.intent_status = fact.status
        self.intent_as_of = fact.as_of
        self.amount_capturable = fact.amount_capturable
        self.amount_received = fact.amount_received
        self.stripe_charge_id = fact.charge_id
        self.failure_code = fact.failure_code
        self.failure_message = fact.failure_message
        self.update_status()

    def take_charge(self, fact: ChargeFact) -> None:
        """Take over a charge's refunded total; of one second's totals the largest is the last."""
        known = (self.charge_as_of, self.charge_amount_refunded)
        if (fact.as_of, fact.amount_refunded) > known:
            self.charge_as_of, self.charge_amount_refunded = fact.as_of, fact.amount_refunded
        self.disputed = self.disputed or fact.disputed

    def take_dispute(self, fact: DisputeFact) -> None:
        """Take over how the latest dispute stands, unless the row knows something later."""
        self.disputed = True
        stage = DISPUTE_STAGES.get(self.dispute_status, 0)
        known = (self.dispute_created, self.stripe_dispute_id, stage, self.dispute_as_of, self.dispute_status)
        stage = DISPUTE_STAGES.get(fact.status, 0)
        if (fact.created, fact.id, stage, fact.as_of, fact.status) > known:
            self.stripe_dispute_id, self.dispute_status = fact.id, fact.status
            self.dispute_created, self.dispute_as_of = fact.created, fact.as_of

    def take_refusal(self, *, code: str, message: str) -> None:
        """Note that Stripe refused to make the intent."""
        self.failure_code = code or "refused"
        self.failure_message = message
        self.update_status()

    def take_consent(self, refusal: str = "") -> None:
        """Note that the host wants the payment, or why not."""
        if refusal:
            self.refusal = refusal
            self.confirmed_at = None
            self.update_status()
        else:
            self.accepted = True

    def update_refunded(self, refunds: Iterable[Refund]) -> None:
        """Work out the refunded and reserved totals from all that is known of refunds and charge.

        Refunded are the refunds that stand, and what the charge's total holds beyond the refunds that were
        in it at its time: those happened at Stripe, and we have not heard of them singly. Facts may come in
        any order, so nothing counts as refunded before it is known to have been received.
        """
        rows = list(refunds)
        standing = sum(refund.amount for refund in rows if refund.is_live)
        known = sum(refund.amount for refund in rows if refund.was_in_charge_total(as_of=self.charge_as_of))
        unheard_of = max(0, self.charge_amount_refunded - known)
        self.refunds_total = standing + unheard_of
        self.amount_reserved = sum(refund.amount for refund in rows if refund.is_reserved)
        self.update_status()

    def update_status(self) -> None:
        """Derive the status from the facts in the row.

        `failed_at` and `refunded_at` tell when the row came to stand so, which depends on what came first.
        """
        self.amount_refunded = min(self.refunds_total, self.amount_received)
        self.status = self._get_status()
        self.failed_at = (self.failed_at or self._get_since()) if self.status == "failed" else None
        now = dt.datetime.now(tz=dt.UTC)
        self.refunded_at = (self.refunded_at or now) if self.status == "refunded" else None

    def _get_status(self) -> Payment.Status:
        if self.intent_status == "succeeded":
            refunded = 0 < self.amount_received <= self.amount_refunded
            if refunded:
                return self.Status.REFUNDED
            return self.Status.FAILED if self.refusal else self.Status.PAID
        if self.intent_status == "requires_capture":
            return self.Status.FAILED if self.refusal else self.Status.AUTHORIZED
        if self.intent_status == "canceled":
            return self.Status.CANCELED
        return self.Status.FAILED if self.failure_code else self.Status.PENDING

    def _date_outcome(self, fact: PaymentIntentFact) -> None:
        # The earliest fact tells best when it came to that, also where it arrives after a later one.
        moment = _get_moment(fact.as_of)
        if fact.status == "succeeded" and not self.refusal:
            self.confirmed_at = min(self.confirmed_at or moment, moment)
        if fact.status == "canceled":
            self.canceled_at = min(self.canceled_at or moment, moment)

    def _get_since(self) -> dt.datetime:
        return _get_moment(self.intent_as_of) if self.intent_as_of else dt.datetime.now(tz=dt.UTC)


class RefundQuerySet(RowQuerySet["Refund"]):
    """Refunds, found by their payment."""

    def get_all_of(self, payment: Payment) -> list[Refund]:
        """Return a payment's refunds by id, each of which knows it."""
        refunds = sorted(self.find(payment_id=payment.pk), key=lambda refund: refund.pk)
        for refund in refunds:
            refund.payment = payment
        return refunds


class Refund(models.Model):
    """One refund, reserved here before Stripe is asked for it, or found at Stripe."""

    RESERVED = "reserved"
    OPEN_STATUSES = (RESERVED, "pending", "requires_action")

    class Reason(models.TextChoices):
        DUPLICATE = "duplicate", _("duplicate")
        FRAUDULENT = "fraudulent", _("fraudulent")
        REQUESTED_BY_CUSTOMER = "requested_by_customer", _("requested by customer")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    payment = models.ForeignKey(Payment, models.PROTECT, related_name="refunds")
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=64, blank=True)
    status = models.CharField(
        max_length=64, default=RESERVED, help_text=_("Stripe's word, or reserved until it answers.")
    )
    status_as_of = models.BigIntegerField(default=0)
    failure_reason = models.CharField(max_length=255, blank=True)
    stripe_refund_id = models.CharField(  # noqa: DJ001 - unique once it is known
        max_length=STRIPE_ID_LENGTH, null=True, unique=True, editable=False
    )
    stripe_attempt = models.PositiveIntegerField(default=0)
    stripe_created = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = RefundQuerySet.as_manager()

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        indexes = [
            models.Index(
                fields=["payment"],
                condition=models.Q(status__in=["reserved", "pending", "requires_action"]),
                name="octo_refund_open",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="octo_refund_amount"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @property
    def is_reserved(self) -> bool:
        """Tell whether Stripe has not answered yet."""
        return self.status == self.RESERVED

    @property
    def is_live(self) -> bool:
        """Tell whether Stripe counts the amount as refunded; pending refunds do."""
        return not self.is_reserved and self.status not in {"failed", "canceled"}

    @property
    def precedence(self) -> Precedence:
        """Return what a new fact of the refund must exceed to hold."""
        return Precedence.of_refund(self.status, as_of=self.status_as_of, failure_reason=self.failure_reason)

    def find_mismatch(self, fact: RefundFact) -> str:
        """Return what of a refund contradicts this row or its payment, empty where nothing does."""
        expected = {
            "payment_intent_id": self.payment.stripe_payment_intent_id or fact.payment_intent_id,
            "currency": self.payment.currency,
            "amount": self.amount,
        }
        mismatch = _compare(fact, expected=expected, most={"amount": self.payment.amount})
        return mismatch and f"refund {fact.id}: {mismatch}"

    def was_in_charge_total(self, *, as_of: int) -> bool:
        """Tell whether a charge's refunded total of that moment holds this refund's amount.

        A refund that failed in the same second as the total was taken counts as still in it.
        """
        if not self.stripe_refund_id or self.stripe_created > as_of:
            return False
        return self.is_live or self.status_as_of >= as_of

    def take(self, fact: RefundFact) -> None:
        """Take over how the refund stands, unless the row knows something later.

        What a row says that never heard from Stripe is our own guess, which any fact replaces.
        """
        is_first = self.stripe_refund_id is None
        self.stripe_refund_id = fact.id
        self.stripe_created = fact.created
        if fact.precedence <= self.precedence and not is_first:
            return
        self.status = fact.status
        self.status_as_of = fact.as_of
        self.reason = fact.reason or self.reason
        self.failure_reason = fact.failure_reason


class IdempotencyKey(models.Model):
    """A key that a caller sent, and what it stands for; kept for good, unlike Stripe's."""

    scope = models.CharField(max_length=255, blank=True)
    key = models.CharField(max_length=255)
    request_fingerprint = models.CharField(max_length=64)
    payment = models.ForeignKey(Payment, models.CASCADE, related_name="+")
    refund = models.ForeignKey(Refund, models.CASCADE, null=True, related_name="idempotency_keys")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="octo_idempotency_key"),
        ]

    def __str__(self) -> str:
        return self.key


class WebhookEventQuerySet(RowQuerySet["WebhookEvent"]):
    """Events by what is to be done with them."""

    def unprocessed(self, *, until: dt.datetime) -> Self:
        """Return those that failed, or were taken in before that moment and are still to be processed."""
        received = models.Q(status=WebhookEvent.Status.RECEIVED, received_at__lt=until)
        return self.filter(received | models.Q(status=WebhookEvent.Status.FAILED))

    def finished(self, *, until: dt.datetime) -> Self:
        """Return those taken in before that moment with nothing left to do."""
        done = [WebhookEvent.Status.PROCESSED, WebhookEvent.Status.IGNORED]
        return self.filter(status__in=done, received_at__lt=until)


class WebhookEvent(models.Model):
    """One event that Stripe signed, taken in once however often it is delivered."""

    class Status(models.TextChoices):
        RECEIVED = "received", _("received")
        PROCESSED = "processed", _("processed")
        IGNORED = "ignored", _("ignored")
        FAILED = "failed", _("failed")

    stripe_event_id = models.CharField(max_length=STRIPE_ID_LENGTH)
    stripe_account = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    type = models.CharField(max_length=255)
    livemode = models.BooleanField(default=False)
    payload = models.JSONField(help_text=_("As Stripe sent it, without client secrets."))
    payment = models.ForeignKey(
        Payment, models.SET_NULL, null=True, blank=True, related_name="webhook_events"
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    received_at = models.DateTimeField(auto_now_add=True)
    processed_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        permissions = [("reprocess_webhookevent", "Can reprocess webhook event")]
        indexes = [
            models.Index(fields=["status", "received_at"], name="octo_webhook_event_status"),
            models.Index(fields=["id"], condition=models.Q(livemode=False), name="octo_webhook_event_test"),
            # What most payments never come to.
            models.Index(
                fields=["type", "id"],
                condition=models.Q(
                    type__in=[
                        "charge.dispute.closed",
                        "charge.dispute.created",
                        "charge.dispute.updated",
                        "charge.refund.updated",
                        "payment_intent.amount_capturable_updated",
                        "payment_intent.canceled",
                        "payment_intent.processing",
                        "refund.failed",
                    ]
                ),
                name="octo_webhook_event_rare",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["stripe_event_id", "stripe_account"], name="octo_webhook_event"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_event_id}"

    @property
    def is_finished(self) -> bool:
        """Tell whether nothing is left to do with it."""
        return self.status in {self.Status.PROCESSED, self.Status.IGNORED}

    def minimize(self) -> None:
        """Keep of the payload what the books need, which says nothing about a person."""
        self.payload = _minimize(self.payload)

    @property
    def stripe_object(self) -> dict[str, Any]:
        """Return the object that the event is about, as it was then; raises BadRequestError."""
        content = self.payload.get("data")
        stripe_object = content.get("object") if isinstance(content, dict) else None
        if not isinstance(stripe_object, dict):
            raise BadRequestError("The event has no object.")
        return stripe_object

    @property
    def payment_intent_id(self) -> str:
        """Return the id of the intent that the event is about, empty where it is about none."""
        stripe_object = self.stripe_object
        is_intent = stripe_object.get("object") == "payment_intent"
        return read_id(stripe_object, "id" if is_intent else "payment_intent")

    @property
    def payment_uuid(self) -> str:
        """Return the uuid that the object's metadata names, empty where it names none."""
        return read_metadata(self.stripe_object, PAYMENT_METADATA_KEY)

    @property
    def is_ours(self) -> bool:
        """Tell whether the object's metadata says that it was made by this app."""
        return bool(self.payment_uuid or read_metadata(self.stripe_object, REFUND_METADATA_KEY))

    @property
    def as_of(self) -> int:
        """Return the second of Stripe's clock at which the event's object stood so, in milliseconds."""
        return read_time(self.payload, "created")


def _minimize(stripe_object: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in stripe_object.items() if name in KEPT_OF_EVENTS}
    if isinstance(kept.get("data"), dict) and isinstance(kept["data"].get("object"), dict):
        kept["data"] = {"object": _minimize(kept["data"]["object"])}
    return kept


class PaymentRelation(GenericRelation):
    """A payable's payments; unlike a plain GenericRelation it keeps them when the payable goes."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("object_id_field", "payable_id")
        kwargs.setdefault("content_type_field", "payable_type")
        super().__init__(kwargs.pop("to", Payment), **kwargs)

    def bulk_related_objects(
        self, objs: Iterable[models.Model], using: str = "default"
    ) -> models.QuerySet[Payment]:
        """Return nothing for a deletion to take along."""
        return Payment.objects.using(using).none()


def _compare(fact: Any, *, expected: dict[str, Any], most: dict[str, int] | None = None) -> str:
    """Return where a fact differs from what is expected, or has more than it may."""
    differing = [
        f"{name} is {getattr(fact, name)!r}, not {value!r}"
        for name, value in expected.items()
        if getattr(fact, name) != value
    ]
    excessive = [
        f"{name} is {getattr(fact, name)!r}, more than {value!r}"
        for name, value in (most or {}).items()
        if getattr(fact, name) > value
    ]
    return "; ".join(differing + excessive)


def _get_moment(as_of: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(as_of // 1000, tz=dt.UTC)


def _get_lookup(public_id: str) -> dict[str, Any]:
    if INTEGER_ID.fullmatch(public_id) and int(public_id) <= LARGEST_INTEGER:
        return {"id": int(public_id)}
    return {"uuid": public_id} if is_uuid(public_id) else {}


def is_uuid(text: str) -> bool:
    """Tell whether a text is a uuid in its usual form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
