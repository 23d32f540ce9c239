"""Pages of a list that stay fast over many rows."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

MOST_COUNTED = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg] # it takes no parameter at run time
    """Counts and shows the first ten thousand rows: to count all of them takes reading the whole table.

    A list of more says that it has ten thousand. What lies beyond is found by a search or a filter.
    """

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, up to the cap."""
        # In no order, any index will do for finding enough of them.
        return self.object_list.order_by()[:MOST_COUNTED].count()
