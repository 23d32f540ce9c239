"""Measures how much memory a worker has with the app, beside one of a host without it."""

from __future__ import annotations

from tests.benchmarks.ratios import run_worker
from tests.benchmarks.report import Check

REQUESTS = 10_000
# The most MiB that the app may add to Django with REST framework and Stripe's SDK.
MOST_ADDED = 4.0
WITHOUT = {"BENCHMARK_WITHOUT": "1"}


def check_memory() -> Check:
    """Compare two workers after the same work, which takes as many requests again to prepare."""
    with run_worker() as worker:
        app = worker.order("memory", who="ours", count=REQUESTS)["mebibytes"]
    with run_worker(environment=WITHOUT) as worker:
        plain = worker.order("memory", who="hand", count=REQUESTS)["mebibytes"]
    added = app - plain
    seen = f"{added:.1f} MiB: {app:.1f} beside {plain:.1f}"
    return Check("a worker's memory after 20,000 requests", seen, f"≤ {MOST_ADDED}", added <= MOST_ADDED)
