"""The concerns: what operators have to look at, until a person settles it or a fact ends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.operations import SettleOperation
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.ledger.concerns import KINDS, describe_concern, get_kind_label
from octo_stripe_gateway.models import Concern, Payment


class StateFilter(SimpleListFilter):
    """Shows the open concerns at first."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("settled", _("settled")), ("all", _("all"))]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Name the default choice for what it shows."""
        at_first, *others = super().choices(changelist)
        yield {**at_first, "display": _("open")}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.settled() if self.value() == "settled" else queryset.open()  # type: ignore[attr-defined, no-any-return] # Concern's own


class KindFilter(SimpleListFilter):
    """Offers every kind of concern there is."""

    title = _("what it is")
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [(code, kind.label) for code, kind in KINDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(code=self.value()) if self.value() else queryset


def show_concern_state(concern: Concern) -> SafeString:
    """Return whether an operator still has to look at it, and otherwise who or what ended it."""
    if concern.is_open:
        return display.show_badge(_("open"), kind="alert")
    return display.show_badge(
        _("settled") if concern.was_settled_by_person else _("ended by itself"), kind="operator"
    )


@admin.register(Concern)
class ConcernAdmin(LedgerAdmin[Concern]):
    """Lists what operators have to look at, and settles one at a time.

    Users see concerns of the payments that this site's admin of payments shows them; those that belong to no
    payment are for users who see all payments.
    """

    operations = (SettleOperation(),)
    list_display = ("what", "words", "about", "opened", "state")
    list_filter = (StateFilter, KindFilter)
    list_select_related = ("payment",)
    ordering = ("-pk",)
    sortable_by = ("opened",)
    fieldsets = (
        (None, {"fields": ("what", "words", "action", "about", "object_id", "state")}),
        (_("Settled"), {"fields": ("settled_by", "reason", "lost")}),
        (_("Times"), {"description": display.zone_note(), "fields": ("opened_at", "settled_at")}),
        (_("Technical details"), {"classes": ("collapse",), "fields": ("code", "known")}),
    )

    what = display.column(_("concern"), lambda row: get_kind_label(row.code))
    words = display.column(_("what is known"), describe_concern)
    action = display.column(_("what to do"), lambda row: row.code in KINDS and str(KINDS[row.code].action))
    # The ids are in its order.
    opened = display.time_column(_("opened at"), "opened_at", ordering="pk")
    state = display.column(_("state"), show_concern_state)
    lost = display.column(
        _("lost"),
        lambda row: row.amount is not None and display.show_money(row.amount, currency=row.payment.currency),
    )
    known = display.column(_("parameters"), lambda row: display.show_json(row.parameters))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Concern]:
        """Return the concerns of payments that the user may see."""
        return self.narrow_to_payments(request, super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Concern | None = None) -> Any:
        """Tell of the settling only once there was one."""
        fieldsets = super().get_fieldsets(request, obj)
        return [each for each in fieldsets if each[0] != _("Settled") or (obj and not obj.is_open)]

    def get_subtitle(self, obj: Concern) -> str:
        """Return what it is."""
        return get_kind_label(obj.code)

    def get_summary(self, obj: Concern) -> list[tuple[Any, Any]]:
        """Return what the page that settles it shows."""
        return [
            (_("Concern"), describe_concern(obj)),
            (_("What to do"), self.action(obj)),
            (_("Payment"), self.about(obj)),
        ]

    def is_live(self, obj: Concern) -> bool:
        """Tell whether it is about real money."""
        return bool(obj.payment and obj.payment.livemode)

    @admin.display(description=_("payment"))
    def about(self, obj: Concern) -> SafeString | str:
        """Return the payment, and what it is about at Stripe where it belongs to none."""
        if obj.payment is None:
            return obj.object_id or display.NOTHING
        url = display.get_change_url(Payment, obj.payment.pk, site=self.admin_site)
        return display.show_link(url, text=display.get_number(obj.payment))
