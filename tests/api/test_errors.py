"""Every error, wherever it comes from, has OCTO's body."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.http import UnreadablePostError
from django.test import Client
from rest_framework import exceptions as drf

from octo_stripe_gateway import exceptions, services
from octo_stripe_gateway.api.errors import OctoError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
API_KEY = "sk_test_gateway"


@pytest.fixture
def host(settings: Any) -> Callable[[str], GatewayApi]:
    """A host of several mounts; gives its API under one of them."""
    settings.ROOT_URLCONF = "tests.shop.urls"
    return lambda prefix: GatewayApi(Client(), prefix=prefix)


@pytest.mark.parametrize(
    "path",
    ["/payments/1/nope", "/payments/1/refund/2", "/payments//", "/payments/1//refund", "/payments/%2F/x/"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_unknown_path_of_ours_is_not_found(method: str, path: str, api: GatewayApi) -> None:
    api.client = Client(enforce_csrf_checks=True)
    answer = api.request(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"error": "NOT_FOUND", "errorMessage": "Not found."}


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/payments", {"GET", "POST"}),
        ("/payments/1", {"GET"}),
        ("/payments/1/complete", {"PATCH", "POST"}),
        ("/payments/1/refund", {"POST"}),
        ("/payments/1/capture", {"POST"}),
        ("/payments/1/cancel", {"POST"}),
        ("/webhooks", {"POST"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"])
def test_method_that_is_not_served_is_named(
    method: str, path: str, allowed: set[str], api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = api.request(method, path)
    assert (answer.status_code == 405) == (method not in allowed)
    if answer.status_code == 405:
        assert answer.json() == {"error": "BAD_REQUEST", "errorMessage": f'Method "{method}" not allowed.'}
        assert set(answer["Allow"].split(", ")) - {"HEAD", "OPTIONS"} == allowed


def test_bug_is_answered_without_details_and_logged(
    api: GatewayApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ZeroDivisionError("internal words")

    monkeypatch.setattr(services, "create_payment", broken)
    answer = api.create()
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "INTERNAL_SERVER_ERROR",
        "errorMessage": "Something went wrong on our side.",
    }
    (record,) = [one for one in caplog.records if one.name.startswith("octo_stripe_gateway")]
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("[OctoStripeGateway]")
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(
    ("keys", "owner"), [("gateway-key", "''"), ({"viator": "gateway-key"}, "'key:viator'")]
)
def test_log_names_whose_request_failed(
    keys: Any,
    owner: str,
    api: GatewayApi,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(API_GATEWAY_KEY=keys)
    monkeypatch.setattr(services, "create_payment", lambda **_parameters: 1 / 0)
    api.create()
    assert f"A request failed: ZeroDivisionError, owner {owner}" in caplog.text


@pytest.mark.parametrize(
    ("reference", "status", "code", "message"),
    [
        ("missing", 404, "NOT_FOUND", "Not found."),
        ("denied", 403, "FORBIDDEN", "You do not have permission to perform this action."),
        ("full", 409, "BAD_REQUEST", "The tour is full."),
    ],
)
def test_host_s_own_refusal_is_passed_on(
    reference: str, status: int, code: str, message: str, host: Callable[[str], GatewayApi]
) -> None:
    answer = host("/refusing").create({"amount": 1, "resellerReference": reference})
    assert (answer.status_code, answer.json()) == (status, {"error": code, "errorMessage": message})


def test_throttled_caller_is_told_when_to_try_again(host: Callable[[str], GatewayApi]) -> None:
    cache.clear()
    api = host("/throttled")
    payment = PaymentFactory.create()
    answers = [api.retrieve(payment.pk) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    body = answers[2].json()
    assert body.keys() == {"error", "errorMessage", "retryAfter"}
    assert body["error"] == "TOO_MANY_REQUESTS"
    assert 1 <= body["retryAfter"] <= 60
    assert answers[2]["Retry-After"] == str(body["retryAfter"])


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (drf.Throttled(), 429, "TOO_MANY_REQUESTS", "Request was throttled."),
        (drf.ValidationError({}), 400, "BAD_REQUEST", "{}"),
        (drf.ValidationError([]), 400, "BAD_REQUEST", "[]"),
        (drf.ValidationError({"a_b": [{}, {"c_d": ["no"]}]}), 400, "BAD_REQUEST", "aB.cD: no"),
        (drf.ValidationError({"a_b": {"c_d": ["no"]}}), 400, "BAD_REQUEST", "aB.cD: no"),
        (drf.ValidationError({"non_field_errors": ["no"]}), 400, "BAD_REQUEST", "no"),
        (ValidationError({"name": ["no", "never"]}), 400, "BAD_REQUEST", "no"),
        (UnreadablePostError("internal"), 400, "BAD_REQUEST", "The request could not be read."),
        (drf.APIException(), 500, "INTERNAL_SERVER_ERROR", "A server error occurred."),
        (exceptions.OperationInProgressError("wait"), 409, "UNPROCESSABLE_ENTITY", "wait"),
        (exceptions.PaymentMismatchError("differs"), 500, "INTERNAL_SERVER_ERROR", "differs"),
    ],
)
def test_error_has_its_status_code_and_message(
    error: Exception, status: int, code: str, message: str
) -> None:
    octo = OctoError(error)
    assert (octo.status, octo.code, octo.message) == (status, code, message)


@pytest.mark.parametrize(("wait", "seconds"), [(None, 1), (0, 1), (0.2, 1), (59.1, 60)])
def test_throttled_wait_is_given_in_whole_seconds(wait: float | None, seconds: int) -> None:
    octo = OctoError(drf.Throttled(wait=wait))
    assert octo.body["retryAfter"] == seconds
    assert octo.headers["Retry-After"] == str(seconds)


def test_stripe_s_refusal_has_stripe_s_message(api: GatewayApi, stripe: StripeEmulator) -> None:
    answer = api.create({"amount": 1, "currency": "usd"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "BAD_REQUEST"
    assert "Amount must" in answer.json()["errorMessage"]
    assert Payment.objects.get().status == "failed"


def test_payment_that_stripe_refused_can_be_asked_for_again(api: GatewayApi, stripe: StripeEmulator) -> None:
    answers = [api.create({"amount": 2000, "currency": "zzz"}, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert Payment.objects.count() == 1


FAULTS = {
    "wrong key": (Fault(status=401), 502, None),
    "forbidden": (Fault(status=403), 502, None),
    "in progress": (Fault(status=409), 409, "1"),
    "rate limit": (Fault(status=429), 503, "1"),
    "error": (Fault(status=500), 503, "5"),
    "overload": (Fault(status=503), 503, "5"),
    "reset": (Fault(kind="reset"), 503, "5"),
    "answer lost": (Fault(kind="reset", when="after"), 503, "5"),
    "time-out": (Fault(kind="delay", seconds=0.5), 503, "5"),
}


@pytest.mark.parametrize(("fault", "status", "retry_after"), FAULTS.values(), ids=FAULTS.keys())
def test_stripe_s_trouble_is_a_gateway_error(
    fault: Fault,
    status: int,
    retry_after: str | None,
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(STRIPE_TIMEOUT=(1, 0.2))
    stripe.add_fault(fault)
    answer = api.create()
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "errorMessage"}
    assert answer.get("Retry-After") == retry_after
    assert answer.json()["error"] == ("UNPROCESSABLE_ENTITY" if status == 409 else "INTERNAL_SERVER_ERROR")
    assert any(one.getMessage().startswith("[OctoStripeGateway]") for one in caplog.records)
    for text in (answer.content.decode(), caplog.text):
        assert "_secret_" not in text
        assert API_KEY not in text
        assert "gateway-key" not in text


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(kind="reset", when="after"), Fault(status=429)])
def test_repeated_create_gets_over_stripe_s_trouble(
    fault: Fault, api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(fault)
    answers = [api.create(**{"Idempotency-Key": "order 1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 201]
    assert Payment.objects.count() == 1


def test_key_that_stripe_rejects_is_our_fault_and_not_shown(
    api: GatewayApi, stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    stripe.accept_keys(["sk_test_other"])
    try:
        answer = api.create()
    finally:
        stripe.accept_keys(None)
    assert (answer.status_code, answer.json()["error"]) == (502, "INTERNAL_SERVER_ERROR")
    assert API_KEY not in answer.content.decode() + caplog.text


def test_log_has_stripe_s_request_id(
    api: GatewayApi, stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    api.create({"amount": 1, "currency": "usd"})
    request_id = stripe.requests[-1].request_id
    assert request_id
    (message,) = [one.getMessage() for one in caplog.records if one.name.startswith("octo_stripe_gateway")]
    assert message.startswith("[OctoStripeGateway]")
    assert request_id in message


@pytest.mark.parametrize(
    ("call", "prepare", "status"),
    [("complete", "paid_at_stripe", "PENDING"), ("refund", "paid", "CONFIRMED")],
)
def test_trouble_leaves_a_payment_as_it_was(
    call: str, prepare: str, status: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = getattr(api, prepare)(stripe)
    stripe.add_fault(Fault(method="*", status=503))
    assert getattr(api, call)(payment).status_code == 503
    assert api.retrieve(payment).json()["status"] == status
    assert getattr(api, call)(payment).status_code == 200
