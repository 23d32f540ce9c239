"""Lists that stay fast over many rows: how they are counted, ordered and filtered."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.admin import ChoicesFieldListFilter, DateFieldListFilter, ModelAdmin, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR, ChangeList
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.db import OperationalError
from django.db.models import Exists, F, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.api.lists import BY_MOMENT, filter_by_index, local_settings
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.stripe.snapshots import LARGEST_INTEGER

MOST_COUNTED = 10_000
MOST_MILLISECONDS = 1000
# Choices come from the latest payments: collecting those of all payments would read every row.
LATEST = 1000
MOST_OWNERS = 20


class CappedPaginator(Paginator):  # type: ignore[type-arg] # it takes no parameter at run time
    """Counts and shows the first ten thousand rows: counting all of them would read the whole table.

    A list that is longer, or takes too long to count, says ten thousand. A search or a filter finds the rest.
    """

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        # In the list's order, which is read from the index of the filtered column.
        counted = self.object_list[:MOST_COUNTED]
        try:
            with time_limit(counted.db):
                return counted.count()
        except OperationalError:
            return MOST_COUNTED


def time_limit(alias: str) -> AbstractContextManager[None]:
    """Let PostgreSQL cancel statements that take more than a second, which raises OperationalError."""
    return local_settings(alias, statement_timeout=str(MOST_MILLISECONDS))


class IndexedChangeList(ChangeList):
    """Keeps the order of the last filter in use; the user chooses only its direction.

    By columns without an index, it sorts only the latest rows, as many as are counted.
    """

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        ordering: list[Any] = list(super().get_ordering(request, queryset))
        self.by_filter = [str(column) for column in queryset.query.order_by]
        self.sorted_by = str(ordering[0])
        sign = "-" if self.sorted_by.startswith("-") else ""
        return [sign + column.removeprefix("-") for column in self.by_filter] or ordering

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        column = self.sorted_by.removeprefix("-")
        if column not in self.model_admin.sorted_among_latest:  # type: ignore[attr-defined] # LedgerAdmin's
            return rows
        latest = rows.order_by(*(self.by_filter or ["-pk"]))[:MOST_COUNTED]
        is_ascending = self.sorted_by == column
        order = F(column).asc(nulls_last=True) if is_ascending else F(column).desc(nulls_last=True)
        return self.root_queryset.filter(pk__in=latest.values("pk")).order_by(order, "-pk")

    def get_results(self, request: HttpRequest) -> None:
        """Read a page with a LIMIT, even if it is the only one: PostgreSQL plans by it."""
        super().get_results(request)
        if not self.result_list.query.is_sliced:
            self.result_list = self.result_list[: self.list_max_show_all]
        self.result_list: Any = list(self.result_list)
        self.model_admin.join_related(self.result_list)  # type: ignore[attr-defined] # LedgerAdmin's


class ListFilter(SimpleListFilter):
    """Narrows a list to the chosen value of the column that it is named after, by that column's index."""

    options: ClassVar[Sequence[tuple[str, Any]]] = ()
    # What the list shows while nothing is chosen, if that isn't everything.
    at_first: ClassVar[Any] = None

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Any:
        return self.options

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        at_first, *others = super().choices(changelist)
        yield {**at_first, "display": self.at_first or at_first["display"]}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.narrow(queryset, value) if (value := self.value()) else queryset

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows that the chosen value is for."""
        return filter_by_index(rows, column=self.parameter_name or "", value=value)

    def list_latest(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[str]:
        """Return the values of the filter's column in the latest rows that the user may see."""
        rows = model_admin.get_queryset(request).order_by("-pk")
        return list(rows.values_list(self.parameter_name or "", flat=True)[:LATEST])


class CurrencyFilter(ListFilter):
    """Offers the currencies of the latest payments."""

    title, parameter_name = _("currency"), "currency"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        latest = self.list_latest(request, model_admin)
        currencies = {*latest, *request.GET.getlist("currency")}
        return [(currency, currency.upper()) for currency in sorted(currencies)]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().narrow(rows, value.lower())


class OwnerFilter(ListFilter):
    """Offers those who own most of the latest payments; the search finds everybody's."""

    title, parameter_name = _("owner"), "owner"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        most = Counter(filter(None, self.list_latest(request, model_admin))).most_common(MOST_OWNERS)
        owners = {*(owner for owner, _count in most), *request.GET.getlist("owner")}
        return [(owner, model_admin.get_owner_name(owner)) for owner in sorted(owners)]  # type: ignore[attr-defined] # PaymentAdmin's

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        # The index leaves out empty owners, so PostgreSQL uses it only if the query does too.
        return filter_by_index(rows.exclude(owner=""), column="owner", value=value, order=BY_MOMENT)


class PayableTypeFilter(ListFilter):
    """Offers the models that have payments."""

    title, parameter_name = _("payable"), "payable_type"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        paid_for = get_paid_types(model_admin.get_queryset(request))
        return [*((str(each.pk), capfirst(each.name)) for each in paid_for), ("none", _("None"))]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "none":
            return rows.filter(payable_type=None).order_by("-payable_type_id", "-pk")
        if not is_row_id(value):
            return rows.none()
        return filter_by_index(rows, column="payable_type_id", value=int(value))


class ModeFilter(ListFilter):
    """Tells real money from tests."""

    title, parameter_name = _("mode"), "mode"
    options = (("live", _("Live: real money")), ("test", _("Test")))

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(livemode=value == "live")


class ConcernFilter(ListFilter):
    """Offers payments that operators have to look at."""

    title, parameter_name = _("what needs attention"), "attention"
    options = (("concerned", _("With open concerns")), ("disputed", _("Disputed")))

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "concerned":
            return rows.filter(pk__in=Concern.objects.all().open().values("payment"))
        return rows.filter(disputed=True) if value == "disputed" else rows


class ChoiceFilter(ChoicesFieldListFilter):
    """Filters by a choice, using its index with moment and id."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choices: Any = self.used_parameters.get(self.lookup_kwarg) or []
        if len(choices) == 1:
            return filter_by_index(queryset, column=self.field_path, value=choices[0], order=BY_MOMENT)
        found = super().queryset(request, queryset)
        return queryset if found is None else found


class DateFilter(DateFieldListFilter):
    """Filters by a time, using its index: one of Django's ranges, or two days, both included."""

    template = "admin/octo_stripe_gateway/date_filter.html"

    def __init__(self, field: Any, request: HttpRequest, *rest: Any, **named: Any) -> None:
        super().__init__(field, request, *rest, **named)
        # The days are taken out of what Django looks up itself.
        used: Any = self.used_parameters
        values = [used.pop(name, [""])[-1] for name in self.expected_parameters()[-2:]]
        try:
            self.days = [dt.date.fromisoformat(value) if value else None for value in values]
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            for value in values
            if not name.startswith(self.field_generic) and name not in (PAGE_VAR, ERROR_FLAG)
        ]

    @property
    def inputs(self) -> list[tuple[Any, str | None, str]]:
        values = [day.isoformat() if day else "" for day in self.days]
        return list(zip((_("From"), _("Until")), self.expected_parameters()[-2:], values, strict=True))

    def expected_parameters(self) -> list[str | None]:
        return [*super().expected_parameters(), f"{self.field_generic}from", f"{self.field_generic}until"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first, last = self.days
        found = super().queryset(request, queryset)
        if found is None or not (self.used_parameters or first or last):
            return queryset
        if first:
            found = found.filter(**{f"{self.field_path}__gte": begin_day(first)})
        if last:
            found = found.filter(**{f"{self.field_path}__lt": begin_day(last + dt.timedelta(days=1))})
        return found.order_by(f"-{self.field_path}", "-pk")


def begin_day(day: dt.date) -> dt.datetime:
    """Return when a day begins in the host's time zone."""
    moment = dt.datetime.combine(day, dt.time())
    return timezone.make_aware(moment) if settings.USE_TZ else moment


def get_paid_types(payments: QuerySet[Payment]) -> QuerySet[ContentType]:
    """Return the models whose objects have some of these payments."""
    paid_for = Exists(payments.order_by().filter(payable_type=OuterRef("pk")))
    return ContentType.objects.filter(paid_for).order_by("app_label", "model")


def is_row_id(term: str) -> bool:
    """Tell whether a term is a number that a row can have."""
    return term.isascii() and term.isdigit() and len(term) < 20 and int(term) <= LARGEST_INTEGER
