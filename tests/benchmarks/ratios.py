"""Compares processor time, in the app and in PostgreSQL, with the same work written by hand."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from django.db import connection

from tests.benchmarks.report import Check
from tests.benchmarks.servers import NOTHING

# A ratio may miss its target by so much: that is what two runs differ by.
LEEWAY = 0.95
OLD_DATABASE = "old_checkout"


class Pair(NamedTuple):
    """Our work, whose code it is compared with, and their time divided by ours that must be reached."""

    name: str
    work: str
    whose: str
    must: float
    times: int = 150


PAIRS = (
    Pair("read beside plain Django", "read", "hand", 1.0),
    Pair("list of 100 beside plain Django", "list", "hand", 0.6, times=30),
    Pair("first delivery beside the same four statements by cursor", "event", "hand", 0.85),
    Pair("first delivery beside the ORM by hand", "event", "orm", 1.15),
    Pair("duplicate beside safe code by hand", "duplicate", "hand", 0.75),
    Pair("duplicate within a minute beside the same", "duplicate at once", "hand", 0.75),
    Pair("create beside safe code by hand", "create", "hand", 0.85),
    Pair("complete beside safe code by hand", "complete", "hand", 1.0),
    Pair("refund beside safe code by hand", "refund", "hand", 0.95),
)
PEER = Pair("first delivery beside dj-stripe", "event", "peer", 10.0, times=60)
OLD = Pair("app's time of a first delivery, the other checkout's beside ours", "event", "ours", 1.5)

# A change may cost so much and no more.
EACH_WORK = [
    Pair(f"{each.work}, the other checkout's beside ours", each.work, "ours", 1.0, times=each.times)
    for each in PAIRS
    if each.whose == "hand"
]


class Times(NamedTuple):
    """Microseconds of one request."""

    app: float
    database: float

    @property
    def total(self) -> float:
        return self.app + self.database


class Worker:
    """A process that measures; see `tests.benchmarks.worker`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def measure(self, pair: Pair, *, who: str) -> Times:
        """Let it do the work; raises RuntimeError if it can't."""
        return Times(**self.order(pair.work, who=who, count=pair.times))

    def order(self, work: str, *, who: str, count: int) -> dict[str, float]:
        """Return what it measured of some work; raises RuntimeError if it can't do it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"work": work, "who": who, "count": count}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the worker ended"}
        if "error" in answer:
            raise RuntimeError(f"{work} of {who}: {answer['error']}")
        return answer


@contextmanager
def run_worker(*, python: str = sys.executable, environment: Mapping[str, str] = NOTHING) -> Iterator[Worker]:
    """Start a worker with the settings that the environment names."""
    process = subprocess.Popen(
        [python, "-m", "tests.benchmarks.worker"],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()


def compare(pair: Pair, *, ours: Worker, theirs: Worker, rounds: int, app_only: bool = False) -> Check:
    """Measure both in each round, in random order, and take the median of the rounds' ratios."""
    sides = {"ours": (ours, "ours"), "theirs": (theirs, pair.whose)}
    ratios, seen = [], []
    for _round in range(rounds):
        names = random.sample(list(sides), k=2)
        times = {name: sides[name][0].measure(pair, who=sides[name][1]) for name in names}
        counted = {name: each.app if app_only else each.total for name, each in times.items()}
        ratios.append(counted["theirs"] / counted["ours"])
        seen.append(times)
    ratio = statistics.median(ratios)
    shown = " beside ".join(_show([times[side] for times in seen]) for side in ("ours", "theirs"))
    return Check(pair.name, f"{ratio:.2f}: {shown}", f"≥ {pair.must}", ratio >= pair.must * LEEWAY)


def _show(times: list[Times]) -> str:
    app, database = (statistics.median(column) for column in zip(*times, strict=True))
    return f"{app:,.0f} + {database:,.0f} µs"


def check_ratios(*, rounds: int) -> list[Check]:
    """Compare our work with the same work by hand, in one process."""
    with run_worker() as worker:
        return [compare(pair, ours=worker, theirs=worker, rounds=rounds) for pair in PAIRS]


def check_other_checkout(checkout: Path, *, rounds: int) -> list[Check]:
    """Compare all our work with another checkout's, each in a process and a database of its own."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {OLD_DATABASE}")
    with tempfile.TemporaryDirectory() as folder:
        # Of the other checkout only the app: the benchmark is this one's.
        Path(folder, "octo_stripe_gateway").symlink_to((checkout / "octo_stripe_gateway").resolve())
        environment = {"BENCHMARK_DATABASE": OLD_DATABASE, "BENCHMARK_APP": folder}
        migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--skip-checks"]
        subprocess.run(migrate, env={**os.environ, **environment}, check=True, capture_output=True)
        with run_worker() as ours, run_worker(environment=environment) as theirs:
            checks = [compare(pair, ours=ours, theirs=theirs, rounds=rounds) for pair in EACH_WORK]
            return [*checks, compare(OLD, ours=ours, theirs=theirs, rounds=rounds, app_only=True)]
