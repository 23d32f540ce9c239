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
    """Start a server of its own, which its `cleanup` stops; its files are gone when the process ends."""
    postgres = load_postgres()
    directory = Path(tempfile.mkdtemp())
    # Where root starts it, the server is another user's.
    directory.chmod(0o755)
    folder = postgres.get_passable(directory / "postgres")
    for each in {directory, folder.parent}:
        atexit.register(shutil.rmtree, each, ignore_errors=True)
    return postgres.start_server(folder, lock=directory / ".lock", cleanup_mode="delete")


def load_postgres() -> ModuleType:
    """Return the demo's module, which is not on the path of the tests, as new."""
    spec = importlib.util.spec_from_file_location("embedded_postgres", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
