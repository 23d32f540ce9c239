"""Debian's pgbouncer before the tests' PostgreSQL, as hosts run it: in transaction mode.

Only a transaction stays on one session, so nothing else may depend on the session. Each transaction gets
the next session in turn, so that code which relies on the last one fails at once.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection, connections

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
PORT = "6432"
START_SECONDS = 20
CONFIGURATION = """
[databases]
* = {database}
[pgbouncer]
auth_type = any
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
logfile = {folder}/log
pool_mode = transaction
server_round_robin = 1
default_pool_size = 20
max_client_conn = 500
"""


@pytest.fixture
def pooled(transactional_db: None) -> Iterator[None]:
    """Start pgbouncer for the test, and route all connections of this process through it."""
    if not PROGRAM or connection.vendor != "postgresql":
        pytest.skip("needs pgbouncer, and PostgreSQL")
    with run_pgbouncer(PROGRAM) as settings, pytest.MonkeyPatch.context() as patch:
        connections.close_all()
        for name, value in settings.items():
            patch.setitem(connections.settings["default"], name, value)
        yield
        connections.close_all()


@pytest.fixture(params=["directly", pytest.param("pooled", marks=pytest.mark.slow)])
def way_to_the_database(request: pytest.FixtureRequest) -> None:
    """Run a test with direct connections, and among the slow tests through pgbouncer as well."""
    if request.param == "pooled":
        request.getfixturevalue("pooled")


@contextmanager
def run_pgbouncer(program: str) -> Iterator[dict[str, str]]:
    """Run pgbouncer on a socket in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pgbouncer.ini")
        file.write_text(CONFIGURATION.format(database=describe_database(), folder=folder, port=PORT))
        command = [program, "--quiet", *get_user_option(folder), str(file)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(folder, process=process)
                yield {"HOST": folder, "PORT": PORT}
            finally:
                process.terminate()


def describe_database() -> str:
    """Return the tests' own database and user, for pgbouncer to connect with."""
    parameters = connection.get_connection_params()
    names = [name for name in ("host", "port", "user", "password") if parameters.get(name)]
    return " ".join(f"{name}='{parameters[name]}'" for name in names)


def get_user_option(folder: str) -> list[str]:
    """Return the option for the user to run as when we are root, which it refuses: the socket's owner."""
    if os.getuid():
        return []
    host = Path(connection.get_connection_params().get("host") or "/")
    owner = pwd.getpwuid(host.stat().st_uid if host.exists() else 0)
    user = owner if owner.pw_uid else pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["--user", user.pw_name]


def wait_for(folder: str, *, process: subprocess.Popen[bytes]) -> None:
    """Wait until pgbouncer takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(host=folder, port=int(PORT), dbname="postgres", user="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    log = Path(folder, "log")
    raise RuntimeError(f"pgbouncer did not start: {log.read_text() if log.exists() else 'no log'}")
