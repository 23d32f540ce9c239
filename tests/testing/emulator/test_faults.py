"""Faults and holds on command."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as sdk

from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.testing.emulator.conftest import AMOUNT, OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.faults import When


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (429, sdk.RateLimitError, "rate_limit"),
        (500, sdk.APIError, None),
        (503, sdk.APIError, None),
    ],
)
def test_a_status_instead_of_the_work(
    api: Any,
    stripe: StripeEmulator,
    status: int,
    error: type[sdk.StripeError],
    code: str | None,
) -> None:
    stripe.add_fault(Fault(status=status, headers={"Retry-After": "7"}))
    with pytest.raises(error) as caught:
        api.payment_intents.create(params=AMOUNT)
    body: Any = caught.value.json_body
    assert (caught.value.http_status, body["error"].get("code")) == (status, code)
    headers: Any = caught.value.headers
    assert headers["Retry-After"] == "7"
    assert not stripe.payment_intents
    assert stripe.requests[0].status == status
    api.payment_intents.create(params=AMOUNT)


@pytest.mark.parametrize(("when", "done"), [("before", 0), ("after", 1)])
def test_a_connection_is_reset_before_or_after_the_work(
    api: Any, stripe: StripeEmulator, when: Any, done: int
) -> None:
    stripe.add_fault(Fault(kind="reset", when=when))
    with pytest.raises(sdk.APIConnectionError, match="reset by peer"):
        api.payment_intents.create(params=AMOUNT)
    assert len(stripe.payment_intents) == done
    assert stripe.requests[0].status is None


@pytest.mark.parametrize("status", [404, 408, 413])
@pytest.mark.parametrize(("when", "done"), [("before", 0), ("after", 1)])
def test_a_proxy_answers_in_place_of_stripe(
    connect: Callable[..., Any], stripe: StripeEmulator, status: int, when: Any, done: int
) -> None:
    stripe.add_fault(Fault(kind="proxy", when=when, status=status))
    create = connect().v1.payment_intents.create
    with pytest.raises(sdk.StripeError) as caught:
        create(params=AMOUNT, options={"idempotency_key": "k"})
    assert (caught.value.http_status, caught.value.error) == (status, None)
    assert str(caught.value.http_body).startswith("<html>")
    assert len(stripe.payment_intents) == done
    assert stripe.requests[0].status == status
    made = create(params=AMOUNT, options={"idempotency_key": "k"})
    assert list(stripe.payment_intents) == [made.id]
    assert stripe.requests[1].replayed is bool(done)


def test_a_gateway_answers_with_json_that_is_not_stripes(api: Any, stripe: StripeEmulator) -> None:
    body, kind = '{"message": "no Route matched with those values"}', "application/json"
    stripe.add_fault(Fault(kind="proxy", status=404, body=body, content_type=kind))
    with pytest.raises(sdk.StripeError) as caught:
        api.payment_intents.create(params=AMOUNT)
    assert caught.value.http_body == body


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_leads_away_from_stripe(stripe: StripeEmulator, status: int) -> None:
    elsewhere = "https://login.example/"
    stripe.add_fault(Fault(kind="proxy", status=status, headers={"Location": elsewhere}, method="GET"))
    answer = requests.get(f"{stripe.url}/v1/payment_intents", auth=("sk_test_x", ""), allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (status, elsewhere)
    assert "Stripe-Version" not in answer.headers


def test_a_lost_answer_is_found_again_by_its_key(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(kind="reset", when="after"))
    intent = connect(retries=1).v1.payment_intents.create(params=AMOUNT)
    assert list(stripe.payment_intents) == [intent.id]
    assert [request.replayed for request in stripe.requests] == [False, True]


@pytest.mark.parametrize(("should_retry", "asked"), [(False, 1), (True, 3), (None, 3)])
def test_a_server_error_says_whether_to_repeat(
    connect: Callable[..., Any], stripe: StripeEmulator, should_retry: bool | None, asked: int
) -> None:
    stripe.add_fault(Fault(status=500, should_retry=should_retry, times=None))
    with pytest.raises(sdk.APIError) as caught:
        connect(retries=2).v1.payment_intents.create(params=AMOUNT)
    headers: Any = caught.value.headers
    assert headers.get("Stripe-Should-Retry") == (None if should_retry is None else str(should_retry).lower())
    assert len(stripe.requests) == asked


def test_an_object_may_be_older_than_the_date_of_its_answer(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    api = connect().v1
    intent = api.payment_intents.create(params=OPEN)
    stripe.clock = lambda: 1_800_000_000.0
    with ThreadPoolExecutor(1) as pool, stripe.hold("GET", "/v1/payment_intents/") as held:
        answer = pool.submit(connect().v1.payment_intents.retrieve, intent.id)
        held.wait_until_reached()
        stripe.confirm(intent.id)
        stripe.clock = lambda: 1_800_000_007.0
        held.release()
        read = answer.result()
    assert read.status == "requires_payment_method"
    assert stripe.payment_intents[intent.id]["status"] == "succeeded"
    assert read.last_response.headers["Date"] == "Fri, 15 Jan 2027 08:00:07 GMT"


def test_a_delay_outlasts_an_impatient_client(stripe: StripeEmulator) -> None:
    client = sdk.StripeClient(
        "sk_test_x",
        base_addresses={"api": stripe.url},
        http_client=sdk.RequestsClient(timeout=0.1),
    )
    stripe.add_fault(Fault(kind="delay", seconds=0.3, when="after"))
    with pytest.raises(sdk.APIConnectionError):
        client.v1.payment_intents.create(params=AMOUNT)
    assert len(stripe.payment_intents) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_request_that_was_given_up_ends_with_the_reset(when: When, api: Any, stripe: StripeEmulator) -> None:
    client = sdk.StripeClient(
        "sk_test_x",
        base_addresses={"api": stripe.url},
        http_client=sdk.RequestsClient(timeout=0.1),
        max_network_retries=0,
    )
    stripe.add_fault(Fault(kind="delay", seconds=60, when=when))
    with pytest.raises(sdk.APIConnectionError):
        client.v1.payment_intents.create(params=AMOUNT)
    given_up = stripe.requests[-1]
    stripe.reset()
    assert given_up.status == 200
    assert (stripe.payment_intents, stripe.requests) == ({}, [])

    stripe.add_fault(Fault(kind="reset", when="after"))
    with pytest.raises(sdk.APIConnectionError):
        api.payment_intents.create(params=AMOUNT)
    assert len(stripe.payment_intents) == 1


def test_an_object_that_is_in_use_is_locked(api: Any, stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(status=429, code="lock_timeout"))
    with pytest.raises(sdk.RateLimitError, match="cannot be accessed right now") as caught:
        api.payment_intents.create(params=AMOUNT)
    body: Any = caught.value.json_body
    assert body["error"]["code"] == "lock_timeout"


def test_a_fault_spoils_what_it_names_as_often_as_it_says(api: Any, stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(path=r"/v1/payment_intents/.*/cancel$", times=2))
    intent = api.payment_intents.create(params=AMOUNT)
    for _ in range(2):
        with pytest.raises(sdk.APIError):
            api.payment_intents.cancel(intent.id)
    assert api.payment_intents.cancel(intent.id).status == "canceled"


def test_a_fault_can_last_until_it_is_cleared(api: Any, stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(method="*", times=None))
    for _ in range(3):
        with pytest.raises(sdk.APIError):
            api.charges.list()
    stripe.clear_faults()
    api.charges.list()


@pytest.mark.parametrize(("when", "done"), [("before", 0), ("after", 1)])
def test_a_held_request_waits_before_or_after_its_work(
    connect: Callable[..., Any], stripe: StripeEmulator, when: Any, done: int
) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        stripe.hold("POST", "/v1/payment_intents", when=when) as held,
    ):
        answer = pool.submit(connect().v1.payment_intents.create, params=AMOUNT)
        held.wait_until_reached()
        assert len(stripe.payment_intents) == done
        assert stripe.requests[0].status is None
        held.release()
        assert answer.result().amount == 2000
    connect().v1.payment_intents.create(params=AMOUNT)


def test_a_hold_that_nothing_reaches_says_so(stripe: StripeEmulator) -> None:
    with stripe.hold() as held, pytest.raises(TimeoutError, match="No POST /v1/"):
        held.wait_until_reached(timeout=0.01)


def test_stopping_releases_what_is_held() -> None:
    with ThreadPoolExecutor(1) as pool, StripeEmulator() as stripe:
        held = stripe.hold()
        api = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}).v1
        answer = pool.submit(api.payment_intents.create, params=AMOUNT)
        held.wait_until_reached()
        stripe.stop()
        assert answer.result().amount == 2000


def test_a_bug_in_the_emulator_leaves_the_key_free(api: Any, stripe: StripeEmulator) -> None:
    moments = iter([0])

    def break_once() -> float:
        return 1 / next(moments, 1) and time.time()

    key: Any = {"idempotency_key": "k"}
    stripe.clock = break_once
    with pytest.raises(sdk.APIError):
        api.payment_intents.create(params=AMOUNT, options=key)
    stripe.clock = time.time
    assert api.payment_intents.create(params=AMOUNT, options=key).amount == 2000
