"""What a host makes its own without editing the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from octo_stripe_gateway import inbox
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Payment | None]]:
    monkeypatch.setattr(inbox, "HOST_HANDLERS", {})
    handled: list[tuple[str, Payment | None]] = []

    @inbox.register("invoice.paid", "payment_intent.succeeded")
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


def test_a_handler_that_breaks_fails_the_event_and_nothing_is_applied(
    api: GatewayApi, stripe: StripeEmulator, handled: list[Any]
) -> None:
    inbox.register("payment_intent.succeeded")(lambda _event, _payment: 1 / 0)
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
