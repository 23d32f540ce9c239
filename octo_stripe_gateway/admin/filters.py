"""Filters that stay fast over many rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.search import get_paid_types, is_row_id
from octo_stripe_gateway.api.lists import filter_by_index
from octo_stripe_gateway.models import Concern, WebhookEvent
from octo_stripe_gateway.webhooks.inbox import HANDLERS

# Choices come from the latest payments: collecting those of all payments would read every row.
LATEST = 1000
MOST_OWNERS = 20


def get_latest(request: HttpRequest, model_admin: ModelAdmin[Any]) -> QuerySet[Any]:
    """Return the payments that the user sees, the latest first."""
    return model_admin.get_queryset(request).order_by("-pk")


class CurrencyFilter(SimpleListFilter):
    """Offers the currencies of the latest payments."""

    title = _("currency")
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        latest = get_latest(request, model_admin).values_list("currency", flat=True)[:LATEST]
        currencies = {*latest, *request.GET.getlist(self.parameter_name)}
        return [(currency, currency.upper()) for currency in sorted(currencies)]

    def has_output(self) -> bool:
        """Show it even where there is nothing to choose from."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").lower()
        return filter_by_index(queryset, column="currency", value=value) if value else queryset


class OwnerFilter(SimpleListFilter):
    """Offers those who own most of the latest payments; the search finds everybody's."""

    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        latest = get_latest(request, model_admin).values_list("owner", flat=True)[:LATEST]
        most = Counter(owner for owner in latest if owner).most_common(MOST_OWNERS)
        owners = {*(owner for owner, _count in most), *request.GET.getlist(self.parameter_name)}
        return [(owner, model_admin.get_owner_name(owner)) for owner in sorted(owners)]  # type: ignore[attr-defined] # PaymentAdmin's

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        # The index leaves out empty owners, so PostgreSQL uses it only if the query does too.
        return filter_by_index(queryset.exclude(owner=""), column="owner", value=self.value())


class PayableTypeFilter(SimpleListFilter):
    """Offers the models that have payments."""

    title = _("payable")
    parameter_name = "payable_type"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[tuple[str, Any]]:
        for content_type in get_paid_types(model_admin.get_queryset(request)):
            yield str(content_type.pk), capfirst(content_type.name)
        yield "none", _("None")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        if value == "none":
            return queryset.filter(payable_type=None)
        if not value:
            return queryset
        if not is_row_id(value):
            return queryset.none()
        return filter_by_index(queryset, column="payable_type_id", value=int(value))


class ModeFilter(SimpleListFilter):
    """Tells real money from tests."""

    title = _("mode")
    parameter_name = "mode"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("live", _("Live: real money")), ("test", _("Test"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(livemode=self.value() == "live") if self.value() else queryset


class ConcernFilter(SimpleListFilter):
    """Offers payments that operators have to look at."""

    title = _("what needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("concerned", _("With open concerns")), ("disputed", _("Disputed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "concerned":
            return queryset.filter(pk__in=Concern.objects.all().open().values("payment"))
        return queryset.filter(disputed=True) if self.value() == "disputed" else queryset


class OverdueFilter(SimpleListFilter):
    """Offers payables with a late installment."""

    title = _("what needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [("overdue", _("Overdue"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "overdue":
            return queryset
        overdue: QuerySet[Any] = queryset.overdue(now=timezone.now())  # type: ignore[attr-defined] # its own
        return overdue.order_by("next_due_at")


class EventStatusFilter(SimpleListFilter):
    """Leaves out ignored events at first: they are not about a payment of ours."""

    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        return [*WebhookEvent.Status.choices, ("all", _("all, ignored ones too"))]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Name the default choice for what it shows."""
        at_first, *others = super().choices(changelist)
        yield {**at_first, "display": _("all but ignored")}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        status = self.value()
        if status == WebhookEvent.Status.PROCESSED:
            # As an exclusion, which PostgreSQL takes for most of the rows even without statistics.
            return queryset.exclude(status__in=[each for each in WebhookEvent.Status if each != status])
        if status in WebhookEvent.Status.values:
            return filter_by_index(queryset, column="status", value=status)
        # A search is for one event, which may be an ignored one.
        shows_all = status == "all" or request.GET.get(SEARCH_VAR)
        return queryset if shows_all else queryset.exclude(status=WebhookEvent.Status.IGNORED)


class EventTypeFilter(SimpleListFilter):
    """Offers the types of event that have a handler of ours, and the one in the URL."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(name, name) for name in sorted({*HANDLERS, *request.GET.getlist(self.parameter_name)})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return filter_by_index(queryset, column="type", value=value) if value else queryset
