"""Finds rows by what is in their columns, with SQL that is written once.

For a table as wide as ours the ORM takes three times as long to write a query as it takes to run it, and
every request makes such queries.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeVar

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.transaction import TransactionManagementError

M = TypeVar("M", bound=Model)


class Lookup(NamedTuple):
    """A query's SQL, and what goes into it and comes out of it."""

    sql: str
    parameters: tuple[str, ...]
    attributes: list[str]
    converted: dict[int, Any]


class LookupQuerySet(QuerySet[M]):
    """A queryset with a quick way to its rows."""

    def find(self, *, lock: bool = False, **values: Any) -> list[M]:
        """Return the rows with these values, locked where asked: as `filter` does, with its SQL kept."""
        if self._is_narrowed:
            return list((self.select_for_update() if lock else self).filter(**values))
        connection = connections[self.db]
        if lock and connection.get_autocommit():
            raise TransactionManagementError("A row is locked in a transaction only.")
        lookup = _write(self.model, self.db, lock, tuple(values))
        rows = _read(lookup, connection=connection, model=self.model, values=values)
        return [self.model.from_db(self.db, lookup.attributes, row) for row in rows]

    @property
    def _is_narrowed(self) -> bool:
        query = self.query
        return bool(
            query.where
            or query.annotations
            or query.extra
            or query.select_related
            or query.distinct
            or query.combinator
            or query.is_sliced
            or query.deferred_loading[0]
            or query.values_select
            or query.select_for_update
            or self._prefetch_related_lookups  # type: ignore[attr-defined]
        )


@functools.cache
def _write(model: type[Model], using: str, lock: bool, names: tuple[str, ...]) -> Lookup:
    rows = model._base_manager.using(using).filter(**{name: RawSQL("%s", (name,)) for name in names})
    compiler = (rows.select_for_update() if lock else rows).query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    columns = [column for column, _sql, _alias in compiler.select]
    converted = {place: columns[place] for place in compiler.get_converters(columns)}
    return Lookup(sql, parameters, [column.target.attname for column in columns], converted)


def _read(
    lookup: Lookup, *, connection: BaseDatabaseWrapper, model: type[Model], values: dict[str, Any]
) -> list[list[Any]]:
    fields: Any = [(name, model._meta.get_field(name)) for name in lookup.parameters]
    parameters = [field.get_db_prep_value(values[name], connection) for name, field in fields]
    with connection.cursor() as cursor:
        cursor.execute(lookup.sql, parameters)
        rows = [list(row) for row in cursor.fetchall()]
    for place, column in lookup.converted.items():
        # A converter belongs to its connection, which would outlive its thread if it were kept.
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection)):
            for row in rows:
                row[place] = convert(row[place], column, connection)
    return rows
