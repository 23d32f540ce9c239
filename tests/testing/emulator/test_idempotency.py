"""Idempotency keys: one execution, and the first answer again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as sdk

from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.testing.emulator.conftest import AMOUNT, PAID

if TYPE_CHECKING:
    from collections.abc import Callable

KEY: Any = {"idempotency_key": "order-1"}


def test_the_same_again_is_answered_the_same(api: Any, stripe: StripeEmulator) -> None:
    first = api.payment_intents.create(params=AMOUNT, options=KEY)
    again = api.payment_intents.create(params=AMOUNT, options=KEY)
    assert first.id == again.id
    assert len(stripe.payment_intents) == 1
    assert [request.replayed for request in stripe.requests] == [False, True]
    assert again.last_response is not None
    headers: Any = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == stripe.requests[0].request_id
    assert headers["Request-Id"] == stripe.requests[1].request_id


def test_other_parameters_are_an_error(api: Any) -> None:
    api.payment_intents.create(params=AMOUNT, options=KEY)
    with pytest.raises(sdk.IdempotencyError, match="with the same parameters") as caught:
        api.payment_intents.create(params={**AMOUNT, "amount": 2001}, options=KEY)
    assert caught.value.http_status == 400
    with pytest.raises(sdk.IdempotencyError, match="for the same endpoint"):
        api.refunds.create(params={"payment_intent": "pi_x"}, options=KEY)


def test_a_decline_is_remembered(api: Any, stripe: StripeEmulator) -> None:
    params: Any = {**PAID, "payment_method": "pm_card_chargeDeclined"}
    for _ in range(2):
        with pytest.raises(sdk.CardError):
            api.payment_intents.create(params=params, options=KEY)
    assert len(stripe.charges) == 1


@pytest.mark.parametrize("params", [{"amount": 1}, {"foo": 1}, {"currency": "xxx"}])
def test_what_was_refused_before_it_began_is_not_remembered(api: Any, params: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError):
        api.payment_intents.create(params={**AMOUNT, **params}, options=KEY)
    assert api.payment_intents.create(params=AMOUNT, options=KEY).amount == 2000


def test_keys_are_each_accounts_own_and_can_expire(api: Any, stripe: StripeEmulator) -> None:
    mine = api.payment_intents.create(params=AMOUNT, options=KEY)
    stripe.connect_account("acct_1")
    theirs: Any = {**KEY, "stripe_account": "acct_1"}
    assert api.payment_intents.create(params=AMOUNT, options=theirs).id != mine.id
    stripe.forget_idempotency_keys()
    assert api.payment_intents.create(params=AMOUNT, options=KEY).id != mine.id


def test_keys_of_two_accounts_don_t_meet(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    tokyo = stripe.add_account()
    ids = {
        connect(key).v1.payment_intents.create(params=AMOUNT, options=KEY).id
        for key in ("sk_test_x", "rk_test_y", tokyo.secret_key)
    }
    assert len(ids) == 2


def test_a_key_that_is_too_long_is_refused(api: Any) -> None:
    with pytest.raises(sdk.IdempotencyError, match="at most 255"):
        api.payment_intents.create(params=AMOUNT, options={"idempotency_key": "k" * 256})


def test_a_key_in_use_is_a_conflict(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    with ThreadPoolExecutor(1) as pool, stripe.hold(when="before") as held:
        first = pool.submit(connect().v1.payment_intents.create, params=AMOUNT, options=KEY)
        held.wait_until_reached()
        with pytest.raises(sdk.StripeError, match="another in-progress request") as caught:
            connect().v1.payment_intents.create(params=AMOUNT, options=KEY)
        body: Any = caught.value.json_body
        assert (caught.value.http_status, body["error"]["code"]) == (409, "idempotency_key_in_use")
        held.release()
        assert first.result().status == "requires_payment_method"
    assert len(stripe.payment_intents) == 1


def test_the_sdk_repeats_a_conflict_until_it_has_the_answer(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(kind="delay", seconds=0.2))

    def create(_: int) -> str:
        return str(connect(retries=3).v1.payment_intents.create(params=AMOUNT, options=KEY).id)

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(create, range(3)))) == 1


def test_a_server_error_after_the_work_is_remembered(api: Any, stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(status=500, when="after"))
    for _ in range(2):
        with pytest.raises(sdk.APIError) as caught:
            api.payment_intents.create(params=AMOUNT, options=KEY)
    assert len(stripe.payment_intents) == 1
    headers: Any = caught.value.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Stripe-Should-Retry"] == "false"


def test_the_true_answer_is_remembered_where_the_fault_says_so(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(status=503, when="after", save=False))
    assert connect(retries=1).v1.payment_intents.create(params=AMOUNT, options=KEY).amount == 2000
    assert len(stripe.payment_intents) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_an_error_before_the_work_is_not_remembered(api: Any, stripe: StripeEmulator, status: int) -> None:
    stripe.add_fault(Fault(status=status))
    with pytest.raises(sdk.StripeError):
        api.payment_intents.create(params=AMOUNT, options=KEY)
    assert not stripe.payment_intents
    api.payment_intents.create(params=AMOUNT, options=KEY)


def test_a_key_on_a_get_says_nothing(stripe: StripeEmulator) -> None:
    headers = {"Authorization": "Bearer sk_test_x", "Idempotency-Key": "k"}
    for path in ("/v1/charges", "/v1/refunds"):
        response = requests.get(f"{stripe.url}{path}", headers=headers, timeout=60)
        assert response.status_code == 200
