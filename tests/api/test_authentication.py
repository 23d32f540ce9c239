"""Who is let in, and how the others are denied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from rest_framework.request import Request

from octo_stripe_gateway.api.authentication import GatewayAuthentication
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Environment = pytest.MonkeyPatch

CALLS = [
    ("POST", "/payments"),
    ("GET", "/payments/{id}"),
    ("PATCH", "/payments/{id}/complete"),
    ("POST", "/payments/{id}/refund"),
    ("POST", "/payments/{id}/capture"),
    ("POST", "/payments/{id}/cancel"),
]


def call(api: GatewayApi, authorization: str | None) -> Any:
    api.key = ""
    headers = {} if authorization is None else {"Authorization": authorization}
    return api.request("GET", f"/payments/{PaymentFactory.create().pk}", **headers)


def answered(answer: Any) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("error")


UNAUTHORIZED = (401, "UNAUTHORIZED")
FORBIDDEN = (403, "FORBIDDEN")
LET_IN = (200, None)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, UNAUTHORIZED),
        ("", UNAUTHORIZED),
        ("Bearer", UNAUTHORIZED),
        ("Bearer ", UNAUTHORIZED),
        ("Bearer    ", UNAUTHORIZED),
        ("gateway-key", UNAUTHORIZED),
        ("Basic Z2F0ZXdheS1rZXk6", UNAUTHORIZED),
        ("Token gateway-key", UNAUTHORIZED),
        ("Bearer wrong", FORBIDDEN),
        ("Bearer gateway-keY", FORBIDDEN),
        ("Bearer gateway-ke", FORBIDDEN),
        ("Bearer gateway-key2", FORBIDDEN),
        ("Bearer gateway-key gateway-key", FORBIDDEN),
        ("Bearer gateway-key, Bearer x", FORBIDDEN),
        ("Bearer gatewäy-key", FORBIDDEN),
        ("Bearer \x00", FORBIDDEN),
        ("Bearer " + "x" * 100_000, FORBIDDEN),
        ("Bearer gateway-key", LET_IN),
        ("bearer gateway-key", LET_IN),
        ("BEARER  gateway-key ", LET_IN),
    ],
)
def test_api_key_is_the_bearer_token(
    authorization: str | None, expected: tuple[int, str | None], api: GatewayApi
) -> None:
    assert answered(call(api, authorization)) == expected


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(("key", "expected"), [("", UNAUTHORIZED), ("wrong", FORBIDDEN)])
def test_no_call_is_answered_without_a_key(
    key: str,
    expected: tuple[int, str],
    method: str,
    path: str,
    api: GatewayApi,
    stripe: StripeEmulator,
) -> None:
    payment = PaymentFactory.create(paid=True)
    api.key = key
    answer = api.request(method, path.format(id=payment.pk), {"amount": 2000})
    assert answered(answer) == expected
    assert answer.json().keys() == {"error", "errorMessage"}
    assert stripe.requests == []
    assert Payment.objects.count() == 1


def test_missing_key_asks_for_a_bearer_token(api: GatewayApi) -> None:
    assert call(api, None)["WWW-Authenticate"].startswith("Bearer")
    assert "WWW-Authenticate" not in call(api, "Bearer wrong")


def test_refusal_comes_before_the_body_and_the_payment_are_looked_at(api: GatewayApi) -> None:
    api.key = ""
    assert answered(api.create(b"{")) == UNAUTHORIZED
    assert answered(api.retrieve(0)) == UNAUTHORIZED
    assert answered(api.request("DELETE", "/payments")) == UNAUTHORIZED


@pytest.mark.parametrize("key", ["new", "old", "schlüssel"])
def test_any_of_several_keys_lets_in(key: str, api: GatewayApi, configure: Configure) -> None:
    configure(API_GATEWAY_KEY=["new", "", "old", "schlüssel"])
    assert answered(call(api, f"Bearer {key.encode().decode('latin-1')}")) == LET_IN
    assert answered(call(api, "Bearer gateway-key")) == FORBIDDEN


@pytest.mark.parametrize(
    ("key", "owner"),
    [("own", ""), ("viator-1", "key:viator"), ("viator-2", "key:viator"), ("klook", "key:klook")],
)
def test_key_s_holder_has_the_name_that_it_is_configured_under(
    key: str, owner: str, api: GatewayApi, configure: Configure
) -> None:
    configure(API_GATEWAY_KEY={"": "own", "viator": ["viator-1", "viator-2"], "klook": "klook", "gone": ""})
    answer = call(api, f"Bearer {key}")
    assert answer.wsgi_request.user.owner == owner
    assert answered(call(api, "Bearer")) == UNAUTHORIZED


def test_environment_fills_in_for_the_setting(
    api: GatewayApi, configure: Configure, environment: Environment
) -> None:
    environment.setenv("OSG_API_GATEWAY_KEY", "from-outside")
    assert answered(call(api, "Bearer from-outside")) == FORBIDDEN
    configure(API_GATEWAY_KEY=None)
    assert answered(call(api, "Bearer from-outside")) == LET_IN


@pytest.mark.parametrize("keys", [None, "", "  ", [], [""], ["", " "], ()])
@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer ", "Bearer x", "Bearer None"])
def test_nobody_is_let_in_where_no_key_is_configured(
    authorization: str | None,
    keys: Any,
    api: GatewayApi,
    configure: Configure,
    environment: Environment,
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment.setenv("OSG_API_GATEWAY_KEY", "")
    configure(API_GATEWAY_KEY=keys)
    assert answered(call(api, authorization)) in {UNAUTHORIZED, FORBIDDEN}
    assert "[OctoStripeGateway] Every call is denied" in caplog.text


def yes(request: HttpRequest) -> bool:
    return request.headers.get("X-Guest") == "yes"


@pytest.mark.parametrize("check", [yes, "tests.api.test_authentication.yes"])
def test_host_s_own_check_replaces_the_key(check: Any, api: GatewayApi, configure: Configure) -> None:
    configure(IDENTIFY_CALLER=check)
    payment = PaymentFactory.create()
    with_key = api.retrieve(payment.pk)
    api.key = ""
    assert answered(with_key) == FORBIDDEN
    assert answered(api.retrieve(payment.pk)) == UNAUTHORIZED
    assert answered(api.request("GET", f"/payments/{payment.pk}", **{"X-Guest": "yes"})) == LET_IN


@pytest.mark.parametrize("nothing", [False, None, 0, "", AnonymousUser(), User(pk=1, is_active=False)])
def test_falsy_or_anonymous_caller_is_refused(nothing: Any, api: GatewayApi, configure: Configure) -> None:
    configure(IDENTIFY_CALLER=lambda _request: nothing)
    answer = call(api, None)
    assert answered(answer) == UNAUTHORIZED
    assert answer.json()["errorMessage"] == "You are not signed in."
    # Whatever the callable looks at, it is not an API key.
    answer = call(api, "Bearer of-a-stranger")
    assert answered(answer) == FORBIDDEN
    assert answer.json()["errorMessage"] == "You are not signed in."


def broken(request: HttpRequest) -> bool:
    return bool(request.no_such_attribute)  # type: ignore[attr-defined]


def denied(request: HttpRequest) -> bool:
    raise PermissionDenied


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (broken, (500, "INTERNAL_SERVER_ERROR")),
        ("tests.api.test_authentication.no_such_function", (500, "INTERNAL_SERVER_ERROR")),
        ("no_such_module.check", (500, "INTERNAL_SERVER_ERROR")),
        ("", (500, "INTERNAL_SERVER_ERROR")),
        (lambda: True, (500, "INTERNAL_SERVER_ERROR")),
        (denied, FORBIDDEN),
    ],
)
def test_check_that_fails_lets_nobody_in(
    check: Any, expected: tuple[int, str], api: GatewayApi, configure: Configure
) -> None:
    configure(IDENTIFY_CALLER=check)
    assert answered(call(api, "Bearer gateway-key")) == expected


def test_host_s_user_is_the_request_s_user(
    api: GatewayApi, configure: Configure, django_user_model: Any
) -> None:
    user = django_user_model.objects.create(username="ann")
    configure(IDENTIFY_CALLER=lambda _request: user)
    assert call(api, None).wsgi_request.user == user


def test_object_that_is_no_user_is_the_request_s_auth(configure: Configure) -> None:
    booking = Booking.objects.create()
    configure(IDENTIFY_CALLER=lambda _request: booking)
    user, auth = GatewayAuthentication().authenticate(Request(HttpRequest()))
    assert (user.owner, auth) == (f"shop.booking:{booking.pk}", booking)
    assert not user.has_perm("octo_stripe_gateway.refund_payment")


@pytest.mark.parametrize("odd", [1, {"user": "ann"}, ["ann"], object(), b"ann", User])
def test_check_that_returns_something_else_lets_nobody_in(
    odd: Any, api: GatewayApi, configure: Configure, stripe: StripeEmulator
) -> None:
    configure(IDENTIFY_CALLER=lambda _request: odd)
    assert answered(api.create()) == (500, "INTERNAL_SERVER_ERROR")
    assert stripe.requests == []


def test_check_sees_the_host_s_session(api: GatewayApi, configure: Configure, django_user_model: Any) -> None:
    configure(IDENTIFY_CALLER=lambda request: request.user.is_authenticated)
    assert answered(call(api, None)) == UNAUTHORIZED
    api.client.force_login(django_user_model.objects.create(username="ann"))
    assert answered(call(api, None)) == LET_IN
