"""The admin of the shop's bookings, each shown with its payments."""

from django.contrib import admin

from octo_stripe_gateway.admin import PaymentInline, RefundPayableMixin
from tourshop.models import Booking


@admin.register(Booking)
class BookingAdmin(RefundPayableMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows a booking with its balance and payments, which staff can refund from there."""

    list_display = ["reference", "tour", "date", "people", "status"]
    inlines = [PaymentInline]
