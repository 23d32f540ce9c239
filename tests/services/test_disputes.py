"""Disputes as the bank opens and decides them: several of one payment, told by events or found by a sync."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Dispute, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.ledger import later, sync_unsettled

pytestmark = pytest.mark.django_db

OPENED, CLOSED = "charge.dispute.created", "charge.dispute.closed"


def open_dispute(stripe: StripeEmulator, payment: Any, *, amount: int = 2000) -> str:
    return str(stripe.open_dispute(payment["stripePaymentIntentId"], amount=amount)["id"])


def get_columns() -> tuple[bool, int, int]:
    payment = Payment.objects.get()
    return payment.disputed, payment.amount_lost, payment.amount_refundable


def test_dispute_is_on_record_with_what_an_operator_needs(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    dispute_id = open_dispute(stripe, payment, amount=700)
    api.deliver(stripe, OPENED)
    dispute = Dispute.objects.get(payment_id=payment["id"])
    assert (dispute.stripe_dispute_id, dispute.amount, dispute.currency) == (dispute_id, 700, "usd")
    assert (dispute.status, dispute.reason) == ("needs_response", "fraudulent")
    assert dispute.evidence_due_at
    assert dispute.evidence_due_at > timezone.now() + dt.timedelta(days=6)


@pytest.mark.parametrize("hears", ["events", "sync"])
def test_payment_is_disputed_until_each_of_its_disputes_is_over(
    hears: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)

    def hear() -> tuple[bool, int, int]:
        if hears == "events":
            api.deliver(stripe, OPENED, CLOSED)
        else:
            services.sync_payment(Payment.objects.get())
        return get_columns()

    first, second = (open_dispute(stripe, payment, amount=amount) for amount in (300, 500))
    assert hear() == (True, 0, 2000)
    stripe.close_dispute(first, won=False)
    assert hear() == (True, 300, 1700)
    stripe.close_dispute(second, won=True)
    assert hear() == (False, 300, 1700)
    statuses = Dispute.objects.order_by("pk").values_list("stripe_dispute_id", "status")
    assert dict(statuses) == {first: "lost", second: "won"}


def test_disputed_payment_is_not_refundable_and_says_so(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    dispute_id = open_dispute(stripe, payment, amount=300)
    api.deliver(stripe, OPENED)
    asked = len(stripe.requests)
    for body in (None, {"amount": 100}):
        answer = api.refund(payment, body)
        assert answer.status_code == 422
        assert "disputed" in answer.json()["errorMessage"]
    assert len(stripe.requests) == asked
    assert api.retrieve(payment).json()["refundable"] is False

    stripe.close_dispute(dispute_id, won=True)
    api.deliver(stripe, CLOSED)
    assert api.refund(payment).json()["status"] == "REFUNDED"


@pytest.mark.parametrize("hears", ["event", "sync"])
def test_inquiry_is_seen_and_keeps_no_money_from_going_back(
    hears: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    stripe.open_dispute(payment["stripePaymentIntentId"], inquiry=True)
    if hears == "event":
        api.deliver(stripe, OPENED)
    else:
        services.sync_payment(Payment.objects.get(pk=payment["id"]))
    row = Payment.objects.get()
    assert (row.disputed, row.refunds_blocked, row.next_check_at is None) == (True, False, False)
    assert api.retrieve(payment).json()["refundable"] is True
    assert api.refund(payment, {"amount": 500}).status_code == 200
    assert Payment.objects.get().disputed
    assert api.refund(payment).json()["status"] == "REFUNDED"
    api.deliver(stripe, CLOSED)
    assert not Payment.objects.get().disputed


def test_inquiry_that_becomes_a_dispute_blocks_refunds(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.open_dispute(payment["stripePaymentIntentId"], inquiry=True)
    api.deliver(stripe, OPENED)
    stripe.open_dispute(payment["stripePaymentIntentId"])
    api.deliver(stripe, OPENED)
    assert api.refund(payment).status_code == 422
    assert stripe.refunds == {}


def test_what_a_dispute_took_is_not_refunded_as_well(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.close_dispute(open_dispute(stripe, payment, amount=300), won=False)
    api.deliver(stripe, OPENED, CLOSED)
    answer = api.refund(payment, {"amount": 1701})
    assert (answer.status_code, "more than is left" in answer.json()["errorMessage"]) == (422, True)
    assert Payment.objects.get().amount_refundable == 1700


def test_of_what_a_dispute_took_whole_nothing_is_refunded(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.close_dispute(open_dispute(stripe, payment, amount=2000), won=False)
    api.deliver(stripe, OPENED, CLOSED)
    answer = api.refund(payment)
    assert (answer.status_code, "a dispute was lost" in answer.json()["errorMessage"]) == (422, True)


def test_decision_that_no_event_told_of_is_found(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    dispute_id = open_dispute(stripe, payment)
    api.deliver(stripe, OPENED)
    assert get_columns()[0]
    stripe.close_dispute(dispute_id, won=True)
    tomorrow = timezone.now() + dt.timedelta(days=1)
    assert Payment.objects.due_for_check(now=tomorrow).exists()
    with later(stripe):
        sync_unsettled()
    assert get_columns() == (False, 0, 2000)
    assert not Payment.objects.unsettled().exists()
