"""Lists that keep to the index of what they are filtered by."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ChoicesFieldListFilter, DateFieldListFilter
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from octo_stripe_gateway.lists import filter_by_index


class IndexedChangeList(ChangeList):
    """Orders by what the last filter in use orders by, ascending where the user asks for that."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        ordering = super().get_ordering(request, queryset)
        by_filter = [str(column).removeprefix("-") for column in queryset.query.order_by]
        sign = "-" if str(ordering[0]).startswith("-") else ""
        return [sign + column for column in by_filter] or ordering

    def get_results(self, request: HttpRequest) -> None:
        """Read a page, and let PostgreSQL know that it is one, also where it is the only one."""
        super().get_results(request)
        if not self.result_list.query.is_sliced:
            self.result_list = self.result_list[: self.list_max_show_all]


class ChoiceFilter(ChoicesFieldListFilter):
    """Filters by a choice, by its index with the id."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        choices: Any = self.used_parameters.get(self.lookup_kwarg) or []
        if len(choices) == 1:
            return filter_by_index(queryset, column=self.field_path, value=choices[0])
        found = super().queryset(request, queryset)
        return queryset if found is None else found


class DateFilter(DateFieldListFilter):
    """Filters by a time, by its index."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        found = super().queryset(request, queryset)
        if found is None or not self.used_parameters:
            return queryset
        return found.order_by(f"-{self.field_path}", "-pk")
