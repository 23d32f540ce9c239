"""`manage.py stripe_emulator`."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command

from octo_stripe_gateway.conf import BUILT_IN_WEBHOOK_SECRET
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


def test_it_names_the_extra_when_werkzeug_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(CommandError, match=r"pip install 'octo-stripe-gateway\[emulator\]'"):
        run()


def test_it_says_when_the_port_is_taken(started: list[emulator.StripeEmulator]) -> None:
    with emulator.StripeEmulator() as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(CommandError, match="is taken"):
            call_command("stripe_emulator", port=port)
