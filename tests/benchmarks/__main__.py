"""One command measures everything: see `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmarks.servers import COMMANDS, Upstream, run_database, run_upstream

if TYPE_CHECKING:
    from tests.benchmarks.runs import Run


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
        finished = run(options, upstream=upstream, console=console)
        report(finished, console=console)
    sys.exit(1 if finished.failures or finished.is_missed else 0)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--against", type=Path, help="a checkout whose app is measured beside this one's")
    parser.add_argument("--http", action="store_true", help="measure over HTTP too, with a slow Stripe")
    parser.add_argument("--servers", nargs="+", choices=sorted(COMMANDS), default=["sync"])
    parser.add_argument("--connections", nargs="+", type=int, default=[8])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each burst of requests")
    parser.add_argument("--rounds", type=int, default=5, help="of ours and the work by hand in turns")
    parser.add_argument("--cases", nargs="*", default=[""], help="parts of the names of what to measure")
    parser.add_argument("--bare", action="store_true", help="a host with CommonMiddleware only")
    parser.add_argument("--no-slow", action="store_true", help="leave out what a slow Stripe does to others")
    parser.add_argument("--dj-stripe", action="store_true", help="install it, and measure an event beside it")
    parser.add_argument("--start-up", action="store_true", help="measure django.setup() too")
    parser.add_argument("--memory", action="store_true", help="measure a worker's memory too")
    parser.add_argument("--kept-sql", action="store_true", help="measure kept SQL beside the ORM too")
    parser.add_argument("--full", action="store_true", help="every server, at 1, 8 and 64 connections")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    parser.add_argument("--plot", type=Path, help="where to write a plot; needs matplotlib")
    options = parser.parse_args()
    if options.full:
        options.http = True
        options.servers, options.connections = list(COMMANDS), [1, 8, 64]
    return options


def set_up_database() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)


def run(options: argparse.Namespace, *, upstream: Upstream, console: Console) -> Run:
    from tests.benchmarks.runs import Run

    columns = (TextColumn("{task.description:<50}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        started = Run(options, upstream=upstream, progress=progress)
        started.run()
        return started


def report(finished: Run, *, console: Console) -> None:
    from tests.benchmarks import latency
    from tests.benchmarks import report as reports

    options = finished.options
    rows = reports.make_rows(finished.results, statements=finished.statements)
    check_rows = reports.make_check_rows(finished.checks)
    reports.print_table(reports.COLUMNS, rows=rows, console=console)
    reports.print_table(reports.CHECK_COLUMNS, rows=check_rows, console=console)
    if options.markdown:
        reports.write_markdown(options.markdown, rows=rows, check_rows=check_rows)
    if options.plot:
        reports.write_plot(finished.results, path=options.plot)
        latency.write_plot(finished.latencies, path=options.plot.with_stem(f"{options.plot.stem}-latency"))
    for failure in finished.failures:
        console.print(f"[red]failed[/red] {failure}", highlight=False)


if __name__ == "__main__":
    main()
