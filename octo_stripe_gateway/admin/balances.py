"""What priced payables owe, as of when that was last worked out."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.display import NOTHING, show_money, show_payable, show_time, zone_note
from octo_stripe_gateway.admin.filters import ConcernFilter
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.models import PayableLock


@admin.register(PayableLock)
class BalanceAdmin(LedgerAdmin[PayableLock]):
    """Lists what is due; the payable's own page has its balance of this moment, with `PaymentInline`."""

    list_display = ("payable_link", "due", "next_due")
    list_filter = (ConcernFilter,)
    list_display_links = None
    ordering = ("-pk",)
    sortable_by = ("next_due",)
    fieldsets = ((None, {"description": zone_note(), "fields": ("payable_link", "due", "next_due")}),)

    @admin.display(description=_("for"))
    def payable_link(self, obj: PayableLock) -> SafeString | str:
        """Return what is paid for."""
        return show_payable(obj, site=self.admin_site)

    @admin.display(description=_("due"))
    def due(self, obj: PayableLock) -> SafeString | str:
        """Return what was owed when that was last worked out."""
        return show_money(obj.amount_due, currency=obj.currency) if obj.currency else NOTHING

    @admin.display(description=_("next due"), ordering="next_due_at")
    def next_due(self, obj: PayableLock) -> SafeString | str:
        """Return when the next part is due."""
        return show_time(obj.next_due_at) if obj.next_due_at else NOTHING

    def get_subtitle(self, obj: PayableLock) -> Any:
        """Return what is paid for."""
        return self.payable_link(obj)
