"""Nothing is lost on several machines when one of them fails: `python -m tests.cluster` as a test."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cluster.parts import ROOT, list_missing

pytestmark = pytest.mark.slow

SECONDS = 600


def test_every_cent_is_there_whatever_fails() -> None:
    """All scenarios once; `--times 10` beside the tests says more."""
    if missing := list_missing():
        pytest.skip(f"needs {', '.join(missing)}")
    command = [sys.executable, "-m", "tests.cluster", "--purchases", "24"]
    # The cluster has settings of its own.
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.count("purchases exact") == 6, done.stdout
