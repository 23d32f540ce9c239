"""PaymentIntents through the real SDK: the state machine, its events and its refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from tests.testing.emulator.conftest import OPEN, PAID

if TYPE_CHECKING:
    from collections.abc import Callable

HELD = {**PAID, "capture_method": "manual"}


def types(stripe: StripeEmulator) -> list[str]:
    return [event.type for event in stripe.events]


def test_a_new_intent_waits_for_a_payment_method(api: Any) -> None:
    intent = api.payment_intents.create(
        params={
            **OPEN,
            "automatic_payment_methods": {"enabled": True},
            "metadata": {"payment": "7"},
            "description": "Walking tour",
        }
    )
    assert intent.id.startswith("pi_3")
    assert intent.client_secret is not None
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    assert intent.status == "requires_payment_method"
    assert (intent.amount, intent.amount_received, intent.amount_capturable) == (2000, 0, 0)
    assert (intent.currency, intent.livemode, intent.latest_charge) == ("usd", False, None)
    assert intent.metadata.to_dict() == {"payment": "7"}
    assert intent.description == "Walking tour"


@pytest.mark.parametrize("given", [{}, {"automatic_payment_methods": {"enabled": True}}])
def test_confirming_needs_a_return_url_where_a_payment_method_may_redirect(
    api: Any, stripe: StripeEmulator, given: Any
) -> None:
    params: Any = {"amount": 2000, "currency": "usd", **given, "payment_method": "pm_card_visa"}
    with pytest.raises(sdk.InvalidRequestError, match="must provide a `return_url`"):
        api.payment_intents.create(params={**params, "confirm": True})
    assert not stripe.payment_intents
    intent = api.payment_intents.create(params=params)
    with pytest.raises(sdk.InvalidRequestError, match="must provide a `return_url`"):
        api.payment_intents.confirm(intent.id)
    url: Any = {"return_url": "https://shop.test/done"}
    assert api.payment_intents.confirm(intent.id, params=url).status == "succeeded"


def test_confirming_needs_no_return_url_where_nothing_redirects(api: Any, stripe: StripeEmulator) -> None:
    params: Any = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    chosen: Any = {"automatic_payment_methods": {"enabled": False}, "allowed_payment_method_types": ["card"]}
    assert api.payment_intents.create(params={**params, **chosen}).status == "succeeded"
    intent = api.payment_intents.create(params={"amount": 2000, "currency": "usd"})
    assert stripe.confirm(intent.id)["status"] == "succeeded"


def test_the_customer_may_be_redirected(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=OPEN)
    url = "https://shop.test/done"
    asked = stripe.confirm(intent.id, "pm_card_threeDSecure2Required", return_url=url)
    assert asked["next_action"]["redirect_to_url"]["return_url"] == url


def test_an_intent_with_a_payment_method_waits_for_confirmation(api: Any) -> None:
    intent = api.payment_intents.create(params={**OPEN, "payment_method": "pm_card_visa"})
    assert intent.status == "requires_confirmation"
    assert str(intent.payment_method).startswith("pm_1")
    assert api.payment_intents.confirm(intent.id).status == "succeeded"


def test_a_card_pays_when_it_is_confirmed(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=OPEN)
    paid = api.payment_intents.confirm(
        intent.id, params={"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
    )
    assert (paid.status, paid.amount_received) == ("succeeded", 2000)
    charge = paid.latest_charge
    assert isinstance(charge, sdk.Charge)
    assert (charge.paid, charge.captured, charge.amount_captured) == (True, True, 2000)
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.last4 == "4242"
    assert charge.receipt_url is not None
    assert types(stripe) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "charge.updated",
    ]
    assert stripe.event("charge.succeeded").payload["data"]["object"]["balance_transaction"] is None
    updated = stripe.event("charge.updated").payload["data"]
    assert updated["object"]["balance_transaction"].startswith("txn_")
    assert updated["previous_attributes"] == {"balance_transaction": None}


def test_a_synchronous_capture_books_at_once(api: Any, stripe: StripeEmulator) -> None:
    api.payment_intents.create(params={**PAID, "capture_method": "automatic"})
    assert "charge.updated" not in types(stripe)
    (charge,) = stripe.charges.values()
    assert charge["balance_transaction"].startswith("txn_")


@pytest.mark.parametrize(
    ("payment_method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
    ],
)
def test_a_decline_is_a_card_error_and_the_intent_can_be_paid_later(
    api: Any,
    stripe: StripeEmulator,
    payment_method: str,
    code: str,
    decline_code: str | None,
) -> None:
    intent = api.payment_intents.create(params=OPEN)
    with pytest.raises(sdk.CardError) as caught:
        api.payment_intents.confirm(intent.id, params={"payment_method": payment_method})
    error: Any = caught.value.error
    assert (caught.value.http_status, error.type, error.code) == (402, "card_error", code)
    assert getattr(error, "decline_code", None) == decline_code
    assert error.payment_intent.status == "requires_payment_method"
    assert error.charge == error.payment_intent.latest_charge
    declined = api.payment_intents.retrieve(intent.id)
    assert declined.payment_method is None
    assert declined.last_payment_error is not None
    assert declined.last_payment_error.code == code
    assert stripe.charges[error.charge]["failure_code"] == code
    assert types(stripe)[1:] == ["charge.failed", "payment_intent.payment_failed"]
    paid = api.payment_intents.confirm(intent.id, params={"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)


def test_an_intent_created_and_declined_at_once_exists(api: Any, stripe: StripeEmulator) -> None:
    with pytest.raises(sdk.CardError):
        api.payment_intents.create(params={**PAID, "payment_method": "pm_card_chargeDeclined"})
    (intent,) = stripe.payment_intents.values()
    assert intent["status"] == "requires_payment_method"


@pytest.mark.parametrize("succeed", [True, False])
def test_a_challenge_ends_as_the_customer_ends_it(api: Any, stripe: StripeEmulator, succeed: bool) -> None:
    asked = api.payment_intents.create(params={**PAID, "payment_method": "pm_card_authenticationRequired"})
    assert asked.status == "requires_action"
    assert asked.next_action is not None
    assert asked.next_action.type == "use_stripe_sdk"
    assert types(stripe)[-1] == "payment_intent.requires_action"
    answered = stripe.authenticate(asked.id, succeed=succeed)
    assert answered["next_action"] is None
    if succeed:
        assert answered["status"] == "succeeded"
    else:
        assert answered["status"] == "requires_payment_method"
        failure = answered["last_payment_error"]["code"]
        assert failure == "payment_intent_authentication_failure"
    with pytest.raises(StripeApiError, match="does not wait"):
        stripe.authenticate(asked.id)


def test_a_challenge_with_a_return_url_redirects(api: Any) -> None:
    asked = api.payment_intents.create(
        params={
            **PAID,
            "payment_method": "pm_card_threeDSecure2Required",
            "return_url": "https://shop.test/done",
        }
    )
    assert asked.next_action is not None
    assert asked.next_action.redirect_to_url is not None
    assert asked.next_action.redirect_to_url.return_url == "https://shop.test/done"


@pytest.mark.parametrize("option", ["off_session", "error_on_requires_action"])
def test_a_challenge_that_nobody_can_meet_is_a_decline(api: Any, option: str) -> None:
    card = "pm_card_authenticationRequired"
    params: Any = {**PAID, "payment_method": card, option: True}
    with pytest.raises(sdk.CardError) as caught:
        api.payment_intents.create(params=params)
    assert caught.value.code == "authentication_required"


@pytest.mark.parametrize(
    ("payment_method", "succeed", "status"),
    [
        ("pm_usBankAccount_success", True, "succeeded"),
        ("pm_usBankAccount", False, "requires_payment_method"),
        ("pm_usBankAccount_accountClosed", False, "requires_payment_method"),
    ],
)
def test_a_bank_debit_is_processing_until_the_bank_tells(
    api: Any, stripe: StripeEmulator, payment_method: str, succeed: bool, status: str
) -> None:
    intent = api.payment_intents.create(params={**PAID, "payment_method": payment_method})
    assert intent.status == "processing"
    assert types(stripe)[1:] == ["charge.pending", "payment_intent.processing"]
    assert stripe.settle(intent.id, succeed=succeed)["status"] == status
    ended = types(stripe)[3:5]
    if succeed:
        assert ended == ["charge.succeeded", "payment_intent.succeeded"]
    else:
        assert ended == ["charge.failed", "payment_intent.payment_failed"]
    with pytest.raises(StripeApiError, match="not processing"):
        stripe.settle(intent.id)


def test_processing_settles_by_itself_when_told_to(
    connect: Callable[..., Any],
) -> None:
    with StripeEmulator(settle_after=0.01) as stripe:
        client: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
        client.v1.payment_intents.create(params={**PAID, "payment_method": "pm_usBankAccount"})
        client.v1.payment_intents.create(params={**PAID, "payment_method": "pm_card_createDispute"})
        wait_for(lambda: "charge.dispute.created" in types(stripe))
        wait_for(lambda: types(stripe).count("payment_intent.succeeded") == 2)


def wait_for(condition: Callable[[], bool]) -> None:
    import time

    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("given", "captured"), [({}, 2000), ({"amount_to_capture": 1500}, 1500)])
def test_an_authorization_is_captured_whole_or_in_part(
    api: Any, stripe: StripeEmulator, given: Any, captured: int
) -> None:
    held = api.payment_intents.create(params=HELD)
    assert (held.status, held.amount_capturable) == ("requires_capture", 2000)
    assert types(stripe)[1:] == ["charge.succeeded", "payment_intent.amount_capturable_updated"]
    paid = api.payment_intents.capture(held.id, params=given)
    assert (paid.status, paid.amount_received, paid.amount_capturable) == ("succeeded", captured, 0)
    (charge,) = stripe.charges.values()
    assert (charge["amount_captured"], charge["amount_refunded"]) == (captured, 0)
    assert types(stripe)[3:] == ["charge.captured", "payment_intent.succeeded"]
    assert stripe.event("charge.captured").payload["data"]["previous_attributes"]["captured"] is False


def test_metadata_can_be_given_with_the_capture(api: Any) -> None:
    held = api.payment_intents.create(params=HELD)
    paid = api.payment_intents.capture(held.id, params={"metadata": {"guide": "Ada"}})
    assert paid.metadata.to_dict() == {"guide": "Ada"}


def test_canceling_an_authorization_makes_no_refund(api: Any, stripe: StripeEmulator) -> None:
    held = api.payment_intents.create(params=HELD)
    canceled = api.payment_intents.cancel(held.id, params={"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    assert canceled.canceled_at is not None
    assert canceled.amount_capturable == 0
    (charge,) = stripe.charges.values()
    assert (charge["amount_captured"], charge["amount_refunded"]) == (0, 0)
    assert not stripe.refunds
    assert types(stripe)[-1] == "payment_intent.canceled"


CONFIRM = "You cannot confirm this PaymentIntent because it"
CANCEL = "You cannot cancel this PaymentIntent because it has a status of "
CAPTURE = "This PaymentIntent could not be captured because it has a status of "
UPDATE = "This PaymentIntent's amount could not be updated because it has a status of "


@pytest.mark.parametrize(
    ("params", "step", "given", "message"),
    [
        (OPEN, "confirm", {}, f"{CONFIRM}'s missing a payment method"),
        (PAID, "confirm", {}, f"{CONFIRM} has already succeeded after being previously confirmed."),
        (HELD, "confirm", {}, f"{CONFIRM} has already been confirmed"),
        ({**PAID, "payment_method": "pm_usBankAccount"}, "confirm", {}, f"{CONFIRM} has a status"),
        (PAID, "cancel", {}, f"{CANCEL}succeeded. Only a PaymentIntent with one of"),
        (OPEN, "capture", {}, f"{CAPTURE}requires_payment_method."),
        (PAID, "capture", {}, f"{CAPTURE}succeeded."),
        ({**PAID, "payment_method": "pm_usBankAccount"}, "cancel", {}, f"{CANCEL}processing."),
        (PAID, "update", {"amount": 3000}, f"{UPDATE}succeeded."),
        (HELD, "update", {"amount": 3000}, f"{UPDATE}requires_capture."),
        ({**PAID, "payment_method": "pm_usBankAccount"}, "update", {"amount": 1}, f"{UPDATE}processing."),
    ],
)
def test_a_step_out_of_order_is_an_unexpected_state(
    api: Any, params: Any, step: str, given: Any, message: str
) -> None:
    intent = api.payment_intents.create(params=params)
    with pytest.raises(sdk.InvalidRequestError) as caught:
        getattr(api.payment_intents, step)(intent.id, params=given)
    assert message in str(caught.value.user_message)
    assert (caught.value.http_status, caught.value.code) == (400, "payment_intent_unexpected_state")


def test_a_canceled_intent_is_not_canceled_or_confirmed_again(api: Any) -> None:
    intent = api.payment_intents.create(params=OPEN)
    api.payment_intents.cancel(intent.id)
    for step in (api.payment_intents.cancel, api.payment_intents.confirm):
        with pytest.raises(sdk.InvalidRequestError, match="has a status of canceled"):
            step(intent.id)


def test_more_than_is_held_is_not_captured(api: Any) -> None:
    held = api.payment_intents.create(params=HELD)
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.capture(held.id, params={"amount_to_capture": 2001})
    assert (caught.value.code, caught.value.param) == ("amount_too_large", "amount_to_capture")


def test_an_open_intent_can_be_changed(api: Any) -> None:
    intent = api.payment_intents.create(params={**OPEN, "metadata": {"a": "1", "b": "2"}})
    changed = api.payment_intents.update(
        intent.id,
        params={
            "amount": 3000,
            "currency": "EUR",
            "description": "Boat tour",
            "metadata": {"a": "", "c": "3"},
            "payment_method": "pm_card_mastercard",
            "capture_method": "manual",
        },
    )
    assert (changed.amount, changed.currency, changed.description) == (3000, "eur", "Boat tour")
    assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
    assert (changed.status, changed.capture_method) == ("requires_confirmation", "manual")
    emptied = api.payment_intents.update(intent.id, params={"metadata": "", "description": ""})
    assert emptied.metadata.to_dict() == {}
    assert emptied.description is None


def test_the_amount_can_be_changed_until_it_is_paid(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=OPEN)
    assert api.payment_intents.update(intent.id, params={"amount": 2500}).amount == 2500
    api.payment_intents.update(intent.id, params={"payment_method": "pm_card_visa"})
    ready = api.payment_intents.update(intent.id, params={"amount": 2600})
    assert (ready.amount, ready.status) == (2600, "requires_confirmation")
    stripe.confirm(intent.id, "pm_card_authenticationRequired")
    changed = api.payment_intents.update(intent.id, params={"amount": 2700})
    assert (changed.amount, changed.status, changed.next_action) == (2700, "requires_confirmation", None)
    with pytest.raises(StripeApiError, match="does not wait for an authentication"):
        stripe.authenticate(intent.id)
    stripe.confirm(intent.id)
    assert stripe.payment_intents[intent.id]["amount_received"] == 2700
    described = api.payment_intents.update(intent.id, params={"description": "Paid", "metadata": {"a": "b"}})
    assert (described.description, described.amount) == ("Paid", 2700)


def test_an_amount_that_cannot_be_charged_changes_nothing(api: Any) -> None:
    intent = api.payment_intents.create(params=OPEN)
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.update(intent.id, params={"amount": 1, "description": "Less"})
    assert caught.value.code == "amount_too_small"
    unchanged = api.payment_intents.retrieve(intent.id)
    assert (unchanged.amount, unchanged.description) == (2000, None)


def test_another_currency_offers_other_payment_methods(api: Any) -> None:
    intent = api.payment_intents.create(params=OPEN)
    assert intent.payment_method_types == ["card", "us_bank_account"]
    changed = api.payment_intents.update(intent.id, params={"currency": "eur"})
    assert changed.payment_method_types == ["card"]


def test_a_hold_says_until_when_it_can_be_captured(api: Any, stripe: StripeEmulator) -> None:
    stripe.clock = lambda: 1_800_000_000.0
    held = api.payment_intents.create(params={**HELD, "expand": ["latest_charge"]})
    assert held.latest_charge.payment_method_details.card.capture_before == 1_800_000_000 + 7 * 86_400
    paid = api.payment_intents.create(params={**PAID, "expand": ["latest_charge"]})
    assert "capture_before" not in paid.latest_charge.payment_method_details.card.to_dict()


def test_a_hold_expires(api: Any, stripe: StripeEmulator) -> None:
    held = api.payment_intents.create(params=HELD)
    expired = stripe.expire(held.id)
    assert (expired["status"], expired["cancellation_reason"]) == ("canceled", "expired")
    assert (expired["amount_capturable"], expired["canceled_at"] is None) == (0, False)
    assert types(stripe)[3:] == ["charge.expired", "payment_intent.canceled"]
    charge = stripe.event("charge.expired").payload["data"]["object"]
    assert (charge["captured"], charge["amount_refunded"], charge["refunded"]) == (False, 0, False)
    with pytest.raises(sdk.InvalidRequestError, match="has a status of canceled"):
        api.payment_intents.capture(held.id)
    with pytest.raises(StripeApiError, match="holds nothing"):
        stripe.expire(held.id)


def test_endpoints_of_older_versions_are_told_another_reason(api: Any, stripe: StripeEmulator) -> None:
    stripe.webhook_api_version = "2024-06-20"
    stripe.expire(api.payment_intents.create(params=HELD).id)
    told = stripe.event("payment_intent.canceled").payload["data"]["object"]
    assert told["cancellation_reason"] == "automatic"
    assert "charge.refunded" in types(stripe)


def test_a_short_hold_expires_by_itself() -> None:
    with StripeEmulator(hold_seconds=0.01) as stripe:
        client: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
        held = client.v1.payment_intents.create(params=HELD)
        wait_for(lambda: stripe.payment_intents[held.id]["cancellation_reason"] == "expired")


@pytest.mark.parametrize("attempt", range(5))
def test_a_confirm_and_a_cancel_at_once_end_as_one_of_them(
    connect: Callable[..., Any], stripe: StripeEmulator, attempt: int
) -> None:
    intents = connect().v1.payment_intents
    intent = intents.create(params={**OPEN, "payment_method": "pm_card_visa"})

    def run(step: str) -> str:
        try:
            return str(getattr(connect().v1.payment_intents, step)(intent.id).status)
        except sdk.InvalidRequestError as error:
            return str(error.code)

    with ThreadPoolExecutor(2) as pool:
        answers = sorted(pool.map(run, ["confirm", "cancel"]))
    status = stripe.payment_intents[intent.id]["status"]
    assert answers == sorted([status, "payment_intent_unexpected_state"])
    assert len(stripe.charges) == (status == "succeeded")
    assert ("payment_intent.canceled" in types(stripe)) is (status == "canceled")


@pytest.mark.parametrize(("first", "then"), [("cancel", "confirm"), ("confirm", "cancel")])
def test_a_race_can_be_decided(
    connect: Callable[..., Any], stripe: StripeEmulator, first: str, then: str
) -> None:
    intents = connect().v1.payment_intents
    intent = intents.create(params={**OPEN, "payment_method": "pm_card_visa"})
    with ThreadPoolExecutor(1) as pool, stripe.hold(path=f".*/{then}$", when="before") as held:
        answer = pool.submit(getattr(connect().v1.payment_intents, then), intent.id)
        held.wait_until_reached()
        getattr(intents, first)(intent.id)
        held.release()
        with pytest.raises(sdk.InvalidRequestError):
            answer.result()


def test_confirming_may_change_how_it_is_captured(api: Any) -> None:
    intent = api.payment_intents.create(params=OPEN)
    held = api.payment_intents.confirm(
        intent.id,
        params={
            "payment_method": "pm_card_visa",
            "capture_method": "manual",
            "receipt_email": "ada@example.com",
        },
    )
    assert (held.status, held.receipt_email) == ("requires_capture", "ada@example.com")


def test_a_bank_account_pays_dollars_only(api: Any) -> None:
    params: Any = {**PAID, "currency": "eur", "payment_method": "pm_usBankAccount"}
    with pytest.raises(sdk.InvalidRequestError, match="is not allowed for this PaymentIntent"):
        api.payment_intents.create(params=params)


def test_the_kinds_of_payment_method_can_be_limited(api: Any) -> None:
    only: Any = {**OPEN, "allowed_payment_method_types": ["card"]}
    assert api.payment_intents.create(params=only).payment_method_types == ["card"]
    without: Any = {**OPEN, "excluded_payment_method_types": ["card"]}
    left = api.payment_intents.create(params=without).payment_method_types
    assert left == ["us_bank_account"]


def test_the_customer_acts_in_process(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=OPEN)
    declined = stripe.confirm(intent.id, "pm_card_chargeDeclined")
    assert declined["last_payment_error"]["decline_code"] == "generic_decline"
    assert stripe.confirm(intent.id)["status"] == "succeeded"
    assert stripe.event("payment_intent.succeeded").payload["request"]["id"] is None
    with pytest.raises(StripeApiError, match="already succeeded"):
        stripe.confirm(intent.id)


def test_objects_are_shown_as_copies(api: Any, stripe: StripeEmulator) -> None:
    intent = api.payment_intents.create(params=OPEN)
    dict(stripe.payment_intents)[intent.id]["status"] = "succeeded"
    assert stripe.payment_intents[intent.id]["status"] == "requires_payment_method"


MULTICAPTURE: Any = {
    **PAID,
    "capture_method": "manual",
    "payment_method_options": {"card": {"request_multicapture": "if_available"}},
}


def test_a_hold_is_captured_several_times(api: Any, stripe: StripeEmulator) -> None:
    held = api.payment_intents.create(params=MULTICAPTURE)
    card = stripe.charges[held.latest_charge]["payment_method_details"]["card"]
    assert card["multicapture"]["status"] == "available"
    first = api.payment_intents.capture(held.id, params={"amount_to_capture": 700, "final_capture": False})
    assert (first.status, first.amount_capturable, first.amount_received) == ("requires_capture", 1300, 700)
    charge = stripe.charges[held.latest_charge]
    assert (charge["captured"], charge["amount_captured"]) == (False, 700)
    assert [event.type for event in stripe.events[-2:]] == [
        "charge.updated",
        "payment_intent.amount_capturable_updated",
    ]
    refund = api.refunds.create(params={"payment_intent": held.id, "amount": 700})
    assert stripe.charges[held.latest_charge]["refunded"] is False
    assert stripe.refunds[refund.id]["status"] == "succeeded"
    with pytest.raises(sdk.InvalidRequestError, match="greater than"):
        api.refunds.create(params={"payment_intent": held.id, "amount": 1})
    last = api.payment_intents.capture(held.id, params={"amount_to_capture": 200})
    assert (last.status, last.amount_capturable, last.amount_received) == ("succeeded", 0, 900)
    assert stripe.charges[held.latest_charge]["captured"] is True
    amounts = [one["amount"] for one in stripe.balance_transactions.values()]
    assert amounts == [700, -700, 200]


@pytest.mark.parametrize("end", ["cancel", "capture", "expire"])
def test_what_several_captures_left_is_released(api: Any, stripe: StripeEmulator, end: str) -> None:
    held = api.payment_intents.create(params=MULTICAPTURE)
    api.payment_intents.capture(held.id, params={"amount_to_capture": 700, "final_capture": False})
    if end == "cancel":
        api.payment_intents.cancel(held.id)
    elif end == "capture":
        api.payment_intents.capture(held.id, params={"amount_to_capture": 0})
    else:
        stripe.expire(held.id)
    ended = api.payment_intents.retrieve(held.id)
    assert (ended.status, ended.amount_received, ended.amount_capturable) == ("succeeded", 700, 0)
    assert [event.type for event in stripe.events[-3:]] == [
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_one_capture_is_final_unless_several_were_asked_for(api: Any) -> None:
    held = api.payment_intents.create(params={**PAID, "capture_method": "manual"})
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.capture(held.id, params={"amount_to_capture": 700, "final_capture": False})
    assert caught.value.param == "final_capture"
    assert api.payment_intents.capture(held.id).amount_received == 2000


@pytest.mark.parametrize(
    "address", ["ada", "ada@", "ada@example", "@example.com", "ada lovelace@example.com"]
)
def test_a_receipt_goes_to_an_email_address(api: Any, address: str) -> None:
    intent = api.payment_intents.create(params=OPEN)
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.create(params={**OPEN, "receipt_email": address})
    assert (caught.value.code, caught.value.param) == ("email_invalid", "receipt_email")
    with pytest.raises(sdk.InvalidRequestError, match="Invalid email address"):
        api.payment_intents.update(intent.id, params={"receipt_email": address})
    for fine in ("ada@example.com", ""):
        api.payment_intents.update(intent.id, params={"receipt_email": fine})
