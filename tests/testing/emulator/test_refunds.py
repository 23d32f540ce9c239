"""Refunds and disputes through the real SDK."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from collections.abc import Callable


def pay(api: Any, **given: Any) -> Any:
    params: Any = {**PAID, **given}
    return api.payment_intents.create(params=params)


def charge_of(stripe: StripeEmulator, intent: sdk.PaymentIntent) -> Any:
    return stripe.charges[str(intent.latest_charge)]


def types_since(stripe: StripeEmulator, event_type: str) -> list[str]:
    types = [event.type for event in stripe.events]
    return types[types.index(event_type) :]


def test_a_refund_returns_what_is_left(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    part = api.refunds.create(
        params={
            "payment_intent": intent.id,
            "amount": 500,
            "reason": "requested_by_customer",
            "metadata": {"a": "b"},
        }
    )
    assert part.id.startswith("re_3")
    assert (part.amount, part.status, part.reason) == (500, "succeeded", "requested_by_customer")
    assert part.charge == intent.latest_charge
    assert charge_of(stripe, intent)["refunded"] is False
    rest = api.refunds.create(params={"charge": str(intent.latest_charge)})
    assert (rest.amount, rest.payment_intent) == (1500, intent.id)
    charge = charge_of(stripe, intent)
    assert (charge["amount_refunded"], charge["refunded"]) == (2000, True)
    assert types_since(stripe, "refund.created") == ["refund.created", "charge.refunded"] * 2
    told = stripe.event("charge.refunded").payload["data"]
    assert told["previous_attributes"] == {"amount_refunded": 500, "refunded": False}


@pytest.mark.parametrize(
    ("refunded", "asked", "message", "code"),
    [
        (0, 2500, "Refund amount ($25.00) is greater than charge amount ($20.00)", None),
        (
            500,
            1600,
            "Refund amount ($16.00) is greater than unrefunded amount on charge ($15.00)",
            None,
        ),
        (2000, 1, "has already been refunded.", "charge_already_refunded"),
    ],
)
def test_more_than_is_left_is_not_refunded(
    api: Any, refunded: int, asked: int, message: str, code: str | None
) -> None:
    intent = pay(api)
    if refunded:
        api.refunds.create(params={"payment_intent": intent.id, "amount": refunded})
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.refunds.create(params={"payment_intent": intent.id, "amount": asked})
    assert message in str(caught.value.user_message)
    assert caught.value.code == code


@pytest.mark.parametrize("given", [{"confirm": False}, {"capture_method": "manual"}])
def test_what_is_not_paid_is_not_refunded(api: Any, given: Any) -> None:
    intent = pay(api, **given)
    with pytest.raises(sdk.InvalidRequestError, match="does not have a successful charge to refund"):
        api.refunds.create(params={"payment_intent": intent.id})


def test_only_what_was_captured_is_refunded(api: Any) -> None:
    intent = pay(api, capture_method="manual")
    api.payment_intents.capture(intent.id, params={"amount_to_capture": 1500})
    assert api.refunds.create(params={"payment_intent": intent.id}).amount == 1500


def test_a_refund_names_what_it_refunds(api: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="payment_intent or charge"):
        api.refunds.create(params={"amount": 100})
    with pytest.raises(sdk.InvalidRequestError, match="No such payment_intent: 'pi_x'") as caught:
        api.refunds.create(params={"payment_intent": "pi_x"})
    assert (caught.value.code, caught.value.param) == ("resource_missing", "payment_intent")


def test_a_pending_refund_settles_on_command(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api, payment_method="pm_card_pendingRefund")
    refund = api.refunds.create(params={"payment_intent": intent.id})
    assert refund.status == "pending"
    assert charge_of(stripe, intent)["amount_refunded"] == 2000
    stripe.settle_refund(refund.id, status="succeeded")
    assert api.refunds.retrieve(refund.id).status == "succeeded"
    assert types_since(stripe, "refund.updated") == ["refund.updated", "charge.refund.updated"]
    for event_type in ("refund.updated", "charge.refund.updated"):
        told = stripe.event(event_type).payload["data"]
        assert told["previous_attributes"] == {"status": "pending", "pending_reason": "processing"}


@pytest.mark.parametrize("payment_method", ["pm_card_refundFail", "pm_card_pendingRefund"])
def test_a_refund_that_fails_gives_its_amount_back(
    api: Any, stripe: StripeEmulator, payment_method: str
) -> None:
    intent = pay(api, payment_method=payment_method)
    refund = api.refunds.create(params={"payment_intent": intent.id})
    failed = stripe.settle_refund(refund.id, status="failed", reason="lost_or_stolen_card")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "lost_or_stolen_card")
    assert failed["failure_balance_transaction"].startswith("txn_")
    charge = charge_of(stripe, intent)
    assert (charge["amount_refunded"], charge["refunded"]) == (0, False)
    assert types_since(stripe, "refund.updated") == [
        "refund.updated",
        "charge.refund.updated",
        "refund.failed",
    ]
    assert api.refunds.create(params={"payment_intent": intent.id}).amount == 2000
    with pytest.raises(StripeApiError, match="is failed already"):
        stripe.settle_refund(refund.id, status="succeeded")


def test_a_refund_without_balance_is_refused_until_it_is_topped_up(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    params: Any = {"payment_intent": intent.id}
    stripe.drain_balance()
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.refunds.create(params=params, options={"idempotency_key": "k"})
    error: Any = caught.value.error
    assert (caught.value.http_status, caught.value.code) == (400, None)
    assert error.message_code == "insufficient_balance_for_refund"
    assert caught.value.user_message == "Insufficient funds in your Stripe balance to refund this amount."
    assert not stripe.refunds
    assert charge_of(stripe, intent)["amount_refunded"] == 0
    stripe.top_up_balance()
    with pytest.raises(sdk.InvalidRequestError, match="Insufficient funds"):
        api.refunds.create(params=params, options={"idempotency_key": "k"})
    assert api.refunds.create(params=params).status == "succeeded"


def test_a_refund_without_balance_may_wait_for_it(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    stripe.drain_balance(refunds="pending")
    refund = api.refunds.create(params={"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "insufficient_funds")
    assert refund.balance_transaction is None
    stripe.top_up_balance()
    made = api.refunds.retrieve(refund.id)
    assert made.status == "succeeded"
    assert made.balance_transaction.startswith("txn_")
    assert "pending_reason" not in made.to_dict()


def test_a_refund_that_waits_for_balance_can_fail(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    stripe.drain_balance(refunds="pending")
    refund = api.refunds.create(params={"payment_intent": intent.id})
    failed = stripe.settle_refund(refund.id, status="failed", reason="insufficient_funds")
    assert failed["failure_reason"] == "insufficient_funds"
    assert "failure_balance_transaction" not in failed
    assert charge_of(stripe, intent)["amount_refunded"] == 0
    stripe.top_up_balance()
    assert stripe.refunds[refund.id]["status"] == "failed"


def test_reset_fills_the_balance(api: Any, stripe: StripeEmulator) -> None:
    stripe.drain_balance()
    stripe.reset()
    assert api.refunds.create(params={"payment_intent": pay(api).id}).status == "succeeded"


def test_late_refunds_settle_by_themselves_when_told_to() -> None:
    with StripeEmulator(settle_after=0.01) as stripe:
        api = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}).v1
        expected = {}
        for method, status in (("pendingRefund", "succeeded"), ("refundFail", "failed")):
            intent = pay(api, payment_method=f"pm_card_{method}")
            expected[api.refunds.create(params={"payment_intent": intent.id}).id] = status
        api.refunds.create(params={"payment_intent": pay(api).id})
        deadline = time.monotonic() + 5
        while any(stripe.refunds[key]["status"] != status for key, status in expected.items()):
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_refund_settled_by_hand_is_left_alone_by_the_clock() -> None:
    with StripeEmulator(settle_after=0.05) as stripe:
        api = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}).v1
        intent = pay(api, payment_method="pm_card_pendingRefund")
        refund = api.refunds.create(params={"payment_intent": intent.id})
        stripe.settle_refund(refund.id, status="failed")
        time.sleep(0.1)
        assert stripe.refunds[refund.id]["status"] == "failed"
        intent = pay(api, payment_method="pm_card_pendingRefund")
        refund = api.refunds.create(params={"payment_intent": intent.id})
        time.sleep(0.1)
        assert stripe.refunds[refund.id]["status"] == "succeeded"


def test_a_refund_in_the_dashboard_is_nobodys_request(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    assert stripe.refund(intent.id, amount=700)["metadata"] == {}
    assert stripe.refund(intent.id)["amount"] == 1300
    assert stripe.event("charge.refunded").payload["request"] == {
        "id": None,
        "idempotency_key": None,
    }


def test_a_refunds_metadata_can_be_changed(api: Any, stripe: StripeEmulator) -> None:
    refund = api.refunds.create(params={"payment_intent": pay(api).id, "metadata": {"a": "1"}})
    changed = api.refunds.update(refund.id, params={"metadata": {"b": "2"}})
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"a": "1", "b": "2"}
    assert stripe.events[-1].type == "refund.updated"


def test_a_refund_is_canceled_only_while_it_asks_the_customer(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api, payment_method="pm_card_pendingRefund")
    refund = api.refunds.create(params={"payment_intent": intent.id})
    with pytest.raises(sdk.InvalidRequestError, match="has a status of pending"):
        api.refunds.cancel(refund.id)
    stripe.settle_refund(refund.id, status="requires_action")
    assert api.refunds.cancel(refund.id).status == "canceled"
    assert charge_of(stripe, intent)["amount_refunded"] == 0


def test_parallel_refunds_never_return_more_than_was_paid(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    api = connect().v1
    intent = pay(api)

    def refund(_: int) -> bool:
        try:
            connect().v1.refunds.create(params={"payment_intent": intent.id, "amount": 1500})
        except sdk.InvalidRequestError:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(refund, range(5))) == 1
    assert charge_of(stripe, intent)["amount_refunded"] == 1500


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled"])
def test_a_refund_may_require_action_by_the_customer(api: Any, stripe: StripeEmulator, end: Any) -> None:
    method = "pm_card_emulator_refundAsks"
    intent = api.payment_intents.create(
        params={**PAID, "payment_method": method, "receipt_email": "ada@example.com"}
    )
    refund = api.refunds.create(params={"payment_intent": intent.id})
    assert refund.status == "requires_action"
    asked = refund.next_action.display_details
    assert asked.email_sent.email_sent_to == "ada@example.com"
    assert asked.expires_at == refund.created + 30 * 86_400
    ended = (
        api.refunds.cancel(refund.id).to_dict()
        if end == "canceled"
        else stripe.settle_refund(refund.id, status=end)
    )
    assert (ended["status"], "next_action" in ended) == (end, False)
    left = 2000 if end == "succeeded" else 0
    assert stripe.charges[intent.latest_charge]["amount_refunded"] == left
    balance = sum(one["amount"] for one in stripe.balance_transactions.values())
    assert balance == 2000 - left


def test_a_pending_refund_comes_to_require_action(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params={**PAID, "payment_method": "pm_card_pendingRefund"})
    refund = api.refunds.create(params={"payment_intent": intent.id})
    moved = stripe.settle_refund(refund.id, status="requires_action")
    assert moved["next_action"]["type"] == "display_details"
    assert "pending_reason" not in moved


def test_a_refund_names_one_payment_once(api: Any, stripe: StripeEmulator) -> None:
    first, second = (api.payment_intents.create(params=PAID) for _ in "12")
    for charge in (first.latest_charge, second.latest_charge):
        with pytest.raises(sdk.InvalidRequestError, match="only specify one of these parameters"):
            api.refunds.create(params={"payment_intent": first.id, "charge": charge})
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.refunds.create(params={"payment_intent": first.id, "amount": 100, "currency": "usd"})
    assert caught.value.param == "currency"
    assert not stripe.refunds
