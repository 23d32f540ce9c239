"""`manage.py stripe_emulator`."""

from __future__ import annotations

import importlib.util
import io
import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe as sdk
from django.core.management import CommandError, call_command

from octo_stripe_gateway.conf import BUILT_IN_WEBHOOK_SECRET
from octo_stripe_gateway.management.commands import stripe_emulator
from octo_stripe_gateway.testing import emulator
from tests.testing.emulator.conftest import Endpoint


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[emulator.StripeEmulator]:
    """Interrupt the command as soon as it has started, as Ctrl-C does."""
    started: list[emulator.StripeEmulator] = []

    class Started(emulator.StripeEmulator):
        def start(self) -> Started:
            super().start()
            started.append(self)
            return self

    def interrupted() -> None:
        assert requests.get(f"{started[0].url}/_emulator", timeout=60).status_code == 200
        raise KeyboardInterrupt

    monkeypatch.setattr(emulator, "StripeEmulator", Started)
    monkeypatch.setattr(stripe_emulator, "wait_for_ctrl_c", interrupted)
    return started


@pytest.fixture(autouse=True)
def debug(settings: Any) -> None:
    settings.DEBUG = True
    settings.OCTO_STRIPE_GATEWAY = {}


def run(**options: Any) -> str:
    output = io.StringIO()
    call_command("stripe_emulator", stdout=output, port=0, no_color=True, **options)
    return output.getvalue()


def test_it_runs_until_it_is_interrupted(started: list[emulator.StripeEmulator]) -> None:
    output = run()
    assert "Stripe emulator at http://127.0.0.1:" in output
    assert "http://127.0.0.1:8000/bookings/webhooks" in output
    assert "4242424242424242" in output
    assert "refuse its events" not in output
    assert output.endswith("Stopped.\n")
    with pytest.raises(RuntimeError, match="isn't running"):
        _ = started[0].url


def test_it_refuses_to_run_where_debug_is_off(started: list[emulator.StripeEmulator], settings: Any) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="--without-debug"):
        run()
    assert started == []
    run(without_debug=True)
    assert len(started) == 1


@pytest.mark.parametrize(
    ("configured", "option", "secret", "warns"),
    [
        (["whsec_real"], {}, BUILT_IN_WEBHOOK_SECRET, True),
        (["whsec_mine"], {"webhook_secret": "whsec_mine"}, "whsec_mine", False),
        ([], {"webhook_secret": "whsec_mine"}, "whsec_mine", True),
        ([], {}, BUILT_IN_WEBHOOK_SECRET, False),
    ],
)
def test_it_never_signs_with_the_project_s_secret_unasked(
    started: list[emulator.StripeEmulator],
    settings: Any,
    configured: list[str],
    option: dict[str, str],
    secret: str,
    warns: bool,
) -> None:
    settings.OCTO_STRIPE_GATEWAY = {"STRIPE_WEBHOOK_SECRET": configured}
    assert ("will refuse its events" in run(**option)) is warns
    assert started[0].webhook_secret == secret


def test_its_events_may_go_nowhere(started: list[emulator.StripeEmulator], settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = {"STRIPE_WEBHOOK_SECRET": "whsec_real"}
    output = run(webhook_url="")
    assert "nowhere" in output
    assert "refuse its events" not in output
    assert started[0].webhook_url is None


@pytest.fixture
def meanwhile(
    started: list[emulator.StripeEmulator], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[emulator.StripeEmulator], object]], None]:
    """Run something while the command runs."""

    def do(action: Callable[[emulator.StripeEmulator], object]) -> None:
        def act() -> None:
            action(started[-1])
            raise KeyboardInterrupt

        monkeypatch.setattr(stripe_emulator, "wait_for_ctrl_c", act)

    return do


def create(running: emulator.StripeEmulator) -> Any:
    client = sdk.StripeClient("sk_test_x", base_addresses={"api": running.url})
    return client.v1.payment_intents.create(params={"amount": 2000, "currency": "usd"})


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_it_prints_the_line_that_pays_an_intent(meanwhile: Callable[..., None]) -> None:
    output, ended = io.StringIO(), []

    def pay(running: emulator.StripeEmulator) -> None:
        intent = create(running)
        (line,) = [line for line in output.getvalue().splitlines() if "To pay" in line]
        label, command = line.split("  ")
        assert label == f"To pay {intent.id}:"
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
        ended.append(json.loads(done.stdout)["status"])

    meanwhile(pay)
    call_command("stripe_emulator", stdout=output, port=0, webhook_url="")
    assert ended == ["succeeded"]


def test_it_tells_of_events_that_do_not_arrive(
    meanwhile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_emulator, "RETRY_DELAYS", (0.01,))
    errors, endpoint = io.StringIO(), Endpoint()
    endpoint.statuses, endpoint.answer = [400, 200, 500, 500], b"The signature\nis wrong."

    def act(running: emulator.StripeEmulator) -> None:
        for _ in range(2):
            create(running)
            running.wait_for_deliveries()

    meanwhile(act)
    call_command(
        "stripe_emulator",
        stdout=io.StringIO(),
        stderr=errors,
        port=0,
        webhook_url=endpoint.url,
        no_color=True,
    )
    endpoint.close()
    told = [line.split(" ", 2) for line in errors.getvalue().splitlines()]
    assert [words[0] for words in told] == ["payment_intent.created"] * 3
    because = f"did not arrive at {endpoint.url}: HTTP"
    assert [words[2] for words in told] == [
        f"{because} 400: The signature is wrong. It will be sent again.",
        f"{because} 500: The signature is wrong. It will be sent again.",
        f"{because} 500: The signature is wrong. It is given up.",
    ]


def test_it_tells_why_an_endpoint_is_not_reached(meanwhile: Callable[..., None]) -> None:
    errors = io.StringIO()

    def act(running: emulator.StripeEmulator) -> None:
        create(running)
        while not errors.getvalue():
            time.sleep(0.005)

    meanwhile(act)
    url = "http://127.0.0.1:9/bookings/webhooks"
    call_command("stripe_emulator", stdout=io.StringIO(), stderr=errors, port=0, webhook_url=url)
    assert url in errors.getvalue()
    assert "ConnectionError" in errors.getvalue()


def test_it_remembers_where_it_is_given_a_file(meanwhile: Callable[..., None], tmp_path: Path) -> None:
    state = tmp_path / "stripe.json"
    meanwhile(create)
    assert "remembers       0 payment" in run(state=str(state))
    assert "remembers       1 payment" in run(state=str(state))
    state.write_text("{}")
    with pytest.raises(CommandError, match="holds no state of the emulator"):
        run(state=str(state))
    with pytest.raises(CommandError, match="There is no folder"):
        run(state=str(tmp_path / "nowhere" / "stripe.json"))


def test_it_names_the_extra_when_werkzeug_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CommandError, match=r"pip install 'octo-stripe-gateway\[emulator\]'"):
        run()


def test_it_says_when_the_port_is_taken(started: list[emulator.StripeEmulator]) -> None:
    with emulator.StripeEmulator() as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(CommandError, match=f"Port {port} is already in use. Choose another with --port"):
            call_command("stripe_emulator", port=port)
