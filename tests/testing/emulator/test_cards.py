"""Stripe's test payment methods, and what they bring about by themselves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import CARDS, StripeEmulator
from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400


@pytest.fixture
def quick() -> Iterator[StripeEmulator]:
    """An emulator that settles by itself, and at once."""
    with StripeEmulator(settle_after=0) as emulator:
        yield emulator


def pay(stripe: StripeEmulator, method: str, **given: Any) -> Any:
    api: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}).v1
    return api.payment_intents.create(params={**PAID, "payment_method": method, **given})


def wait_for(stripe: StripeEmulator, event_type: str, *, times: int = 1) -> list[Any]:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = [event.payload["data"]["object"] for event in stripe.events if event.type == event_type]
        if len(found) >= times:
            return found
        time.sleep(0.01)
    raise AssertionError(f"No {event_type}: {[event.type for event in stripe.events]}")


def test_every_card_has_a_number_of_its_own() -> None:
    numbers = [card.number for card in CARDS]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("method", "reason", "status", "amounts"),
    [
        ("pm_card_createDispute", "fraudulent", "needs_response", [2000]),
        ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response", [2000]),
        ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response", [2000]),
        ("pm_card_createMultipleDisputes", "fraudulent", "needs_response", [1000, 1000]),
    ],
)
def test_a_card_is_disputed(
    quick: StripeEmulator, method: str, reason: str, status: str, amounts: list[int]
) -> None:
    pay(quick, method)
    disputes = wait_for(quick, "charge.dispute.created", times=len(amounts))
    assert [dispute["amount"] for dispute in disputes] == amounts
    assert {(dispute["reason"], dispute["status"]) for dispute in disputes} == {(reason, status)}


def test_a_card_gets_an_early_fraud_warning(quick: StripeEmulator) -> None:
    intent = pay(quick, "pm_card_createIssuerFraudRecord")
    (warning,) = wait_for(quick, "radar.early_fraud_warning.created")
    assert warning["charge"] == intent.latest_charge


@pytest.mark.parametrize("method", ["pm_card_radarBlock", "pm_card_riskLevelHighest"])
def test_radar_blocks_the_highest_risk(stripe: StripeEmulator, method: str) -> None:
    with pytest.raises(sdk.CardError) as caught:
        pay(stripe, method)
    error: Any = caught.value
    assert (error.code, error.error.decline_code) == ("card_declined", "fraudulent")
    (charge,) = stripe.charges.values()
    outcome = charge["outcome"]
    assert (outcome["type"], outcome["network_status"], outcome["risk_level"]) == (
        "blocked",
        "not_sent_to_network",
        "highest",
    )


def test_an_elevated_risk_is_let_through(stripe: StripeEmulator) -> None:
    intent = pay(stripe, "pm_card_riskLevelElevated", expand=["latest_charge"])
    assert (intent.status, intent.latest_charge.outcome.risk_level) == ("succeeded", "elevated")


@pytest.mark.parametrize(
    ("method", "status", "days"), [("pm_card_bypassPending", "available", 0), ("pm_card_visa", "pending", 2)]
)
def test_money_is_available_at_once_or_later(
    stripe: StripeEmulator, method: str, status: str, days: int
) -> None:
    pay(stripe, method)
    (booked,) = stripe.balance_transactions.values()
    assert (booked["status"], booked["available_on"] - booked["created"]) == (status, days * DAY)


@pytest.mark.parametrize(
    ("evidence", "inquiry", "status"),
    [
        ("winning_evidence", False, "won"),
        ("losing_evidence", False, "lost"),
        ("losing_evidence", True, "warning_closed"),
        ("escalate_inquiry_evidence", True, "needs_response"),
        ("escalate_inquiry_evidence", False, "under_review"),
        ("a photograph", False, "under_review"),
    ],
)
def test_evidence_decides_a_dispute(
    api: Any, stripe: StripeEmulator, evidence: str, inquiry: bool, status: str
) -> None:
    dispute = stripe.open_dispute(pay(stripe, "pm_card_visa").id, inquiry=inquiry)
    params = {"evidence": {"uncategorized_text": evidence}}
    staged = api.disputes.update(dispute["id"], params={**params, "submit": False})
    assert staged.status == dispute["status"]
    assert api.disputes.update(dispute["id"], params=params).status == status


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("name", "number", "end"),
    [
        ("pm_usBankAccount_success", "000123456789", "succeeded"),
        ("pm_usBankAccount_accountClosed", "000111111113", "requires_payment_method"),
        ("pm_usBankAccount_noAccount", "000111111116", "requires_payment_method"),
        ("pm_usBankAccount_insufficientFunds", "000222222227", "requires_payment_method"),
        ("pm_usBankAccount_processing", "000000000009", "processing"),
        ("pm_emulator_sepaDebit", "AT321904300235473204", "succeeded"),
        ("pm_emulator_sepaDebit_fails", "AT861904300235473202", "requires_payment_method"),
    ],
)
def test_a_debit_takes_days_and_succeeds_or_fails(
    quick: StripeEmulator, name: str, number: str, end: str, by_name: bool
) -> None:
    kind = "sepa_debit" if number.startswith("AT") else "us_bank_account"
    currency, field = ("eur", "iban") if kind == "sepa_debit" else ("usd", "account_number")
    given: Any = {"currency": currency, "allowed_payment_method_types": [kind]}
    if not by_name:
        given |= {"payment_method_data": {"type": kind, kind: {field: number}}}
    params: Any = {**PAID, "payment_method": name, **given}
    if not by_name:
        del params["payment_method"]
    api: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": quick.url}).v1
    intent = api.payment_intents.create(params=params)
    assert intent.status == "processing"
    ends = {"succeeded": "payment_intent.succeeded", "processing": "payment_intent.processing"}
    wait_for(quick, ends.get(end, "payment_intent.payment_failed"))
    assert quick.payment_intents[intent.id]["status"] == end


@pytest.mark.parametrize(("kind", "currency"), [("oxxo", "mxn"), ("boleto", "brl"), ("multibanco", "eur")])
@pytest.mark.parametrize("paid", [True, False])
def test_a_voucher_is_paid_or_expires(
    api: Any, stripe: StripeEmulator, kind: str, currency: str, paid: bool
) -> None:
    intent = pay(
        stripe,
        f"pm_emulator_{kind}",
        currency=currency,
        allowed_payment_method_types=[kind],
        receipt_email="ada@example.com",
    )
    action = intent.next_action.to_dict()
    assert (intent.status, action["type"]) == ("requires_action", f"{kind}_display_details")
    assert action[action["type"]]["hosted_voucher_url"].startswith("https://payments.stripe.com/")
    assert stripe.charges[intent.latest_charge]["status"] == "pending"
    ended = stripe.settle(intent.id, succeed=paid)
    if paid:
        assert (ended["status"], ended["next_action"]) == ("succeeded", None)
        assert api.refunds.create(params={"payment_intent": intent.id}).status == "requires_action"
        return
    assert ended["status"] == "requires_payment_method"
    assert ended["last_payment_error"]["code"] == "payment_intent_payment_attempt_expired"


def test_other_methods_pay_only_where_they_are_named(stripe: StripeEmulator) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="is not allowed for this PaymentIntent"):
        pay(stripe, "pm_emulator_oxxo", currency="mxn")
    with pytest.raises(sdk.InvalidRequestError, match="is not allowed for this PaymentIntent"):
        pay(stripe, "pm_emulator_oxxo", currency="usd", allowed_payment_method_types=["oxxo", "card"])
