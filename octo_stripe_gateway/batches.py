"""Going through many rows beside live traffic, without a cursor that a connection pooler would lose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

BATCH_SIZE = 1000


def iterate_keys(rows: QuerySet[Any], *, size: int = BATCH_SIZE) -> Iterator[int]:
    """Yield the keys of rows in their order, each at most once, reading a batch at a time."""
    last = 0
    while True:
        batch = list(rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:size])
        yield from batch
        if len(batch) < size:
            return
        last = batch[-1]
