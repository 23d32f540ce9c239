"""Starts the processes that a run needs, all on loopback, and measures what they use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from tests.support.embedded import start_database

START_SECONDS = 30
STOP_SECONDS = 15
WORKERS = 2
THREADS = 16
THREADS_OF = {"sync": WORKERS, "gthread": WORKERS * THREADS}
NOTHING: Mapping[str, str] = {}
TICKS = os.sysconf("SC_CLK_TCK")
COMMANDS = {
    "sync": ["gunicorn", "-k", "sync"],
    "gthread": ["gunicorn", "-k", "gthread", "--threads", str(THREADS)],
    "asgi": ["uvicorn", "--no-access-log", "--log-level", "warning"],
}


class Upstream:
    """What stands in for Stripe."""

    def __init__(self, *, port: int, authority: str) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self.authority = authority

    @property
    def connections(self) -> int:
        """Return how many connections were opened, not counting this class's own."""
        return int(self._control("connections"))

    def set_delay(self, milliseconds: int) -> None:
        """Let every answer wait."""
        self._control(f"delay/{milliseconds}")

    def list_intents(self, count: int, *, first: int, step: int) -> None:
        """Set how many intents the upstream lists, the first created at that second and each a step later."""
        self._control(f"listed/{count}/{first}/{step}")

    def _control(self, path: str) -> str:
        answer = requests.get(f"{self.url}/control/{path}", verify=self.authority, timeout=10)
        return answer.text


class Server:
    """A web server with its workers.

    Each worker has its own port and an equal share of the connections, as behind a balancing proxy. Workers
    that share a port accept connections unevenly: one got all of 64 kept ones.
    """

    def __init__(
        self, processes: list[subprocess.Popen[bytes]], *, kind: str, ports: list[int], upstream: Upstream
    ) -> None:
        self.processes = processes
        self.kind = kind
        self.ports = ports
        self.upstream = upstream

    @property
    def workers(self) -> list[int]:
        """Return the processes that do the work: gunicorn's are its children."""
        return [pid for each in self.processes for pid in _get_children(each.pid) or [each.pid]]

    @property
    def cpu_seconds(self) -> float:
        """Return the processor time that the workers have used."""
        return sum(_get_ticks(pid) for pid in self.workers) / TICKS

    @property
    def worker_memory(self) -> int:
        """Return the largest worker's resident bytes."""
        return max(_get_resident(pid) for pid in self.workers)


@contextmanager
def run_database() -> Iterator[str]:
    """Run PostgreSQL with its defaults: fsync and synchronous_commit are on."""
    database = start_database()
    try:
        yield str(database.get_uri())
    finally:
        database.cleanup()


@contextmanager
def run_upstream() -> Iterator[Upstream]:
    """Run the upstream with a certificate from an authority made for it."""
    import trustme

    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        trusted, certificate = Path(folder, "ca.pem"), Path(folder, "server.pem")
        authority.cert_pem.write_to_path(trusted)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        port = _get_free_port()
        command = [sys.executable, "-m", "tests.benchmarks.upstream", str(port), str(certificate)]
        with _run(command) as process:
            _wait_for(port, process=process)
            yield Upstream(port=port, authority=str(trusted))


@contextmanager
def run_server(
    kind: str,
    *,
    upstream: Upstream,
    environment: Mapping[str, str] = NOTHING,
    python: str = sys.executable,
) -> Iterator[Server]:
    """Run a host project, with the settings that the environment names, under gunicorn or uvicorn."""
    ports = [_get_free_port() for _number in range(WORKERS)]
    if kind == "asgi":
        environment = {**environment, "BENCHMARK_POOL": "1"}
    with ExitStack() as stack:
        commands = [[python, *_get_arguments(kind, port=port)] for port in ports]
        processes = [stack.enter_context(_run(each, environment=environment)) for each in commands]
        for process, port in zip(processes, ports, strict=True):
            _wait_for(port, process=process)
            # The first request imports the views.
            requests.get(f"http://127.0.0.1:{port}/hand/empty", timeout=START_SECONDS)
        yield Server(processes, kind=kind, ports=ports, upstream=upstream)


def _get_arguments(kind: str, *, port: int) -> list[str]:
    program, *options = COMMANDS[kind]
    if program == "gunicorn":
        options += ["-w", "1", "-b", f"127.0.0.1:{port}", "--backlog", "512", "--keep-alive", "60"]
        options += ["--log-level", "warning", "tests.benchmarks.wsgi:application"]
    else:
        options += ["--host", "127.0.0.1", "--port", str(port), "tests.benchmarks.asgi:application"]
    return ["-m", program, *options]


@contextmanager
def _run(
    command: list[str], *, environment: Mapping[str, str] = NOTHING
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, *, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


def _get_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get_children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _get_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _get_resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
