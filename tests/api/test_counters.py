"""Numbers that hold however many count at once, and for a period wherever it begins."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache, caches
from django.core.management import call_command
from django.db import connection, transaction

from octo_stripe_gateway.api import counters
from octo_stripe_gateway.api.counters import PARTS, Counter
from tests.support.threads import needs_row_locks, run_together

PERIOD = 60.0


@pytest.fixture(autouse=True)
def _empty() -> None:
    cache.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the counters' clock, which stands still otherwise."""
    now = [time.time()]
    monkeypatch.setattr("octo_stripe_gateway.api.counters.time.time", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def count(*, limit: int = 20, name: str = "name") -> Counter:
    return Counter(name, limit=limit, period=PERIOD)


def test_no_period_has_more_than_the_limit(clock: Callable[[float], None]) -> None:
    moments, allowed, chance = 0.0, deque[float](), random.Random(7)
    for _each in range(3000):
        pause = chance.choice([0, 0, 0.01, 0.5, 2.5, 20])
        clock(pause)
        moments += pause
        while allowed and allowed[0] <= moments - PERIOD:
            allowed.popleft()
        if not count(limit=10).take():
            allowed.append(moments)
        assert len(allowed) <= 10


def test_whoever_waits_as_long_as_told_is_let_in(clock: Callable[[float], None]) -> None:
    chance = random.Random(7)
    for _each in range(300):
        wait = count(limit=5).take()
        assert wait <= PERIOD * (1 + 1 / PARTS)
        if wait:
            assert count(limit=5).get_wait() == pytest.approx(wait)
            clock(wait + 0.001)
            assert count(limit=5).take() == 0
        clock(chance.choice([0, 0.1, 4]))


def test_a_look_knows_what_the_next_call_is_told(clock: Callable[[float], None]) -> None:
    chance = random.Random(7)
    for _each in range(3000):
        clock(chance.choice([0, 0.01, 0.5, 2.5, 20, 130]))
        look, wait = count(limit=5).get_wait(), count(limit=5).take()
        assert look == pytest.approx(wait)


def test_a_look_asks_for_one_number_unless_the_limit_was_reached(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(wraps=cache.get_many)
    monkeypatch.setattr(cache, "get_many", asked)
    count(limit=2).take()
    asked.reset_mock()
    assert count(limit=2).get_wait() == 0
    asked.assert_not_called()
    count(limit=2).take()
    assert count(limit=2).get_wait() > 0


def test_what_is_given_back_can_be_taken(clock: Callable[[float], None]) -> None:
    taken = [count(limit=2), count(limit=2)]
    assert [each.take() for each in taken] == [0, 0]
    assert count(limit=2).take() > 0
    taken[0].give_back()
    taken[0].give_back()
    assert count(limit=2).take() == 0
    assert count(limit=2).take() > 0


def test_what_is_refused_is_not_counted(clock: Callable[[float], None]) -> None:
    assert count(limit=1).take() == 0
    for _each in range(50):
        assert count(limit=1).take() > 0
    clock(PERIOD * (1 + 1 / PARTS))
    assert count(limit=1).take() == 0


def test_a_large_limit_costs_what_a_small_one_does(clock: Callable[[float], None]) -> None:
    small, large = count(limit=2, name="small"), count(limit=100_000, name="large")
    small.take()
    counters.change(large._get_key(large._get_part()), by=99_990, timeout=600)
    assert large.take() == 0
    entries: Any = caches["default"]
    assert len(entries._cache) == 2


def test_threads_of_one_process_count_exactly() -> None:
    with ThreadPoolExecutor(24) as pool:
        waits = list(pool.map(lambda _each: count().take(), range(120)))
    assert waits.count(0) == 20


def test_a_cache_that_keeps_nothing_limits_nothing(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert [count(limit=1).take() for _each in range(3)] == [0, 0, 0]


@pytest.fixture
def database_cache(settings: Any, transactional_db: None) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "rates"}
    }
    call_command("createcachetable")
    cache.clear()


@needs_row_locks
@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_the_database_cache_counts_exactly_at_any_isolation(
    level: str, database_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    options = {"isolation_level": IsolationLevel[level.upper().replace(" ", "_")]}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", connection.settings_dict["OPTIONS"] | options)
    waits = run_together([lambda: count().take()] * 40)
    assert waits.count(0) == 20


@needs_row_locks
def test_the_database_cache_counts_whatever_becomes_of_the_host_s_transaction(database_cache: None) -> None:
    def roll_back() -> float:
        with transaction.atomic():
            wait = count().take()
            transaction.set_rollback(True)
        return wait

    assert run_together([roll_back] * 40).count(0) == 20
    with transaction.atomic():
        assert count().take() > 0
