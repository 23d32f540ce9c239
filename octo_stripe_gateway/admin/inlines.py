"""A payable's payments on the host's own page of it."""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.admin import GenericTabularInline
from django.contrib.contenttypes.forms import BaseGenericInlineFormSet
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.pages import OperationAdmin, ReadOnly
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import Payment, compute_dues, is_priced


class PaymentFormSet(BaseGenericInlineFormSet):  # type: ignore[type-arg] # it takes none at run time
    """Knows what a payable owes from the payments that are shown, and what can be done with them all."""

    operations: list[dict[str, Any]] = []  # each page has a class of its own

    @property
    def dues(self) -> list[tuple[Any, Any]]:
        """Return what a priced payable owes, by label; nothing for others."""
        payable: Any = self.instance
        if payable.pk is None or not is_priced(payable):
            return []
        try:
            return display.show_dues(compute_dues(payable, self.get_queryset()))
        except ConfigurationError as error:
            return [(_("due"), error.message)]


class PaymentInline(display.PaymentColumns, ReadOnly, GenericTabularInline):
    """Shows what is due of an object and its payments, each with its page; nothing can be changed here.

    ::

        from octo_stripe_gateway.admin import PaymentInline

        @admin.register(Booking)
        class BookingAdmin(admin.ModelAdmin):
            inlines = [PaymentInline]

    Only users who may view payments see it. The model needs no `PaymentRelation` for it.
    """

    model = Payment
    formset = PaymentFormSet  # type: ignore[assignment] # the stubs want one of a foreign key
    ct_field = "payable_type"
    ct_fk_field = "payable_id"
    template = "admin/octo_stripe_gateway/payment_inline.html"
    verbose_name_plural = _("payments")
    extra = 0
    ordering = ("-pk",)
    fields = readonly_fields = ("page", "state", "money", "refunded", "mode", "created")

    page = display.link_column(_("payment"), display.show_payment)

    class Media:
        css = {"all": ["octo_stripe_gateway/admin.css"]}

    def get_formset(self, request: HttpRequest, obj: Model | None = None, **kwargs: Any) -> Any:
        """Add the operations of the payable's own admin."""
        formset: Any = super().get_formset(request, obj, **kwargs)
        payable_admin = self.admin_site._registry.get(self.parent_model)
        if obj is not None and isinstance(payable_admin, OperationAdmin):
            formset.operations = payable_admin.list_operations(request, obj)
        return formset
