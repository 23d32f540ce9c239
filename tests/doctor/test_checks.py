"""Each system check, triggered once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from rest_framework.authentication import SessionAuthentication
from rest_framework.settings import api_settings

from octo_stripe_gateway import conf
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.checks import list_ids, list_messages

NOTHING = dict.fromkeys(
    ("STRIPE_API_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET", "API_GATEWAY_KEY")
)


LIVE = {"STRIPE_API_KEY": "sk_live_1", "STRIPE_PUBLISHABLE_KEY": "pk_live_1"}
TOKYO = {
    "STRIPE_API_KEY": "sk_test_1",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
}


def test_a_good_configuration_is_quiet() -> None:
    assert list_messages() == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"STRIPE_KEY": "sk_test_1"}, "E001"),
        ({"STRIPE_API_KEY": "pk_test_1"}, "E002"),
        ({"STRIPE_PUBLISHABLE_KEY": "sk_test_1"}, "E002"),
        ({"STRIPE_WEBHOOK_SECRET": ["whsec_1", "secret"]}, "E002"),
        ({"STRIPE_WEBHOOK_SECRET": conf.BUILT_IN_WEBHOOK_SECRET}, "E003"),
        ({"STRIPE_API_KEY": "sk_live_1"}, "E004"),
        ({"PAYABLES": {"boat": "shop.Boat"}}, "E005"),
        ({"PAYABLES": {"boat": "Boat"}}, "E005"),
        ({"IDENTIFY_CALLER": "shop.nowhere", "API_GATEWAY_KEY": None}, "E006"),
        ({"IDENTIFY_CALLER": 7, "API_GATEWAY_KEY": None}, "E006"),
        ({"WEBHOOK_TOLERANCE": 0}, "E007"),
        ({"WEBHOOK_PROCESSING": "later"}, "E008"),
        ({"CURRENCY": 7}, "E015"),
        ({"MERCHANT_NAME": 7}, "E013"),
        ({"AUTHENTICATION_CLASSES": ["shop.nowhere"]}, "E014"),
        ({"THROTTLE_RATES": {"create": "often"}}, "E016"),
        ({"CHOOSE_ACCOUNT": "shop.nowhere"}, "E017"),
        ({"STRIPE_ACCOUNTS": {"tokyo": {}}}, "E018"),
        ({"STRIPE_ACCOUNTS": {"tokyo": {**TOKYO, "STRIPE_WEBHOOK_SECRET": "whsec_gateway"}}}, "E018"),
        ({"STRIPE_ACCOUNTS": {"tokyo": {**TOKYO, "STRIPE_API_KEY": "tokyo"}}}, "E002"),
        ({"STRIPE_ACCOUNTS": {"tokyo": {**TOKYO, "STRIPE_PUBLISHABLE_KEY": "pk_live_1"}}}, "E004"),
        ({"STRIPE_ACCOUNTS": {"tokyo": {**TOKYO, "STRIPE_API_KEY": conf.BUILT_IN_API_KEY}}}, "E003"),
        ({"IDENTIFY_CALLER": bool}, "W001"),
        ({"API_GATEWAY_KEY": None}, "W004"),
        ({**LIVE, "STRIPE_API_BASE": "http://10.0.0.9:8421"}, "E022"),
        (
            {"STRIPE_ACCOUNTS": {"tokyo": {"STRIPE_API_KEY": "rk_live_1"}}, "STRIPE_API_BASE": "http://x"},
            "E022",
        ),
    ],
)
def test_what_is_wrong_is_said(configure: Callable[..., None], keys: dict[str, Any], expected: str) -> None:
    configure(SIGNING_KEY="a-key-of-its-own-that-is-long", **keys)
    assert list_ids() == [expected]


@pytest.mark.parametrize(
    ("base", "key"),
    [
        ("https://proxy.example.com", "sk_live_1"),
        ("http://localhost:8421", "sk_live_1"),
        ("http://127.0.0.2:8421", "sk_live_1"),
        ("http://[::1]:8421", "sk_live_1"),
        ("http://emulator:8421", "sk_test_1"),
    ],
)
def test_keys_may_go_unencrypted_where_nobody_listens(
    base: str, key: str, configure: Callable[..., None]
) -> None:
    configure(STRIPE_API_BASE=base, STRIPE_API_KEY=key, STRIPE_PUBLISHABLE_KEY=None, SIGNING_KEY="k" * 22)
    assert list_ids() == []


def test_live_money_without_a_signing_key_is_said(configure: Callable[..., None]) -> None:
    configure(STRIPE_API_KEY="sk_live_1", STRIPE_PUBLISHABLE_KEY="pk_live_1")
    assert list_ids() == ["E025"]


def test_nothing_that_is_wrong_hides_another_thing(configure: Callable[..., None]) -> None:
    configure(
        CURRENCY=7, STRIPE_TIMEOUT="long", WEBHOOK_TOLERANCE=-1, STRIPE_API_KEY="key", PAYABLES={"a": "b"}
    )
    assert list_ids() == ["E002", "E005", "E007", "E013", "E015"]


def test_another_account_without_keys_is_said_before_a_deployment(configure: Callable[..., None]) -> None:
    configure(STRIPE_ACCOUNTS={"tokyo": {"STRIPE_API_KEY": "sk_test_1"}})
    assert {"E010", "E011"} <= {*list_ids(deploy=True)}
    configure(STRIPE_ACCOUNTS={"tokyo": TOKYO})
    assert {"E009", "E010", "E011"}.isdisjoint(list_ids(deploy=True))


def test_host_that_chooses_accounts_needs_no_top_level_keys(configure: Callable[..., None]) -> None:
    configure(**{**NOTHING, "API_GATEWAY_KEY": "key"}, STRIPE_ACCOUNTS={"tokyo": TOKYO}, CHOOSE_ACCOUNT=str)
    assert {"E009", "E010", "E011"}.isdisjoint(list_ids(deploy=True))
    configure(CHOOSE_ACCOUNT=None)
    assert {"E009", "E010", "E011"} <= {*list_ids(deploy=True)}


def test_built_in_keys_are_not_used_beside_a_configured_account(
    configure: Callable[..., None], settings: Any
) -> None:
    settings.DEBUG = True
    configure(**NOTHING, STRIPE_ACCOUNTS={"tokyo": TOKYO})
    assert "I001" not in list_ids()
    assert conf.gateway_settings.get_account().api_key == ""
    assert conf.gateway_settings.get_account().webhook_secrets == ()


def test_events_for_a_worker_need_a_task_framework(
    configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(WEBHOOK_PROCESSING="task")
    assert list_ids() == ["W010"]
    monkeypatch.delitem(sys.modules, "octo_stripe_gateway.webhooks.tasks", raising=False)
    monkeypatch.delattr("octo_stripe_gateway.webhooks.tasks", raising=False)
    for each in ("django.tasks", "django_tasks"):
        monkeypatch.setitem(sys.modules, each, None)
    assert list_ids() == ["E019"]


def test_a_database_without_autocommit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "AUTOCOMMIT", False)
    assert list_ids() == ["E020"]


@pytest.mark.parametrize(
    ("backend", "rates", "warned"),
    [
        ("locmem.LocMemCache", {"create": "1/minute"}, True),
        ("dummy.DummyCache", {"create": "1/minute"}, True),
        ("filebased.FileBasedCache", {"create": "1/minute"}, True),
        ("db.DatabaseCache", {"create": "1/minute"}, False),
        ("redis.RedisCache", {"create": "1/minute"}, False),
        ("locmem.LocMemCache", {}, False),
        ("locmem.LocMemCache", {"create": None}, False),
    ],
)
def test_rates_need_a_cache_that_all_processes_share(
    backend: str, rates: dict[str, str], warned: bool, configure: Callable[..., None], settings: Any
) -> None:
    configure(THROTTLE_RATES=rates)
    settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": "rates"}}
    assert ("W005" in list_ids(deploy=True)) == warned


@pytest.mark.parametrize(
    ("cache", "warned"),
    [
        ({"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://cache"}, True),
        ({"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://cache", "OPTIONS": {}}, True),
        (
            {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": "redis://cache",
                "OPTIONS": {"SOCKET_TIMEOUT": 1},
            },
            False,
        ),
        (
            {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": "redis://cache?socket_timeout=1",
            },
            False,
        ),
        ({"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "cache:1"}, True),
        ({"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "rates"}, False),
        ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, False),
    ],
)
def test_rates_need_a_cache_with_a_time_out(
    cache: dict[str, Any], warned: bool, configure: Callable[..., None], settings: Any
) -> None:
    configure(THROTTLE_RATES={"create": "1/minute"})
    settings.CACHES = {"default": cache}
    assert ("W011" in list_ids(deploy=True)) == warned


@pytest.mark.parametrize(("proxies", "warned"), [(None, True), (0, False), (1, False)])
def test_rates_need_the_number_of_proxies(
    proxies: int | None,
    warned: bool,
    configure: Callable[..., None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(THROTTLE_RATES={"create": "1/minute"})
    monkeypatch.setattr(api_settings, "NUM_PROXIES", proxies)
    assert ("W007" in list_ids(deploy=True)) == warned
    settings.DEBUG = True
    assert "W007" not in list_ids(deploy=True)


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ("x" * 21, True),
        ("x" * 22, False),
        (["x" * 22, "short"], True),
        ({"viator": "x" * 22}, False),
        ({"viator": "short"}, True),
    ],
)
def test_a_short_key_is_said_before_a_deployment(
    keys: Any, warned: bool, configure: Callable[..., None]
) -> None:
    configure(API_GATEWAY_KEY=keys)
    said = [message for message in list_messages(deploy=True) if message.id == "octo_stripe_gateway.E021"]
    assert bool(said) == warned
    assert "short'" not in str(said)


def test_the_nearest_name_is_suggested(configure: Callable[..., None]) -> None:
    configure(STRIPE_SECRET_KEY="sk_test_1")
    (message,) = list_messages()
    assert "STRIPE_API_KEY" in str(message.hint) or "STRIPE_WEBHOOK_SECRET" in str(message.hint)


def test_built_in_keys_are_pointed_out(configure: Callable[..., None], settings: Any) -> None:
    settings.DEBUG = True
    with StripeEmulator() as emulator:
        url = emulator.url
        configure(**NOTHING | {"API_GATEWAY_KEY": "key"}, STRIPE_API_BASE=url)
        (running,) = list_messages()
    (stopped,) = list_messages()
    assert running.id == stopped.id == "octo_stripe_gateway.I001"
    assert f"answers at {url}" in running.msg
    assert "stripe_emulator" not in str(running.hint)
    assert f"nothing answers at {url}" in stopped.msg
    assert f"`manage.py stripe_emulator --port {url.rpartition(':')[2]}`" in str(stopped.hint)


def test_what_is_missing_is_said_before_a_deployment(configure: Callable[..., None]) -> None:
    configure(**NOTHING)
    found = list_ids(deploy=True)
    assert [number for number in found if number.startswith("E")] == ["E009", "E010", "E011", "E012"]


def test_classes_of_the_host_are_a_way_to_authenticate(configure: Callable[..., None]) -> None:
    configure(API_GATEWAY_KEY=None, AUTHENTICATION_CLASSES=[SessionAuthentication])
    assert list_ids() == []
    assert "E012" not in list_ids(deploy=True)


def test_a_test_key_in_production_is_pointed_out() -> None:
    assert "W002" in list_ids(deploy=True)


def test_sqlite_in_production_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "vendor", "sqlite")
    assert "W003" in list_ids(deploy=True)
    monkeypatch.setattr(connections["default"], "vendor", "postgresql")
    assert "W003" not in list_ids(deploy=True)
