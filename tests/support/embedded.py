"""The demo's embedded PostgreSQL, for the tests and the benchmarks."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = Path(__file__).parents[2] / "example_project" / "tourshop" / "postgres.py"


def start_database() -> Any:
    """Start a new server, stopped by its `cleanup`; its files are removed when the process ends."""
    postgres = load_postgres()
    directory = Path(tempfile.mkdtemp())
    # When root starts it, the server runs as another user.
    directory.chmod(0o755)
    folder = postgres.get_passable(directory / "postgres")
    for each in {directory, folder.parent}:
        atexit.register(shutil.rmtree, each, ignore_errors=True)
    return postgres.start_server(folder, lock=directory / ".lock", cleanup_mode="delete")


def load_postgres() -> ModuleType:
    """Return a fresh copy of the demo's module, which is not on the tests' path."""
    spec = importlib.util.spec_from_file_location("embedded_postgres", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
