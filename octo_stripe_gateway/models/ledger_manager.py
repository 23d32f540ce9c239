"""Reads and writes the ledger's own rows: on the database that is written to, with cached SQL.

For tables as wide as ours the ORM takes longer to write a statement than the database to run it, and every
request makes such statements. Only the methods that `LedgerManager` adds use cached SQL, each for one row or
the rows of one payment; everything else is plain Django. Fields, converters and signals are Django's as ever.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from django.db import IntegrityError, connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, Q, QuerySet
from django.db.models.base import ModelState
from django.db.models.expressions import Col, RawSQL
from django.db.models.lookups import Exact
from django.db.models.query import ModelIterable
from django.db.models.signals import post_init, pre_init
from django.db.models.sql import Query
from django.db.transaction import TransactionManagementError

from octo_stripe_gateway.models.joined_writes import Announcement, Write, get_cursor, get_joined

M = TypeVar("M", bound=Model)

# Blank values, which are written into a statement and not passed as parameters.
BLANKS: dict[type[models.Field[Any, Any]], tuple[Any, str]] = {
    models.CharField: ("", "''"),
    models.TextField: ("", "''"),
    models.IntegerField: (0, "0"),
    models.BooleanField: (False, "false"),
    models.JSONField: ({}, "'{}'"),
}
# Values that go into a statement as they are.
PLAIN = frozenset({str, int, bool})
KEPT_STATEMENTS = 1000
# Any row at all.
ANY = Q()


class Column(NamedTuple):
    """A column that is written: its field, and its blank value with the SQL for that.

    `name` is the attribute that has its value, empty where the field works it out itself.
    """

    field: Any
    name: str
    blank: Any
    blank_sql: str


class Given(str):
    """The name of a column whose value a SELECT is given."""

    __slots__ = ()


class Lookup(NamedTuple):
    """A SELECT, and what goes into it and comes out of it."""

    sql: str
    parameters: tuple[Any, ...]
    attributes: list[str]
    converted: dict[int, Any]


class LedgerManager(models.Manager[M]):
    """Finds and writes rows where the ledger decides: on the primary, whatever a router reads from."""

    def get_queryset(self) -> QuerySet[M]:
        """Return the rows of the database that is written to."""
        kind: type[QuerySet[M]] = self._queryset_class  # type: ignore[attr-defined] # of `from_queryset`
        return kind(self.model, using=self.database)

    @property
    def database(self) -> str:
        """Return the alias of the database that is written to."""
        return router.db_for_write(self.model)

    def list_by(
        self, *, lock: bool = False, columns: tuple[str, ...] = (), where: Q = ANY, **values: Any
    ) -> list[M]:
        """Return the rows with these values, locked where asked, with those columns or all."""
        return read_rows(self.model, self.database, lock=lock, columns=columns, where=where, **values)

    def get_by(self, **values: Any) -> M | None:
        """Return the one row with these values, as `list_by` does, or None."""
        return next(iter(self.list_by(**values)), None)

    def list_of(self, payment: Any) -> list[M]:
        """Return a payment's rows by id, each of which knows it."""
        rows = sorted(self.list_by(payment_id=payment.pk), key=lambda row: row.pk)
        for row in rows:
            row.payment = payment  # type: ignore[attr-defined] # of a model that has payments
        return rows

    def get_by_pk(self, pk: Any, *, lock: bool = False) -> M:
        """Return the row with this key, locked where asked; raises DoesNotExist."""
        row = self.get_by(lock=lock, **{self.model._meta.pk.attname: pk})
        if row is None:
            raise self.model.DoesNotExist  # type: ignore[attr-defined] # each model has its own
        return row

    def insert(self, row: M, *, or_ignore: bool = False) -> bool:
        """Insert a row and give it its key; with `or_ignore`, return False if another has its unique values.

        Where another transaction is inserting the same values, this waits for it to end. Where writes are
        joined, the row has its key once they are sent; with `or_ignore` it is sent at once.
        """
        database = self.database
        connection = connections[database]
        joined = get_joined(connection)
        if joined and (or_ignore or joined.has(self.model)):
            # It may name a row that waits.
            joined.send()
        if not connection.features.can_return_columns_from_insert:
            return self._insert_slowly(row, or_ignore=or_ignore)
        announcement = Announcement(row, using=database, names=None)
        columns = _get_columns(self.model).values()
        marks, values, parents = _prepare(row, columns, connection=connection, is_new=True)
        sql = _write_insert(self.model, database, marks, or_ignore)
        write = Write(announcement, sql, values, parents)
        if joined and not or_ignore:
            joined.add(write)
            return True
        with get_cursor(connection) as cursor:
            cursor.execute(sql, values)
            inserted = cursor.fetchone()
        if inserted:
            write.finish(inserted[0])
        return inserted is not None

    def save_changed(self, row: M, *, names: Sequence[str]) -> None:
        """Write these columns of a row; raises DatabaseError where the row is gone.

        Where writes are joined, it raises when they are sent.
        """
        database = self.database
        connection, columns = connections[database], _get_columns(self.model)
        joined = get_joined(connection)
        if joined and joined.has(self.model):
            joined.send()
        announcement = Announcement(row, using=database, names=names)
        chosen = [columns[name] for name in names]
        marks, values, parents = _prepare(row, chosen, connection=connection)
        sql = _write_update(self.model, database, tuple(names), marks)
        write = Write(announcement, sql, [*values, row.pk], parents)
        if joined:
            joined.add(write)
            return
        with get_cursor(connection) as cursor:
            cursor.execute(sql, write.parameters)
            write.finish(row.pk if cursor.rowcount == 1 else None)

    def _insert_slowly(self, row: M, *, or_ignore: bool) -> bool:
        try:
            with transaction.atomic(using=self.database):
                row.save(force_insert=True, using=self.database)
        except IntegrityError:
            if not or_ignore:
                raise
            return False
        return True


def read_rows(
    model: type[M],
    using: str,
    *,
    lock: bool = False,
    columns: tuple[str, ...] = (),
    where: Q = ANY,
    newest: int | None = None,
    **values: Any,
) -> list[M]:
    """Return the rows with these values, with those columns or all, from one of the databases.

    With `newest`, return at most so many, the newest first.
    """
    connection = connections[using]
    if lock and connection.get_autocommit():
        raise TransactionManagementError("A row is locked in a transaction only.")
    lookup = _write_select(model, using, lock, columns, where, newest, tuple(values))
    rows = _read(lookup, connection=connection, model=model, values=values)
    return [model.from_db(using, lookup.attributes, row) for row in rows]


class LedgerRow(models.Model):
    """A model whose rows are made, and built from a query, as Django does it, in a fraction of the time."""

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **values: Any) -> None:
        """Make a row of these values and the defaults, without going through all columns."""
        cls = type(self)
        if args or _has_listeners(cls):
            super().__init__(*args, **values)
            return
        constant, made = _get_defaults(cls)
        columns = self.__dict__
        columns.update(constant, _state=ModelState())
        for name, make in made:
            if name not in values:
                columns[name] = make()
        for name, value in values.items():
            if name in constant:
                columns[name] = value
            elif hasattr(cls, name):
                setattr(self, name, value)
            else:
                raise TypeError(f"{cls.__name__} has no field {name!r}.")

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> Self:
        """Build a row without going through all columns, some of which may be left out."""
        if options or _has_listeners(cls):
            return super().from_db(db, field_names, values, **options)
        row = cls.__new__(cls)
        row.__dict__.update(zip(field_names, values, strict=True))
        row._state = ModelState()
        row._state.adding, row._state.db = False, db
        return row


def _has_listeners(model: type[Model]) -> bool:
    return any(signal.receivers and signal.has_listeners(model) for signal in (pre_init, post_init))


@functools.cache
def _get_defaults(model: type[Model]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """Return the columns' defaults that never change, and what makes each of the others."""
    fields = model._meta.concrete_fields
    made = {
        field.attname: field.default for field in fields if field.has_default() and callable(field.default)
    }
    constant = {field.attname: field.get_default() for field in fields if field.attname not in made}
    return constant, list(made.items())


def _get_names(model: type[Model], using: str) -> tuple[str, str]:
    quote, key = connections[using].ops.quote_name, model._meta.pk.column
    return quote(model._meta.db_table), quote(str(key))


@functools.cache
def _get_columns(model: type[Model]) -> dict[str, Column]:
    fields = [field for field in model._meta.concrete_fields if not field.primary_key]
    return {field.attname: Column(field, _get_plain_name(field), *_get_blank(field)) for field in fields}


def _get_plain_name(field: Any) -> str:
    own = type(field).pre_save is not models.Field.pre_save
    is_timed = isinstance(field, models.DateTimeField) and not (field.auto_now or field.auto_now_add)
    return field.attname if not own or is_timed else ""


def _get_blank(field: Any) -> tuple[Any, str]:
    return next((blank for kind, blank in BLANKS.items() if isinstance(field, kind)), (None, "NULL"))


def _prepare(
    row: Model, columns: Iterable[Column], *, connection: BaseDatabaseWrapper, is_new: bool = False
) -> tuple[tuple[str, ...], list[Any], list[tuple[str, Model]]]:
    """Return what stands for each column in a statement, the parameters, and which rows it waits for.

    Most columns of a new row are blank, and a parameter takes as long as ten blanks.
    """
    marks: list[str] = []
    values, parents = [], []
    takes_moments = connection.vendor == "postgresql"
    for field, name, blank, blank_sql in columns:
        value = getattr(row, name) if name else field.pre_save(row, is_new)
        if value is None and field.is_relation and (parent := field.get_cached_value(row, default=None)):
            # It was named before it had its key.
            if (value := parent.pk) is None and (joined := get_joined(connection)):
                marks.append(joined.name(parent))
                parents.append((name, parent))
                continue
            row.__dict__[name] = value
        if value is None:
            marks.append("NULL")
        elif type(value) is type(blank) and value == blank:
            marks.append(blank_sql)
        else:
            marks.append("%s")
            is_plain = type(value) is type(blank) and type(value) in PLAIN
            is_plain |= takes_moments and type(value) is dt.datetime and value.tzinfo is not None
            if not is_plain:
                is_json = type(blank) is dict
                value = json.dumps(value) if is_json else field.get_db_prep_save(value, connection)
            values.append(value)
    return tuple(marks), values, parents


@functools.cache
def _write_select(
    model: type[Model],
    using: str,
    lock: bool,
    only: tuple[str, ...],
    where: Q,
    newest: int | None,
    names: tuple[str, ...],
) -> Lookup:
    given = {name: RawSQL("%s", (Given(name),)) for name in names}
    rows = model._base_manager.using(using).filter(where, **given)
    rows = rows.only(*only) if only else rows
    rows = rows if newest is None else rows.order_by("-pk")[:newest]
    compiler = (rows.select_for_update() if lock else rows).query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    # One table: its name before each of seventy columns would take as long to parse as the rest.
    sql = sql.replace(f"{_get_names(model, using)[0]}.", "")
    columns = [column for column, _sql, _alias in compiler.select]
    converted = {place: columns[place] for place in compiler.get_converters(columns)}
    return Lookup(sql, parameters, [column.target.attname for column in columns], converted)


@functools.lru_cache(KEPT_STATEMENTS)
def _write_insert(model: type[Model], using: str, marks: tuple[str, ...], or_ignore: bool) -> str:
    quote = connections[using].ops.quote_name
    columns = ", ".join(quote(column.field.column) for column in _get_columns(model).values())
    table, key = _get_names(model, using)
    conflict = " ON CONFLICT DO NOTHING" if or_ignore else ""
    values = ", ".join(marks)
    return f"INSERT INTO {table} ({columns}) VALUES ({values}){conflict} RETURNING {key}"  # noqa: S608 - our own names


@functools.lru_cache(KEPT_STATEMENTS)
def _write_update(model: type[Model], using: str, names: tuple[str, ...], marks: tuple[str, ...]) -> str:
    quote, columns = connections[using].ops.quote_name, _get_columns(model)
    columns_and_marks = zip(names, marks, strict=True)
    changes = ", ".join(f"{quote(columns[name].field.column)} = {mark}" for name, mark in columns_and_marks)
    table, key = _get_names(model, using)
    returning = f" RETURNING {key}" if connections[using].vendor == "postgresql" else ""
    return f"UPDATE {table} SET {changes} WHERE {key} = %s{returning}"  # noqa: S608 - our own names


def _read(
    lookup: Lookup, *, connection: BaseDatabaseWrapper, model: type[Model], values: dict[str, Any]
) -> list[list[Any]]:
    parameters = [
        model._meta.get_field(each).get_db_prep_value(values[each], connection)  # type: ignore[union-attr]
        if isinstance(each, Given)
        else each
        for each in lookup.parameters
    ]
    with get_cursor(connection) as cursor:
        cursor.execute(lookup.sql, parameters)
        rows = [list(row) for row in cursor.fetchall()]
    for place, column in lookup.converted.items():
        # Not cached: a converter would keep its connection alive beyond the thread.
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection)):
            for row in rows:
                row[place] = convert(row[place], column, connection)
    return rows


def read_filter(rows: Any) -> dict[str, Any] | None:
    """Return the values by which a queryset picks rows of its table, None if it asks for anything else."""
    if rows._iterable_class is not ModelIterable or rows._prefetch_related_lookups:
        return None
    lookups, table = rows.query.where.children, rows.model._meta.db_table
    if not all(type(each) is Exact and type(each.lhs) is Col and each.lhs.alias == table for each in lookups):
        return None
    values = {each.lhs.target.attname: each.rhs for each in lookups if each.rhs_is_direct_value()}
    is_same = type(rows.query) is Query and rows.query.__dict__ in _make_filters(rows.model, **values)
    return values if is_same else None


@functools.lru_cache(KEPT_STATEMENTS)
def _make_filters(model: type[Model], /, **values: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a query has that picks rows by these values, and what a copy of it has."""
    query = Query(model)
    if values:
        # As `filter` does it, in a copy.
        query = query.chain()
        query.add_q(Q(**values))
    return query.__dict__, query.chain().__dict__


def is_narrowed(payments: QuerySet[Any]) -> bool:
    """Tell whether a queryset may leave rows out."""
    query: Any = payments.query
    return bool(query.where or query.is_sliced or query.combinator or len(query.alias_map) > 1)
