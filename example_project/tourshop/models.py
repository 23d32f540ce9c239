"""What the shop sells, and what has been booked."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import PaymentRejectedError, UnprocessableError
from octo_stripe_gateway.models import Payment, PaymentRelation

REFERENCE_LENGTH = 8
UNMISTAKABLE = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
BALANCE_DUE = dt.timedelta(days=30)
FREE_CANCELLATION = dt.timedelta(days=3)


def make_reference() -> str:
    """Return a booking reference that can't be guessed, without letters that look like digits."""
    return get_random_string(REFERENCE_LENGTH, UNMISTAKABLE)


class Tour(models.Model):
    """A tour; the price per person is in the currency's minor unit, the deposit a percentage of it."""

    name = models.CharField(max_length=100)
    description = models.TextField()
    price = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    deposit = models.PositiveSmallIntegerField(default=0)

    objects: ClassVar[models.Manager[Tour]] = models.Manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.name


def get_hold() -> dt.timedelta:
    """Return for how long places are held until they are paid."""
    hold: dt.timedelta = getattr(settings, "HOLD")  # noqa: B009 - a setting of this shop's own
    return hold


class Cart(models.Model):
    """Some bookings that one payment is for, such as a reseller's."""

    created_at = models.DateTimeField(auto_now_add=True)
    payments = PaymentRelation(related_query_name="cart")

    objects: ClassVar[models.Manager[Cart]] = models.Manager()

    def __str__(self) -> str:
        return f"Cart {self.pk}"

    @property
    def status(self) -> str:
        """Return CONFIRMED once every booking is."""
        statuses = set(Booking.objects.filter(cart=self).values_list("status", flat=True))
        return "CONFIRMED" if statuses == {"CONFIRMED"} else "PENDING"

    def get_payment_amount(self) -> tuple[int, str]:
        """Tell the payment API the sum; an empty cart costs nothing."""
        bookings = list(Booking.objects.filter(cart=self))
        currencies = {booking.currency for booking in bookings} or {"eur"}
        if len(currencies) > 1:
            raise UnprocessableError(_("The bookings of a cart are in one currency."))
        return sum(booking.amount for booking in bookings), currencies.pop()

    def on_payment_completed(self, payment: Payment) -> None:
        """Confirm every booking, or refuse money for one that was given up or paid otherwise."""
        bookings = Booking.objects.filter(cart=self)
        waiting = bookings.filter(status=Booking.Status.PENDING)
        if waiting.update(status=Booking.Status.CONFIRMED) != bookings.count():
            raise PaymentRejectedError(_("A booking of this cart is not waiting for a payment."))


class BookingManager(models.Manager["Booking"]):
    """Queries for bookings by state."""

    def lapsed(self) -> models.QuerySet[Booking]:
        """Return the bookings whose hold ran out before a payment was begun."""
        pending = self.filter(status=Booking.Status.PENDING, payments__isnull=True)
        return pending.filter(created_at__lte=timezone.now() - get_hold())


class Booking(models.Model):
    """Some places on a tour, for the price that was shown when they were booked."""

    class Status(models.TextChoices):
        PENDING = "PENDING"
        CONFIRMED = "CONFIRMED"
        CANCELLED = "CANCELLED"

    reference = models.CharField(primary_key=True, max_length=REFERENCE_LENGTH, default=make_reference)
    visitor = models.CharField(max_length=32, db_index=True)
    tour = models.ForeignKey(Tour, models.PROTECT)
    people = models.PositiveSmallIntegerField(validators=[MinValueValidator(1), MaxValueValidator(8)])
    date = models.DateField()
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    amount = models.PositiveIntegerField()
    currency = models.CharField(max_length=3)
    created_at = models.DateTimeField(auto_now_add=True)
    cart = models.ForeignKey(Cart, models.SET_NULL, null=True, blank=True, related_name="bookings")
    payments = PaymentRelation(related_query_name="booking")

    objects: ClassVar[BookingManager] = BookingManager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.reference

    def get_payment_amount(self) -> tuple[int, str]:
        """Tell the payment API the price, so that no browser can."""
        return self.amount, self.currency

    @property
    def start(self) -> dt.datetime:
        """Return when the tour's day begins."""
        return timezone.make_aware(dt.datetime.combine(self.date, dt.time()))

    def get_installments(self) -> list[tuple[str, int, dt.datetime | None]]:
        """Ask for a deposit now and the rest a month ahead, where the tour has one."""
        deposit = self.amount * self.tour.deposit // 100
        if not deposit:
            return []
        return [("deposit", deposit, None), ("balance", self.amount - deposit, self.start - BALANCE_DUE)]

    def get_refund_terms(self) -> list[tuple[dt.datetime, Decimal]]:
        """Give all of the money back until some days before the tour, and half until it begins."""
        return [(self.start - FREE_CANCELLATION, Decimal(1)), (self.start, Decimal("0.5"))]

    def get_payment_deadline(self) -> dt.datetime | None:
        """Hold the places for a while: a confirmed booking has no deadline, a cancelled one has missed it."""
        if self.status == self.Status.CONFIRMED:
            return None
        hold = get_hold() if self.status == self.Status.PENDING else dt.timedelta(0)
        return self.created_at + hold

    def on_payment_completed(self, payment: Payment) -> None:
        """Confirm the booking with its first payment, or refuse money for one that was given up."""
        waiting = Booking.objects.filter(pk=self.pk).exclude(status=self.Status.CANCELLED)
        if not waiting.update(status=self.Status.CONFIRMED):
            raise PaymentRejectedError(_("This booking is not waiting for a payment."))
