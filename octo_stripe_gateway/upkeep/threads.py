"""Threads that work together, on connections of their own."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from octo_stripe_gateway.ledger.transactions import get_connection
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

THREADS = 4


def count_threads(wanted: int = 0) -> int:
    """Return how many threads may work, the caller's included: at most `wanted`, or 4.

    Further threads have connections of their own, as many as the host's pool has to spare. A new connection
    lacks what the host may have set on the caller's (a schema, a role, session settings): then there are no
    further threads. Nor are there on SQLite, which has one writer at a time.
    """
    connection = get_connection()
    if not all(is_untouched(each) for each in connections.all(initialized_only=True)):
        return 1
    if not connection.features.has_select_for_update_skip_locked:
        return 1
    return max(1, min(wanted or THREADS, _count_spare(connection)))


def is_untouched(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection is as a new one would be.

    A session's own settings can't all be listed, so one that is open may have some. Tenants' packages set
    attributes on one that is still to be opened.
    """
    if connection.connection is not None:
        return False
    return _get_own(connection) == _get_own(connections.create_connection(connection.alias))


def run_together(work: Callable[[], None], *, threads: int, stop: Callable[[], None]) -> None:
    """Run work in this thread and in further ones, and raise what one of them raised; Ctrl-C ends them all.

    A thread that gets no connection leaves its share to the others.
    """
    if threads <= 1:
        work()
        return

    def run() -> None:
        try:
            get_connection().ensure_connection()
        except OperationalError as error:
            logger.warning("[OctoStripeGateway] There is one thread less: no connection, %s", error)
            return
        try:
            work()
        except BaseException:
            stop()
            raise
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads - 1) as pool:
        runs = [pool.submit(contextvars.copy_context().run, run) for _thread in range(threads - 1)]
        try:
            work()
            for each in runs:
                each.result()
        finally:
            stop()


def _get_own(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return a connection's attributes that aren't Django's; only the type of what can't be compared."""
    django: Any = next(each for each in type(connection).__mro__ if each.__module__.startswith("django."))
    known = vars(django(connection.settings_dict, connection.alias)).keys() | {
        *dir(django),
        "isolation_level",
    }
    own = {name: value for name, value in vars(connection).items() if name not in known}
    plain = (str, int, tuple, list, type(None))
    return {name: value if isinstance(value, plain) else type(value) for name, value in own.items()}


def _count_spare(connection: BaseDatabaseWrapper) -> int:
    """Return how many connections may be opened, this one's included."""
    pool = getattr(connection, "pool", None)
    if pool is None:
        return THREADS * THREADS
    now = pool.get_stats()
    in_use = 0 if pool.closed else now["pool_size"] - now["pool_available"] + now["requests_waiting"]
    spare: int = pool.max_size - in_use
    return spare
