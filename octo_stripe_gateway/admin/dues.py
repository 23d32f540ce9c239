"""What priced payables owe, as of when that was last worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.lists import IndexedChangeList, ListFilter
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


class PayableChangeList(IndexedChangeList):
    """Works out what the payables on a page owe at this moment, as every other page shows it."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page, and bring its rows to what is due now."""
        super().get_results(request)
        self.result_list = list(self.result_list)
        update_dues(self.result_list)


def update_dues(locks: Sequence[PayableLock]) -> None:
    """Set on locks in memory what their payables owe now; where that can't be told, what was last known."""
    for lock, dues in list_dues(locks):
        lock.set_due(dues)


@admin.register(PayableLock)
class PayableLockAdmin(LedgerAdmin[PayableLock]):
    """Lists what is due of each payable, worked out anew whenever it is shown."""

    list_display = ("payable_link", "due", "next_due")
    list_filter = (OverdueFilter,)
    list_display_links = None
    ordering = ("-pk",)
    sortable_by = ("next_due",)
    fieldsets = ((None, {"description": display.ZONE_NOTE, "fields": ("payable_link", "due", "next_due")}),)

    due = display.column(
        _("due"), lambda row: row.currency and display.show_money(row.amount_due, currency=row.currency)
    )
    next_due = display.time_column(_("next due"), "next_due_at", ordering="next_due_at")

    @admin.display(description=_("for"))
    def payable_link(self, obj: PayableLock) -> SafeString | str:
        """Return what is paid for."""
        return display.show_payable(obj, site=self.admin_site)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PayableChangeList

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> PayableLock | None:
        """Return a payable with what it owes now."""
        lock: PayableLock | None = super().get_object(request, *args, **kwargs)
        update_dues([lock] if lock else [])
        return lock

    def get_subtitle(self, obj: PayableLock) -> Any:
        """Return what is paid for."""
        return self.payable_link(obj)
