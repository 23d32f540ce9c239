"""The demo shop, run as a newcomer runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
# Removed from the demo's environment: the tests' own settings, and what a developer may have exported.
FOREIGN = {
    "DATABASE_URL",
    "DJANGO_SETTINGS_MODULE",
    "STRIPE_API_KEY",
    "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "OSG_API_GATEWAY_KEY",
}
LONGEST_WAIT = 120.0


class Demo:
    """A running demo; its log is what it wrote to the terminal."""

    def __init__(self, process: subprocess.Popen[bytes], *, port: int, emulator_port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.emulator_url = f"http://127.0.0.1:{emulator_port}"
        self.log = log

    def wait_until_ready(self) -> None:
        """Wait for the page; raises AssertionError with the log if it never comes."""
        self.wait_for("Stop it with Ctrl-C.")

    def wait_for(self, text: str) -> None:
        """Wait until the log has a text; raises AssertionError with the log if it never comes."""
        deadline = time.monotonic() + LONGEST_WAIT
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, and insist that it does so cleanly."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=LONGEST_WAIT)
        log = self.log.read_text()
        assert code == 0, log
        assert "Traceback" not in log, log
        assert "_secret_" not in log, log

    def pay(self, payment: Any, *, payment_method: str = "pm_card_visa") -> None:
        """Pay as the visitor's browser would; the shop hears of it from Stripe alone."""
        intent = payment["stripePaymentIntentId"]
        url = f"{self.emulator_url}/_emulator/payment_intents/{intent}/confirm"
        requests.post(url, json={"payment_method": payment_method}, timeout=LONGEST_WAIT).raise_for_status()

    def stripe_requests(self, path: str) -> list[Any]:
        """Return the requests to Stripe whose path ends like this."""
        log = requests.get(f"{self.emulator_url}/_emulator/requests", timeout=LONGEST_WAIT).json()
        return [entry for entry in log if entry["method"] == "POST" and entry["path"].endswith(path)]


def get_environment(**variables: str) -> dict[str, str]:
    """Return the environment without the tests' and the developer's settings, plus these variables."""
    own = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**own, "PYTHONPATH": path, **variables}


def get_free_ports() -> tuple[int, int]:
    """Return two ports that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@contextmanager
def run_demo(directory: Path, **variables: str) -> Iterator[Demo]:
    """Run `manage.py demo` with its data in this directory."""
    # When root runs it, its database belongs to another user.
    directory.chmod(0o755)
    port, emulator_port = get_free_ports()
    ports = ["--port", str(port), "--emulator-port", str(emulator_port)]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, ROOT / "example_project" / "manage.py", "demo", *ports],
            env=get_environment(DEMO_DIRECTORY=str(directory), **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    demo = Demo(process, port=port, emulator_port=emulator_port, log=log)
    try:
        demo.wait_until_ready()
        yield demo
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=LONGEST_WAIT)


def run_command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run another command of the demo's `manage.py` to its end."""
    command = [sys.executable, str(ROOT / "example_project" / "manage.py"), *arguments]
    return subprocess.run(
        command, env=get_environment(**variables), capture_output=True, text=True, timeout=LONGEST_WAIT
    )
