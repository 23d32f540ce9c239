"""The tour shop's own tests, run as its developer runs them."""

from __future__ import annotations

import subprocess
import sys

from tests.support.demo import ROOT, get_environment
from tests.test_independence import ALONE


def test_the_example_s_own_tests_pass() -> None:
    command = [sys.executable, "-m", "pytest", "example_project", *ALONE]
    done = subprocess.run(command, cwd=ROOT, env=get_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
