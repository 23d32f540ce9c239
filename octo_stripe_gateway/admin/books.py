"""The list of payments as a book: sums by currency, sorted by amount or time, and exported."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ORDER_VAR, PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.lists import MOST_COUNTED, DateFilter, time_limit
from octo_stripe_gateway.admin.pages import LedgerAdmin, has_nul
from octo_stripe_gateway.admin.pictures import show_pictures
from octo_stripe_gateway.books.exports import export_movements_of, export_payments
from octo_stripe_gateway.models import BalanceTransaction, Concern, Payment

# Sending each line by itself takes longer than writing it.
LINES_AT_A_TIME = 200
SUMMED = (
    "livemode",
    "currency",
    "amount_received",
    "amount_refunded",
    "settlement_currency",
    "fee",
    "net",
    "next_booking_at",
)


# By the name in URLs, a label, and what writes the list.
EXPORTS: dict[str, tuple[Any, Callable[[QuerySet[Payment]], Iterator[str]]]] = {
    "payments": (_("Export payments"), export_payments),
    "movements": (_("Export movements of money"), export_movements_of),
}


def sum_up(payments: QuerySet[Payment]) -> dict[str, Any] | None:
    """Add up a list's payments as far as it is counted, by mode and currency; None if that takes too long."""
    # In the list's order, which is read from the index of the filtered column.
    counted = payments.values_list(*SUMMED)[:MOST_COUNTED]
    try:
        with time_limit(payments.db):
            rows = list(counted)
    except OperationalError:
        return None
    unbooked = 0
    sums: defaultdict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
    for livemode, currency, received, refunded, settlement, fee, net, next_booking_at in rows:
        unbooked += next_booking_at is not None
        sums[not livemode, currency].update({"received": received, "refunded": refunded})
        if settlement:
            sums[not livemode, settlement].update({"fee": fee or 0, "net": net or 0})
    has_both = len({is_test for is_test, _currency in sums}) == 2
    lines = []
    for is_test, currency in sorted(sums):
        amounts = sums[is_test, currency]
        shown = [
            display.show_money(amounts[name], currency=currency) if name in amounts else display.NOTHING
            for name in ("received", "refunded", "fee", "net")
        ]
        mark = f" ({gettext('test')})" if has_both and is_test else ""
        lines.append([f"{currency.upper()}{mark}", *shown])
    is_capped = len(rows) >= MOST_COUNTED
    return {"lines": lines, "number": len(rows), "unbooked": unbooked, "is_capped": is_capped}


async def stream(texts: Iterator[str]) -> AsyncIterator[str]:
    """Yield texts that are read in a thread, so that they don't block a server's event loop."""
    while text := await sync_to_async(lambda: next(texts, ""))():
        yield text


class BooksAdmin(LedgerAdmin[Payment]):
    """Has the sums of the filtered list above it, and exports it for those who may view it."""

    change_list_template = "admin/octo_stripe_gateway/payment_list.html"
    sorted_among_latest = ("amount", "confirmed_at")

    def get_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, self.get_page_name
        exports = [
            path(f"export/{each}/", wrap(partial(self.export_view, export=each)), name=name(f"export_{each}"))
            for each in EXPORTS
        ]
        pictures = path("pictures/", wrap(self.pictures_view), name=name("pictures"))
        return [*exports, pictures, *super().get_urls()]

    def join_related(self, rows: Sequence[Payment]) -> None:
        """Let payments know their open concerns, the oldest first."""
        concerned = [payment for payment in rows if payment.has_concerns]
        found = Concern.objects.all().open().filter(payment__in=concerned).select_related("payment")
        concerns = list(found.order_by("pk")) if concerned else []
        for payment in concerned:
            payment.open_concerns = [concern for concern in concerns if concern.payment == payment]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        response: Any = super().changelist_view(request, extra_context)
        changelist = getattr(response, "context_data", None) and response.context_data.get("cl")
        if changelist:
            # The whole list, whichever of its payments are sorted and shown.
            query = changelist.get_query_string(remove=[ORDER_VAR, PAGE_VAR])
            response.context_data |= {
                "sums": sum_up(changelist.queryset),
                "pictures": self.get_page_url("pictures"),
                "exports": [
                    (label, self.get_page_url(f"export_{name}") + query)
                    for name, (label, _write) in EXPORTS.items()
                ],
            }
        return response

    def export_view(self, request: HttpRequest, *, export: str) -> HttpResponseBase:
        """Send the filtered list as CSV, line by line."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        list_url = self.get_page_url("changelist")
        if has_nul(request):
            return HttpResponseRedirect(list_url)
        try:
            payments = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{list_url}?{ERROR_FLAG}=1")
        file_name = f"{export}-{timezone.localdate():%Y-%m-%d}.csv"
        lines = EXPORTS[export][1](payments)
        texts = iter(lambda: "".join(islice(lines, LINES_AT_A_TIME)), "")
        return StreamingHttpResponse(
            stream(texts) if isinstance(request, ASGIRequest) else texts,
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
        )

    def pictures_view(self, request: HttpRequest) -> HttpResponse:
        """Show charts of what the payments moved that the user may see."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return show_pictures(request, payments=self.get_queryset(request), site=self.admin_site)


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
        (_("Times"), {"description": display.ZONE_NOTE, "fields": ("moved", "available")}),
    )

    moved = display.time_column(_("moved"), "moved_at", ordering="moved_at")
    category = display.column(_("category"), lambda row: display.spell(row.reporting_category))
    rate = display.column(_("exchange rate"), display.show_rate)
    movement = display.column(_("balance transaction"), attrgetter("stripe_balance_transaction_id"))
    source = display.column(_("object at Stripe"), attrgetter("source_id"))
    available = display.time_column(_("paid out from"), "available_at")
    about = display.link_column(_("payment"), lambda row, site: display.show_payment(row.payment, site))
    money = display.money_column(_("amount"), "amount")
    kept = display.money_column(_("fee"), "fee")
    left = display.money_column(_("net"), "net")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BalanceTransaction]:
        return self.narrow_to_payments(request, super().get_queryset(request))
