"""A plugin, since a session's fixture would be made anew in each module that imports it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.demo import Demo, run_demo


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """One demo for all tests; each comes as a new visitor."""
    with tempfile.TemporaryDirectory() as directory, run_demo(Path(directory)) as demo:
        yield demo
        demo.stop()


@pytest.fixture
def demo_directory() -> Iterator[Path]:
    """A directory for the data of one test's demos: the database's user can't enter `tmp_path`."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)
