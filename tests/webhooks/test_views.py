"""Webhook events are taken if Stripe signed them, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from octo_stripe_gateway import conf
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory, WebhookEventFactory
from octo_stripe_gateway.webhooks import handlers
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
SECRET = "whsec_gateway"


def sign(body: bytes, *, secret: str = SECRET, at: float = 0) -> str:
    moment = int(time.time() + at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


@pytest.fixture
def event() -> bytes:
    """An event about a paid payment, as bytes that Stripe could have sent."""
    payment = PaymentFactory.create()
    made = WebhookEventFactory.build(payment=payment)
    made.payload["data"]["object"] |= {"status": "succeeded", "amount_received": payment.amount}
    made.payload["created"] += 1
    return json.dumps(made.payload).encode()


def assert_refused(answer: Any, *, status: int = 400, code: str = "BAD_REQUEST") -> None:
    assert answer.status_code == status, answer.content
    assert answer.json().keys() == {"error", "errorMessage"}
    assert answer.json()["error"] == code
    assert WebhookEvent.objects.count() == 0
    assert Payment.objects.filter(status="paid").count() == 0


def assert_taken(answer: Any, *, status: str = "processed") -> None:
    assert answer.status_code == 200, answer.content
    assert WebhookEvent.objects.get().status == status


def test_signed_event_is_applied_without_any_other_credential(api: GatewayApi, event: bytes) -> None:
    api.client = Client(enforce_csrf_checks=True)
    assert_taken(api.post_event(event, sign(event)))
    assert Payment.objects.get().status == "paid"


@pytest.mark.parametrize(
    "make_header",
    [
        lambda _: "",
        lambda _: "nonsense",
        lambda _: "t=,v1=",
        lambda _: "t=x,v1=y",
        lambda body: sign(body).split(",")[0],
        lambda body: sign(body).split(",")[1],
        lambda body: sign(body).replace("v1=", "v0="),
        lambda body: sign(body)[:-1],
        lambda body: sign(body).upper(),
        lambda body: sign(body, secret="whsec_other"),
        lambda body: sign(body, secret=""),
        lambda body: sign(body, at=-301),
        lambda body: sign(body + b" "),
        lambda _: f"t={int(time.time())},v1=\xe9",
        lambda _: "t=" + "9" * 5000 + ",v1=a",
        lambda _: "=" * 10_000,
        lambda body: sign(body).replace("t=", "t=1,t="),
    ],
)
def test_event_that_stripe_did_not_sign_is_refused(
    make_header: Callable[[bytes], str], api: GatewayApi, event: bytes
) -> None:
    assert_refused(api.post_event(event, make_header(event)))


def test_event_without_a_signature_is_refused(api: GatewayApi, event: bytes) -> None:
    assert_refused(api.client.post("/bookings/webhooks", event, content_type="application/json"))


@pytest.mark.parametrize("position", [0, 1, 100, -1])
def test_event_altered_by_one_byte_is_refused(position: int, api: GatewayApi, event: bytes) -> None:
    altered = bytearray(event)
    altered[position] ^= 1
    assert_refused(api.post_event(bytes(altered), sign(event)))


@pytest.mark.parametrize("at", [-299, 0, 60])
def test_clocks_may_differ_a_little(at: float, api: GatewayApi, event: bytes) -> None:
    assert_taken(api.post_event(event, sign(event, at=at)))


def test_tolerance_is_a_setting(api: GatewayApi, event: bytes, configure: Configure) -> None:
    configure(WEBHOOK_TOLERANCE=10)
    assert_refused(api.post_event(event, sign(event, at=-15)))


@pytest.mark.parametrize("tolerance", [0, -1])
def test_tolerance_cannot_be_switched_off(
    tolerance: int, api: GatewayApi, event: bytes, configure: Configure
) -> None:
    configure(WEBHOOK_TOLERANCE=tolerance)
    answer = api.post_event(event, sign(event))
    assert_refused(answer, status=500, code="INTERNAL_SERVER_ERROR")


@pytest.mark.parametrize("secret", ["whsec_new", "whsec_old"])
def test_any_of_several_secrets_will_do(
    secret: str, api: GatewayApi, event: bytes, configure: Configure
) -> None:
    configure(STRIPE_WEBHOOK_SECRET=["whsec_new", "", "whsec_old"])
    assert_refused(api.post_event(event, sign(event)))
    assert_taken(api.post_event(event, sign(event, secret=secret)))


@pytest.mark.parametrize("secrets", [None, "", " ", [], ["", " "], conf.BUILT_IN_WEBHOOK_SECRET])
@pytest.mark.parametrize("signed_with", ["", " ", "None", SECRET, "whsec_octoStripeGatewayEmulator"])
def test_no_event_is_taken_where_no_secret_is_configured(
    signed_with: str,
    secrets: Any,
    api: GatewayApi,
    event: bytes,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(STRIPE_WEBHOOK_SECRET=secrets)
    answer = api.post_event(event, sign(event, secret=signed_with))
    assert_refused(answer, status=500, code="INTERNAL_SERVER_ERROR")
    assert "no STRIPE_WEBHOOK_SECRET" in caplog.text


def test_the_built_in_secret_counts_only_with_debug_on(
    api: GatewayApi, event: bytes, configure: Configure, settings: Any
) -> None:
    configure(STRIPE_WEBHOOK_SECRET=[conf.BUILT_IN_WEBHOOK_SECRET, "whsec_own"])
    signature = sign(event, secret=conf.BUILT_IN_WEBHOOK_SECRET)
    assert_refused(api.post_event(event, signature))
    named = {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": conf.BUILT_IN_WEBHOOK_SECRET}
    configure(STRIPE_WEBHOOK_SECRET="whsec_own", STRIPE_ACCOUNTS={"tokyo": named})
    assert_refused(api.post_event(event, signature))
    configure(STRIPE_WEBHOOK_SECRET=conf.BUILT_IN_WEBHOOK_SECRET, STRIPE_ACCOUNTS=None)
    settings.DEBUG = True
    assert_taken(api.post_event(event, signature))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"evt_1"',
        b"7",
        b"{}",
        b'{"id": 7}',
        b'{"id": null, "type": "x"}',
        b"\xff\xfe",
        b'{"id": "evt_1", "x": "\xff"}',
        b"[" * 100_000,
    ],
)
def test_signed_bytes_that_are_no_event_are_refused(body: bytes, api: GatewayApi) -> None:
    assert_refused(api.post_event(body, sign(body)))


def test_huge_body_is_refused(api: GatewayApi) -> None:
    body = json.dumps({"id": "evt_1", "x": "x" * 3_000_000}).encode()
    assert_refused(api.post_event(body, sign(body)), status=413)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_posts_are_taken(method: str, api: GatewayApi) -> None:
    answer = api.request(method, "/webhooks")
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"


@pytest.mark.parametrize("slash", ["", "/"])
def test_address_works_with_and_without_a_slash(slash: str, api: GatewayApi, event: bytes) -> None:
    answer = api.request("POST", f"/webhooks{slash}", event, **{"Stripe-Signature": sign(event)})
    assert_taken(answer)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_content_type_does_not_matter(kind: str, api: GatewayApi, event: bytes) -> None:
    headers = {"Stripe-Signature": sign(event)}
    assert_taken(api.request("POST", "/webhooks", event, content_type=kind, **headers))


def test_duplicate_is_answered_and_changes_nothing(api: GatewayApi, event: bytes) -> None:
    answers = [api.post_event(event, sign(event)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    row = WebhookEvent.objects.get()
    assert (row.attempts, row.status) == (1, "processed")


def test_unknown_type_is_answered(api: GatewayApi) -> None:
    body = json.dumps(
        {"id": "evt_1", "type": "invoice.paid", "created": 1, "data": {"object": {"id": "in_1"}}}
    ).encode()
    assert_taken(api.post_event(body, sign(body)), status="ignored")


def test_another_system_s_intent_is_answered(api: GatewayApi, event: bytes) -> None:
    Payment.objects.all().delete()
    body = json.loads(event)
    body["data"]["object"]["metadata"] = {}
    foreign = json.dumps(body).encode()
    assert_taken(api.post_event(foreign, sign(foreign)), status="ignored")


def test_everything_that_the_emulator_sends_is_taken(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.refund(api.paid(stripe))
    answers = api.deliver(stripe)
    assert len(answers) >= 4
    assert {answer.status_code for answer in answers} == {200}
    assert Payment.objects.get().status == "refunded"


def fail(*_args: Any, **_kwargs: Any) -> None:
    raise ZeroDivisionError("internal words")


def test_event_that_fails_is_on_record_and_asked_for_again(
    api: GatewayApi, event: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(handlers, "record", fail)
        answer = api.post_event(event, sign(event))
    assert answer.status_code == 500
    assert answer.json()["error"] == "INTERNAL_SERVER_ERROR"
    assert b"internal words" not in answer.content
    assert WebhookEvent.objects.get().status == "failed"
    assert "[OctoStripeGateway] Event evt_" in caplog.text
    assert_taken(api.post_event(event, sign(event)))
    assert Payment.objects.get().status == "paid"


class TestAtomicRequests:
    @pytest.fixture(autouse=True)
    def atomic(self, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

    def test_payment_is_taken_end_to_end(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = api.paid(stripe)
        assert payment["status"] == "CONFIRMED"
        assert api.refund(payment).json()["status"] == "REFUNDED"
        assert {answer.status_code for answer in api.deliver(stripe)} == {200}

    def test_record_of_a_failed_event_survives(
        self, api: GatewayApi, event: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(handlers, "record", fail)
        assert api.post_event(event, sign(event)).status_code == 500
        assert WebhookEvent.objects.get().status == "failed"

    def test_record_of_a_refused_payment_survives(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        assert api.create({"amount": 1, "currency": "usd"}).status_code == 400
        assert Payment.objects.get().status == "failed"


class TestSubclass:
    @pytest.fixture(autouse=True)
    def host(self, settings: Any) -> None:
        settings.ROOT_URLCONF = "tests.shop.urls"

    def test_has_its_own_secret(self, event: bytes) -> None:
        own = GatewayApi(Client(enforce_csrf_checks=True), prefix="/own")
        assert_refused(own.post_event(event, sign(event)))
        answer = own.post_event(event, sign(event, secret="whsec_own"))
        assert_taken(answer)
        assert answer["X-Own"] == "yes"
