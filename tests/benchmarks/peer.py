"""Installs dj-stripe in an environment of its own, and measures an event beside ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from django.db import connection

from tests.benchmarks.dj_stripe.settings import DATABASE
from tests.benchmarks.ratios import PEER, compare, run_worker
from tests.benchmarks.report import Check

INSTALL_SECONDS = 300
# Packages that both use have the same version.
SHARED = ("dj-database-url", "django", "psycopg", "psycopg-binary")
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tests.benchmarks.dj_stripe.settings"}


def check_peer(*, rounds: int) -> Check:
    """Compare a first delivery's processor time with dj-stripe's, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        python = _install(Path(folder))
        _set_up_database(python)
        peer = _run(python, "-c", "from djstripe.apps import __version__; print(__version__)")
        with run_worker() as ours, run_worker(python=python, environment=ENVIRONMENT) as theirs:
            pair = PEER._replace(name=f"{PEER.name} {peer}")
            return compare(pair, ours=ours, theirs=theirs, rounds=rounds)


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
