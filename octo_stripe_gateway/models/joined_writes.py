"""Sends a transaction's statements over one cursor, and on PostgreSQL joins its writes into one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.signals import post_save, pre_save
from django.db.transaction import TransactionManagementError

# What libpq calls a connection without a transaction.
IDLE = 0

_kept_cursor: ContextVar[Any] = ContextVar("octo_stripe_gateway_cursor", default=None)


@contextmanager
def one_cursor(connection: BaseDatabaseWrapper) -> Iterator[Any]:
    """Send all statements of the block over one cursor: making one takes as long as half a statement."""
    with connection.cursor() as cursor:
        token = _kept_cursor.set(cursor)
        try:
            yield cursor
        finally:
            _kept_cursor.reset(token)


def get_cursor(connection: BaseDatabaseWrapper) -> AbstractContextManager[Any]:
    kept = _kept_cursor.get()
    # A block that was torn off, by a time-out's exception for instance, may have left its cursor behind.
    # SQLite's can't tell whether they are closed.
    if kept is None or kept.db is not connection or getattr(kept, "closed", True):
        return connection.cursor()
    return nullcontext(kept) if kept.connection is connection.connection else connection.cursor()


class Announcement:
    """Sends Django's `pre_save` when it is made, and `post_save` once a row is written."""

    def __init__(self, row: Model, *, using: str, names: Sequence[str] | None) -> None:
        self.row, self.using, self.is_new = row, using, names is None
        self.signal = {"sender": type(row), "instance": row, "raw": False, "using": using}
        self.signal["update_fields"] = None if names is None else frozenset(names)
        pre_save.send(**self.signal)

    def finish(self) -> None:
        """Say that the row is written."""
        post_save.send(**self.signal, created=self.is_new)


@dataclass(slots=True)
class Write:
    """One row's INSERT or UPDATE, and the rows that it names by a key which they get by their own."""

    announcement: Announcement
    sql: str
    parameters: list[Any]
    parents: list[tuple[str, Model]]

    def finish(self, key: Any) -> None:
        """Take the key that was returned; raises DatabaseError where there is none."""
        if key is None:
            raise DatabaseError("The row to write is gone.")
        row = self.announcement.row
        row.pk = key
        row._state.adding, row._state.db = False, self.announcement.using
        for name, parent in self.parents:
            # Not by `setattr`, which would forget the parent.
            row.__dict__[name] = parent.pk
        self.announcement.finish()


class JoinedWrites:
    """Writes of a transaction that wait for each other, and go to PostgreSQL as one statement.

    What waits is sent before anything else is asked of the connection, so that nobody sees the database
    without it, and before another row of the same table: PostgreSQL promises no order among joined writes,
    and would change a row only once. A statement for each write would take a tenth of an event's time.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.block = connection.atomic_blocks[-1]
        self.writes: list[Write] = []
        self.has_begun = False

    def add(self, write: Write) -> None:
        """Let a write wait; its row counts as written."""
        write.announcement.row._state.adding = False
        self.writes.append(write)

    def has(self, model: type[Model]) -> bool:
        """Tell whether a row of this table waits to be written."""
        return any(type(write.announcement.row) is model for write in self.writes)

    def name(self, row: Model) -> str:
        """Return the SQL for the key of a row that waits to be inserted."""
        place = next(n for n, write in enumerate(self.writes) if write.announcement.row is row)
        return f"(SELECT * FROM w{place})"  # noqa: S608 - our own names

    def send(self) -> None:
        """Send what waits; if that fails, nothing of the block it fails in can be committed."""
        writes, self.writes = self.writes, []
        if not writes:
            return
        sql = writes[0].sql
        if len(writes) > 1:
            parts = ", ".join(f"w{place} AS ({write.sql})" for place, write in enumerate(writes))
            keys = ", ".join(f"(SELECT * FROM w{place})" for place in range(len(writes)))  # noqa: S608
            sql = f"WITH {parts} SELECT {keys}"
        try:
            with get_cursor(self.connection) as cursor:
                cursor.execute(sql, [value for write in writes for value in write.parameters])
                returned = cursor.fetchone() or (None,)
            for write, key in zip(writes, returned, strict=True):
                write.finish(key)
        except BaseException as error:
            # It may come up in a query of the host's, which may swallow it.
            connection: Any = self.connection
            connection.needs_rollback, connection.rollback_exc = True, error
            raise

    def execute(self, execute: Callable[..., Any], *statement: Any) -> Any:
        """Send what waits before another statement; raises TransactionManagementError if that begins anew."""
        connection: Any = self.connection
        if self.block not in connection.atomic_blocks:
            # A time-out's exception has torn it off, and the transaction that it was for has ended.
            return execute(*statement)
        if self.has_begun and connection.connection.info.transaction_status == IDLE:
            # The statement would begin another transaction, without the locks of this one.
            raise TransactionManagementError("Host code has ended the transaction: nothing can be saved.")
        self.has_begun = True
        self.send()
        return execute(*statement)


_joined: ContextVar[JoinedWrites | None] = ContextVar("octo_stripe_gateway_joined_writes", default=None)


def get_joined(connection: BaseDatabaseWrapper) -> JoinedWrites | None:
    joined = _joined.get()
    # As with cursors, one may have been left behind.
    is_own = joined and joined.connection is connection and connection.in_atomic_block
    return joined if is_own else None


@contextmanager
def join_writes(connection: BaseDatabaseWrapper) -> Iterator[JoinedWrites | None]:
    """Join the writes of a transaction where the database is PostgreSQL; its end has to send the last."""
    if connection.vendor != "postgresql":
        yield None
        return
    joined = JoinedWrites(connection)
    token = _joined.set(joined)
    connection.execute_wrappers.append(joined.execute)
    try:
        yield joined
    finally:
        # Not the last of them, which may be one that the host has left behind.
        connection.execute_wrappers.remove(joined.execute)
        _joined.reset(token)
