"""Lists of many rows that stay fast, whatever PostgreSQL believes of the rows."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def filter_by_index(rows: QuerySet[M], *, column: str, value: Any) -> QuerySet[M]:
    """Return rows with this value, the newest first, found by the index of the column and the id.

    PostgreSQL takes rows for evenly spread. Of a value that it believes common it walks the ids until it has
    a page full, which for a value that was common once means the whole table. In this order only the index
    will do; and as a range, because PostgreSQL drops a column from the order that equals something.
    """
    return rows.filter(**{f"{column}__gte": value, f"{column}__lte": value}).order_by(f"-{column}", "-pk")
