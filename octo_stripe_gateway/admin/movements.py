"""What moved in Stripe's balance, as Stripe booked it."""

from __future__ import annotations

from operator import attrgetter

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.change_lists import DateFilter
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.models import BalanceTransaction, Payment


@admin.register(BalanceTransaction)
class BalanceTransactionAdmin(LedgerAdmin[BalanceTransaction]):
    """Lists movements of money, the latest first; their payments' list exports them."""

    list_display = ("moved", "category", "about", "money", "kept", "left")
    list_filter = (("moved_at", DateFilter),)
    list_select_related = ("payment",)
    ordering = ("-moved_at", "-pk")
    sortable_by = ("moved",)
    search_fields = ("stripe_balance_transaction_id__exact",)
    search_help_text = _("Stripe's id of the balance transaction")
    fieldsets = (
        (None, {"fields": ("category", "about", "money", "kept", "left", "rate")}),
        (_("At Stripe"), {"fields": ("movement", "source")}),
        (_("Times"), {"description": display.zone_note(), "fields": ("moved", "available")}),
    )

    moved = display.time_column(_("moved"), "moved_at", ordering="moved_at")
    category = display.column(_("category"), lambda row: display.spell(row.reporting_category))
    rate = display.column(_("exchange rate"), display.show_rate)
    movement = display.column(_("balance transaction"), attrgetter("stripe_balance_transaction_id"))
    source = display.column(_("object at Stripe"), attrgetter("source_id"))
    available = display.time_column(_("paid out from"), "available_at")
    money = display.money_column(_("amount"), "amount")
    kept = display.money_column(_("fee"), "fee")
    left = display.money_column(_("net"), "net")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BalanceTransaction]:
        """Return what moved because of payments that the user may see."""
        return self.narrow_to_payments(request, super().get_queryset(request))

    @admin.display(description=_("payment"))
    def about(self, obj: BalanceTransaction) -> SafeString:
        """Return the payment."""
        url = display.get_change_url(Payment, obj.payment.pk, site=self.admin_site)
        return display.show_link(url, text=display.get_number(obj.payment))
