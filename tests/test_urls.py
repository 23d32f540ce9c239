"""Where the app can be mounted, and what it leaves to the host."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi
from tests.support.cases import one_in

pytestmark = pytest.mark.django_db

MOUNTS = {"at_root": "", "octo_stripe_gateway": "/bookings", "deep": "/a/b/c"}


@pytest.fixture(autouse=True)
def host(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.shop.urls"


@pytest.mark.parametrize("prefix", MOUNTS.values())
def test_app_works_under_any_prefix(prefix: str, stripe: StripeEmulator) -> None:
    api = GatewayApi(Client(enforce_csrf_checks=True), prefix=prefix)
    payment = api.paid(stripe)
    assert payment["status"] == "CONFIRMED"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert api.refund(payment).json()["status"] == "REFUNDED"


@pytest.mark.parametrize("append_slash", one_in(2, [True, False]))
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("prefix", MOUNTS.values())
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/payments", 201),
        ("GET", "/payments", 200),
        ("GET", "/payments/{id}", 200),
        ("PATCH", "/payments/{id}/complete", 200),
        ("POST", "/payments/{id}/refund", 200),
    ],
)
def test_trailing_slash_makes_no_difference(
    method: str,
    path: str,
    status: int,
    prefix: str,
    slash: str,
    append_slash: bool,
    stripe: StripeEmulator,
    settings: Any,
) -> None:
    settings.APPEND_SLASH = append_slash
    api = GatewayApi(Client(), prefix=prefix)
    payment = api.paid(stripe)
    body = {"amount": 500} if method == "POST" else None
    answer = api.request(method, path.format(id=payment["id"]) + slash, body)
    assert answer.status_code == status


@pytest.mark.parametrize(("namespace", "prefix"), MOUNTS.items())
def test_routes_have_names(namespace: str, prefix: str) -> None:
    paths = {
        "payment-list": "/payments",
        "payment-detail": "/payments/7",
        "payment-complete": "/payments/7/complete",
        "payment-refund": "/payments/7/refund",
        "payment-capture": "/payments/7/capture",
        "payment-cancel": "/payments/7/cancel",
        "webhooks": "/webhooks",
    }
    for name, path in paths.items():
        kwargs = {"id": 7} if "/7" in path else {}
        assert reverse(f"{namespace}:{name}", kwargs=kwargs) == prefix + path


@pytest.mark.parametrize("path", ["/", "/shop/", "/webhooks/github/", "/paymentsreport/"])
def test_mount_at_the_root_leaves_the_host_its_own_pages(path: str, client: Client) -> None:
    assert client.get(path).content == b"the host's own page"


def test_path_with_a_line_break_is_another_path(api: GatewayApi, stripe: StripeEmulator) -> None:
    assert api.request("POST", "/payments%0A", {"amount": 2000}).status_code == 404
    assert stripe.requests == []


def test_payment_is_the_same_under_every_mount() -> None:
    payment = PaymentFactory.create()
    apis = [GatewayApi(Client(), prefix=prefix) for prefix in MOUNTS.values()]
    assert {api.retrieve(payment.pk).json()["uuid"] for api in apis} == {str(payment.uuid)}


def test_subclass_sees_only_what_its_queryset_holds(stripe: StripeEmulator) -> None:
    api = GatewayApi(Client(), prefix="/own")
    created = api.create({"amount": 2000, "resellerReference": "theirs"}).json()
    theirs = PaymentFactory.create(paid=True)
    assert created["resellerReference"] == "mine"
    assert api.retrieve(created).status_code == 200
    for call in (api.retrieve, api.complete, api.refund, api.capture, api.cancel):
        assert call(theirs.pk).json()["error"] == "INVALID_PAYMENT_ID"
