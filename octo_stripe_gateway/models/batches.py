"""Going through many rows beside live traffic, without a cursor that a connection pooler would lose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Q, QuerySet

BATCH_SIZE = 1000


def iterate_batches(rows: QuerySet[Any], *, by: str, size: int = BATCH_SIZE) -> Iterator[list[int]]:
    """Yield the keys of rows a batch at a time, in the order of an indexed column.

    Each batch continues after the last row of the one before, so that none rereads finished rows or walks
    over deleted ones. A row whose column grows meanwhile may come twice.
    """
    rows = rows.order_by(*dict.fromkeys((by, "pk"))).values_list(by, "pk")
    batch = list(rows[:size])
    while batch:
        yield [pk for _value, pk in batch]
        value, pk = batch[-1]
        # The first condition is what an index is searched by.
        following = rows.filter(**{f"{by}__gte": value}).filter(Q(**{f"{by}__gt": value}) | Q(pk__gt=pk))
        batch = list(following[:size]) if len(batch) == size else []
