"""Starts the tests' own PostgreSQL, unless `DATABASE_URL` names a database."""

from __future__ import annotations

import os
from typing import Any

from tests.support.embedded import start_database

servers: list[Any] = []

if "DATABASE_URL" not in os.environ:
    servers.append(start_database())
    # Nothing has to outlive a power failure, and the disk is what flushes after a test would wait for.
    off = ("fsync", "full_page_writes")
    statements = [f"ALTER SYSTEM SET {setting} = off;" for setting in off]
    servers[0].psql("\n".join([*statements, "SELECT pg_reload_conf();"]))
    os.environ["DATABASE_URL"] = servers[0].get_uri()


def pytest_unconfigure() -> None:
    """Stop it and remove its files."""
    for server in servers:
        server.cleanup()
