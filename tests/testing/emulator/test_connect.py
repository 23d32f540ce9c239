"""Connect: fees, transfers and what refunds take back, to the cent in every account's balance."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import stripe as sdk
from hypothesis import given
from hypothesis import strategies as st

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from octo_stripe_gateway.testing.emulator.balance import fee_for
from octo_stripe_gateway.testing.emulator.disputes import HARMLESS
from tests.support.properties import try_property
from tests.testing.emulator.conftest import AMOUNT, PAID

STRIPES_FEE = fee_for(2000)


@pytest.fixture
def seller(stripe: StripeEmulator) -> str:
    return stripe.connect_account("acct_1Seller")


def direct(api: Any, seller: str, **given: Any) -> Any:
    return api.payment_intents.create(
        params={**PAID, "application_fee_amount": 200, **given}, options={"stripe_account": seller}
    )


def destination(api: Any, seller: str, **given: Any) -> Any:
    params = {**PAID, "transfer_data": {"destination": seller}, **given}
    return api.payment_intents.create(params=params)


def refuse(call: Any) -> tuple[int, str | None, str | None, str]:
    with pytest.raises(sdk.StripeError) as caught:
        call()
    error: Any = caught.value
    return error.http_status, error.error.code, error.error.param, error.user_message


def test_an_account_exists_or_is_refused(api: Any, stripe: StripeEmulator, seller: str) -> None:
    unknown = lambda: direct(api, "acct_1Nobody")  # noqa: E731
    assert refuse(unknown)[:2] == (403, "account_invalid")
    assert refuse(lambda: destination(api, "acct_1Nobody")) == (
        400,
        "resource_missing",
        "transfer_data[destination]",
        "No such destination: 'acct_1Nobody'",
    )
    others = stripe.connect_account("acct_1Others", platform=stripe.add_account().id)
    assert refuse(lambda: destination(api, others))[:2] == (400, "resource_missing")
    for name, value in (("customer", "cus_x"), ("on_behalf_of", "acct_1Nobody")):
        refused = refuse(lambda: api.payment_intents.create(params={**AMOUNT, name: value}))  # noqa: B023
        assert refused[:3] == (400, "resource_missing", name)
    assert not stripe.payment_intents
    made = api.accounts.create(params={"country": "FR"})
    assert [account.id for account in api.accounts.list().data] == [made.id, seller]
    assert api.accounts.retrieve(seller).id == seller
    assert refuse(lambda: api.accounts.retrieve("acct_1Nobody"))[0] == 404
    with pytest.raises(ValueError, match="another platform"):
        stripe.connect_account(seller, platform=stripe.add_account().id)


def test_a_customer_is_found(api: Any, seller: str) -> None:
    customer = api.customers.create(params={"email": "ada@example.com", "metadata": {"a": "b"}})
    assert api.payment_intents.create(params={**PAID, "customer": customer.id}).customer == customer.id
    changed = api.customers.update(customer.id, params={"name": "Ada", "metadata": {"a": ""}})
    assert (changed.name, changed.email, changed.metadata.to_dict()) == ("Ada", "ada@example.com", {})
    assert api.customers.list(params={"email": "ada@example.com"}).data[0].id == customer.id
    assert refuse(lambda: direct(api, seller, customer=customer.id))[:3] == (
        400,
        "resource_missing",
        "customer",
    )


def test_a_fee_needs_a_connected_account(api: Any, seller: str) -> None:
    status, _, param, message = refuse(
        lambda: api.payment_intents.create(params={**PAID, "application_fee_amount": 200})
    )
    assert (status, param) == (400, "application_fee_amount")
    assert message.startswith("Can only apply an application_fee_amount when the PaymentIntent is attempting")
    assert refuse(lambda: direct(api, seller, application_fee_amount=2001))[2] == "application_fee_amount"
    above = {"destination": seller, "amount": 2001}
    assert refuse(lambda: destination(api, seller, transfer_data=above))[2] == "transfer_data[amount]"


def test_a_direct_charge_pays_the_platform_a_fee(api: Any, stripe: StripeEmulator, seller: str) -> None:
    intent = direct(api, seller, expand=["latest_charge.balance_transaction"])
    assert (intent.application_fee_amount, intent.application) == (200, "ca_EmulatedPlatform")
    charge = intent.latest_charge
    assert charge.application_fee_amount == 200
    fees = {detail.type: detail.amount for detail in charge.balance_transaction.fee_details}
    assert fees == {"stripe_fee": STRIPES_FEE, "application_fee": 200}
    assert charge.balance_transaction.net == 2000 - STRIPES_FEE - 200
    fee = api.application_fees.retrieve(charge.application_fee, params={"expand": ["balance_transaction"]})
    assert (fee.amount, fee.account, fee.charge, fee.originating_transaction) == (
        200,
        seller,
        charge.id,
        None,
    )
    assert (fee.balance_transaction.type, fee.balance_transaction.net) == ("application_fee", 200)
    assert stripe.balances(seller) == {"usd": 2000 - STRIPES_FEE - 200}
    assert stripe.balances() == {"usd": 200}
    created = stripe.event("application_fee.created")
    assert "account" not in created.payload
    assert api.balance.retrieve().available[0].amount == 200


@pytest.mark.parametrize("give_back", [False, True])
def test_a_refund_gives_the_fee_back_if_asked(
    api: Any, stripe: StripeEmulator, seller: str, give_back: bool
) -> None:
    intent = direct(api, seller)
    params = {"payment_intent": intent.id, "amount": 500, "refund_application_fee": give_back}
    refund = api.refunds.create(
        params={**params, "expand": ["balance_transaction"]}, options={"stripe_account": seller}
    )
    back = 50 if give_back else 0
    assert refund.balance_transaction.net == -500 + back
    assert stripe.balances(seller) == {"usd": 2000 - STRIPES_FEE - 200 - 500 + back}
    assert stripe.balances() == {"usd": 200 - back}
    (fee,) = stripe.application_fees.values()
    assert (fee["amount_refunded"], fee["refunded"]) == (back, False)
    assert len(api.application_fees.refunds.list(fee["id"]).data) == bool(back)


def test_what_isn_t_there_is_not_taken_back(api: Any, stripe: StripeEmulator, seller: str) -> None:
    intent = api.payment_intents.create(params=PAID)
    charge = intent.latest_charge
    params = {"payment_intent": intent.id}
    refused = refuse(lambda: api.refunds.create(params={**params, "refund_application_fee": True}))
    assert refused[3] == f"Attempting to refund_application_fee on {charge}, but it has no application fee"
    refused = refuse(lambda: api.refunds.create(params={**params, "reverse_transfer": True}))
    assert refused[3].startswith(f"Cannot reverse transfer on charge {charge} because it does not have")
    assert not stripe.refunds


def test_a_destination_charge_moves_its_money_on(api: Any, stripe: StripeEmulator, seller: str) -> None:
    intent = destination(api, seller, application_fee_amount=200, expand=["latest_charge.transfer"])
    charge, transfer = intent.latest_charge, intent.latest_charge.transfer
    assert intent.transfer_data.destination == seller
    assert (transfer.amount, transfer.destination, transfer.source_transaction) == (2000, seller, charge.id)
    assert charge.transfer_group == transfer.transfer_group == f"group_{intent.id}"
    options: Any = {"stripe_account": seller}
    payment = api.charges.retrieve(
        transfer.destination_payment, params={"expand": ["balance_transaction"]}, options=options
    )
    assert payment.id.startswith("py_")
    assert (payment.source_transfer, payment.balance_transaction.net) == (transfer.id, 1800)
    fee = stripe.application_fees[charge.application_fee]
    assert (fee["charge"], fee["originating_transaction"]) == (payment.id, charge.id)
    assert stripe.balances() == {"usd": 2000 - STRIPES_FEE - 2000 + 200}
    assert stripe.balances(seller) == {"usd": 1800}
    assert api.transfers.list(params={"destination": seller}).data[0].id == transfer.id


def test_a_part_is_transferred(api: Any, stripe: StripeEmulator, seller: str) -> None:
    destination(api, seller, transfer_data={"destination": seller, "amount": 1500})
    assert stripe.balances(seller) == {"usd": 1500}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("give_back", [False, True])
def test_a_refund_reverses_the_transfer_if_asked(
    api: Any, stripe: StripeEmulator, seller: str, reverse: bool, give_back: bool
) -> None:
    intent = destination(api, seller, application_fee_amount=200)
    refund = api.refunds.create(
        params={
            "payment_intent": intent.id,
            "amount": 500,
            "reverse_transfer": reverse,
            "refund_application_fee": give_back,
        }
    )
    taken, back = 500 if reverse else 0, 50 if give_back else 0
    assert stripe.balances(seller) == {"usd": 1800 - taken + back}
    assert stripe.balances() == {"usd": 200 - STRIPES_FEE - 500 + taken - back}
    (transfer,) = stripe.transfers.values()
    assert transfer["amount_reversed"] == taken
    if reverse:
        (reversal,) = api.transfers.reversals.list(transfer["id"]).data
        assert (refund.transfer_reversal, reversal.source_refund) == (reversal.id, refund.id)
        assert stripe.event("transfer.reversed").payload["data"]["object"]["amount_reversed"] == 500


def test_a_reversal_needs_balance(api: Any, stripe: StripeEmulator, seller: str) -> None:
    intent = destination(api, seller)
    stripe.drain_balance(account=seller)
    params = {"payment_intent": intent.id, "reverse_transfer": True}
    assert refuse(lambda: api.refunds.create(params=params))[:2] == (400, "balance_insufficient")
    assert not stripe.refunds
    with pytest.raises(StripeApiError, match="sufficient balance"):
        stripe.refund(intent.id, reverse_transfer=True)
    api.refunds.create(params={"payment_intent": intent.id, "amount": 1})
    stripe.top_up_balance()
    refund = api.refunds.create(params={"payment_intent": intent.id, "reverse_transfer": True})
    assert refund.transfer_reversal
    assert stripe.balances(seller) == {"usd": 1}


def test_a_connected_account_without_balance_refunds_nothing(
    api: Any, stripe: StripeEmulator, seller: str
) -> None:
    intent = direct(api, seller)
    stripe.drain_balance(account=seller)
    options: Any = {"stripe_account": seller}
    params = {"payment_intent": intent.id}
    assert refuse(lambda: api.refunds.create(params=params, options=options))[0] == 400
    stripe.top_up_balance()
    assert api.refunds.create(params=params, options=options).status == "succeeded"


def test_what_waits_for_balance_takes_back_later(api: Any, stripe: StripeEmulator, seller: str) -> None:
    intent = destination(api, seller, application_fee_amount=200)
    stripe.drain_balance(refunds="pending")
    asked = {"reverse_transfer": True, "refund_application_fee": True}
    api.refunds.create(params={"payment_intent": intent.id, **asked})
    assert stripe.balances(seller) == {"usd": 1800}
    stripe.top_up_balance()
    assert stripe.balances(seller) == {"usd": 0}
    assert stripe.balances() == {"usd": -STRIPES_FEE}


def test_a_fee_is_never_more_than_is_captured(api: Any, stripe: StripeEmulator, seller: str) -> None:
    options: Any = {"stripe_account": seller}
    held = direct(api, seller, capture_method="manual")
    too_much = {"amount_to_capture": 100, "application_fee_amount": 101}
    refused = refuse(lambda: api.payment_intents.capture(held.id, params=too_much, options=options))
    assert refused[2] == "application_fee_amount"
    api.payment_intents.capture(held.id, params={"amount_to_capture": 100}, options=options)
    assert stripe.balances() == {"usd": 100}
    other = direct(api, seller, capture_method="manual")
    api.payment_intents.capture(other.id, params={"application_fee_amount": 20}, options=options)
    assert stripe.balances() == {"usd": 120}


def test_the_smallest_fee_goes_back_once(api: Any, stripe: StripeEmulator, seller: str) -> None:
    charged = direct(api, seller, amount=100, application_fee_amount=1)
    for _half in range(2):
        stripe.refund(charged.id, amount=50, refund_application_fee=True)
        # Half a cent is rounded up, and nothing is left for the second half.
        (fee,) = stripe.application_fees.values()
        assert fee["amount_refunded"] == 1


def test_several_captures_share_one_fee(api: Any, stripe: StripeEmulator, seller: str) -> None:
    options: Any = {"payment_method_options": {"card": {"request_multicapture": "if_available"}}}
    held = destination(api, seller, application_fee_amount=200, capture_method="manual", **options)
    for amount, final in ((150, False), (1000, True)):
        params = {"amount_to_capture": amount, "final_capture": final}
        api.payment_intents.capture(held.id, params=params)
    assert [fee["amount"] for fee in stripe.application_fees.values()] == [150, 50]
    assert stripe.balances(seller) == {"usd": 950}


def test_money_is_moved_and_returned_apart_from_charges(
    api: Any, stripe: StripeEmulator, seller: str
) -> None:
    send = {"amount": 500, "currency": "usd", "destination": seller}
    assert refuse(lambda: api.transfers.create(params=send))[1] == "balance_insufficient"
    api.payment_intents.create(params=PAID)
    transfer = api.transfers.create(params={**send, "transfer_group": "T"})
    assert stripe.balances(seller) == {"usd": 500}
    api.transfers.reversals.create(transfer.id, params={"amount": 200})
    assert refuse(lambda: api.transfers.reversals.create(transfer.id, params={"amount": 301}))[2] == "amount"
    api.transfers.reversals.create(transfer.id)
    assert api.transfers.retrieve(transfer.id).reversed is True
    assert stripe.balances(seller) == {"usd": 0}
    fee_of = direct(api, seller)
    (fee,) = api.application_fees.list().data
    assert fee.charge == fee_of.latest_charge
    api.application_fees.refunds.create(fee.id, params={"amount": 30})
    assert api.application_fees.retrieve(fee.id).amount_refunded == 30
    assert stripe.balances(seller) == {"usd": 2000 - STRIPES_FEE - 170}


def test_a_disputed_direct_charge_costs_the_connected_account(
    api: Any, stripe: StripeEmulator, seller: str
) -> None:
    intent = direct(api, seller)
    dispute = stripe.open_dispute(intent.id)
    stripe.close_dispute(dispute["id"], won=False)
    assert stripe.balances(seller) == {"usd": 2000 - STRIPES_FEE - 200 - 2000 - 1500}
    assert stripe.balances() == {"usd": 200}


def test_another_currency_arrives_converted(api: Any, stripe: StripeEmulator, seller: str) -> None:
    stripe.exchange("eur", into="usd", rate=1.5)
    destination(api, seller, currency="eur", application_fee_amount=200)
    assert stripe.balances(seller) == {"usd": 2700}
    (transfer,) = stripe.transfers.values()
    assert (transfer["amount"], transfer["currency"]) == (3000, "usd")


def test_what_is_connected_outlasts_the_process(tmp_path: Any) -> None:
    file = tmp_path / "state.json"
    with StripeEmulator(state=file) as stripe:
        seller = stripe.connect_account("acct_1Seller")
        api: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url}).v1
        intent = destination(api, seller, application_fee_amount=200)
        stripe.drain_balance(account=seller)
    with StripeEmulator(state=file) as stripe:
        assert stripe.balances(seller) == {"usd": 1800}
        with pytest.raises(StripeApiError, match="sufficient balance"):
            stripe.refund(intent.id, reverse_transfer=True)


@try_property(few=25, many=500)
@given(chance=st.randoms(use_true_random=False), steps=st.integers(0, 40))
def test_every_account_balances_after_any_history(
    api: Any, stripe: StripeEmulator, chance: random.Random, steps: int
) -> None:
    stripe.reset()
    seller = stripe.connect_account("acct_1Seller")
    amounts = [chance.randint(100, 3000) for _ in range(3)]
    fees_of = [chance.randint(1, amount) for amount in amounts]
    intents = [
        direct(api, seller, amount=amounts[0], application_fee_amount=fees_of[0]),
        destination(api, seller, amount=amounts[1], application_fee_amount=fees_of[1]),
        destination(
            api, seller, amount=amounts[2], transfer_data={"destination": seller, "amount": fees_of[2]}
        ),
    ]
    for _step in range(steps):
        with contextlib.suppress(StripeApiError):
            take_a_step(stripe, chance.choice(intents).id, chance)
    paid_in = sum(one["amount_captured"] for one in stripe.charges.values() if one["payment_intent"])
    went_back = sum(
        refund["amount"]
        for refund in stripe.refunds.values()
        if refund["payment_intent"] and refund["status"] not in ("failed", "canceled")
    )
    open_or_lost = (dispute for dispute in stripe.disputes.values() if dispute["status"] not in HARMLESS)
    at_banks = sum(dispute["amount"] for dispute in open_or_lost)
    stripes_own = sum(
        detail["amount"]
        for booked in stripe.balance_transactions.values()
        for detail in booked["fee_details"]
        if detail["type"] == "stripe_fee"
    )
    held = stripe.balances().get("usd", 0) + stripe.balances(seller)["usd"]
    assert held == paid_in - went_back - at_banks - stripes_own
    transfers = stripe.transfers.values()
    passed_on = sum(one["amount"] - one["amount_reversed"] for one in transfers)
    fees = sum(fee["amount"] - fee["amount_refunded"] for fee in stripe.application_fees.values())
    of_direct = {"charge": intents[0].latest_charge}
    sold = sum(
        one["amount"]
        for one in stripe.refunds.values()
        if one["charge"] in of_direct.values() and one["status"] not in ("failed", "canceled")
    )
    lost = sum(
        one["net"]
        for one in stripe.balance_transactions.values()
        if one["source"] in stripe.disputes and stripe.disputes[one["source"]]["charge"] in of_direct.values()
    )
    assert stripe.balances(seller)["usd"] == amounts[0] - fee_for(amounts[0]) - sold + lost + passed_on - fees


def take_a_step(stripe: StripeEmulator, intent_id: str, chance: random.Random) -> None:
    """Let something happen to a charge; what Stripe refuses then changes nothing."""
    match chance.choice(
        ["refund", "refund", "refund", "fail", "dispute", "close", "reopen", "top_up", "drain"]
    ):
        case "refund":
            stripe.refund(
                intent_id,
                amount=chance.randint(1, 700),
                reverse_transfer=chance.random() < 0.5,
                refund_application_fee=chance.random() < 0.5,
            )
        case "fail" if stripe.refunds:
            refund = chance.choice([one for one in stripe.refunds.values() if one["payment_intent"]])
            stripe.settle_refund(refund["id"], status=chance.choice(["failed", "canceled"]))
        case "dispute":
            stripe.open_dispute(intent_id, amount=chance.randint(1, 500), inquiry=chance.random() < 0.3)
        case "close" if stripe.disputes:
            stripe.close_dispute(chance.choice([*stripe.disputes]), won=chance.random() < 0.8)
        case "reopen" if stripe.disputes:
            stripe.reopen_dispute(chance.choice([*stripe.disputes]), status="needs_response")
        case "drain":
            stripe.drain_balance(account="acct_1Seller")
        case "top_up":
            stripe.top_up_balance()
