"""What priced payables owe, as of when that was last worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.lists import ListFilter
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.models import PayableLock
from octo_stripe_gateway.services.dues import list_dues


class OverdueFilter(ListFilter):
    """Offers payables with a late installment."""

    title, parameter_name = _("what needs attention"), "attention"
    options = (("overdue", _("Overdue")),)

    def narrow(self, rows: Any, value: str) -> Any:
        if value == "overdue":
            rows = rows.overdue(now=timezone.now()).order_by("next_due_at")
        return rows


@admin.register(PayableLock)
class PayableLockAdmin(LedgerAdmin[PayableLock]):
    """Lists what is due of each payable, worked out anew whenever it is shown."""

    list_display = ("payable_link", "due", "next_due")
    list_filter = (OverdueFilter,)
    list_display_links = None
    ordering = ("-pk",)
    sortable_by = ("next_due",)
    fieldsets = ((None, {"description": display.ZONE_NOTE, "fields": ("payable_link", "due", "next_due")}),)

    payable_link = display.link_column(_("for"), display.show_payable)
    due = display.column(
        _("due"), lambda row: row.currency and display.show_money(row.amount_due, currency=row.currency)
    )
    next_due = display.time_column(_("next due"), "next_due_at", ordering="next_due_at")

    def join_related(self, rows: Sequence[PayableLock]) -> None:
        """Set in memory what payables owe now; where that can't be told, what was last known stays."""
        for lock, dues in list_dues(rows):
            lock.set_due(dues)

    def get_subtitle(self, obj: PayableLock) -> Any:
        return self.payable_link(obj)
