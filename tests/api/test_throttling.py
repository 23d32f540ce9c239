"""The rate limits against testing stolen cards."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import PermissionDenied
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.exceptions import PermissionDenied as RequestDenied
from rest_framework.settings import api_settings

from octo_stripe_gateway import conf
from octo_stripe_gateway.api.counters import PARTS
from octo_stripe_gateway.api.throttling import get_network
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Ticket
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, CallerApi, authenticate, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _two_a_minute(configure: Callable[..., None]) -> None:
    cache.clear()
    configure(THROTTLE_RATES={"create": "2/minute"}, IDENTIFY_CALLER=authenticate, API_GATEWAY_KEY=KEYS)


@pytest.fixture
def api() -> CallerApi:
    """A reseller's calls: the integrator has no limit."""
    return CallerApi("key:viator-key")


def get_statuses(api: GatewayApi, times: int, **headers: str) -> list[int]:
    return [api.create(**headers).status_code for _each in range(times)]


def test_the_third_payment_of_a_minute_is_refused(api: GatewayApi, stripe: StripeEmulator) -> None:
    assert get_statuses(api, 2) == [201, 201]
    refused = api.create()
    assert (refused.status_code, refused.json()["error"]) == (429, "TOO_MANY_REQUESTS")
    assert 0 < refused.json()["retryAfter"] <= 60 + 60 / PARTS
    assert refused.headers["Retry-After"] == str(refused.json()["retryAfter"])
    assert len(stripe.payment_intents) == 2


@pytest.mark.parametrize("spaces", ["Bearer{}viator-key", "Bearer viator-key{}", "bearer{}viator-key"])
def test_the_same_key_written_otherwise_is_the_same_caller(
    spaces: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    written = [spaces.format(" " * number) for number in range(1, 6)]
    assert [api.create(Authorization=each).status_code for each in written] == [201, 201, 429, 429, 429]


def test_each_owner_has_its_own_rate_at_all_addresses(stripe: StripeEmulator) -> None:
    viator, klook = CallerApi("key:viator-key"), CallerApi("key:klook-key")
    viator.client.defaults["REMOTE_ADDR"] = "10.0.0.1"
    assert get_statuses(viator, 2) == [201, 201]
    viator.client.defaults["REMOTE_ADDR"] = "10.0.0.2"
    assert get_statuses(viator, 1) == [429]
    assert get_statuses(klook, 2) == [201, 201]


def test_both_keys_of_an_owner_share_its_rate(stripe: StripeEmulator) -> None:
    assert get_statuses(CallerApi("key:klook-key"), 2) == [201, 201]
    assert get_statuses(CallerApi("key:klook-key-old"), 1) == [429]


@pytest.mark.parametrize("check", [authenticate, lambda _request: True])
def test_the_integrator_has_no_limit(
    check: Callable[..., Any], stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(IDENTIFY_CALLER=check)
    assert get_statuses(CallerApi("key:gateway-key"), 4) == [201] * 4


def test_a_new_name_for_each_call_does_not_evade_the_rate(stripe: StripeEmulator) -> None:
    guests = [CallerApi(f"name:guest {number}") for number in range(4)]
    assert [each.create().status_code for each in guests] == [201, 201, 429, 429]
    guests[3].client.defaults["REMOTE_ADDR"] = "10.0.0.2"
    assert get_statuses(guests[3], 3) == [201, 201, 429]


def test_a_name_is_counted_at_all_addresses(stripe: StripeEmulator) -> None:
    guest, statuses = CallerApi("name:guest"), []
    for last in range(3):
        guest.client.defaults["REMOTE_ADDR"] = f"10.0.0.{last}"
        statuses += get_statuses(guest, 1)
    assert statuses == [201, 201, 429]
    # What its name forbids takes nothing of its address's rate.
    assert get_statuses(guest, 3) == [429] * 3
    other = CallerApi("name:other")
    other.client.defaults["REMOTE_ADDR"] = "10.0.0.2"
    assert get_statuses(other, 3) == [201, 201, 429]


def test_an_object_that_stands_for_a_caller_is_counted_by_address_as_well(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    carts = itertools.count(1)
    configure(IDENTIFY_CALLER=lambda _request: Ticket(pk=next(carts)))
    assert get_statuses(CallerApi("nobody"), 3) == [201, 201, 429]


def test_users_of_one_address_have_a_rate_each(stripe: StripeEmulator) -> None:
    for name in ("ann", "bob"):
        make_user(name)
        assert get_statuses(CallerApi(f"user:{name}"), 3) == [201, 201, 429]


def test_an_owner_that_is_called_like_an_address_is_not_counted_with_it(stripe: StripeEmulator) -> None:
    assert get_statuses(CallerApi("name:guest"), 3) == [201, 201, 429]
    other = CallerApi("name:127.0.0.1")
    other.client.defaults["REMOTE_ADDR"] = "10.0.0.2"
    assert get_statuses(other, 1) == [201]


def test_a_forged_address_does_not_evade_the_rate(stripe: StripeEmulator) -> None:
    # With another name as well, the address alone keeps them together.
    guests = [CallerApi(f"name:guest {number}") for number in range(3)]
    statuses = [
        guest.create(**{"X-Forwarded-For": f"10.0.0.{last}"}).status_code for last, guest in enumerate(guests)
    ]
    assert statuses == [201, 201, 429]


def test_a_trusted_proxy_tells_addresses_apart(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)
    guests = [CallerApi(f"name:guest {number}") for number in range(3)]
    statuses = [
        guest.create(**{"X-Forwarded-For": f"10.0.0.{last}"}).status_code for last, guest in enumerate(guests)
    ]
    assert statuses == [201, 201, 201]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:4711", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("None", "None"),
        ("unknown", "unknown"),
        ("10.0.0.999:1", "10.0.0.999:1"),
        ("[]:1", "[]:1"),
    ],
)
def test_address_is_counted_with_its_network(address: str, network: str) -> None:
    assert get_network(address) == network


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
    assert "viator" not in str(kept)


def test_all_that_asks_stripe_is_limited_by_default() -> None:
    asking = {"create", "complete", "refund", "capture", "cancel", "cancel_payable"}
    assert set(conf.DEFAULTS["THROTTLE_RATES"]) == asking | {"authentication"}


@pytest.mark.parametrize(
    ("action", "method", "path"),
    [
        ("list", "GET", "/payments"),
        ("retrieve", "GET", "/payments/{id}"),
        ("complete", "PATCH", "/payments/{id}/complete"),
        ("complete", "POST", "/payments/{id}/complete"),
        ("refund", "POST", "/payments/{id}/refund"),
        ("capture", "POST", "/payments/{id}/capture"),
        ("cancel", "POST", "/payments/{id}/cancel"),
    ],
)
def test_every_action_may_have_a_rate(
    action: str,
    method: str,
    path: str,
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Callable[..., None],
) -> None:
    payment = api.create().json()
    configure(THROTTLE_RATES={action: "1/minute"})
    statuses = [api.request(method, path.format_map(payment)).status_code for _each in range(2)]
    assert statuses[0] != 429
    assert statuses[1] == 429


def test_completing_an_unanswered_creation_counts_as_creating(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents", times=99))
    assert api.create().status_code == 503
    payment = Payment.objects.get()
    assert [api.complete(payment.pk).status_code for _each in range(4)] == [503, 429, 429, 429]


class BrokenCache(BaseCache):
    """A cache whose server is down."""

    def __init__(self, *_args: Any) -> None:
        super().__init__({})

    def get(self, *_args: Any, **_options: Any) -> Any:
        raise ConnectionError

    set = add = incr = get_many = get


def test_a_cache_that_is_down_stops_no_refund(
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Callable[..., None],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    payment = api.paid(stripe)
    configure(THROTTLE_RATES={"refund": "1/minute", "authentication": "1/minute"})
    settings.CACHES = {"default": {"BACKEND": "tests.api.test_throttling.BrokenCache"}}
    assert [api.refund(payment, {"amount": 10}).status_code for _each in range(3)] == [200, 200, 200]
    assert "[OctoStripeGateway] Nothing is throttled: the cache doesn't answer" in caplog.text


class HangingCache(BrokenCache):
    """A cache whose server never answers, so that its client gives up in the end."""

    waits = 0

    def get(self, *_args: Any, **_options: Any) -> Any:
        HangingCache.waits += 1
        raise TimeoutError

    set = add = incr = get_many = get


def test_a_cache_that_hangs_is_waited_for_once(
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Callable[..., None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HangingCache, "waits", 0)
    payment = api.paid(stripe)
    configure(THROTTLE_RATES={"refund": "1/minute", "authentication": "1/minute"})
    settings.CACHES = {"default": {"BACKEND": "tests.api.test_throttling.HangingCache"}}
    assert api.refund(payment, {"amount": 10}).status_code == 200
    assert HangingCache.waits == 1


class TestAuthentication:
    """Wrong credentials from one address."""

    @pytest.fixture(autouse=True)
    def _three_a_minute(self, configure: Callable[..., None]) -> None:
        configure(THROTTLE_RATES={"authentication": "3/minute"})

    def guess(self, api: GatewayApi, *keys: str) -> list[int]:
        return [api.create(Authorization=f"Bearer {key}").status_code for key in keys]

    def test_no_more_is_guessed_than_the_rate_allows(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        assert self.guess(api, "a", "b", "c", "gateway-key", "d") == [403, 403, 403, 429, 429]
        assert stripe.requests == []

    def test_right_keys_are_not_counted(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        assert self.guess(api, *["gateway-key"] * 5) == [201] * 5

    def test_another_address_is_not_locked_out(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        self.guess(api, "a", "b", "c")
        api.client.defaults["REMOTE_ADDR"] = "10.0.0.9"
        assert self.guess(api, "gateway-key") == [201]

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-Ip"])
    def test_who_shares_a_proxy_that_is_not_told_of_is_not_locked_out(
        self, header: str, api: GatewayApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        guesses = [api.list_payments(Authorization="Bearer a", **{header: "10.0.0.1"}) for _each in range(5)]
        assert {each.status_code for each in guesses} == {403}
        assert api.list_payments(**{header: "10.0.0.2"}).status_code == 200
        assert "A credential is wrong, and nobody is locked out" in caplog.text
        monkeypatch.setattr(api_settings, "NUM_PROXIES", 0)
        assert self.guess(api, "a", "b", "c", "d") == [403, 403, 403, 429]
        assert api.list_payments(**{header: "10.0.0.2"}).status_code == 429

    def test_other_addresses_of_an_ipv6_network_do_not_evade_the_rate(self, api: GatewayApi) -> None:
        statuses = []
        for last in range(4):
            api.client.defaults["REMOTE_ADDR"] = f"2001:db8:1:2::{last}"
            statuses += self.guess(api, "a")
        assert statuses == [403, 403, 403, 429]

    def test_another_port_at_the_proxy_does_not_evade_the_rate(
        self, api: GatewayApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_settings, "NUM_PROXIES", 1)
        wrong = GatewayApi(api.client, key="wrong")
        statuses = [
            wrong.create(**{"X-Forwarded-For": f"10.0.0.1:{port}"}).status_code for port in range(4000, 4004)
        ]
        assert statuses == [403, 403, 403, 429]

    @pytest.mark.parametrize("error", [PermissionDenied, AuthenticationFailed, RequestDenied])
    def test_what_the_host_denies_counts_however_it_says_so(
        self, error: type[Exception], api: GatewayApi, configure: Callable[..., None]
    ) -> None:
        def check(_request: Any) -> None:
            raise error

        configure(IDENTIFY_CALLER=check)
        assert self.guess(api, "a", "b", "c", "d") == [403, 403, 403, 429]

    def test_a_guess_at_another_path_counts_as_well(self, api: GatewayApi) -> None:
        wrong = GatewayApi(api.client, key="wrong")
        statuses = [wrong.request("GET", path).status_code for path in ["/capabilities", "/payments/1"] * 2]
        assert statuses == [403, 403, 403, 429]

    def test_who_sends_no_credential_is_not_locked_out(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        self.guess(api, "a", "b", "c")
        assert [CallerApi("nobody").create().status_code for _each in range(5)] == [401] * 5
        assert CallerApi("name:guest").create().status_code == 201

    def test_answer_says_when_to_try_again(self, api: GatewayApi) -> None:
        self.guess(api, "a", "b", "c")
        answer = api.create()
        assert 0 < answer.json()["retryAfter"] <= 60 + 60 / PARTS
        assert answer["Retry-After"] == str(answer.json()["retryAfter"])
