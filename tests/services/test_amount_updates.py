"""The price changes while a payment for it is open, and Stripe's answers are lost."""

from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals, later

pytestmark = pytest.mark.django_db

KEY = {"Idempotency-Key": "one"}
UPDATE = "/v1/payment_intents/pi_[^/]*$"


def create(api: GatewayApi, booking: Booking, *, price: int, **headers: str) -> Any:
    Booking.objects.update(price=price)
    return api.create({"payable": {"type": "booking", "id": booking.pk}}, **headers)


def lose_an_update(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, when: Any = "after", **headers: str
) -> None:
    stripe.add_fault(Fault(kind="reset", method="POST", path=UPDATE, when=when))
    assert create(api, booking, price=2500, **headers).status_code == 503


def get_amounts(stripe: StripeEmulator) -> list[int]:
    return [intent["amount"] for intent in stripe.payment_intents.values() if intent["status"] != "canceled"]


def test_booking_whose_update_got_no_answer_is_still_paid(api: GatewayApi, stripe: StripeEmulator) -> None:
    """An old event of the first amount must not be taken for the answer about the second change."""
    booking = Booking.objects.create()
    first = create(api, booking, price=2000).json()
    intent_id = first["stripePaymentIntentId"]
    stripe.confirm(intent_id, payment_method="pm_card_chargeDeclined")
    lose_an_update(api, stripe, booking)
    api.deliver(stripe, "payment_intent.payment_failed")
    with later(stripe):
        again = create(api, booking, price=2000)
        assert again.status_code == 201, again.json()
        assert (again.json()["amount"], get_amounts(stripe)) == (2000, [2000])
        stripe.confirm(again.json()["stripePaymentIntentId"])
        assert api.complete(again.json()).json()["status"] == "CONFIRMED"
        assert_ledger_equals(stripe)


def test_what_was_paid_after_an_update_without_an_answer_is_in_its_row(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create()
    first = create(api, booking, price=2000).json()
    lose_an_update(api, stripe, booking)
    Booking.objects.update(price=2000)
    stripe.confirm(first["stripePaymentIntentId"])
    assert api.complete(first).status_code == 422
    row = Payment.objects.get()
    assert (row.amount_received, row.rejection_code, row.amount_held) == (2500, "price_changed", 0)
    assert row.rejection_parameters == {"asked": 2500, "due": 2000}
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2500]


def test_another_amount_than_the_rows_is_accepted_if_it_is_what_is_due(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create()
    first = create(api, booking, price=2000).json()
    lose_an_update(api, stripe, booking)
    stripe.confirm(first["stripePaymentIntentId"])
    shown = api.complete(first).json()
    assert (shown["status"], shown["amount"]) == ("CONFIRMED", 2500)


@pytest.mark.parametrize("change", ["before", "unanswered", "after"])
def test_tab_opened_during_a_price_change_gets_the_new_price(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    booking = Booking.objects.create()
    first = create(api, booking, price=2000).json()
    ask = stripe_client.retrieve_payment_intent

    def ask_meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(stripe_client, "retrieve_payment_intent", ask)
        answer = ask(*args, **kwargs)
        if change == "unanswered":
            lose_an_update(api, stripe, booking)
        else:
            create(api, booking, price=2500)
        return answer if change == "after" else ask(*args, **kwargs)

    monkeypatch.setattr(stripe_client, "retrieve_payment_intent", ask_meanwhile)
    # What Stripe says of the second of a request isn't taken for its answer.
    now = stripe.clock()
    stripe.clock = lambda: now
    again = create(api, booking, price=2000)
    assert again.status_code == 201, again.json()
    assert (again.json()["amount"], again.json()["id"]) == (2500, first["id"])
    assert get_amounts(stripe) == [2500]


@pytest.mark.parametrize("by", ["cancel", "expire"])
def test_intent_of_another_amount_ends_all_the_same(by: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    first = create(api, booking, price=2000).json()
    lose_an_update(api, stripe, booking)
    assert api.cancel(first).json()["status"] == "CANCELLED"
    assert create(api, booking, price=2000).status_code == 201


@pytest.mark.parametrize("when", ["before", "after"])
def test_repeated_create_follows_the_price_after_an_unanswered_update(
    when: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create()
    first = create(api, booking, price=2000, **KEY).json()
    lose_an_update(api, stripe, booking, when=when, **KEY)
    again = create(api, booking, price=3000, **KEY)
    assert (again.status_code, again.json()["id"], again.json()["amount"]) == (201, first["id"], 3000)
    assert get_amounts(stripe) == [3000]
    assert not StripeRequest.objects.open().exists()
    stripe.confirm(first["stripePaymentIntentId"])
    assert api.complete(first).json()["status"] == "CONFIRMED"


def test_repeated_create_shows_no_amount_that_would_be_sent_back(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create()
    create(api, booking, price=2000, **KEY)
    stripe.add_fault(Fault(method="POST", path=UPDATE, status=400, times=None))
    assert create(api, booking, price=2500, **KEY).status_code == 422
    assert get_amounts(stripe) == [2000]
