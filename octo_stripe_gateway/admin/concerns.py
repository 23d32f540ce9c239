"""What operators have to look at: the concerns, and how much there is of it on the admin's index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.lists import ListFilter
from octo_stripe_gateway.admin.operations import SettleOperation
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.ledger.concerns import KINDS, describe_concern, get_kind_label
from octo_stripe_gateway.models import Concern, PayableLock, Payment

# The index opens often, so nothing is counted beyond this.
MOST_COUNTED = 1000


class StateFilter(ListFilter):
    """Shows the open concerns at first."""

    title, parameter_name = _("state"), "state"
    options = (("settled", _("settled")), ("all", _("all")))
    at_first = _("open")

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        shown = {"all": queryset, "settled": queryset.settled()}
        return shown.get(self.value() or "", queryset.open())


class KindFilter(ListFilter):
    """Offers every kind of concern there is."""

    title, parameter_name = _("what it is"), "code"
    options = [(code, kind.label) for code, kind in KINDS.items()]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(code=value)


def show_concern_state(concern: Concern) -> SafeString:
    """Return whether it is open, was settled by a person, or was ended by a fact."""
    if concern.is_open:
        return display.show_badge(_("open"), kind="alert")
    text = _("settled") if concern.was_settled_by_person else _("ended by itself")
    return display.show_badge(text, kind="operator")


@admin.register(Concern)
class ConcernAdmin(LedgerAdmin[Concern]):
    """Lists what operators have to look at, and settles one at a time.

    Users see concerns of the payments that this site's admin of payments shows them; those that belong to no
    payment are for users who see all payments.
    """

    operations = (SettleOperation(),)
    list_display = ("what", "words", "about", "opened", "state")
    list_filter = (StateFilter, KindFilter)
    summary_fields = ("words", "action", "about")
    list_select_related = ("payment",)
    ordering = ("-pk",)
    sortable_by = ("opened",)
    fieldsets = (
        (None, {"fields": ("what", "words", "action", "about", "object_id", "state")}),
        (_("Settled"), {"fields": ("settled_by", "reason", "lost")}),
        (_("Times"), {"description": display.ZONE_NOTE, "fields": ("opened_at", "settled_at")}),
        (_("Technical details"), {"classes": ("collapse",), "fields": ("code", "known")}),
    )

    what = display.column(_("concern"), lambda row: get_kind_label(row.code))
    # Without a payment, the object at Stripe is shown.
    about = display.link_column(
        _("payment"),
        lambda row, site: (not row.payment and row.object_id) or display.show_payment(row.payment, site),
    )
    words = display.column(_("what is known"), describe_concern)
    action = display.column(_("what to do"), lambda row: display.show_action(row.code))
    # Ids have the same order.
    opened = display.time_column(_("opened at"), "opened_at", ordering="pk")
    state = display.column(_("state"), show_concern_state)
    lost = display.column(
        _("lost"),
        lambda row: row.amount is not None and display.show_money(row.amount, currency=row.payment.currency),
    )
    known = display.column(_("parameters"), lambda row: display.show_json(row.parameters))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Concern]:
        return self.narrow_to_payments(request, super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Concern | None = None) -> Any:
        """Leave out the section on settling while the concern is open."""
        fieldsets = super().get_fieldsets(request, obj)
        return [each for each in fieldsets if each[0] != _("Settled") or (obj and not obj.is_open)]

    def get_subtitle(self, obj: Concern) -> str:
        return get_kind_label(obj.code)

    def is_live(self, obj: Concern) -> bool:
        return bool(obj.payment and obj.payment.livemode)


class Alert(NamedTuple):
    """A line on the admin's index: what there is to look at, how much of it, and the list of it."""

    text: str
    number: str
    url: str


def get_alerts(request: HttpRequest) -> Iterator[Alert]:
    """Yield what there is to look at among the rows that the user may view in this admin."""
    name = getattr(request, "current_app", "admin")
    admins: Any = [each for site in all_sites if site.name == name for each in site._registry.values()]
    for model in (Concern, Payment, PayableLock):
        for each in admins:
            if each.opts.concrete_model is not model or not each.has_view_permission(request):
                continue
            parameter, labels, counts = _count(each.get_queryset(request), model=model)
            url = display.get_url(each.model, "changelist", site=each.admin_site)
            more = "+" if counts.total() > MOST_COUNTED else ""
            for value, label in labels.items():
                if number := counts[value]:
                    text = f"{capfirst(each.opts.verbose_name_plural)}: {label}"
                    yield Alert(text, f"{min(number, MOST_COUNTED)}{more}", f"{url}?{parameter}={value}")


def _count(rows: Any, *, model: type[Model]) -> tuple[str, dict[str, Any], Counter[str]]:
    """Return a list's filter, the label of each of its values, and how many rows there are of each."""
    if model is Concern:
        codes = rows.open().order_by("code").values_list("code", flat=True)
        return "code", {code: kind.label for code, kind in KINDS.items()}, Counter(codes[: MOST_COUNTED + 1])
    if model is Payment:
        disputed = rows.filter(disputed=True)[: MOST_COUNTED + 1].count()
        return "attention", {"disputed": _("Disputed")}, Counter(disputed=disputed)
    # In the order of the index that has these rows alone.
    overdue = rows.overdue(now=timezone.now()).order_by("next_due_at")[: MOST_COUNTED + 1].count()
    return "attention", {"overdue": _("Overdue")}, Counter(overdue=overdue)
