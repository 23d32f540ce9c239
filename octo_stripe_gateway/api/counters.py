"""Counts calls in the host's cache, exactly, however many processes count at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

from django.core.cache import DEFAULT_CACHE_ALIAS, cache, caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connections, router, transaction

from octo_stripe_gateway.ledger.transactions import read_committed

# A period is counted in so many parts. A call counts until the last part that it may share a period with has
# ended: for a minute's rate at most five seconds too long, and never too short.
PARTS = 12
# Somebody else may count first, and the cache may drop what it has.
MOST_TRIES = 10


class Counter:
    """Counts calls of one name: at most `limit` in any `period` of seconds.

    What it costs depends on neither. Each part of a period has a number of its own in the cache, which ends
    by itself.
    """

    def __init__(self, name: str, *, limit: int, period: float) -> None:
        self.name = name
        self.limit = limit
        self.width = period / PARTS
        # A number must not end while it counts, even on a machine whose clock is a little ahead.
        self.timeout = int(2 * period) + 2
        self.taken: int | None = None

    def take(self) -> float:
        """Count a call, or count nothing and return the seconds until there is room for one."""
        part = self._get_part()
        number = change(self._get_key(part), by=1, timeout=self.timeout)
        # Read after this call was counted: of two calls at the turn of a part at least one sees the other.
        counts = {**self._read(), part: number}
        self.taken = part
        if sum(counts.values()) >= self.limit:
            now = time.time()
            for moment in (now, now + self.timeout):
                change(self._get_mark(moment), by=1, timeout=2 * self.timeout)
        if sum(counts.values()) <= self.limit:
            return 0
        self.give_back()
        return self._get_wait({**counts, part: number - 1})

    def give_back(self) -> None:
        """Count the call that was taken no longer."""
        if self.taken is not None:
            change(self._get_key(self.taken), by=-1, timeout=self.timeout)
            self.taken = None

    def get_wait(self) -> float:
        """Return the seconds until there is room for a call, 0 where one look tells there is."""
        return self._get_wait(self._read()) if cache.get(self._get_mark(time.time())) else 0

    def _get_wait(self, counts: dict[int, int]) -> float:
        surplus, end = sum(counts.values()) + 1 - self.limit, 0.0
        for part, number in sorted(counts.items()):
            if surplus > 0:
                surplus, end = surplus - number, (part + PARTS + 1) * self.width
        return max(end - time.time(), 0.001) if end else 0

    def _read(self) -> dict[int, int]:
        latest = self._get_part()
        parts = {self._get_key(part): part for part in range(latest - PARTS, latest + 1)}
        return {parts[key]: int(number) for key, number in cache.get_many(parts).items()}

    def _get_part(self) -> int:
        return int(time.time() // self.width)

    def _get_mark(self, moment: float) -> str:
        """Return the key of what says that the limit may be reached at a moment."""
        return f"{self.name}:full:{moment // self.timeout:.0f}"

    def _get_key(self, part: int) -> str:
        return f"{self.name}:{part}"


def take_all(counters: Iterable[Counter]) -> float:
    """Count a call with all of these, or with none, and return the seconds until all have room for one."""
    taken: list[Counter] = []
    for counter in counters:
        if seconds := counter.take():
            for each in taken:
                each.give_back()
            return seconds
        taken.append(counter)
    return 0


def change(key: str, *, by: int, timeout: int) -> int:
    """Change a number in one step that no other process comes between, and return it.

    Raises whatever the cache's own errors are, and TimeoutError where it keeps nothing.
    """
    store = caches[DEFAULT_CACHE_ALIAS]
    if not isinstance(store, DatabaseCache):
        return _change(key, by=by, timeout=timeout)
    database = router.db_for_write(store.cache_model_class)
    if not connections[database].in_atomic_block:
        return _change(key, by=by, timeout=timeout, database=database)

    def change_alone() -> int:
        try:
            return _change(key, by=by, timeout=timeout, database=database)
        finally:
            connections.close_all()

    # Within the host's transaction others would wait for its end, and a rollback would forget the call.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(change_alone).result()


def _change(key: str, *, by: int, timeout: int, database: str = "") -> int:
    for _attempt in range(MOST_TRIES):
        with ExitStack() as stack:
            if database:
                stack.enter_context(read_committed(connections[database]))
                stack.enter_context(transaction.atomic(using=database))
            with suppress(ValueError):
                # The increment of Django's database cache is two steps; here the UPDATE of its `touch` locks
                # the row until the transaction ends.
                if not database or cache.touch(key, timeout):
                    return cache.incr(key, by)
            if cache.add(key, max(by, 0), timeout):
                return max(by, 0)
    raise TimeoutError("The cache keeps nothing.")
