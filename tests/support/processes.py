"""Runs Python in a process of its own, without the tests' settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Options for pytest: loading every installed plugin takes longer than the tests do.
ALONE = ("-q", "-p", "no:cacheprovider", "--disable-plugin-autoload", "-p", "pytest_django.plugin")


def run(*arguments: str) -> str:
    """Run Python with these arguments, and return what it prints."""
    environment = os.environ | {"DATABASE_URL": "sqlite:///:memory:", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
