"""How the ledger is written: in short transactions of its own, none of them across a call to Stripe."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from django.db import connections, router, transaction

from octo_stripe_gateway.models import Payment

P = ParamSpec("P")
R = TypeVar("R")


def get_database() -> str:
    """Return the alias of the database that the ledger is written to."""
    return router.db_for_write(Payment)


@contextmanager
def write_transaction() -> Iterator[None]:
    """Open a transaction that will write; raises RuntimeError inside one of the caller's."""
    with transaction.atomic(using=get_database(), durable=True):
        connection = connections[get_database()]
        if not connection.features.has_select_for_update:
            # SQLite has no row locks, and a transaction that reads before it writes fails where another
            # wrote in between. A write that changes nothing makes it wait for its turn.
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE {Payment._meta.db_table} SET id = id WHERE 0")  # noqa: S608
        yield


def outside_transaction(operation: Callable[P, R]) -> Callable[P, R]:
    """Make an operation raise RuntimeError where the caller has a transaction open."""

    @functools.wraps(operation)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction.atomic(using=get_database(), durable=True):
            pass
        return operation(*args, **kwargs)

    return checked
