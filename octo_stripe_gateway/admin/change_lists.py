"""Lists that are read from the index of the column that they are filtered by."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from django.contrib.admin import ChoicesFieldListFilter, DateFieldListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.api.lists import filter_by_index


class IndexedChangeList(ChangeList):
    """Orders by what the last filter in use orders by, ascending where the user asks for that."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        ordering: list[Any] = list(super().get_ordering(request, queryset))
        by_filter = [str(column).removeprefix("-") for column in queryset.query.order_by]
        sign = "-" if str(ordering[0]).startswith("-") else ""
        return [sign + column for column in by_filter] or ordering

    def get_results(self, request: HttpRequest) -> None:
        """Read a page, always with a LIMIT, by which PostgreSQL plans, even if it is the only page."""
        super().get_results(request)
        if not self.result_list.query.is_sliced:
            self.result_list = self.result_list[: self.list_max_show_all]


class ChoiceFilter(ChoicesFieldListFilter):
    """Filters by a choice, using its index with the id."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choices: Any = self.used_parameters.get(self.lookup_kwarg) or []
        if len(choices) == 1:
            return filter_by_index(queryset, column=self.field_path, value=choices[0])
        found = super().queryset(request, queryset)
        return queryset if found is None else found


class DateFilter(DateFieldListFilter):
    """Filters by a time, using its index: one of Django's ranges, or two days, both included."""

    template = "admin/octo_stripe_gateway/date_filter.html"

    def __init__(self, field: Any, request: HttpRequest, *rest: Any, **named: Any) -> None:
        super().__init__(field, request, *rest, **named)
        self.days = [self._pop_day(name) for name in self._get_names()]
        self.others = [
            (name, value)
            for name, values in request.GET.lists()
            for value in values
            if not name.startswith(self.field_generic) and name not in (PAGE_VAR, ERROR_FLAG)
        ]

    @property
    def inputs(self) -> list[tuple[Any, str, str]]:
        """Return what the form asks for: label, name and value."""
        values = [day.isoformat() if day else "" for day in self.days]
        return list(zip((_("From"), _("Until")), self._get_names(), values, strict=True))

    def expected_parameters(self) -> list[str | None]:
        return [*super().expected_parameters(), *self._get_names()]

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

    def _get_names(self) -> list[str]:
        return [f"{self.field_generic}from", f"{self.field_generic}until"]

    def _pop_day(self, name: str) -> dt.date | None:
        """Take a day out of the lookups that Django does itself; raises IncorrectLookupParameters."""
        values: Any = self.used_parameters.pop(name, None) or [""]
        text = values[-1] if isinstance(values, list) else values
        try:
            return dt.date.fromisoformat(text) if text else None
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error


def begin_day(day: dt.date) -> dt.datetime:
    """Return when a day begins, where the host is."""
    moment = dt.datetime.combine(day, dt.time())
    return timezone.make_aware(moment) if settings.USE_TZ else moment
