"""`manage.py stripe_emulator`."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command

from octo_stripe_gateway.management.commands import stripe_emulator
from octo_stripe_gateway.testing import emulator


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
        assert requests.get(f"{started[0].url}/_emulator", timeout=5).status_code == 200
        raise KeyboardInterrupt

    monkeypatch.setattr(emulator, "StripeEmulator", Started)
    monkeypatch.setattr(stripe_emulator, "wait_for_ctrl_c", interrupted)
    return started


def run(**options: Any) -> str:
    output = io.StringIO()
    call_command("stripe_emulator", stdout=output, port=0, **options)
    return output.getvalue()


def test_it_runs_until_it_is_interrupted(started: list[emulator.StripeEmulator]) -> None:
    output = run()
    assert "Stripe emulator at http://127.0.0.1:" in output
    assert "http://127.0.0.1:8000/bookings/webhooks" in output
    assert "4242424242424242" in output
    assert output.endswith("Stopped.\n")
    with pytest.raises(RuntimeError, match="isn't running"):
        _ = started[0].url


@pytest.mark.parametrize(
    ("configured", "option", "secret"),
    [
        (["whsec_first", "whsec_second"], None, "whsec_first"),
        (["whsec_first"], "whsec_given", "whsec_given"),
        ([], None, "whsec_test"),
    ],
)
def test_it_signs_with_the_secret_that_the_project_expects(
    started: list[emulator.StripeEmulator],
    settings: Any,
    configured: list[str],
    option: str | None,
    secret: str,
) -> None:
    settings.DEBUG = False
    settings.OCTO_STRIPE_GATEWAY = {"STRIPE_WEBHOOK_SECRET": configured}
    assert "nowhere" in run(webhook_url="", webhook_secret=option)
    assert started[0].webhook_secret == secret
    assert started[0].webhook_url is None


def test_it_names_the_extra_when_werkzeug_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CommandError, match=r"pip install 'octo-stripe-gateway\[emulator\]'"):
        run()


def test_it_says_when_the_port_is_taken(started: list[emulator.StripeEmulator]) -> None:
    with emulator.StripeEmulator() as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(CommandError, match="is taken"):
            call_command("stripe_emulator", port=port)
