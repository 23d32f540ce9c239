"""The rehearsal of going live, as its section tells a newcomer to run it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.demo import ROOT, get_environment, get_free_ports
from tests.support.docs import get_blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl"),
]


EXAMPLE = ROOT / "example_project"


def rehearse(*ports: str, folder: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    environment = get_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = [str(EXAMPLE / "rehearse.sh"), *ports]
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


def test_a_folder_without_a_project_is_refused(tmp_path: Path) -> None:
    done = rehearse(folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "Run this in the folder of your manage.py.\n")


def test_a_new_project_is_rehearsed_at_its_own_prefix_and_told_what_is_left(tmp_path: Path) -> None:
    call_command("startproject", "mysite", str(tmp_path))
    settings, urls = get_blocks("python", page="README.md")[:2]
    for name, added in (("settings", settings), ("urls", urls.replace("bookings/", "payments/"))):
        with (tmp_path / f"mysite/{name}.py").open("a") as file:
            file.write(added)
    done = rehearse(*map(str, get_free_ports()), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "/payments/webhooks" in done.stdout
    *_steps, last = done.stdout.splitlines()
    assert "(octo_stripe_gateway.E021)" in last


def test_the_rehearsal_goes_from_keys_to_the_first_event() -> None:
    done = rehearse(*map(str, get_free_ports()))
    printed = done.stdout
    assert done.returncode == 0, printed
    commands = [line.split()[3] for line in printed.splitlines() if line.startswith("$ python manage.py")]
    assert commands == ["stripe_doctor", "stripe_setup", "check", "stripe_doctor", "stripe_doctor"]
    steps = ["webhook_secret_missing", "created we_", "is a test key", "is paid", "The last event came"]
    assert [printed.index(step) for step in steps] == sorted(printed.index(step) for step in steps)
    assert printed.count("Nothing needs doing.") == 2
