"""A payable's payments on the host's own page of it."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.contenttypes.admin import GenericTabularInline
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.display import PaymentColumns, get_change_url, get_number, show_link
from octo_stripe_gateway.admin.pages import ReadOnly
from octo_stripe_gateway.models import Payment


class PaymentInline(PaymentColumns, ReadOnly, GenericTabularInline):
    """Shows an object's payments, each with a link to its page; nothing can be changed here.

    ::

        from octo_stripe_gateway.admin import PaymentInline

        @admin.register(Booking)
        class BookingAdmin(admin.ModelAdmin):
            inlines = [PaymentInline]

    Users see it who may view payments. The model needs no `PaymentRelation` for it.
    """

    model = Payment
    ct_field = "payable_type"
    ct_fk_field = "payable_id"
    template = "admin/octo_stripe_gateway/payment_inline.html"
    verbose_name_plural = _("payments")
    extra = 0
    ordering = ("-pk",)
    fields = readonly_fields = ("page", "state", "money", "refunded", "mode", "created")

    class Media:
        css = {"all": ["octo_stripe_gateway/admin.css"]}

    @admin.display(description=_("payment"))
    def page(self, obj: Payment) -> SafeString:
        """Return the payment's page."""
        return show_link(get_change_url(Payment, obj.pk, site=self.admin_site), text=get_number(obj))
