"""Measures a case: ours and the work by hand in turns, so that both meet the machine in the same state."""

from __future__ import annotations

import json
import pickle
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import NamedTuple

from django.db import connection

from tests.benchmarks.cases import Case, Work
from tests.benchmarks.load import LoadOrder, LoadOutcome
from tests.benchmarks.servers import Server

LOAD_SECONDS = 120
REQUESTS_A_SECOND = 1000


class Sample(NamedTuple):
    """The figures of one burst of requests."""

    per_second: float
    p50: float
    p99: float
    cpu: float
    wal: float
    opened: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case under one server at one number of connections; medians over the rounds.

    `opened` counts our connections to the upstream over all rounds, the warm-up included.
    """

    case: Case
    server: str
    connections: int
    ours: Sample
    hand: Sample
    ratio: float
    opened: int
    memory: int


class Burst(NamedTuple):
    """How much to send at once."""

    connections: int
    seconds: float
    most: int


def measure(case: Case, *, server: Server, burst: Burst, rounds: int) -> Result:
    """Send both kinds of work in turns and compare them round by round."""
    warm_up = burst._replace(seconds=1.0, most=200)
    first = send(case.work, server=server, burst=warm_up)
    send(case.hand, server=server, burst=warm_up)
    pairs = [
        _measure_pair(case, server=server, burst=burst, swap=number % 2 == 1) for number in range(rounds)
    ]
    return Result(
        case=case,
        server=server.kind,
        connections=burst.connections,
        ours=get_median([ours for ours, _hand in pairs]),
        hand=get_median([hand for _ours, hand in pairs]),
        ratio=statistics.median(ours.per_second / hand.per_second for ours, hand in pairs),
        opened=int(sum(ours.opened for ours in [first, *(ours for ours, _hand in pairs)])),
        memory=server.worker_memory,
    )


def _measure_pair(case: Case, *, server: Server, burst: Burst, swap: bool) -> tuple[Sample, Sample]:
    works = (case.hand, case.work) if swap else (case.work, case.hand)
    first, second = (send(work, server=server, burst=burst) for work in works)
    return (second, first) if swap else (first, second)


def send(work: Work, *, server: Server, burst: Burst) -> Sample:
    """Prepare requests, send them, and return their figures."""
    return fire(work, order=prepare(work, server=server, burst=burst), server=server)


def prepare(work: Work, *, server: Server, burst: Burst) -> LoadOrder:
    """Return what to send; duplicates are sent a first time here."""
    requests = work.prepare(min(burst.most, work.most, int(burst.seconds * REQUESTS_A_SECOND)))
    order = LoadOrder(server.ports, burst.connections, burst.seconds, work.repeat, requests)
    if work.name == "duplicate":
        run_load(order._replace(repeat=False, seconds=LOAD_SECONDS / 2))
    return order


def fire(work: Work, *, order: LoadOrder, server: Server) -> Sample:
    """Send what was prepared, and return its figures."""
    opened, cpu, wal = server.upstream.connections, server.cpu_seconds, _get_wal_position()
    outcome = run_load(order)
    count = len(outcome.latencies)
    if outcome.statuses != {work.status: count}:
        raise RuntimeError(f"{work.name} was answered {outcome.statuses}")
    latencies = sorted(outcome.latencies)
    return Sample(
        per_second=count / outcome.seconds,
        p50=latencies[count // 2],
        p99=latencies[count * 99 // 100],
        cpu=(server.cpu_seconds - cpu) / count,
        wal=(_get_wal_position() - wal) / count,
        opened=server.upstream.connections - opened,
    )


def run_load(order: LoadOrder) -> LoadOutcome:
    """Send from a process of its own."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps(tuple(order)))
        file.flush()
        command = [sys.executable, "-m", "tests.benchmarks.load", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LOAD_SECONDS)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return LoadOutcome(**dict(zip(LoadOutcome._fields, json.loads(done.stdout), strict=True)))


def get_median(samples: list[Sample]) -> Sample:
    """Return the median of each figure."""
    return Sample(*(statistics.median(column) for column in zip(*samples, strict=True)))


def _get_wal_position() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return int(cursor.fetchone()[0])
