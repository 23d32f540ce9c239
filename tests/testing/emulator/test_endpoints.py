"""Webhook endpoints that the API registers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.testing.emulator.conftest import AMOUNT, OPEN, PAID, Endpoint


@pytest.fixture
def second() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def register(api: Any, endpoint: Endpoint, *types: str, **params: Any) -> Any:
    enabled = list(types) or ["*"]
    return api.webhook_endpoints.create(params={"url": endpoint.url, "enabled_events": enabled, **params})


def read(endpoint: Endpoint, secret: str) -> list[Any]:
    """Return the events that came, each checked against the secret."""
    events = [
        sdk.Webhook.construct_event(body, headers["Stripe-Signature"], secret)
        for headers, body in endpoint.received
    ]
    assert len(events) == len(endpoint.received)
    return [json.loads(body) for _, body in endpoint.received]


def test_the_secret_is_in_the_first_answer_only(api: Any, second: Endpoint) -> None:
    made = register(
        api,
        second,
        "payment_intent.succeeded",
        description="Tours",
        metadata={"a": "b"},
        api_version="2024-06-20",
    )
    assert made.id.startswith("we_1")
    assert made.secret.startswith("whsec_")
    assert (made.status, made.api_version, made.description) == ("enabled", "2024-06-20", "Tours")
    assert made.enabled_events == ["payment_intent.succeeded"]
    assert made.metadata.to_dict() == {"a": "b"}
    for again in (api.webhook_endpoints.retrieve(made.id), api.webhook_endpoints.list().data[0]):
        assert "secret" not in again.to_dict()
        assert again.url == second.url


def test_an_endpoint_gets_the_events_that_it_names_signed_with_its_secret(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint, second: Endpoint
) -> None:
    made = register(api, second, "payment_intent.succeeded", "charge.updated")
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    assert [event["type"] for event in read(second, made.secret)] == [
        "payment_intent.succeeded",
        "charge.updated",
    ]
    assert len(endpoint.types()) == 4
    succeeded = stripe.event("payment_intent.succeeded")
    assert succeeded.payload["pending_webhooks"] == 2
    assert {delivery.url for delivery in succeeded.deliveries} == {endpoint.url, second.url}
    with pytest.raises(sdk.SignatureVerificationError):
        read(second, "whsec_test")


def test_an_endpoint_s_events_are_told_in_its_version(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint, second: Endpoint
) -> None:
    made = register(api, second, "*", api_version="2024-06-20")
    held = api.payment_intents.create(params={**PAID, "capture_method": "manual"})
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    stripe.wait_for_deliveries()
    told = read(second, made.secret)
    assert {event["api_version"] for event in told} == {"2024-06-20"}
    (released,) = [event for event in told if event["type"] == "charge.refunded"]
    assert released["data"]["object"]["amount_refunded"] == 500
    assert "charge.refunded" not in endpoint.types()


def test_an_endpoint_is_changed_disabled_and_deleted(
    api: Any, stripe: StripeEmulator, second: Endpoint
) -> None:
    made = register(api, second, "charge.updated", description="Old")
    changes: Any = {
        "enabled_events": ["payment_intent.created"],
        "description": "",
        "metadata": {"a": "b"},
        "url": f"{second.url}/new",
    }
    changed = api.webhook_endpoints.update(made.id, params=changes)
    assert (changed.description, changed.url) == (None, f"{second.url}/new")
    api.payment_intents.create(params=OPEN)
    stripe.wait_for_deliveries()
    assert [event["type"] for event in read(second, made.secret)] == ["payment_intent.created"]
    disabled = api.webhook_endpoints.update(made.id, params={"disabled": True})
    assert disabled.status == "disabled"
    api.payment_intents.create(params=OPEN)
    assert api.webhook_endpoints.update(made.id, params={"disabled": False}).status == "enabled"
    assert api.webhook_endpoints.delete(made.id).deleted is True
    api.payment_intents.create(params=OPEN)
    stripe.wait_for_deliveries()
    assert len(second.received) == 1
    assert api.webhook_endpoints.list().data == []
    with pytest.raises(sdk.InvalidRequestError, match="No such webhook_endpoint"):
        api.webhook_endpoints.retrieve(made.id)


def test_an_event_on_its_way_to_an_endpoint_that_is_gone_is_dropped(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint, second: Endpoint
) -> None:
    made = register(api, second)
    # One delivery after the other: the second waits for the first.
    endpoint.open.clear()
    api.payment_intents.create(params=AMOUNT)
    api.webhook_endpoints.delete(made.id)
    endpoint.open.set()
    stripe.wait_for_deliveries()
    assert len(endpoint.received) == 1
    assert second.received == []


@pytest.mark.parametrize(
    ("params", "param", "message"),
    [
        ({"enabled_events": ["*"]}, "url", "Missing required param: url"),
        ({"url": "http://shop.test"}, "enabled_events", "Missing required param: enabled_events"),
        ({"url": "shop.test", "enabled_events": ["*"]}, "url", "An explicit scheme"),
        (
            {"url": "http://shop.test", "enabled_events": ["payment.done"]},
            "enabled_events[0]",
            "must be one of",
        ),
        (
            {"url": "http://shop.test", "enabled_events": ["*"], "api_version": "1999-01-01"},
            "api_version",
            "must be one of",
        ),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(api: Any, params: Any, param: str, message: str) -> None:
    with pytest.raises(sdk.InvalidRequestError, match=message) as caught:
        api.webhook_endpoints.create(params=params)
    assert caught.value.param == param


def test_an_account_s_endpoints_get_its_own_events_only(
    connect: Callable[..., Any], stripe: StripeEmulator, second: Endpoint
) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account()
    made = register(connect(tokyo.secret_key).v1, second)
    for account in (paris, tokyo):
        connect(account.secret_key).v1.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    (event,) = read(second, made.secret)
    assert event["data"]["object"]["id"] == stripe.events[1].payload["data"]["object"]["id"]
    with pytest.raises(sdk.InvalidRequestError, match="No such webhook_endpoint"):
        connect(paris.secret_key).v1.webhook_endpoints.retrieve(made.id)


def test_a_connect_endpoint_gets_the_events_of_connected_accounts_only(
    connect: Callable[..., Any], stripe: StripeEmulator, endpoint: Endpoint, second: Endpoint
) -> None:
    stripe.webhook_url = None
    api = connect("sk_test_x").v1
    own, connected = register(api, endpoint), register(api, second, connect=True)
    api.payment_intents.create(params=AMOUNT)
    stripe.connect_account("acct_1Osaka")
    api.payment_intents.create(params=AMOUNT, options={"stripe_account": "acct_1Osaka"})
    stripe.wait_for_deliveries()
    (mine,), (theirs,) = read(endpoint, own.secret), read(second, connected.secret)
    assert "account" not in mine
    assert theirs["account"] == "acct_1Osaka"
    body, header = stripe.signed(stripe.events[1], endpoint=connected.id)
    assert sdk.Webhook.construct_event(body, header, connected.secret)
    with pytest.raises(KeyError):
        stripe.signed(stripe.events[1], endpoint="we_x")


def test_a_connected_account_s_own_endpoint_is_told_no_account(
    connect: Callable[..., Any], stripe: StripeEmulator, second: Endpoint
) -> None:
    api = connect("sk_test_x").v1
    stripe.connect_account("acct_1Osaka")
    options: Any = {"stripe_account": "acct_1Osaka"}
    made = api.webhook_endpoints.create(params={"url": second.url, "enabled_events": ["*"]}, options=options)
    api.payment_intents.create(params=AMOUNT, options=options)
    stripe.wait_for_deliveries()
    (event,) = read(second, made.secret)
    assert "account" not in event
    assert stripe.events[0].payload["account"] == "acct_1Osaka"


def test_one_event_can_be_sent_to_a_registered_endpoint(
    api: Any, stripe: StripeEmulator, second: Endpoint
) -> None:
    made = register(api, second)
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    assert stripe.deliver_webhook("payment_intent.created").accepted
    assert len(read(second, made.secret)) == 2


def test_reset_forgets_endpoints(api: Any, stripe: StripeEmulator, second: Endpoint) -> None:
    register(api, second)
    assert len(stripe.webhook_endpoints) == 1
    stripe.reset()
    api.payment_intents.create(params=AMOUNT)
    stripe.wait_for_deliveries()
    assert not stripe.webhook_endpoints
    assert second.received == []
