"""Runs work at the same moment, each in a thread with its own connections, and watches for locks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection, connections

R = TypeVar("R")
# Seconds; only a failing test waits this long.
LONGEST_WAIT = 120

needs_row_locks = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has no row locks and one writer at a time"
)


def run_together(works: Sequence[Callable[[], R]]) -> list[R]:
    """Run all works at one moment, and return their results."""
    barrier = threading.Barrier(len(works))

    def wait_and_run(work: Callable[[], R]) -> R:
        try:
            connection.ensure_connection()
        except Exception:
            barrier.abort()
            raise
        barrier.wait(LONGEST_WAIT)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        runs = [pool.submit(run_and_disconnect, lambda work=work: wait_and_run(work)) for work in works]
        errors = [error for run in runs if (error := run.exception())]
        # An error in connecting says more than the broken barrier that it caused in the others.
        for error in sorted(errors, key=lambda each: isinstance(each, threading.BrokenBarrierError)):
            raise error
        return [run.result() for run in runs]


def run_and_disconnect(work: Callable[[], R]) -> R:
    """Run something in a thread, and close the thread's connections."""
    try:
        return work()
    finally:
        connections.close_all()


def wait_for_locks(number: int) -> None:
    """Wait until this many sessions of the database wait for a lock."""
    for _ in range(LONGEST_WAIT * 100):
        with connection.cursor() as cursor:
            # A transaction would see the same for as long as it lasts.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] >= number:
                return
        time.sleep(0.01)
    raise TimeoutError(f"No {number} sessions came to wait for a lock.")
