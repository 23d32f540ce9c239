"""Events as endpoints of older API versions get them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator.versions import Range
from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator import StripeEmulator
    from tests.testing.emulator.conftest import Endpoint

HELD: Any = {**PAID, "capture_method": "manual"}
OLD = "2024-06-20"
ACACIA = "2025-02-24.acacia"
BASIL = "2025-03-31.basil"


def types(stripe: StripeEmulator) -> list[str]:
    return [event.type for event in stripe.events]


def told(stripe: StripeEmulator, event_type: str, **options: Any) -> Any:
    body, _ = stripe.signed(event_type, **options)
    return json.loads(body)


def test_an_event_carries_the_version_of_its_endpoint(
    api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    stripe.webhook_api_version = OLD
    api.payment_intents.create(params=PAID)
    stripe.wait_for_deliveries()
    assert {json.loads(body)["api_version"] for _, body in endpoint.received} == {OLD}
    assert {event.payload["api_version"] for event in stripe.events} == {OLD}


@pytest.mark.parametrize(
    ("version", "more"),
    [
        (OLD, ["charge.refunded", "charge.refund.updated"]),
        (ACACIA, ["refund.created", "charge.refunded", "charge.refund.updated"]),
        (BASIL, []),
        (sdk.api_version, []),
    ],
)
def test_what_a_capture_releases_was_a_refund_before_basil(
    api: Any, stripe: StripeEmulator, version: str, more: list[str]
) -> None:
    stripe.webhook_api_version = version
    held = api.payment_intents.create(params=HELD)
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    assert types(stripe)[3:] == ["charge.captured", "payment_intent.succeeded", *more]
    charge = told(stripe, "charge.captured")["data"]["object"]
    assert (charge["amount"], charge["amount_captured"], charge["refunded"]) == (2000, 1500, False)
    assert charge["amount_refunded"] == (500 if more else 0)
    if more:
        assert told(stripe, "charge.refunded")["data"]["object"]["amount_refunded"] == 500
        assert told(stripe, "charge.refund.updated")["data"]["object"]["amount"] == 500
        previous = told(stripe, "charge.captured")["data"]["previous_attributes"]
        assert previous["amount_refunded"] == 0


def test_the_api_says_that_nothing_was_refunded(api: Any, stripe: StripeEmulator) -> None:
    stripe.webhook_api_version = OLD
    held = api.payment_intents.create(params=HELD)
    paid = api.payment_intents.capture(
        held.id, params={"amount_to_capture": 1500, "expand": ["latest_charge.refunds"]}
    )
    assert paid.latest_charge.amount_refunded == 0
    assert paid.latest_charge.refunds.data == []
    assert api.refunds.list(params={"payment_intent": held.id}).data == []
    assert not stripe.refunds


def test_refunds_after_a_partial_capture_add_to_what_was_released(api: Any, stripe: StripeEmulator) -> None:
    stripe.webhook_api_version = OLD
    held = api.payment_intents.create(params=HELD)
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    api.refunds.create(params={"payment_intent": held.id, "amount": 1000})
    data = told(stripe, "charge.refunded")["data"]
    assert (data["object"]["amount_refunded"], data["object"]["refunded"]) == (1500, False)
    assert data["previous_attributes"] == {"amount_refunded": 500}
    api.refunds.create(params={"payment_intent": held.id})
    charge = told(stripe, "charge.refunded")["data"]["object"]
    assert (charge["amount_refunded"], charge["refunded"]) == (2000, True)
    modern = told(stripe, "charge.refunded", api_version=sdk.api_version)
    assert (modern["api_version"], modern["data"]["object"]["amount_refunded"]) == (sdk.api_version, 1500)


@pytest.mark.parametrize(("version", "released"), [(OLD, 2000), (BASIL, 0)])
def test_a_canceled_hold_was_a_refund_before_basil(
    api: Any, stripe: StripeEmulator, version: str, released: int
) -> None:
    stripe.webhook_api_version = version
    held = api.payment_intents.create(params=HELD)
    api.payment_intents.cancel(held.id)
    assert ("charge.refunded" in types(stripe)) is bool(released)
    if released:
        charge = told(stripe, "charge.refunded")["data"]["object"]
        assert (charge["amount_refunded"], charge["refunded"]) == (2000, True)
        assert charge["amount_captured"] is None


def test_an_intent_without_a_hold_releases_nothing(api: Any, stripe: StripeEmulator) -> None:
    stripe.webhook_api_version = OLD
    intent = api.payment_intents.create(params={"amount": 2000, "currency": "usd"})
    api.payment_intents.cancel(intent.id)
    assert types(stripe) == ["payment_intent.created", "payment_intent.canceled"]


def test_very_old_charges_contain_their_refunds(api: Any, stripe: StripeEmulator) -> None:
    stripe.webhook_api_version = "2022-08-01"
    held = api.payment_intents.create(params=HELD)
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    refund = api.refunds.create(params={"payment_intent": held.id, "amount": 100})
    refunds = told(stripe, "charge.refunded")["data"]["object"]["refunds"]["data"]
    assert [each["amount"] for each in refunds] == [100, 500]
    assert refunds[0]["id"] == refund.id
    assert "refunds" not in told(stripe, "charge.refunded", api_version=OLD)["data"]["object"]


@pytest.mark.parametrize(
    ("version", "inside"),
    [("2024-10-27", False), ("2024-10-28.acacia", True), ("2025-03-30", True), (BASIL, False)],
)
def test_versions_compare_by_their_date(version: str, inside: bool) -> None:
    assert (version in Range(since="2024-10-28.acacia", before=BASIL)) is inside


def ask(version: str, stripe: StripeEmulator) -> Any:
    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}, stripe_version=version)
    return client.v1


@pytest.mark.parametrize("version", ["1999-01-01", "2027-01-01.endive", "2026-10-28", "latest"])
def test_a_version_that_stripe_never_had_is_refused(stripe: StripeEmulator, version: str) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        ask(version, stripe).payment_intents.create(params=PAID)
    assert (caught.value.http_status, caught.value.user_message) == (
        400,
        f"Invalid Stripe API version: {version}",
    )
    assert not stripe.payment_intents


def test_an_answer_is_told_in_the_version_of_its_request(api: Any, stripe: StripeEmulator) -> None:
    held = api.payment_intents.create(params=HELD)
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    for version, refunded in ((sdk.api_version, 0), (BASIL, 0), (ACACIA, 500)):
        charge = ask(version, stripe).charges.retrieve(held.latest_charge)
        assert charge.amount_refunded == refunded
        (listed,) = ask(version, stripe).charges.list().data
        assert listed.amount_refunded == refunded
    response = ask(ACACIA, stripe).charges.retrieve(held.latest_charge).last_response
    assert response.headers["Stripe-Version"] == ACACIA


def test_an_intent_had_its_charges_before_2022_11_15(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=PAID)
    api.refunds.create(params={"payment_intent": intent.id, "amount": 500})
    old = ask("2020-08-27", stripe).payment_intents.retrieve(intent.id).to_dict()
    (charge,) = old["charges"]["data"]
    assert (charge["id"], "latest_charge" in old) == (intent.latest_charge, False)
    told_refunds = ask("2020-08-27", stripe).charges.retrieve(charge["id"]).refunds.data
    assert [refund.amount for refund in told_refunds] == [500]


def test_an_expired_hold_was_canceled_automatically_before_basil(api: Any, stripe: StripeEmulator) -> None:
    held = api.payment_intents.create(params=HELD)
    stripe.expire(held.id)
    reasons = [
        ask(version, stripe).payment_intents.retrieve(held.id).cancellation_reason
        for version in (OLD, sdk.api_version)
    ]
    assert reasons == ["automatic", "expired"]


def test_an_older_client_names_payment_methods_as_it_always_did(api: Any, stripe: StripeEmulator) -> None:
    create: Any = {"amount": 2000, "currency": "usd", "payment_method_types": ["card"]}
    assert ask(BASIL, stripe).payment_intents.create(params=create).payment_method_types == ["card"]
    with pytest.raises(sdk.InvalidRequestError, match="payment_method_types"):
        api.payment_intents.create(params=create)
    plain: Any = {**PAID}
    del plain["automatic_payment_methods"]
    old = ask("2022-11-15", stripe).payment_intents.create(params=plain)
    assert (old.status, old.automatic_payment_methods, old.payment_method_types) == (
        "succeeded",
        None,
        ["card"],
    )
