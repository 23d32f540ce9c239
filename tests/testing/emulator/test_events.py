"""Events: what they carry, and how they are delivered."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from tests.testing.emulator.conftest import AMOUNT, PAID

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator import StripeEmulator
    from tests.testing.emulator.conftest import Endpoint

PAID_TYPES = [
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "charge.updated",
]


def test_an_event_carries_the_object_of_that_moment(api: Any, stripe: StripeEmulator) -> None:
    stripe.clock = lambda: 1_700_000_000.9
    intent = api.payment_intents.create(params=PAID)
    created, *_ = stripe.events
    assert created.id.startswith("evt_3")
    assert created.payload["created"] == 1_700_000_000
    assert created.payload["api_version"] == sdk.api_version
    assert created.payload["data"]["object"]["status"] == "requires_confirmation"
    assert created.payload["data"]["object"]["client_secret"] == intent.client_secret
    assert created.payload["pending_webhooks"] == 0
    assert created.payload["livemode"] is False
    assert api.events.retrieve(created.id).type == "payment_intent.created"


def test_events_are_delivered_in_order_and_signed(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    assert endpoint.types() == PAID_TYPES
    headers, body = endpoint.received[0]
    assert headers["User-Agent"] == "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert body.startswith(b'{\n  "')
    assert json.loads(body)["pending_webhooks"] == 1
    assert [delivery.status for delivery in stripe.events[0].deliveries] == [200]


def test_an_event_is_delivered_again_until_it_is_accepted(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500, 404]
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    (event,) = stripe.events
    assert [delivery.status for delivery in event.deliveries] == [500, 404, 200]
    assert len({body for _, body in endpoint.received}) == 1


def test_an_event_that_is_never_accepted_is_given_up(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500] * 10
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    assert [delivery.status for delivery in stripe.events[0].deliveries] == [500] * 3


def test_a_redirect_is_no_acceptance(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    endpoint.statuses = [301, 200]
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    assert [delivery.status for delivery in stripe.events[0].deliveries] == [301, 200]


def test_an_endpoint_that_is_down_is_told_in_the_delivery(api: Any, stripe: StripeEmulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    stripe.webhook_url = f"http://127.0.0.1:{port}/"
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    (first, *_) = stripe.events[0].deliveries
    assert first.status is None
    assert "ConnectionError" in str(first.error)


def test_one_event_can_be_sent_now_and_otherwise_signed(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    endpoint.received.clear()
    assert stripe.deliver_webhook("payment_intent.succeeded").accepted
    stripe.deliver_webhook(stripe.events[0], secret="whsec_other")
    (_, sent), (headers, body) = endpoint.received
    assert json.loads(sent)["type"] == "payment_intent.succeeded"
    with pytest.raises(sdk.SignatureVerificationError):
        sdk.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_test")
    with pytest.raises(KeyError):
        stripe.deliver_webhook("evt_unknown")


def test_a_signed_event_can_be_posted_by_hand(api: Any, stripe: StripeEmulator) -> None:
    api.payment_intents.create(params=AMOUNT)
    body, header = stripe.signed("payment_intent.created")
    assert sdk.Webhook.construct_event(body, header, "whsec_test").type == "payment_intent.created"
    body, stale = stripe.signed(stripe.events[0], timestamp=int(time.time()) - 600)
    with pytest.raises(sdk.SignatureVerificationError, match="tolerance"):
        sdk.Webhook.construct_event(body, stale, "whsec_test")
    delivery = stripe.deliver_webhook(stripe.events[0])
    assert (delivery.status, delivery.accepted) == (None, False)


def test_the_secret_can_be_changed(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    stripe.webhook_secret = "whsec_new"
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    headers, body = endpoint.received[0]
    assert sdk.Webhook.construct_event(body, headers["Stripe-Signature"], stripe.webhook_secret)


def test_withheld_events_are_delivered_when_they_are_released(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    stripe.withhold()
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    assert endpoint.received == []
    assert [event.type for event in stripe.withheld] == PAID_TYPES
    assert [event.type for event in stripe.release(order="reversed")] == PAID_TYPES[::-1]
    stripe.wait_for_deliveries()
    assert endpoint.types() == PAID_TYPES[::-1]
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    assert endpoint.types()[4:] == ["payment_intent.created"]


def test_only_some_types_can_be_withheld(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    stripe.withhold("payment_intent.*", "charge.updated")
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    assert endpoint.types() == ["charge.succeeded"]


def test_released_events_can_be_shuffled_duplicated_and_withheld_further(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    stripe.withhold()
    api.payment_intents.create(params=PAID)
    stripe.release(order="shuffled", copies=2, keep_withholding=True)
    stripe.wait_for_deliveries()
    assert sorted(endpoint.types()) == sorted(PAID_TYPES * 2)
    api.payment_intents.create(params=AMOUNT)
    assert len(stripe.withheld) == 1


def test_released_events_can_be_picked(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    stripe.withhold()
    api.payment_intents.create(params=PAID)
    stripe.release(order=lambda held: [held[2], held[0], held[2]])
    stripe.wait_for_deliveries()
    assert endpoint.types() == [PAID_TYPES[2], PAID_TYPES[0], PAID_TYPES[2]]


def test_events_can_be_late_and_duplicated(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    stripe.delivery_delay, stripe.delivery_copies = 0.15, 2
    assert (stripe.delivery_delay, stripe.delivery_copies) == (0.15, 2)
    api.payment_intents.create(params=AMOUNT)
    with pytest.raises(TimeoutError, match="still being delivered"):
        stripe.wait_for_deliveries(timeout=0.01)
    assert endpoint.received == []
    stripe.wait_for_deliveries()
    assert endpoint.types() == ["payment_intent.created"] * 2


def test_reset_drops_events_on_their_way(api: Any, stripe: StripeEmulator, endpoint: Endpoint) -> None:
    stripe.delivery_delay = 0.3
    api.payment_intents.create(params=AMOUNT)
    stripe.reset()
    stripe.wait_for_deliveries()
    # Past the moment at which it was to come.
    time.sleep(0.6)
    assert endpoint.received == []


def test_the_clock_is_injected(api: Any, stripe: StripeEmulator) -> None:
    stripe.clock = lambda: 1_800_000_000.0
    assert stripe.clock() == 1_800_000_000.0
    assert api.payment_intents.create(params=AMOUNT).created == 1_800_000_000


def test_stripe_tells_which_events_were_accepted(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500] * 3
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    refused, accepted = (event.id for event in stripe.events)
    assert [api.events.retrieve(event).pending_webhooks for event in (refused, accepted)] == [1, 0]
    listed = {
        success: [event.id for event in api.events.list(params={"delivery_success": success}).data]
        for success in (True, False)
    }
    assert listed == {True: [accepted], False: [refused]}
