"""The rates against those who try out stolen cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.settings import api_settings

from octo_stripe_gateway import conf
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _two_a_minute(configure: Callable[..., None]) -> None:
    cache.clear()
    configure(THROTTLE_RATES={"create": "2/minute"}, API_GATEWAY_KEY=["gateway-key", "other-key"])


def get_statuses(api: GatewayApi, times: int, **headers: str) -> list[int]:
    return [api.create(**headers).status_code for _each in range(times)]


def test_the_third_payment_of_a_minute_is_refused(api: GatewayApi, stripe: StripeEmulator) -> None:
    assert get_statuses(api, 2) == [201, 201]
    refused = api.create()
    assert (refused.status_code, refused.json()["error"]) == (429, "TOO_MANY_REQUESTS")
    assert 0 < refused.json()["retryAfter"] <= 60
    assert refused.headers["Retry-After"] == str(refused.json()["retryAfter"])
    assert len(stripe.payment_intents) == 2


def test_each_credential_has_its_own_rate(api: GatewayApi, stripe: StripeEmulator) -> None:
    other = GatewayApi(api.client, key="other-key")
    assert get_statuses(api, 3) == [201, 201, 429]
    assert get_statuses(other, 2) == [201, 201]


def test_a_forged_address_is_no_way_round(api: GatewayApi, stripe: StripeEmulator) -> None:
    statuses = [api.create(**{"X-Forwarded-For": f"10.0.0.{last}"}).status_code for last in range(3)]
    assert statuses == [201, 201, 429]


def test_a_trusted_proxy_tells_addresses_apart(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)
    statuses = [api.create(**{"X-Forwarded-For": f"10.0.0.{last}"}).status_code for last in range(3)]
    assert statuses == [201, 201, 201]


def test_other_actions_have_no_limit(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create().json()
    assert {api.retrieve(payment).status_code for _each in range(5)} == {200}


def test_no_rates_are_no_limit(
    api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(THROTTLE_RATES={})
    assert get_statuses(api, 3) == [201, 201, 201]


def test_the_cache_holds_no_credential(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.create()
    kept: dict[str, Any] = getattr(cache, "_cache")  # noqa: B009 - private, and untyped
    assert kept
    assert "gateway-key" not in str(kept)


def test_creating_and_refunding_are_limited_by_default() -> None:
    assert set(conf.DEFAULTS["THROTTLE_RATES"]) == {"create", "refund"}
