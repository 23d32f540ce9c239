"""What the headers tell is wrong is refused before the body is there: a slow one would hold a worker."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import resolve

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, authenticate, make_user

pytestmark = pytest.mark.django_db


class SlowBody(BytesIO):
    """A body that never comes."""

    def read(self, *_args: Any) -> bytes:
        raise AssertionError("The body was read.")


def send(path: str = "/bookings/payments", **headers: str) -> Any:
    """Send the headers of a request whose body never comes."""
    named = {"Content-Type": "application/json"} | headers
    options: dict[str, Any] = {"CONTENT_LENGTH": named.pop("Content-Length", "100"), "wsgi.input": SlowBody()}
    request = RequestFactory().post(path, content_type=named.pop("Content-Type"), headers=named, **options)
    function, arguments, named_arguments = resolve(path)
    return function(request, *arguments, **named_arguments)


@pytest.fixture(autouse=True)
def _callers(configure: Callable[..., None]) -> None:
    cache.clear()
    configure(IDENTIFY_CALLER=authenticate, API_GATEWAY_KEY=KEYS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 403),
        ({"X-Name": "guest", "Content-Type": "text/plain"}, 415),
        ({"X-Name": "guest", "Content-Length": "1000000"}, 413),
        ({"X-Name": "guest", "Octo-Env": "live"}, 400),
        ({"X-Name": "guest", "Octo-Env": "none"}, 400),
        ({"X-Name": "x" * 300}, 400),
    ],
)
def test_is_refused_by_its_headers(headers: dict[str, str], status: int) -> None:
    assert send(**headers).status_code == status


def test_is_refused_by_its_rate(configure: Callable[..., None], stripe: StripeEmulator) -> None:
    configure(THROTTLE_RATES={"create": "1/minute", "authentication": "1/minute"})
    assert GatewayApi(Client(), key="viator-key").create().status_code == 201
    assert send(Authorization="Bearer viator-key").status_code == 429
    assert [send(Authorization="Bearer wrong").status_code for _each in range(2)] == [403, 429]


def test_is_refused_by_the_permission_that_is_missing() -> None:
    make_user("ann")
    assert send("/bookings/payments/1/refund", **{"X-User": "ann"}).status_code == 403


@pytest.mark.parametrize(
    "signature", ["", "t=1,v1=a", "v1=a", "t=x,v1=a", "t=1700000000,v1=a", "t=9999999999"]
)
def test_an_event_is_refused_by_its_signature(signature: str) -> None:
    assert send("/bookings/webhooks", **{"Stripe-Signature": signature}).status_code == 400


@pytest.mark.parametrize(
    "read",
    [
        lambda request: request.body,
        lambda request: request.read(),
        lambda request: request.read(3),
        lambda request: list(request),
        lambda request: request.readline(),
        lambda request: (request.POST, request.read()),
        lambda request: (request.read(), request.POST),
        lambda request: (request.read(), request.body),
    ],
)
def test_a_check_that_reads_the_body_leaves_it_for_us(
    read: Callable[[HttpRequest], Any],
    api: GatewayApi,
    configure: Callable[..., None],
    stripe: StripeEmulator,
) -> None:
    payment = api.paid(stripe)

    def check(request: HttpRequest) -> bool:
        read(request)
        return True

    configure(IDENTIFY_CALLER=check)
    assert api.refund(payment, {"amount": 100}).json()["totalRefunded"] == 100
    assert Payment.objects.get().amount_refunded == 100
