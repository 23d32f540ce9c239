"""Measures what a slow upstream costs the requests that wait for it, and those that don't."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import stripe
from django.db import connection

from octo_stripe_gateway.conf import gateway_settings
from tests.benchmarks.cases import CREATE, CREATE_BY_HAND, DUPLICATE, FIRST, READ, Work
from tests.benchmarks.load import LoadOrder, LoadOutcome
from tests.benchmarks.measure import Burst, fire, prepare, run_load, send
from tests.benchmarks.report import Check
from tests.benchmarks.servers import THREADS, WORKERS, Server, Upstream, run_server

KEPT = 0.9
CEILING_DELAY = 200
CEILING_CONNECTIONS = 2 * WORKERS * THREADS
# Ends before an upstream that takes ten seconds answers.
WINDOW = 9.0
UNHINDERED = (READ, DUPLICATE, FIRST)
UNHINDERED_BURST = Burst(connections=8, seconds=0.5, most=400)
PAIRS = 6
PAIRS_SECONDS = 6.0
READ_TIMEOUT = 3
SLACK = 2.0


class Slowness(NamedTuple):
    """The upstream's delay, and how many creates wait for it: always fewer than there are threads."""

    milliseconds: int
    creates: int


# At 200 ms creates use the processor too: more of them would slow the others down by that alone.
SLOWNESSES = (Slowness(200, WORKERS), Slowness(10_000, WORKERS * THREADS // 2))


def check_ceiling(upstream: Upstream, *, seconds: float) -> list[Check]:
    """Keep every thread busy with creates that wait, and compare the rate with the highest possible."""
    burst = Burst(CEILING_CONNECTIONS, seconds, most=1)
    rates = []
    with run_server("gthread", upstream=upstream) as server:
        for work in (CREATE, CREATE_BY_HAND):
            send(work, server=server, burst=burst._replace(seconds=1.5))
            with _delay(upstream, milliseconds=CEILING_DELAY):
                rates.append(send(work, server=server, burst=burst).per_second)
    ceiling = WORKERS * THREADS * 1000 / CEILING_DELAY
    ours, hand = (rate / ceiling for rate in rates)
    subject = f"create at {CEILING_DELAY} ms upstream, {WORKERS} x {THREADS} threads"
    seen = f"{rates[0]:.0f}/s of {ceiling:.0f}: {ours:.2f} (hand {hand:.2f})"
    return [Check(subject, seen, f"≥ {KEPT}", ours >= KEPT)]


def check_unhindered(slowness: Slowness, *, upstream: Upstream) -> list[Check]:
    """Measure requests that don't need Stripe, on a server with waiting creates and on one without."""
    checks, waiting = [], 0
    with run_server("gthread", upstream=upstream) as busy, run_server("gthread", upstream=upstream) as quiet:
        for work, server in itertools.product((*UNHINDERED, CREATE), (busy, quiet)):
            send(work, server=server, burst=UNHINDERED_BURST)
        for work in UNHINDERED:
            rates, seen = _compare(work, slowness=slowness, busy=busy, quiet=quiet)
            checks.append(_judge(f"{work.name} beside {_describe(slowness)}", rates=rates))
            waiting = max(waiting, seen)
    subject = f"transactions open during {_describe(slowness)}"
    return [*checks, Check(subject, str(waiting), "0", waiting == 0)]


def check_time_out(upstream: Upstream) -> list[Check]:
    """Let a create in every thread time out, and check how long that takes."""
    retries = gateway_settings.stripe_max_network_retries
    pauses = stripe.HTTPClient.INITIAL_DELAY * (2**retries - 1)
    most = (1 + retries) * READ_TIMEOUT + pauses + SLACK
    environment = {"BENCHMARK_READ_TIMEOUT": str(READ_TIMEOUT)}
    with (
        run_server("gthread", upstream=upstream, environment=environment) as server,
        _delay(upstream, milliseconds=10_000),
    ):
        burst = Burst(WORKERS * THREADS, seconds=1.0, most=1)
        outcome = run_load(prepare(CREATE, server=server, burst=burst))
    longest = max(outcome.latencies)
    subject = f"creates that Stripe leaves waiting, STRIPE_TIMEOUT {READ_TIMEOUT} s, {1 + retries} tries"
    seen = f"{_describe_statuses(outcome)} in {longest:.1f} s"
    met = set(outcome.statuses) == {"503"} and longest <= most
    return [Check(subject, seen, f"503 in ≤ {most:.1f} s", met)]


def _compare(
    work: Work, *, slowness: Slowness, busy: Server, quiet: Server
) -> tuple[list[tuple[float, float]], int]:
    count = 1 if work.repeat else 2 * PAIRS
    orders = itertools.cycle([prepare(work, server=busy, burst=UNHINDERED_BURST) for _order in range(count)])
    with _waiting_creates(slowness, server=busy) as creates:
        deadline = time.monotonic() + PAIRS_SECONDS
        waiting = _count_transactions(older_than=slowness.milliseconds / 2000)
        pairs: list[tuple[float, float]] = []
        while len(pairs) < PAIRS and time.monotonic() < deadline:
            # Alternate the order, so that neither always comes second.
            servers = (quiet, busy) if len(pairs) % 2 else (busy, quiet)
            rates = {each: _fire(work, order=next(orders), server=each) for each in servers}
            pairs.append((rates[busy], rates[quiet]))
        if creates.done():
            raise RuntimeError("the creates were answered before the others were measured")
    outcome = creates.result()
    if set(outcome.statuses) != {"201"}:
        raise RuntimeError(f"the creates were answered {outcome.statuses}")
    return pairs, waiting


def _fire(work: Work, *, order: LoadOrder, server: Server) -> float:
    return fire(work, order=order._replace(ports=server.ports), server=server).per_second


@contextmanager
def _waiting_creates(slowness: Slowness, *, server: Server) -> Iterator[Future[LoadOutcome]]:
    burst = Burst(slowness.creates, WINDOW, most=1)
    order = prepare(CREATE, server=server, burst=burst)
    with _delay(server.upstream, milliseconds=slowness.milliseconds), ThreadPoolExecutor(1) as executor:
        creates = executor.submit(run_load, order)
        time.sleep(1.0)
        yield creates


@contextmanager
def _delay(upstream: Upstream, *, milliseconds: int) -> Iterator[None]:
    upstream.set_delay(milliseconds)
    try:
        yield
    finally:
        upstream.set_delay(0)


def _count_transactions(*, older_than: float) -> int:
    most = 0
    with connection.cursor() as cursor:
        for _look in range(20):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
                " AND now() - xact_start > make_interval(secs => %s)",
                [older_than],
            )
            most = max(most, cursor.fetchone()[0])
            time.sleep(0.02)
    return most


def _judge(subject: str, *, rates: Sequence[tuple[float, float]]) -> Check:
    ratio = statistics.median(beside / alone for beside, alone in rates)
    beside, alone = (statistics.median(column) for column in zip(*rates, strict=True))
    return Check(
        subject, f"{beside:,.0f}/s of {alone:,.0f}: {ratio:.2f}", f"≥ {KEPT}", round(ratio, 2) >= KEPT
    )


def _describe(slowness: Slowness) -> str:
    return f"{slowness.creates} creates at {slowness.milliseconds / 1000:g} s"


def _describe_statuses(outcome: LoadOutcome) -> str:
    return ", ".join(f"{count} x {status}" for status, count in outcome.statuses.items())
