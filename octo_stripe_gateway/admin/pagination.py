"""Pages of a list that stay fast over many rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.paginator import Paginator
from django.db import OperationalError, connections, transaction
from django.db.models import QuerySet
from django.utils.functional import cached_property

MOST_COUNTED = 10_000
MOST_MILLISECONDS = 1000


class CappedPaginator(Paginator):  # type: ignore[type-arg] # it takes no parameter at run time
    """Counts and shows the first ten thousand rows: to count all of them takes reading the whole table.

    A longer list says that it has ten thousand, and so does one that takes too long to count. What lies
    beyond is found by a search or a filter.
    """

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """Return how many rows there are, up to the cap."""
        # In the list's order, which is read from the index of the filtered column.
        counted = self.object_list[:MOST_COUNTED]
        try:
            with time_limit(counted.db, milliseconds=MOST_MILLISECONDS):
                return counted.count()
        except OperationalError:
            return MOST_COUNTED


@contextmanager
def time_limit(alias: str, *, milliseconds: int) -> Iterator[None]:
    """Have PostgreSQL give up statements that take longer, which raises OperationalError."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    change = "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)"
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        cursor.execute(change, [str(milliseconds)])
        before, _now = cursor.fetchone()
        yield
        cursor.execute(change, [before])
