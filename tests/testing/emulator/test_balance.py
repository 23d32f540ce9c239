"""Balance transactions: how much of a payment arrives, and when that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = "pm_card_emulator_booksLate"


def pay(api: Any, **given: Any) -> Any:
    return api.payment_intents.create(params={**PAID, **given})


@pytest.mark.parametrize(
    ("amount", "currency", "fee"),
    [(2000, "usd", 88), (100_000, "eur", 2930), (500, "jpy", 44), (25, "clp", 25)],
)
def test_a_payment_costs_a_fee(api: Any, amount: int, currency: str, fee: int) -> None:
    expand = ["latest_charge.balance_transaction"]
    intent = pay(api, amount=amount, currency=currency, description="Tour", expand=expand)
    booked = intent.latest_charge.balance_transaction
    assert (booked.amount, booked.fee, booked.net, booked.currency) == (amount, fee, amount - fee, currency)
    assert (booked.type, booked.reporting_category, booked.exchange_rate) == ("charge", "charge", None)
    assert (booked.source, booked.description) == (intent.latest_charge.id, "Tour")
    assert [(detail.amount, detail.type) for detail in booked.fee_details] == [(fee, "stripe_fee")]
    assert api.balance_transactions.retrieve(booked.id).net == booked.net


def test_a_debit_is_booked_as_a_payment(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api, payment_method="pm_usBankAccount")
    assert not stripe.balance_transactions
    stripe.settle(intent.id)
    api.refunds.create(params={"payment_intent": intent.id})
    booked = [(one["type"], one["reporting_category"]) for one in stripe.balance_transactions.values()]
    assert booked == [("payment", "charge"), ("payment_refund", "refund")]


def test_a_hold_is_booked_when_it_is_captured(api: Any, stripe: StripeEmulator) -> None:
    held = pay(api, capture_method="manual")
    assert not stripe.balance_transactions
    api.payment_intents.capture(held.id, params={"amount_to_capture": 1500})
    (booked,) = stripe.balance_transactions.values()
    assert booked["amount"] == 1500


def test_every_movement_is_listed(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    refund = api.refunds.create(
        params={"payment_intent": intent.id, "amount": 500, "expand": ["balance_transaction"]}
    )
    assert (refund.balance_transaction.amount, refund.balance_transaction.fee) == (-500, 0)
    stripe.settle_refund(refund.id, status="failed")
    dispute = stripe.open_dispute(intent.id, amount=700)
    stripe.close_dispute(dispute["id"], won=True)
    movements = api.balance_transactions.list().data[::-1]
    assert [(one.reporting_category, one.amount, one.fee, one.net) for one in movements] == [
        ("charge", 2000, 88, 1912),
        ("refund", -500, 0, -500),
        ("refund_failure", 500, 0, 500),
        ("dispute", -700, 1500, -2200),
        ("dispute_reversal", 700, 0, 700),
    ]
    assert [one.source for one in movements[:3]] == [intent.latest_charge, refund.id, refund.id]
    assert [one["id"] for one in stripe.disputes[dispute["id"]]["balance_transactions"]] == [
        movements[3].id,
        movements[4].id,
    ]
    failed: Any = api.refunds.retrieve(refund.id, params={"expand": ["failure_balance_transaction"]})
    assert failed.failure_balance_transaction.amount == 500


def test_movements_are_filtered(api: Any, stripe: StripeEmulator) -> None:
    euros, dollars = pay(api, currency="eur"), pay(api)
    refund = api.refunds.create(params={"payment_intent": dollars.id})

    def sources(**params: Any) -> list[str]:
        return [one.source for one in api.balance_transactions.list(params=params).data]

    assert sources(currency="eur") == [euros.latest_charge]
    assert sources(type="refund") == [refund.id]
    assert sources(source=dollars.latest_charge) == [dollars.latest_charge]
    assert sources(created={"gt": stripe.balance_transactions[refund.balance_transaction]["created"]}) == []
    expanded: Any = api.balance_transactions.list(params={"type": "refund", "expand": ["data.source"]})
    assert expanded.data[0].source.amount == 2000


def test_what_is_paid_in_one_currency_may_arrive_in_another(api: Any, stripe: StripeEmulator) -> None:
    stripe.exchange("jpy", into="usd", rate=0.0064)
    intent = pay(api, amount=20_000, currency="jpy")
    refund = api.refunds.create(params={"payment_intent": intent.id, "amount": 5001})
    pay(api, currency="eur")
    assert refund.currency == "jpy"
    charged, refunded, other = stripe.balance_transactions.values()
    assert (charged["amount"], charged["fee"], charged["net"]) == (12_800, 401, 12_399)
    assert (charged["currency"], charged["exchange_rate"]) == ("usd", 0.0064)
    assert (refunded["amount"], refunded["currency"]) == (-3201, "usd")
    assert (other["amount"], other["currency"], other["exchange_rate"]) == (2000, "eur", None)
    stripe.reset()
    pay(api, amount=20_000, currency="jpy")
    assert [each["currency"] for each in stripe.balance_transactions.values()] == ["jpy"]


def test_some_payment_methods_are_booked_late(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api, payment_method=LATE, expand=["latest_charge"])
    assert intent.status == "succeeded"
    assert intent.latest_charge.balance_transaction is None
    assert "charge.updated" not in [event.type for event in stripe.events]
    charge = stripe.book(intent.id)
    assert charge["balance_transaction"].startswith("txn_")
    told = stripe.event("charge.updated").payload["data"]
    assert told["object"]["balance_transaction"] == charge["balance_transaction"]
    assert told["previous_attributes"] == {"balance_transaction": None}
    with pytest.raises(StripeApiError, match="nothing to book"):
        stripe.book(intent.id)


def test_a_hold_that_is_booked_late_has_to_be_captured_first(api: Any, stripe: StripeEmulator) -> None:
    held = pay(api, payment_method=LATE, capture_method="manual")
    with pytest.raises(StripeApiError, match="nothing to book"):
        stripe.book(held.id)
    api.payment_intents.capture(held.id)
    assert not stripe.balance_transactions
    stripe.book(held.id)
    assert len(stripe.balance_transactions) == 1


def test_what_is_booked_late_is_booked_by_itself_when_told_to() -> None:
    with StripeEmulator(settle_after=0.01) as stripe:
        client: Any = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
        intent = pay(client.v1, payment_method=LATE)
        stripe_charge = wait_for(lambda: stripe.charges[intent.latest_charge]["balance_transaction"])
        assert stripe_charge.startswith("txn_")


def wait_for(find: Callable[[], Any]) -> Any:
    import time

    deadline = time.monotonic() + 5
    while not (found := find()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def test_nothing_is_paid_out_here(api: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.balance_transactions.list(params={"payout": "po_1"})
    assert (caught.value.code, caught.value.param) == ("resource_missing", "payout")
