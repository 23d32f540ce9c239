"""Reads and writes the ledger's own rows: on the database that is written to, with SQL that is kept.

For tables as wide as ours the ORM takes longer to write a statement than the database to run it, and every
request makes such statements. Only the four methods of `LedgerManager` use kept SQL, each for one row or the
rows of one payment; everything else is plain Django. Fields, converters and signals are Django's as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from django.db import DatabaseError, IntegrityError, connections, models, router, transaction
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


class LedgerManager(models.Manager[M]):
    """Finds and writes rows where the ledger decides: on the primary, whatever a router reads from."""

    def get_queryset(self) -> QuerySet[M]:
        """Return the rows of the database that is written to."""
        return super().get_queryset().using(self.database)

    @property
    def database(self) -> str:
        """Return the alias of the database that is written to."""
        return router.db_for_write(self.model)

    def list_by(self, *, lock: bool = False, **values: Any) -> list[M]:
        """Return the rows with these values, locked where asked."""
        connection = connections[self.database]
        if lock and connection.get_autocommit():
            raise TransactionManagementError("A row is locked in a transaction only.")
        lookup = _write_select(self.model, self.database, lock, tuple(values))
        rows = _read(lookup, connection=connection, model=self.model, values=values)
        return [self.model.from_db(self.database, lookup.attributes, row) for row in rows]

    def get_by(self, *, lock: bool = False, **values: Any) -> M | None:
        """Return the one row with these values, locked where asked, or None."""
        return next(iter(self.list_by(lock=lock, **values)), None)

    def insert(self, row: M, *, or_ignore: bool = False) -> bool:
        """Insert a row and give it its key; with `or_ignore` tell whether no other had its unique values.

        Where another transaction is inserting the same values, this waits for it to end.
        """
        connection = connections[self.database]
        if not connection.features.can_return_columns_from_insert:
            return self._insert_slowly(row, or_ignore=or_ignore)
        fields = _get_fields(self.model).values()
        with _announced(row, using=self.database, names=None) as announcement:
            values = [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]
            with connection.cursor() as cursor:
                cursor.execute(_write_insert(self.model, self.database, or_ignore), values)
                inserted = cursor.fetchone()
            announcement.needed = inserted is not None
            if inserted:
                row.pk = inserted[0]
                row._state.adding, row._state.db = False, self.database
        return inserted is not None

    def save_changed(self, row: M, *, names: Sequence[str]) -> None:
        """Write these columns of a row; raises DatabaseError where the row is gone."""
        connection, fields = connections[self.database], _get_fields(self.model)
        with _announced(row, using=self.database, names=names):
            written = [fields[name] for name in names]
            values = [field.get_db_prep_save(field.pre_save(row, False), connection) for field in written]
            with connection.cursor() as cursor:
                cursor.execute(_write_update(self.model, self.database, tuple(names)), [*values, row.pk])
                if cursor.rowcount != 1:
                    raise DatabaseError("The row to write is gone.")

    def _insert_slowly(self, row: M, *, or_ignore: bool) -> bool:
        try:
            with transaction.atomic(using=self.database):
                row.save(force_insert=True, using=self.database)
        except IntegrityError:
            if not or_ignore:
                raise
            return False
        return True


class _Announcement:
    needed = True


@contextmanager
def _announced(row: Model, *, using: str, names: Sequence[str] | None) -> Iterator[_Announcement]:
    """Send Django's signals of a model that is saved."""
    update_fields = None if names is None else frozenset(names)
    signal = {"sender": type(row), "instance": row, "raw": False, "using": using}
    pre_save.send(**signal, update_fields=update_fields)
    announcement = _Announcement()
    yield announcement
    if announcement.needed:
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
def _write_insert(model: type[Model], using: str, or_ignore: bool) -> str:
    quote, fields = connections[using].ops.quote_name, _get_fields(model).values()
    columns = ", ".join(quote(field.column) for field in fields)
    marks = ", ".join("%s" for _field in fields)
    table, key = _get_names(model, using)
    conflict = " ON CONFLICT DO NOTHING" if or_ignore else ""
    return f"INSERT INTO {table} ({columns}) VALUES ({marks}){conflict} RETURNING {key}"  # noqa: S608 - our own names


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
