"""Disputes and early fraud warnings through the real SDK."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from tests.testing.emulator.conftest import PAID


def pay(api: Any, **given: Any) -> Any:
    return api.payment_intents.create(params={**PAID, **given})


def types_since(stripe: StripeEmulator, event_type: str) -> list[str]:
    types = [event.type for event in stripe.events]
    return types[types.index(event_type) :]


def test_a_dispute_says_what_and_until_when(api: Any, stripe: StripeEmulator) -> None:
    stripe.clock = lambda: 1_800_000_000.0
    intent = pay(api)
    made = stripe.open_dispute(intent.id, reason="product_not_received")
    dispute = api.disputes.retrieve(made["id"], params={"expand": ["charge", "payment_intent"]})
    assert (dispute.amount, dispute.currency, dispute.reason) == (2000, "usd", "product_not_received")
    assert dispute.evidence_details.due_by == 1_800_000_000 + 7 * 86_400
    assert (dispute.charge.disputed, dispute.payment_intent.id) == (True, intent.id)
    assert dispute.payment_method_details.card.brand == "visa"


@pytest.mark.parametrize("won", [True, False])
def test_a_dispute_takes_the_money_until_it_is_won(api: Any, stripe: StripeEmulator, won: bool) -> None:
    intent = pay(api)
    dispute = stripe.open_dispute(intent.id, reason="product_not_received")
    assert (dispute["amount"], dispute["status"]) == (2000, "needs_response")
    assert stripe.charges[intent.latest_charge]["disputed"] is True
    with pytest.raises(sdk.InvalidRequestError, match="has been charged back"):
        api.refunds.create(params={"payment_intent": intent.id})
    closed = stripe.close_dispute(dispute["id"], won=won)
    assert closed["status"] == ("won" if won else "lost")
    reinstated = ["charge.dispute.funds_reinstated"] if won else []
    assert types_since(stripe, "charge.dispute.created") == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        *reinstated,
        "charge.dispute.closed",
    ]
    with pytest.raises(StripeApiError, match="already closed"):
        stripe.close_dispute(dispute["id"], won=won)
    assert stripe.disputes[dispute["id"]]["charge"] == intent.latest_charge


def test_a_disputed_charge_is_not_refunded_until_the_dispute_is_won(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    dispute = stripe.open_dispute(intent.id, amount=700)
    with pytest.raises(
        sdk.InvalidRequestError, match="has been charged back; cannot issue a refund"
    ) as caught:
        api.refunds.create(params={"payment_intent": intent.id, "amount": 100})
    assert (caught.value.http_status, caught.value.code) == (400, "charge_disputed")
    stripe.close_dispute(dispute["id"], won=True)
    assert api.refunds.create(params={"payment_intent": intent.id, "amount": 100}).status == "succeeded"


def test_a_charge_whose_dispute_is_lost_is_not_refunded(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    stripe.close_dispute(stripe.open_dispute(intent.id)["id"], won=False)
    with pytest.raises(sdk.InvalidRequestError, match="has been charged back"):
        api.refunds.create(params={"payment_intent": intent.id})


def test_a_charge_can_have_several_disputes(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    first, second = (stripe.open_dispute(intent.id, amount=amount) for amount in (300, None))
    assert (first["amount"], second["amount"]) == (300, 1700)
    with pytest.raises(StripeApiError, match="nothing left to dispute"):
        stripe.open_dispute(intent.id)
    found = api.disputes.list(params={"payment_intent": intent.id}).data
    assert [dispute.id for dispute in found] == [second["id"], first["id"]]
    assert api.disputes.list(params={"charge": "ch_x"}).data == []
    stripe.close_dispute(second["id"], won=True)
    assert stripe.open_dispute(intent.id)["amount"] == 1700


def test_disputes_are_listed_by_their_payment(api: Any, stripe: StripeEmulator) -> None:
    intent, other = pay(api), pay(api)
    opened = [stripe.open_dispute(intent.id, amount=amount)["id"] for amount in (300, 400)]
    stripe.open_dispute(other.id)
    listed = api.disputes.list(params={"payment_intent": intent.id}).data
    assert [dispute.id for dispute in listed] == opened[::-1]
    assert api.disputes.retrieve(opened[0]).amount == 300


def test_refund_is_possible_again_when_every_dispute_is_won(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    first, second = (stripe.open_dispute(intent.id, amount=300)["id"] for _each in "12")
    stripe.close_dispute(first, won=True)
    with pytest.raises(sdk.InvalidRequestError, match="has been charged back"):
        api.refunds.create(params={"payment_intent": intent.id})
    stripe.close_dispute(second, won=True)
    assert stripe.charges[intent.latest_charge]["disputed"] is True
    assert api.refunds.create(params={"payment_intent": intent.id}).amount == 2000


def test_an_inquiry_takes_no_money(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    inquiry = stripe.open_dispute(intent.id, inquiry=True)
    assert (inquiry["status"], inquiry["is_charge_refundable"]) == ("warning_needs_response", True)
    assert inquiry["payment_method_details"]["card"]["case_type"] == "inquiry"
    assert inquiry["balance_transactions"] == []
    assert api.refunds.create(params={"payment_intent": intent.id, "amount": 100}).status == "succeeded"
    assert stripe.close_dispute(inquiry["id"], won=True)["status"] == "warning_closed"
    with pytest.raises(StripeApiError, match="already closed"):
        stripe.close_dispute(inquiry["id"], won=True)


def test_a_refund_of_all_ends_an_inquiry(api: Any, stripe: StripeEmulator) -> None:
    intent = pay(api)
    inquiry = stripe.open_dispute(intent.id, inquiry=True)
    for amount, status in ((100, "warning_needs_response"), (1900, "warning_closed")):
        api.refunds.create(params={"payment_intent": intent.id, "amount": amount})
        assert stripe.disputes[inquiry["id"]]["status"] == status
    assert stripe.events[-1].type == "charge.dispute.closed"


def test_the_merchant_answers_with_evidence(api: Any, stripe: StripeEmulator) -> None:
    dispute = stripe.open_dispute(pay(api).id)
    staged = api.disputes.update(
        dispute["id"],
        params={"evidence": {"product_description": "A tour"}, "submit": False, "metadata": {"a": "b"}},
    )
    assert (staged.status, staged.evidence.product_description) == ("needs_response", "A tour")
    assert (staged.evidence_details.has_evidence, staged.evidence_details.submission_count) == (True, 0)
    sent = api.disputes.update(dispute["id"], params={"evidence": {"service_date": "2027-01-01"}})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    assert types_since(stripe, "charge.dispute.updated") == ["charge.dispute.updated"] * 2


@pytest.mark.parametrize(("inquiry", "status"), [(False, "lost"), (True, "warning_closed")])
def test_the_merchant_gives_a_dispute_up(
    api: Any, stripe: StripeEmulator, inquiry: bool, status: str
) -> None:
    dispute = stripe.open_dispute(pay(api).id, inquiry=inquiry)
    assert api.disputes.close(dispute["id"]).status == status
    assert stripe.events[-1].type == "charge.dispute.closed"
    with pytest.raises(sdk.InvalidRequestError, match="already closed"):
        api.disputes.close(dispute["id"])


@pytest.mark.parametrize("end", ["refund", "dispute"])
def test_a_warning_of_fraud_comes_before_a_dispute(api: Any, stripe: StripeEmulator, end: str) -> None:
    intent = pay(api)
    warning = stripe.warn_of_fraud(intent.id, fraud_type="made_with_stolen_card")
    assert warning["id"].startswith("issfr_")
    told = stripe.event("radar.early_fraud_warning.created").payload["data"]["object"]
    assert told == warning
    assert (told["object"], told["fraud_type"]) == ("radar.early_fraud_warning", "made_with_stolen_card")
    assert (told["charge"], told["payment_intent"]) == (intent.latest_charge, intent.id)
    assert told["actionable"] is True
    if end == "refund":
        api.refunds.create(params={"payment_intent": intent.id})
    else:
        stripe.open_dispute(intent.id)
    assert api.radar.early_fraud_warnings.retrieve(warning["id"]).actionable is False
    updated = stripe.event("radar.early_fraud_warning.updated").payload["data"]
    assert updated["previous_attributes"] == {"actionable": True}


def test_a_partial_refund_leaves_a_warning_actionable(api: Any, stripe: StripeEmulator) -> None:
    intent, other = pay(api), pay(api)
    warning = stripe.warn_of_fraud(intent.id)
    api.refunds.create(params={"payment_intent": intent.id, "amount": 1})
    api.refunds.create(params={"payment_intent": other.id})
    (found,) = api.radar.early_fraud_warnings.list(params={"charge": intent.latest_charge}).data
    assert (found.id, found.actionable) == (warning["id"], True)
    assert stripe.warn_of_fraud(other.id)["actionable"] is False


@pytest.mark.parametrize("won", [True, False])
@pytest.mark.parametrize("status", ["appeal_needs_response", "appeal_under_review", "needs_response"])
def test_a_decided_dispute_goes_on(api: Any, stripe: StripeEmulator, won: bool, status: str) -> None:
    intent = pay(api)
    dispute = stripe.close_dispute(stripe.open_dispute(intent.id)["id"], won=won)
    before = len(stripe.events)
    reopened = stripe.reopen_dispute(dispute["id"], status=status)
    assert reopened["status"] == api.disputes.retrieve(dispute["id"]).status == status
    withdrawn = ["charge.dispute.funds_withdrawn"] if won else []
    assert [event.type for event in stripe.events[before:]] == ["charge.dispute.updated", *withdrawn]
    moved = [one["amount"] for one in reopened["balance_transactions"]]
    assert moved == ([-2000, 2000, -2000] if won else [-2000])
    with pytest.raises(sdk.InvalidRequestError, match="has been charged back"):
        api.refunds.create(params={"payment_intent": intent.id})
    with pytest.raises(StripeApiError, match="still open"):
        stripe.reopen_dispute(dispute["id"])
    ended = stripe.close_dispute(dispute["id"], won=True)
    assert sum(one["amount"] for one in ended["balance_transactions"]) == 0
    assert api.refunds.create(params={"payment_intent": intent.id}).status == "succeeded"


def test_the_merchant_appeals_with_evidence(api: Any, stripe: StripeEmulator) -> None:
    dispute = stripe.close_dispute(stripe.open_dispute(pay(api).id)["id"], won=False)
    stripe.reopen_dispute(dispute["id"])
    appealed = api.disputes.update(dispute["id"], params={"evidence": {"receipt": "file_1"}})
    assert appealed.status == "appeal_under_review"
    stripe.close_dispute(dispute["id"], won=False)
    stripe.reopen_dispute(dispute["id"])
    assert api.disputes.close(dispute["id"]).status == "lost"


@pytest.mark.parametrize("closed", [True, False])
def test_an_inquiry_becomes_a_dispute(api: Any, stripe: StripeEmulator, closed: bool) -> None:
    inquiry = stripe.open_dispute(pay(api).id, inquiry=True)
    if closed:
        stripe.close_dispute(inquiry["id"], won=False)
    dispute = stripe.reopen_dispute(inquiry["id"], status="needs_response")
    assert dispute["payment_method_details"]["card"]["case_type"] == "chargeback"
    assert [(one["amount"], one["fee"]) for one in dispute["balance_transactions"]] == [(-2000, 1500)]
    assert dispute["is_charge_refundable"] is False


def test_a_dispute_only_goes_on_in_stripes_statuses(api: Any, stripe: StripeEmulator) -> None:
    dispute = stripe.close_dispute(stripe.open_dispute(pay(api).id)["id"], won=False)
    with pytest.raises(ValueError, match="none of needs_response"):
        stripe.reopen_dispute(dispute["id"], status="won")


def test_a_dispute_may_be_in_another_currency(api: Any, stripe: StripeEmulator) -> None:
    stripe.exchange("eur", into="usd", rate=1.5)
    intent = pay(api)
    with pytest.raises(StripeApiError, match="needs an amount"):
        stripe.open_dispute(intent.id, currency="eur")
    dispute = stripe.open_dispute(intent.id, amount=1400, currency="eur")
    assert (dispute["amount"], dispute["currency"]) == (1400, "eur")
    (booked,) = dispute["balance_transactions"]
    assert (booked["amount"], booked["currency"], booked["exchange_rate"]) == (-2100, "usd", 1.5)
    with pytest.raises(StripeApiError, match="nothing left to dispute"):
        stripe.open_dispute(intent.id)


@pytest.mark.parametrize("inquiry", [False, True])
def test_a_dispute_fails_a_refund_that_is_pending(api: Any, stripe: StripeEmulator, inquiry: bool) -> None:
    intent = pay(api, payment_method="pm_card_pendingRefund")
    refund = api.refunds.create(params={"payment_intent": intent.id, "amount": 500})
    stripe.open_dispute(intent.id, inquiry=inquiry)
    found = api.refunds.retrieve(refund.id)
    if inquiry:
        assert found.status == "pending"
        return
    assert (found.status, found.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert types_since(stripe, "refund.updated")[-1] == "refund.failed"
    assert stripe.charges[intent.latest_charge]["amount_refunded"] == 0
