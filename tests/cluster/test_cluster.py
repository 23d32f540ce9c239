"""Nothing is lost on several machines when one of them fails: `python -m tests.cluster` as a test."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster.parts import ROOT, list_missing
from tests.cluster.scenarios import SCENARIOS

pytestmark = pytest.mark.slow

SECONDS = 600


@pytest.mark.parametrize(("queue", "scenarios"), [("rq", [*SCENARIOS]), ("database", ["worker killed"])])
def test_every_cent_is_there_whatever_fails(queue: str, scenarios: list[str]) -> None:
    """All scenarios once; `python -m tests.cluster --times 10` says more."""
    if missing := list_missing(queue):
        pytest.skip(f"needs {', '.join(missing)}")
    command = [sys.executable, "-m", "tests.cluster", "--purchases", "24", "--queue", queue, *scenarios]
    # The cluster has settings of its own.
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.count("purchases exact") == len(scenarios), done.stdout
