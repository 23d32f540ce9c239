"""Reads and writes single rows with SQL that is written once.

For a table as wide as ours the ORM takes longer to write a statement than the database to run it, and
every request makes such statements. Models, fields, converters and signals are Django's as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.signals import post_save, pre_save
from django.db.transaction import TransactionManagementError

M = TypeVar("M", bound=Model)


class Lookup(NamedTuple):
    """A SELECT, and what goes into it and comes out of it."""

    sql: str
    parameters: tuple[str, ...]
    attributes: list[str]
    converted: dict[int, Any]


class RowQuerySet(QuerySet[M]):
    """A queryset with a quick way to its rows."""

    def find(self, *, lock: bool = False, **values: Any) -> list[M]:
        """Return the rows with these values, locked where asked: `filter`, in short."""
        if self._is_narrowed:
            return list((self.select_for_update() if lock else self).filter(**values))
        connection = connections[self.db]
        if lock and connection.get_autocommit():
            raise TransactionManagementError("A row is locked in a transaction only.")
        lookup = _write_select(self.model, self.db, lock, tuple(values))
        rows = _read(lookup, connection=connection, model=self.model, values=values)
        return [self.model.from_db(self.db, lookup.attributes, row) for row in rows]

    def find_one(self, *, lock: bool = False, **values: Any) -> M | None:
        """Return the row with these values, by which there is one at most."""
        return next(iter(self.find(lock=lock, **values)), None)

    def insert(self, row: M) -> None:
        """Insert a row that has no key yet, and give it one: `save(force_insert=True)`, in short."""
        connection, fields = connections[self.db], _get_fields(self.model)
        if not connection.features.can_return_columns_from_insert:
            row.save(force_insert=True, using=self.db)
            return
        with _announced(row, using=self.db, names=None):
            values = [
                field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields.values()
            ]
            with connection.cursor() as cursor:
                cursor.execute(_write_insert(self.model, self.db), values)
                row.pk = cursor.fetchone()[0]
            row._state.adding, row._state.db = False, self.db

    def rewrite(self, row: M, *, names: Sequence[str]) -> None:
        """Write these columns of a row: `save(update_fields=names)`, in short; raises DatabaseError."""
        connection, fields = connections[self.db], _get_fields(self.model)
        with _announced(row, using=self.db, names=names):
            written = [fields[name] for name in names]
            values = [field.get_db_prep_save(field.pre_save(row, False), connection) for field in written]
            with connection.cursor() as cursor:
                cursor.execute(_write_update(self.model, self.db, tuple(names)), [*values, row.pk])
                if cursor.rowcount != 1:
                    raise DatabaseError("The row to write is gone.")

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


@contextmanager
def _announced(row: Model, *, using: str, names: Sequence[str] | None) -> Iterator[None]:
    update_fields = None if names is None else frozenset(names)
    signal = {"sender": type(row), "instance": row, "raw": False, "using": using}
    pre_save.send(**signal, update_fields=update_fields)
    yield
    post_save.send(**signal, update_fields=update_fields, created=names is None)


def _get_names(model: type[Model], using: str) -> tuple[str, str]:
    quote, key = connections[using].ops.quote_name, model._meta.pk.column
    return quote(model._meta.db_table), quote(str(key))


@functools.cache
def _get_fields(model: type[Model]) -> dict[str, Any]:
    return {field.attname: field for field in model._meta.concrete_fields if not field.primary_key}


@functools.cache
def _write_select(model: type[Model], using: str, lock: bool, names: tuple[str, ...]) -> Lookup:
    rows = model._base_manager.using(using).filter(**{name: RawSQL("%s", (name,)) for name in names})
    compiler = (rows.select_for_update() if lock else rows).query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    columns = [column for column, _sql, _alias in compiler.select]
    converted = {place: columns[place] for place in compiler.get_converters(columns)}
    return Lookup(sql, parameters, [column.target.attname for column in columns], converted)


@functools.cache
def _write_insert(model: type[Model], using: str) -> str:
    quote, fields = connections[using].ops.quote_name, _get_fields(model).values()
    columns = ", ".join(quote(field.column) for field in fields)
    marks = ", ".join("%s" for _field in fields)
    table, key = _get_names(model, using)
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}) RETURNING {key}"  # noqa: S608 - our own names


@functools.cache
def _write_update(model: type[Model], using: str, names: tuple[str, ...]) -> str:
    quote, fields = connections[using].ops.quote_name, _get_fields(model)
    changes = ", ".join(f"{quote(fields[name].column)} = %s" for name in names)
    table, key = _get_names(model, using)
    return f"UPDATE {table} SET {changes} WHERE {key} = %s"  # noqa: S608 - our own names


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
