"""Measures how long reads and events take while creates wait for Stripe, and draws it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.cases import CREATE, FIRST, READ, Work
from tests.benchmarks.measure import Burst, prepare, run_load, send
from tests.benchmarks.report import Check
from tests.benchmarks.servers import Upstream, run_server

KINDS = ("gthread", "asgi")
CONNECTIONS, CREATES, DELAY = 64, 16, 200
SECONDS = 5.0
# The longest of a hundred answers may take so many times as long as the usual one.
MOST = 3.0


class Latency(NamedTuple):
    """How long each request of some work took under a server, in seconds, sorted."""

    server: str
    work: str
    seconds: list[float]

    def get(self, share: float) -> float:
        """Return what so large a share of the requests took at most, in milliseconds."""
        return self.seconds[int((len(self.seconds) - 1) * share)] * 1000

    def check(self) -> Check:
        """Compare the slowest of a hundred with the usual."""
        p50, p95, p99 = map(self.get, (0.5, 0.95, 0.99))
        subject = f"{self.work}, {self.server}, beside {CREATES} creates at {DELAY} ms"
        seen = f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms: {p99 / p50:.1f}"
        return Check(subject, seen, f"≤ {MOST:g} times p50", p99 <= MOST * p50)


def measure_latency(upstream: Upstream) -> list[Latency]:
    """Send reads, then events, over most of the connections while creates wait on the others."""
    return [each for kind in KINDS for each in _measure(kind, upstream=upstream)]


def _measure(kind: str, *, upstream: Upstream) -> list[Latency]:
    found = []
    with run_server(kind, upstream=upstream) as server, ThreadPoolExecutor(1) as executor:
        for work in (READ, FIRST):
            warm_up = Burst(CREATES, seconds=1.0, most=200)
            for each in (CREATE, work):
                send(each, server=server, burst=warm_up)
            orders = {each: prepare(each, server=server, burst=_get_burst(each)) for each in (CREATE, work)}
            upstream.set_delay(DELAY)
            try:
                creates = executor.submit(run_load, orders[CREATE])
                outcome = run_load(orders[work])
                creates.result()
            finally:
                upstream.set_delay(0)
            if set(outcome.statuses) != {"200"}:
                raise RuntimeError(f"{work.name} was answered {outcome.statuses}")
            found.append(Latency(kind, work.name, sorted(outcome.latencies)))
    return found


def _get_burst(work: Work) -> Burst:
    connections = CREATES if work is CREATE else CONNECTIONS - CREATES
    return Burst(connections, seconds=SECONDS, most=work.most)


def write_plot(latencies: list[Latency], *, path: Path) -> None:
    """Draw which share of the requests was answered within which time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for each in latencies:
        count = len(each.seconds)
        shares = [100 * (place + 1) / count for place in range(count)]
        axes.plot([1000 * seconds for seconds in each.seconds], shares, label=f"{each.work}, {each.server}")
    axes.set(xscale="log", xlabel="milliseconds", ylabel="% answered within")
    axes.axhline(99, color="grey", linestyle=":")
    axes.legend()
    figure.savefig(path)
