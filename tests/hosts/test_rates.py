"""Rates that hold whoever calls at once, in a host with several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.callers import KEYS
from tests.support.host import running
from tests.support.http_client import HttpClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="other processes need the database"),
]

CALLS = 120
THREADS = 12
VIATOR = {"Authorization": "Bearer viator-key"}
BACKENDS = "django.core.cache.backends"


@pytest.fixture(params=["redis", "django-redis", "memcached", "database", "locmem"])
def cache(request: pytest.FixtureRequest, settings: Any) -> dict[str, Any]:
    """The host's cache, shared by all of its processes but for the last one."""
    if request.param == "database":
        settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.db.DatabaseCache", "LOCATION": "rates"}}
        call_command("createcachetable")
        caches["default"].clear()
    elif request.param == "memcached":
        backend, url = f"{BACKENDS}.memcached.PyMemcacheCache", request.getfixturevalue("memcached")
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url}}
    elif request.param == "locmem":
        settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.locmem.LocMemCache"}}
    else:
        url = request.getfixturevalue("redis_url")
        backend = "django_redis.cache.RedisCache" if "-" in request.param else f"{BACKENDS}.redis.RedisCache"
        settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": url, "KEY_PREFIX": request.param}}
    return dict(settings.CACHES["default"])


@pytest.fixture
def callers(cache: dict[str, Any], stripe: StripeEmulator, settings: Any) -> Iterator[list[HttpClient]]:
    """A client for each process of a host that allows 20 creates and 10 wrong keys an hour."""
    gateway = {
        "STRIPE_API_BASE": settings.OCTO_STRIPE_GATEWAY["STRIPE_API_BASE"],
        "IDENTIFY_CALLER": "tests.support.callers.authenticate",
        "API_GATEWAY_KEY": KEYS,
        "THROTTLE_RATES": {"create": "20/hour", "authentication": "10/hour"},
    }
    database = {**connection.settings_dict, "ATOMIC_REQUESTS": True}
    kept = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "ATOMIC_REQUESTS")
    changes = {
        "CACHES": {"default": cache},
        "OCTO_STRIPE_GATEWAY": gateway,
        "DATABASES": {"default": {name: database[name] for name in kept}},
    }
    processes = 1 if "locmem" in cache["BACKEND"] else 2
    with running(changes=changes, processes=processes) as addresses:
        yield [HttpClient(address) for address in addresses]


def call_at_once(callers: list[Any], call: Callable[[GatewayApi, int], Any]) -> Counter[int]:
    """Call the processes in turn, from twelve threads for each, and count the statuses."""
    clients = [GatewayApi(callers[number % len(callers)], key="") for number in range(CALLS)]
    with ThreadPoolExecutor(THREADS * len(callers)) as pool:
        return Counter(
            pool.map(lambda each: call(*each).status_code, zip(clients, range(CALLS), strict=True))
        )


def test_rates_hold_for_a_hundred_and_twenty_at_once(callers: list[Any], stripe: StripeEmulator) -> None:
    assert call_at_once(callers, lambda api, _number: api.create(**VIATOR)) == {201: 20, 429: 100}
    assert len(stripe.payment_intents) == 20
    assert call_at_once(callers, lambda api, _number: api.list_payments(**VIATOR)) == {200: 120}
    assert call_at_once(callers, guess) == {403: 10, 429: 110}
    assert {GatewayApi(each, key="viator-key").list_payments().status_code for each in callers} == {429}


def guess(api: GatewayApi, number: int) -> Any:
    return api.list_payments(Authorization=f"Bearer wrong-{number}")
