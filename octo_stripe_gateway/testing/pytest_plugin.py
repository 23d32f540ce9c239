"""Fixtures for a host's own tests: `pytest_plugins = ["octo_stripe_gateway.testing.pytest_plugin"]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from octo_stripe_gateway.testing.emulator import StripeEmulator

TEST_KEYS = {
    "STRIPE_API_KEY": "sk_test_gateway",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_gateway",
    "STRIPE_WEBHOOK_SECRET": "whsec_gateway",
}


@pytest.fixture(scope="session")
def stripe_emulator() -> Iterator[StripeEmulator]:
    """Run one emulator for all tests; most tests want `stripe`, which empties it first."""
    with StripeEmulator(webhook_secret=TEST_KEYS["STRIPE_WEBHOOK_SECRET"]) as emulator:
        yield emulator


@pytest.fixture
def stripe(stripe_emulator: StripeEmulator, settings: Any) -> StripeEmulator:
    """Put the emulator, emptied, in Stripe's place for one test; it needs a `webhook_url` to deliver."""
    stripe_emulator.reset()
    configured = getattr(settings, "OCTO_STRIPE_GATEWAY", {})
    settings.OCTO_STRIPE_GATEWAY = configured | TEST_KEYS | {"STRIPE_API_BASE": stripe_emulator.url}
    return stripe_emulator
