"""Thin events: they name their object, and Stripe is asked for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from tests.testing.emulator.conftest import AMOUNT, PAID, Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator import StripeEmulator

THIN: Any = {
    "name": "Thin",
    "type": "webhook_endpoint",
    "event_payload": "thin",
    "enabled_events": ["v1.payment_intent.succeeded"],
    "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
}


def test_an_endpoint_is_sent_thin_events(
    connect: Callable[..., Any], stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    stripe.clock = lambda: 1_800_000_000.0
    stripe.webhook_payload = "thin"
    client = connect()
    intent = client.v1.payment_intents.create(params=PAID, options={"idempotency_key": "k"})
    stripe.wait_for_deliveries()
    bodies = {json.loads(body)["type"]: (body, headers) for headers, body in endpoint.received}
    body, headers = bodies["v1.payment_intent.succeeded"]
    with pytest.raises(ValueError, match="thin event"):
        client.construct_event(body, headers["Stripe-Signature"], "whsec_test")
    told = client.parse_event_notification(body, headers["Stripe-Signature"], "whsec_test")
    assert (told.object, told.created, told.livemode) == ("v2.core.event", "2027-01-15T08:00:00.000Z", False)
    assert vars(told.related_object) == {
        "id": intent.id,
        "type": "payment_intent",
        "url": f"/v1/payment_intents/{intent.id}",
    }
    assert (told.reason.type, told.reason.request.idempotency_key) == ("request", "k")
    assert told.fetch_related_object().amount_received == 2000
    fetched = told.fetch_event()
    assert fetched.snapshot_event == stripe.event("payment_intent.succeeded").id != told.id
    with pytest.raises(sdk.InvalidRequestError):
        client.v2.core.events.retrieve("evt_65none")


@pytest.mark.parametrize(
    ("happens", "kind"),
    [
        ("charge.dispute.created", "dispute"),
        ("refund.created", "refund"),
        ("charge.refunded", "charge"),
        ("radar.early_fraud_warning.created", "radar.early_fraud_warning"),
    ],
)
def test_a_thin_event_says_where_to_ask_for_its_object(
    connect: Callable[..., Any], stripe: StripeEmulator, happens: str, kind: str
) -> None:
    client = connect()
    intent = client.v1.payment_intents.create(params=PAID)
    stripe.refund(intent.id, amount=1)
    stripe.warn_of_fraud(intent.id)
    stripe.open_dispute(intent.id)
    body, header = stripe.signed(happens, payload="thin")
    told = client.parse_event_notification(body, header, "whsec_test")
    assert (told.type, told.related_object.type) == (f"v1.{happens}", kind)
    assert told.fetch_related_object().object == kind
    assert (told.reason, told.context) == (None, None)


def test_a_connected_account_s_thin_event_names_it(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    client = connect()
    stripe.connect_account("acct_1")
    client.v1.payment_intents.create(params=AMOUNT, options={"stripe_account": "acct_1"})
    body, header = stripe.signed("payment_intent.created", payload="thin")
    told = client.parse_event_notification(body, header, "whsec_test")
    assert str(told.context) == "acct_1"
    assert told.fetch_related_object().amount == 2000


def test_an_event_destination_is_registered(
    connect: Callable[..., Any], stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    stripe.webhook_url = None
    client = connect()
    destinations = client.v2.core.event_destinations
    made = destinations.create(params={**THIN, "webhook_endpoint": {"url": endpoint.url}})
    assert (made.object, made.event_payload, made.snapshot_api_version) == (
        "v2.core.event_destination",
        "thin",
        None,
    )
    assert made.webhook_endpoint.signing_secret.startswith("whsec_")
    client.v1.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    ((headers, body),) = endpoint.received
    told = client.parse_event_notification(
        body, headers["Stripe-Signature"], made.webhook_endpoint.signing_secret
    )
    assert told.type == "v1.payment_intent.succeeded"
    (listed,) = destinations.list(params={"include": ["webhook_endpoint.url"]}).data
    assert (listed.webhook_endpoint.url, listed.webhook_endpoint.signing_secret) == (endpoint.url, None)
    assert destinations.retrieve(made.id).webhook_endpoint.url is None
    destinations.delete(made.id)
    assert destinations.list().data == []


def test_a_destination_needs_a_url_and_known_parameters(connect: Callable[..., Any]) -> None:
    create = connect().v2.core.event_destinations.create
    with pytest.raises(sdk.InvalidRequestError) as caught:
        create(params=THIN)
    assert (caught.value.code, caught.value.param) == ("parameter_missing", "webhook_endpoint[url]")
    with pytest.raises(sdk.InvalidRequestError, match="thin"):
        create(params={**THIN, "event_payload": "fat", "webhook_endpoint": {"url": "http://x.example"}})
