"""Narrow tables with just the columns that this work needs."""

from __future__ import annotations

import uuid
from typing import ClassVar, Self

from django.db import models


class Payment(models.Model):
    uuid = models.UUIDField(default=uuid.uuid4, unique=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    status = models.CharField(max_length=16, default="pending")
    stripe_payment_intent_id = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001
    amount_received = models.BigIntegerField(default=0)
    amount_refunded = models.BigIntegerField(default=0)
    amount_reserved = models.BigIntegerField(default=0)
    metadata = models.JSONField(default=dict)
    owner = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    updated_at = models.DateTimeField(auto_now=True)
    confirmed_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"
        indexes = [models.Index("owner", "created_at", condition=~models.Q(owner=""), name="hand_owner")]

    def __str__(self) -> str:
        return str(self.uuid)


class Booking(models.Model):
    """What our payments are for."""

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"

    def __str__(self) -> str:
        return str(self.pk)

    def get_payment_amount(self) -> tuple[int, str]:
        return 2000, "usd"


class Event(models.Model):
    stripe_event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"

    def __str__(self) -> str:
        return self.stripe_event_id


class Request(models.Model):
    """What Stripe is asked for; `key` is its idempotency key."""

    payment = models.ForeignKey(Payment, models.CASCADE)
    kind = models.CharField(max_length=16)
    key = models.UUIDField(default=uuid.uuid4)
    parameters = models.JSONField()
    state = models.CharField(max_length=16, default="open")
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"

    def __str__(self) -> str:
        return self.kind


class Refund(models.Model):
    payment = models.ForeignKey(Payment, models.CASCADE)
    stripe_refund_id = models.CharField(max_length=255, null=True, unique=True)  # noqa: DJ001
    amount = models.BigIntegerField()
    status = models.CharField(max_length=16, default="pending")

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"

    def __str__(self) -> str:
        return self.status


class Change(models.Model):
    """The journal."""

    payment = models.ForeignKey(Payment, models.CASCADE)
    changes = models.JSONField()
    event_id = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    class Meta:
        app_label = "hand"

    def __str__(self) -> str:
        return ", ".join(self.changes)
