from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of the test's own, reached through a socket in a folder."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        pytest.skip("needs redis-server: apt install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            _wait_for(path)
            yield f"unix://{path}"
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="session")
def memcached() -> Iterator[str]:
    """The address of a memcached of the test's own, a socket in a folder."""
    program = shutil.which("memcached")
    if not program:
        pytest.skip("needs memcached: apt install memcached")
    with tempfile.TemporaryDirectory() as folder:
        # Started by root, it becomes another user, who has to get into the folder.
        Path(folder).chmod(0o777)
        server = subprocess.Popen([program, "-s", f"{folder}/socket", "-a", "777", "-u", "nobody"])
        try:
            for _attempt in range(200):
                if Path(folder, "socket").exists():
                    break
                time.sleep(0.05)
            yield f"unix:{folder}/socket"
        finally:
            server.kill()
            server.wait()


def _wait_for(path: str) -> None:
    import redis

    for _attempt in range(200):
        try:
            redis.Redis(unix_socket_path=path).ping()
        except redis.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(path)
