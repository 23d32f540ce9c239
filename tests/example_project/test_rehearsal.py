"""The rehearsal of going live, as its section tells a newcomer to run it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.demo import ROOT, get_environment, get_free_ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"),
]


def rehearse(*ports: str) -> subprocess.CompletedProcess[str]:
    folder = ROOT / "example_project"
    environment = get_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [str(folder / "rehearse.sh"), *ports]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_port_that_another_uses_is_named() -> None:
    free, _other = get_free_ports()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = rehearse(str(free), str(port))
    assert (done.returncode, done.stdout.count("==")) == (1, 0)
    assert f"Port {port} is already in use." in done.stdout


def test_the_rehearsal_goes_from_keys_to_the_first_event() -> None:
    done = rehearse(*(str(port) for port in get_free_ports()))
    printed = done.stdout
    assert done.returncode == 0, printed
    commands = [line.split()[3] for line in printed.splitlines() if line.startswith("$ python manage.py")]
    assert commands == ["stripe_doctor", "stripe_setup", "check", "stripe_doctor", "stripe_doctor"]
    steps = ["webhook_secret_missing", "created we_", "is a test key", "is paid", "The last event came"]
    assert [printed.index(step) for step in steps] == sorted(printed.index(step) for step in steps)
    assert printed.count("Nothing needs doing.") == 2
