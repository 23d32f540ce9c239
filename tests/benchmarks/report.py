"""Shows the results as tables, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import Result, Sample
from tests.benchmarks.servers import THREADS_OF

TEXT_COLUMNS = ("work", "server")
COLUMNS = (
    *TEXT_COLUMNS,
    "conn.",
    "ours/s",
    "by hand/s",
    "ratio",
    "target",
    "p50 ms",
    "p99 ms",
    "CPU µs (by hand)",
    "SQL",
    "WAL B",
    "MB",
    "to Stripe",
)
CHECK_COLUMNS = ("checked", "seen", "required", "")

Rows = Sequence[tuple[str, ...]]


class Check(NamedTuple):
    """A result that is not a case's; `met` is None if nothing is required."""

    subject: str
    seen: str
    required: str = ""
    met: bool | None = None


def make_rows(results: Sequence[Result], *, statements: Mapping[str, str]) -> Rows:
    """Return the table's cells."""
    return [
        (
            result.case.name,
            result.server,
            str(result.connections),
            f"{result.ours.per_second:,.0f}",
            f"{result.hand.per_second:,.0f}",
            f"{result.ratio:.2f}",
            describe_target(result),
            *_describe_times(result.ours),
            f"{result.ours.cpu * 1e6:,.0f} ({result.hand.cpu * 1e6:,.0f})",
            statements.get(result.case.name, ""),
            f"{result.ours.wal:,.0f}",
            f"{result.memory / 2**20:,.0f}",
            str(result.opened),
        )
        for result in results
    ]


def check_connections(results: Sequence[Result]) -> list[Check]:
    """Check that threads kept their connections to Stripe; under ASGI each request has its own."""
    checks = []
    for kind in dict.fromkeys(each.server for each in results if each.opened):
        mine = [each for each in results if each.server == kind]
        opened = sum(each.opened for each in mine)
        most = THREADS_OF.get(kind, max(each.connections for each in mine))
        checks.append(Check(f"connections to Stripe, {kind}", str(opened), f"≤ {most}", opened <= most))
    return checks


def make_check_rows(checks: Sequence[Check]) -> Rows:
    """Return the cells of the table of checks."""
    verdicts = {None: "", True: "met", False: "MISSED"}
    return [(each.subject, each.seen, each.required, verdicts[each.met]) for each in checks]


def describe_target(result: Result) -> str:
    """Return what the ratio must be, and whether it is."""
    case = result.case
    if not case.must:
        return ""
    if result.ratio >= case.moonshot:
        return f"≥ {case.moonshot} moonshot"
    return f"≥ {case.must} {'met' if result.ratio >= case.must else 'MISSED'}"


def print_table(columns: Sequence[str], *, rows: Rows, console: Console) -> None:
    """Show a table on a terminal, however wide it is."""
    table = Table(*columns)
    for row in rows:
        words = set(" ".join(row).split())
        colour = "red" if "MISSED" in words else "green" if words & {"met", "moonshot"} else ""
        table.add_row(*row, style=colour)
    if rows:
        console.print(table)


def write_markdown(path: Path, *, rows: Rows, check_rows: Rows) -> None:
    """Write both tables as `docs/performance.md` has them."""
    tables = [make_markdown(COLUMNS, rows=rows), make_markdown(CHECK_COLUMNS, rows=check_rows)]
    path.write_text("\n".join(table for table in tables if table))


def make_markdown(columns: Sequence[str], *, rows: Rows) -> str:
    """Return a table in Markdown; columns of figures are right-aligned."""
    rules = ["---" if each in {*TEXT_COLUMNS, *CHECK_COLUMNS, "target"} else "--:" for each in columns]
    lines = [columns, rules, *rows] if rows else []
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_plot(results: Sequence[Result], *, path: Path) -> None:
    """Draw ours beside the code by hand, with the requirement."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{each.case.name}\n{each.server}, {each.connections}" for each in results]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.5 * len(results)), layout="constrained")
    places = range(len(results))
    for offset, label in ((-0.2, "ours"), (0.2, "hand")):
        rates = [getattr(each, label).per_second for each in results]
        axes.barh([place + offset for place in places], rates, 0.4, label=label)
    for place, each in enumerate(results):
        axes.plot([each.case.must * each.hand.per_second] * 2, [place - 0.45, place + 0.45], "k--")
    axes.set(xscale="log", xlabel="requests a second (dashed: required)", yticks=list(places))
    axes.set_yticklabels(names, fontsize=7)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path)


def _describe_times(sample: Sample) -> tuple[str, str]:
    return f"{sample.p50 * 1e3:.1f}", f"{sample.p99 * 1e3:.1f}"
