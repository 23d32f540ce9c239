"""Shows the results as a table, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measure import Result, Sample

HEADINGS = (
    "work",
    "server",
    "conn.",
    "ours/s",
    "floor/s",
    "ratio",
    "target",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "floor CPU µs",
    "SQL",
    "WAL B",
    "MB",
)


def make_rows(results: Sequence[Result], *, statements: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the table's cells."""
    return [
        (
            result.case.name,
            result.server,
            str(result.connections),
            f"{result.ours.per_second:,.0f}",
            f"{result.floor.per_second:,.0f}",
            f"{result.ratio:.2f}",
            describe_target(result),
            *_describe_times(result.ours),
            f"{result.floor.cpu * 1e6:,.0f}",
            statements.get(result.case.name, ""),
            f"{result.ours.wal:,.0f}",
            f"{result.memory / 2**20:,.0f}",
        )
        for result in results
    ]


def describe_target(result: Result) -> str:
    """Return what the ratio must be, and whether it is."""
    case = result.case
    if not case.must:
        return ""
    if result.ratio >= case.moonshot:
        return f"≥ {case.moonshot} moonshot"
    return f"≥ {case.must} {'met' if result.ratio >= case.must else 'MISSED'}"


def print_table(rows: Sequence[tuple[str, ...]], *, console: Console) -> None:
    """Show the table on a terminal, however wide it is."""
    table = Table(*HEADINGS)
    for row in rows:
        colour = "red" if "MISSED" in row[6] else "green" if row[6] else ""
        table.add_row(*row, style=colour)
    console.print(table)


def write_markdown(rows: Sequence[tuple[str, ...]], *, path: Path) -> None:
    """Write the table as the README has it."""
    lines = [HEADINGS, tuple("---" for _each in HEADINGS), *rows]
    path.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def write_plot(results: Sequence[Result], *, path: Path) -> None:
    """Draw ours beside the floor, with what is required."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [f"{each.case.name}\n{each.server}, {each.connections}" for each in results]
    figure, axes = pyplot.subplots(figsize=(10, 1 + 0.5 * len(results)), layout="constrained")
    places = range(len(results))
    for offset, label in ((-0.2, "ours"), (0.2, "floor")):
        rates = [getattr(each, label).per_second for each in results]
        axes.barh([place + offset for place in places], rates, 0.4, label=label)
    for place, each in enumerate(results):
        axes.plot([each.case.must * each.floor.per_second] * 2, [place - 0.45, place + 0.45], "k--")
    axes.set(xscale="log", xlabel="requests a second (dashed: required)", yticks=list(places))
    axes.set_yticklabels(names, fontsize=7)
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path)


def _describe_times(sample: Sample) -> tuple[str, str, str]:
    return f"{sample.p50 * 1e3:.1f}", f"{sample.p99 * 1e3:.1f}", f"{sample.cpu * 1e6:,.0f}"
