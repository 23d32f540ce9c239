"""How the ledger is written: in short transactions of its own, none of them across a call to Stripe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.transaction import TransactionManagementError

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.models.joined_writes import get_joined, join_writes, one_cursor

P = ParamSpec("P")
R = TypeVar("R")
Rows = TypeVar("Rows", bound=QuerySet[Any])


# What libpq calls a transaction that is open and has had no error.
IN_TRANSACTION = 2
BROKEN = "Host code has swallowed a database error or ended the transaction: nothing can be saved."


class BrokenTransactionError(TransactionManagementError):
    """Host code has swallowed a database error, so the transaction that it ran in can't be committed."""


def get_connection() -> BaseDatabaseWrapper:
    """Return the connection to the database that the ledger is written to."""
    return connections[Payment.ledger.database]


@contextmanager
def write_transaction() -> Iterator[None]:
    """Open a `READ COMMITTED` transaction that will write; raises RuntimeError inside one of the caller's.

    Under `REPEATABLE READ` a row that another transaction changed while this one waited for its lock would
    be an error. Raises BrokenTransactionError where host code inside has swallowed a database error.
    """
    connection = get_connection()
    check_outside_transaction(connection)
    atomic = transaction.atomic(using=connection.alias, durable=True)
    with (
        read_committed(connection),
        atomic,
        one_cursor(connection) as cursor,
        join_writes(connection) as joined,
    ):
        if not connection.features.has_select_for_update:
            # SQLite has no row locks, and a transaction that reads before it writes fails where another
            # wrote in between. A write that changes nothing makes it wait for its turn.
            cursor.execute(f"UPDATE {Payment._meta.db_table} SET id = id WHERE 0")  # noqa: S608
        yield
        if joined:
            if joined.has_begun:
                _check_intact(connection)
            joined.send()
        if joined is None or joined.has_begun:
            # Receivers of Django's own signals are host code too.
            _check_intact(connection)


@contextmanager
def calling_host() -> Iterator[None]:
    """Run host code in a savepoint of the open transaction; raises BrokenTransactionError."""
    with transaction.atomic(using=get_connection().alias), running_host():
        yield


@contextmanager
def running_host() -> Iterator[None]:
    """Run host code in the open transaction; raises BrokenTransactionError.

    The writes that wait are sent before, since it may look at them without a query of Django's.
    """
    connection = get_connection()
    joined = get_joined(connection)
    if joined:
        joined.send()
    yield
    _check_intact(connection)


def skip_locked(rows: Rows) -> Rows:
    """Lock the rows that no other transaction has locked, and leave out the others; SQLite locks none."""
    if get_connection().features.has_select_for_update_skip_locked:
        return rows.select_for_update(skip_locked=True)
    return rows


def check_outside_transaction(connection: BaseDatabaseWrapper) -> None:
    """Raise RuntimeError where the caller has a transaction open, or autocommit off.

    What is written before a call to Stripe must survive whatever the caller does after it.
    """
    if connection.in_atomic_block:
        # Django refuses this one unless the block around it is a test case's.
        with transaction.atomic(using=connection.alias, durable=True):
            pass
    elif not connection.get_autocommit():
        raise RuntimeError("The ledger needs autocommit: its transactions must commit when they end.")


def outside_transaction(operation: Callable[P, R]) -> Callable[P, R]:
    """Make an operation raise RuntimeError where the caller has a transaction open."""

    @functools.wraps(operation)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_outside_transaction(get_connection())
        return operation(*args, **kwargs)

    return checked


def without_atomic_requests(view: Callable[..., Any]) -> Callable[..., Any]:
    """Leave a view out of ATOMIC_REQUESTS, since no transaction may span a call to Stripe."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def _check_intact(connection: Any) -> None:
    """Raise BrokenTransactionError where the open transaction would end in a silent rollback."""
    if connection.needs_rollback:
        # Django knows of the error, or somebody closed the connection.
        raise BrokenTransactionError(BROKEN) from connection.rollback_exc
    # After plain SQL and reads only the driver knows.
    driver = connection.connection
    if connection.vendor == "postgresql" and driver.info.transaction_status != IN_TRANSACTION:
        raise BrokenTransactionError(BROKEN)


@contextmanager
def read_committed(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Have the driver begin transactions as `READ COMMITTED`, which costs no statement of its own."""
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        yield
        return
    connection.ensure_connection()
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    driver: Any = connection.connection
    level = driver.isolation_level
    driver.isolation_level = IsolationLevel.READ_COMMITTED
    try:
        yield
    finally:
        if connection.connection is driver and not driver.closed:
            driver.isolation_level = level
