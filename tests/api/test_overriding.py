"""What a host can customize without editing the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.support.api import GatewayApi
from tests.support.objects import make_event, make_intent, make_paid_intent, sign

pytestmark = pytest.mark.django_db


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Payment | None]]:
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    handled: list[tuple[str, Payment | None]] = []

    @handlers.register("invoice.paid", "payment_intent.succeeded")
    def note(event: WebhookEvent, payment: Payment | None) -> None:
        handled.append((event.type, payment))

    return handled


def test_a_host_handles_more_types_of_events(
    api: GatewayApi, handled: list[tuple[str, Payment | None]]
) -> None:
    answer = api.post_event(*signed_event("invoice.paid", {"id": "in_1", "object": "invoice"}))
    assert answer.json()["status"] == "processed"
    assert handled == [("invoice.paid", None)]


def test_a_hosts_handler_comes_after_ours_and_once(
    api: GatewayApi, stripe: StripeEmulator, handled: list[tuple[str, Payment | None]]
) -> None:
    api.paid_at_stripe(stripe)
    api.deliver(stripe, "payment_intent.succeeded")
    api.deliver(stripe, "payment_intent.succeeded")
    ((event_type, seen),) = handled
    assert (event_type, seen and seen.status) == ("payment_intent.succeeded", "paid")


@pytest.mark.parametrize("content", [{}, {"data": {}}, {"related_object": {"id": "acct_1"}}])
def test_a_host_handles_events_that_bring_no_object_along(
    content: dict[str, Any], handled: list[tuple[str, Payment | None]]
) -> None:
    event = make_event("invoice.paid", None) | {"data": None} | content
    assert inbox.receive_event(event).status == "processed"
    assert handled == [("invoice.paid", None)]


def test_a_hosts_handler_gets_the_payment_that_another_type_is_about(
    payment: Payment, handled: list[tuple[str, Payment | None]]
) -> None:
    inbox.receive_event(make_event("invoice.paid", {"object": "invoice", "payment_intent": "pi_1"}))
    assert handled == [("invoice.paid", payment)]


@pytest.mark.parametrize(
    ("changes", "signer"), [({"account": "acct_1"}, ""), ({"livemode": True}, ""), ({}, "tokyo")]
)
def test_a_hosts_handler_does_not_get_the_payment_of_another_account_or_mode(
    changes: dict[str, Any], signer: str, payment: Payment, handled: list[tuple[str, Payment | None]]
) -> None:
    payload = make_event("invoice.paid", {"object": "invoice", "payment_intent": "pi_1"}) | changes
    event = inbox.receive_event(payload, account=signer)
    assert event.error_code == "event_of_another"
    assert handled == []
    payment.refresh_from_db()
    assert payment.has_concerns


@pytest.mark.parametrize("changes", [{"livemode": True}, {"currency": "eur"}])
def test_a_hosts_handler_does_not_get_what_contradicts_the_payment(
    changes: dict[str, Any], payment: Payment, handled: list[tuple[str, Payment | None]]
) -> None:
    event = inbox.receive_event(make_event("payment_intent.succeeded", make_paid_intent(**changes)))
    assert event.error_code
    assert handled == []


def test_a_hosts_handler_gets_an_event_that_waits_for_its_payment_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handled: list[Payment | None] = []
    handler = {"payment_intent.processing": [lambda _event, payment: handled.append(payment)]}
    monkeypatch.setattr(handlers, "HOST_HANDLERS", handler)
    payment = PaymentFactory.build(stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    intent = make_intent(status="processing", metadata=sign(payment))
    event = inbox.receive_event(make_event("payment_intent.processing", intent))
    assert (event.status, handled) == ("received", [])
    payment.save()
    assert inbox.process_event(event).status == "processed"
    assert handled == [payment]


def test_a_handler_that_breaks_fails_the_event_and_nothing_is_applied(
    api: GatewayApi, stripe: StripeEmulator, handled: list[Any]
) -> None:
    handlers.register("payment_intent.succeeded")(lambda _event, _payment: 1 / 0)
    payment = api.paid_at_stripe(stripe)
    assert api.deliver(stripe, "payment_intent.succeeded")[0].status_code == 500
    assert api.retrieve(payment).json()["status"] == "PENDING"
    assert WebhookEvent.objects.get().status == "failed"


def test_rest_framework_classes_replace_the_api_key(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(AUTHENTICATION_CLASSES=["rest_framework.authentication.SessionAuthentication"])
    client = Client(enforce_csrf_checks=True)
    api = GatewayApi(client)
    assert api.create().status_code == 401
    client.force_login(User.objects.create(username="visitor"))
    assert api.create().json()["error"] == "FORBIDDEN"
    client.cookies["csrftoken"] = "a" * 32
    assert api.create(**{"X-CSRFToken": "a" * 32}).status_code == 201
