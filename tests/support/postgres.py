"""Starts the tests' own PostgreSQL, unless `DATABASE_URL` names a database."""

from __future__ import annotations

import os
from typing import Any

from tests.support.embedded import start_database

servers: list[Any] = []

if "DATABASE_URL" not in os.environ:
    servers.append(start_database())
    # No data has to survive a power failure, and syncing makes the flush after each test slow. Two tests at
    # once may have 50 threads each, with a connection per thread.
    wanted = {"fsync": "off", "full_page_writes": "off", "max_connections": "300"}
    servers[0].psql("\n".join(f"ALTER SYSTEM SET {name} = {value};" for name, value in wanted.items()))
    servers[0].stop()
    servers[0].start()
    os.environ["DATABASE_URL"] = servers[0].get_uri()


def pytest_unconfigure() -> None:
    """Stop it and remove its files."""
    for server in servers:
        server.cleanup()
