"""Installs dj-stripe in an environment of its own, and measures its webhook beside ours."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from django.db import connection

from tests.benchmarks.cases import FIRST, Work, first_delivery
from tests.benchmarks.dj_stripe.settings import DATABASE, ENDPOINT
from tests.benchmarks.measure import Burst, Sample, get_median, send
from tests.benchmarks.report import Check
from tests.benchmarks.servers import Upstream, run_server

INSTALL_SECONDS = 300
KIND = "sync"
CONNECTIONS = 8
MOST_REQUESTS = 4_000
# Packages that both use have the same version.
SHARED = ("dj-database-url", "django", "gunicorn", "psycopg", "psycopg-binary")
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.dj_stripe.settings"}
PEER_FIRST = Work("first delivery to dj-stripe", first_delivery(f"/stripe/webhook/{ENDPOINT}/"))


def check_peer(upstream: Upstream, *, seconds: float, rounds: int) -> Check:
    """Send first deliveries to ours and to dj-stripe in turns."""
    burst = Burst(CONNECTIONS, seconds, MOST_REQUESTS)
    with tempfile.TemporaryDirectory() as folder:
        python = _install(Path(folder))
        _set_up_database(python)
        peer = _run(python, "-c", "from djstripe.apps import __version__; print(__version__)")
        with (
            run_server(KIND, upstream=upstream) as server,
            run_server(KIND, upstream=upstream, environment=ENVIRONMENT, python=python) as peer_server,
        ):
            sends = [
                (send(FIRST, server=server, burst=burst), send(PEER_FIRST, server=peer_server, burst=burst))
                for _round in range(1 + rounds)
            ]
    # The first round is a warm-up.
    return _describe(sends[1:], peer=f"dj-stripe {peer}")


def _describe(pairs: list[tuple[Sample, Sample]], *, peer: str) -> Check:
    ours, theirs = (get_median(list(samples)) for samples in zip(*pairs, strict=True))
    ratio = statistics.median(mine.per_second / other.per_second for mine, other in pairs)
    return Check(
        f"first delivery beside {peer}, {KIND}, {CONNECTIONS} connections",
        f"{ours.per_second:,.0f}/s beside {theirs.per_second:,.0f}: {ratio:.1f},"
        f" CPU {ours.cpu * 1e6:,.0f} µs beside {theirs.cpu * 1e6:,.0f}",
    )


def _install(folder: Path) -> str:
    packages = ["dj-stripe", *(f"{name}=={version(name)}" for name in SHARED)]
    python = str(folder / "bin" / "python")
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", python, *packages)
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "--quiet", *packages)
    return python


def _set_up_database(python: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    _run(python, "-m", "tests.benchmarks.dj_stripe")


def _run(*command: str) -> str:
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=INSTALL_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed: {done.stderr[-2000:]}")
    return done.stdout.strip()
