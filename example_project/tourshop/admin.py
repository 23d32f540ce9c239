"""The bookings as the shop's staff see them, each with its payments."""

from django.contrib import admin

from octo_stripe_gateway.admin import PaymentInline, RefundPayableMixin
from tourshop.models import Booking


@admin.register(Booking)
class BookingAdmin(RefundPayableMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows a booking with its balance and payments, from where they are refunded."""

    list_display = ["reference", "tour", "date", "people", "status"]
    inlines = [PaymentInline]
