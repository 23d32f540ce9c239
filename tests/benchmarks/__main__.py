"""One command measures everything: see `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.servers import (
    COMMANDS,
    THREADS,
    WORKERS,
    Upstream,
    run_database,
    run_server,
    run_upstream,
)

if TYPE_CHECKING:
    from tests.benchmarks.measure import Result

SLOW = 200
SLOW_CONNECTIONS = 64


def main() -> None:
    options = parse_options()
    console = Console(width=170)
    with run_database() as database, run_upstream() as upstream:
        environment = {
            "DATABASE_URL": database,
            "BENCHMARK_UPSTREAM": upstream.url,
            "BENCHMARK_CA": upstream.authority,
            "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings",
        } | ({"BENCHMARK_BARE": "1"} if options.bare else {})
        os.environ.update(environment)
        set_up_database()
        results = run(options, upstream=upstream, console=console)
        report(results, options=options, console=console)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--servers", nargs="+", choices=sorted(COMMANDS), default=["sync"])
    parser.add_argument("--connections", nargs="+", type=int, default=[8])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each burst of requests")
    parser.add_argument("--rounds", type=int, default=3, help="of ours and floor in turns")
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of the names of what to measure")
    parser.add_argument("--bare", action="store_true", help="a host with CommonMiddleware only")
    parser.add_argument("--no-slow", action="store_true", help="leave out the upstream that takes 200 ms")
    parser.add_argument("--full", action="store_true", help="every server, at 1, 8 and 64 connections")
    parser.add_argument("--markdown", type=Path, help="where to write the table")
    parser.add_argument("--plot", type=Path, help="where to write a plot; needs matplotlib")
    options = parser.parse_args()
    if options.full:
        options.servers, options.connections = list(COMMANDS), [1, 8, 64]
    return options


def set_up_database() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def run(options: argparse.Namespace, *, upstream: Upstream, console: Console) -> list[Result]:
    from tests.benchmarks.cases import CASES
    from tests.benchmarks.measure import Burst, measure

    cases = [case for case in CASES if any(part in case.name for part in options.cases)]
    slow = [case for case in cases if case.name == "create" and not options.no_slow]
    steps = len(options.servers) * len(options.connections) * len(cases) + len(slow)
    results = []
    columns = (TextColumn("{task.description:<50}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps)
        for kind in options.servers:
            with run_server(kind, environment={}) as server:
                for connections in options.connections:
                    burst = Burst(connections, options.seconds, most=12_000)
                    for case in cases:
                        progress.update(task, description=f"{kind}, {connections}: {case.name}")
                        results.append(
                            measure(case, server=server, kind=kind, burst=burst, rounds=options.rounds)
                        )
                        progress.advance(task)
        for _case in slow:
            progress.update(task, description=f"create, {SLOW} ms upstream")
            console.print(measure_slow_create(upstream))
            progress.advance(task)
    return results


def measure_slow_create(upstream: Upstream) -> str:
    """Fill every thread with a create that waits, and see how near they come to never being idle."""
    from tests.benchmarks.cases import CREATE
    from tests.benchmarks.measure import Burst, send

    with run_server("gthread", environment={}) as server:
        burst = Burst(SLOW_CONNECTIONS, 5.0, most=1)
        send(CREATE, server=server, burst=burst._replace(seconds=2.0))
        upstream.set_delay(SLOW)
        before = upstream.connections
        sample = send(CREATE, server=server, burst=burst)
        opened = upstream.connections - before
        upstream.set_delay(0)
    ceiling = WORKERS * THREADS * 1000 / SLOW
    ratio = sample.per_second / ceiling
    verdict = "met" if ratio >= 0.9 else "MISSED"
    return (
        f"create at {SLOW} ms upstream, {WORKERS} x {THREADS} threads: {sample.per_second:.0f}/s of"
        f" {ceiling:.0f}, {ratio:.2f} (≥ 0.9 {verdict}), {opened} connections opened"
    )


def report(results: Sequence[Result], *, options: argparse.Namespace, console: Console) -> None:
    from tests.benchmarks import report as reports
    from tests.benchmarks.statements import count_statements

    statements = {case.name: count_statements(case.work) for case in {each.case for each in results}}
    rows = reports.make_rows(results, statements=statements)
    reports.print_table(rows, console=console)
    if options.markdown:
        reports.write_markdown(rows, path=options.markdown)
    if options.plot:
        reports.write_plot(results, path=options.plot)


if __name__ == "__main__":
    main()
