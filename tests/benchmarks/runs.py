"""Runs the chosen steps, and keeps the results so far when something fails."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError
from rich.progress import Progress

from tests.benchmarks.cases import CASES
from tests.benchmarks.growth import check_growth
from tests.benchmarks.kept_sql import check_kept_sql
from tests.benchmarks.latency import Latency, measure_latency
from tests.benchmarks.measure import Burst, Result, measure
from tests.benchmarks.memory import check_memory
from tests.benchmarks.peer import check_peer
from tests.benchmarks.ratios import check_other_checkout, check_ratios
from tests.benchmarks.report import Check, check_connections
from tests.benchmarks.servers import Upstream, run_server
from tests.benchmarks.slow import SLOWNESSES, check_ceiling, check_time_out, check_unhindered
from tests.benchmarks.start_up import check_start_up
from tests.benchmarks.statements import count_statements

FAILURES = (RuntimeError, OSError, subprocess.SubprocessError, DatabaseError)
MOST_REQUESTS = 12_000
CEILING_SECONDS = 5.0


class Run:
    """One run: its results so far, and why steps failed."""

    def __init__(self, options: argparse.Namespace, *, upstream: Upstream, progress: Progress) -> None:
        self.options = options
        self.upstream = upstream
        self.progress = progress
        self.cases = [case for case in CASES if any(part in case.name for part in options.cases)]
        self.task = progress.add_task("", total=self._count_steps())
        self.results: list[Result] = []
        self.checks: list[Check] = []
        self.latencies: list[Latency] = []
        self.statements: dict[str, str] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        """Do every step, even if earlier ones failed."""
        options = self.options
        with self._step("processor time beside code by hand"):
            self.checks += check_ratios(rounds=options.rounds)
        with self._step("what must not grow"):
            self.checks += check_growth(rounds=options.rounds)
        if options.dj_stripe:
            with self._step("an event beside dj-stripe"):
                self.checks.append(check_peer(rounds=options.rounds))
        if options.against:
            with self._step(f"beside {options.against}"):
                self.checks += check_other_checkout(options.against, rounds=options.rounds)
        if options.http:
            self._run_http()
        if options.start_up:
            with self._step("start-up"):
                self.checks += check_start_up()
        if options.memory:
            with self._step("a worker's memory"):
                self.checks.append(check_memory())
        if options.kept_sql:
            with self._step("kept SQL"):
                self.checks += check_kept_sql()

    @property
    def is_missed(self) -> bool:
        """Tell whether a requirement isn't met."""
        return any(check.met is False for check in self.checks)

    def _run_http(self) -> None:
        for kind in self.options.servers:
            with self._catch(kind):
                self._run_cases(kind)
        self.checks += check_connections(self.results)
        with self._step("latency while creates wait"):
            self.latencies = measure_latency(self.upstream)
            self.checks += [each.check() for each in self.latencies]
        if not self.options.no_slow:
            self._run_slow()
        for case in self.cases:
            with self._catch(f"statements of {case.name}"):
                self.statements[case.name] = count_statements(case.work)

    def _run_cases(self, kind: str) -> None:
        with run_server(kind, upstream=self.upstream) as server:
            for connections in self.options.connections:
                burst = Burst(connections, self.options.seconds, MOST_REQUESTS)
                for case in self.cases:
                    with self._step(f"{kind}, {connections}: {case.name}"):
                        rounds = self.options.rounds
                        self.results.append(measure(case, server=server, burst=burst, rounds=rounds))

    def _run_slow(self) -> None:
        with self._step("threads that wait for the upstream"):
            self.checks += check_ceiling(self.upstream, seconds=CEILING_SECONDS)
        for slowness in SLOWNESSES:
            with self._step(f"requests beside an upstream that takes {slowness.milliseconds} ms"):
                self.checks += check_unhindered(slowness, upstream=self.upstream)
        with self._step("an upstream that does not answer"):
            self.checks += check_time_out(self.upstream)

    def _count_steps(self) -> int:
        options = self.options
        slow = 0 if options.no_slow else 2 + len(SLOWNESSES)
        cases = len(options.servers) * len(options.connections) * len(self.cases)
        chosen = (options.dj_stripe, options.against, options.start_up, options.memory, options.kept_sql)
        single = map(bool, chosen)
        return 2 + sum(single) + (cases + slow + 1 if options.http else 0)

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self.progress.update(self.task, description=title)
        with self._catch(title):
            yield
        self.progress.advance(self.task)

    @contextmanager
    def _catch(self, title: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self.failures.append(f"{title}: {error}")
