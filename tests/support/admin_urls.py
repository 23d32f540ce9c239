"""The tests' project with an admin, in which the shop's bookings show their payments."""

from django.contrib import admin
from django.urls import include, path

from octo_stripe_gateway.admin import PaymentInline, RefundPayableMixin
from tests.shop.models import Booking


class BookingAdmin(RefundPayableMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    inlines = [PaymentInline]
    search_fields = ["=price"]


if not admin.site.is_registered(Booking):
    admin.site.register(Booking, BookingAdmin)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("tests.support.urls")),
]
