"""How a shop tests its payments: the emulator is in Stripe's place, all else is as in production.

`pytest example_project` runs them.
"""

# ruff: noqa: S101 - pytest's tests assert

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory
from tourshop.models import Booking, Tour

# Signals are sent after commit, and a test's own transaction never commits.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def booking(client: Client) -> Booking:
    """Two places at 24.50 EUR, booked by the visitor whose browser `client` is."""
    tour = Tour.objects.create(name="Old town on foot", price=2450, currency="eur")
    chosen = {"tour": tour.pk, "people": 2, "date": timezone.localdate() + dt.timedelta(days=7)}
    booked = client.post("/bookings", chosen, content_type="application/json")
    return Booking.objects.get(reference=booked.json()["reference"])


def start_payment(client: Client, booking: Booking, headers: Any = None, **body: Any) -> Any:
    body["payable"] = {"type": "booking", "id": booking.reference}
    return client.post("/bookings/payments", body, content_type="application/json", headers=headers)


def deliver(client: Client, signed: tuple[bytes, str]) -> int:
    body, signature = signed
    headers = {"Stripe-Signature": signature}
    return client.post("/bookings/webhooks", body, "application/json", headers=headers).status_code


def test_booking_is_confirmed_when_its_payment_succeeds(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    payment = start_payment(client, booking).json()
    stripe.confirm(payment["stripePaymentIntentId"], "pm_card_visa")
    assert deliver(client, stripe.signed("payment_intent.succeeded")) == 200
    booking.refresh_from_db()
    assert booking.status == "CONFIRMED"


def test_declined_card_leaves_the_booking_to_be_paid(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    payment = start_payment(client, booking).json()
    stripe.confirm(payment["stripePaymentIntentId"], "pm_card_chargeDeclined")
    completed = client.patch(f"/bookings/payments/{payment['uuid']}/complete").json()
    assert (completed["status"], completed["failure"]["message"]) == ("FAILED", "Your card was declined.")
    booking.refresh_from_db()
    assert booking.status == "PENDING"


def test_price_is_the_shops(client: Client, booking: Booking, stripe: StripeEmulator) -> None:
    assert start_payment(client, booking, amount=1).status_code == 422
    assert stripe.payment_intents == {}
    assert start_payment(client, booking).json()["amount"] == 4900


def test_two_tabs_pay_for_a_booking_once(client: Client, booking: Booking, stripe: StripeEmulator) -> None:
    first, second = (start_payment(client, booking).json() for _tab in range(2))
    assert first["stripeClientSecret"] == second["stripeClientSecret"]
    stripe.confirm(first["stripePaymentIntentId"], "pm_card_visa")
    assert client.patch(f"/bookings/payments/{first['uuid']}/complete").json()["status"] == "CONFIRMED"
    late = start_payment(client, booking)
    assert (late.status_code, len(stripe.payment_intents)) == (422, 1)
    booking.refresh_from_db()
    assert booking.status == "CONFIRMED"


def test_second_payment_of_a_booking_is_sent_back(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    # One by the visitor, and one that the office began with the API key.
    callers: list[dict[str, str]] = [{}, {"Authorization": "Bearer demo-key"}]
    payments = [start_payment(client, booking, headers).json() for headers in callers]
    for payment in payments:
        stripe.confirm(payment["stripePaymentIntentId"], "pm_card_visa")
    answers = [
        client.patch(f"/bookings/payments/{payment['uuid']}/complete", headers=headers)
        for payment, headers in zip(payments, callers, strict=True)
    ]
    assert [answer.status_code for answer in answers] == [200, 422]
    assert answers[1].json()["errorMessage"] == "It is paid already."
    assert list(booking.payments.order_by("pk").values_list("status", flat=True)) == ["paid", "refunded"]
    booking.refresh_from_db()
    assert booking.status == "CONFIRMED"


def test_booking_is_cancelled_when_its_money_goes_back(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    payment = start_payment(client, booking).json()
    stripe.confirm(payment["stripePaymentIntentId"], "pm_card_visa")
    deliver(client, stripe.signed("payment_intent.succeeded"))
    stripe.refund(payment["stripePaymentIntentId"])
    assert deliver(client, stripe.signed("charge.refunded")) == 200
    booking.refresh_from_db()
    assert booking.status == "CANCELLED"


@pytest.mark.usefixtures("stripe")
def test_event_that_stripe_did_not_sign_confirms_nothing(client: Client, booking: Booking) -> None:
    payment: Payment = PaymentFactory.create(payable=booking)
    intent = {"id": payment.stripe_payment_intent_id, "object": "payment_intent", "status": "succeeded"}
    forged = signed_event("payment_intent.succeeded", intent, secret="whsec_forged")  # noqa: S106
    assert deliver(client, forged) == 400
    booking.refresh_from_db()
    assert booking.status == "PENDING"


def test_admin_shows_the_payments_of_a_booking(admin_client: Client, booking: Booking) -> None:
    payment: Payment = PaymentFactory.create(paid=True, payable=booking, amount=4900, currency="eur")
    page = admin_client.get(f"/admin/tourshop/booking/{booking.pk}/change/")
    assert "49.00 EUR" in page.text
    assert f"/admin/octo_stripe_gateway/payment/{payment.pk}/change/" in page.text


def test_hold_that_runs_out_gives_the_places_back(
    client: Client, booking: Booking, stripe: StripeEmulator, settings: Any
) -> None:
    payment = start_payment(client, booking).json()
    assert not upkeep.work_off(upkeep.EXPIRIES, limit=10)["expired"]
    settings.HOLD = dt.timedelta(0)
    Payment.objects.update(expires_at=booking.created_at, claimed_until=None)
    assert upkeep.work_off(upkeep.EXPIRIES, limit=10)["expired"] == 1
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"
    booking.refresh_from_db()
    assert booking.status == "CANCELLED"
    assert start_payment(client, booking).status_code == 422


def test_booking_that_nobody_began_to_pay_lapses(booking: Booking, settings: Any) -> None:
    assert list(Booking.objects.lapsed()) == []
    settings.HOLD = dt.timedelta(0)
    assert list(Booking.objects.lapsed()) == [booking]
    PaymentFactory.create(payable=booking)
    assert list(Booking.objects.lapsed()) == []


def test_deposit_confirms_and_the_balance_is_paid_later(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    Tour.objects.update(deposit=20)
    for purpose, amount in (("deposit", 980), ("balance", 3920)):
        payment = start_payment(client, booking).json()
        assert (payment["purpose"], payment["amount"]) == (purpose, amount)
        stripe.confirm(payment["stripePaymentIntentId"], "pm_card_visa")
        client.patch(f"/bookings/payments/{payment['uuid']}/complete")
        booking.refresh_from_db()
        assert booking.status == "CONFIRMED"
    assert booking.payments.get_amount_due() == 0
    refunded = client.post(f"/bookings/{booking.reference}/refund").json()
    assert (refunded["totalRefunded"], refunded["status"]) == (4900, "CANCELLED")


def test_cancelled_booking_leaves_nothing_to_pay(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    Tour.objects.update(deposit=20)
    deposit = start_payment(client, booking).json()
    stripe.confirm(deposit["stripePaymentIntentId"], "pm_card_visa")
    client.patch(f"/bookings/payments/{deposit['uuid']}/complete")
    balance = start_payment(client, booking).json()
    (shown,) = client.get("/bookings").json()["bookings"]
    assert (shown["paid"], shown["total"]) == ("€9.80", "€49.00")
    refunded = client.post(f"/bookings/{booking.reference}/refund").json()
    assert (refunded["totalRefunded"], refunded["status"]) == (980, "CANCELLED")
    assert stripe.payment_intents[balance["stripePaymentIntentId"]]["status"] == "canceled"
    assert start_payment(client, booking, {"Authorization": "Bearer demo-key"}).status_code == 422


def test_booking_that_staff_cancel_by_its_terms_is_cancelled(
    client: Client, booking: Booking, stripe: StripeEmulator
) -> None:
    Booking.objects.update(date=timezone.localdate() + dt.timedelta(days=1))
    payment = start_payment(client, booking).json()
    stripe.confirm(payment["stripePaymentIntentId"], "pm_card_visa")
    client.patch(f"/bookings/payments/{payment['uuid']}/complete")
    assert services.cancel_payable(Booking.objects.get()).amount == 2450
    booking.refresh_from_db()
    assert booking.status == "CANCELLED"


RESELLER = {"Authorization": "Bearer demo-key"}


def call_octo(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"/octo/{path}", body, content_type="application/json", headers=RESELLER)


def make_tour(**given: Any) -> Tour:
    return Tour.objects.create(**{"name": "Old town on foot", "price": 2450, "currency": "eur"} | given)


def book(client: Client, tour: Tour, *, people: int = 2) -> Any:
    return call_octo(client, "bookings", tour=tour.pk, people=people, date=str(timezone.localdate())).json()


def test_reseller_pays_for_a_booking(client: Client, stripe: StripeEmulator) -> None:
    booking = book(client, make_tour())
    intent = booking["cardPayment"]["stripe"]["paymentIntent"]
    confirm = {"gateway": "stripe", "stripe": {"paymentIntent": intent["id"]}}
    pending = call_octo(client, f"bookings/{booking['uuid']}/confirm", cardPayment=confirm)
    assert (pending.status_code, pending.json()["error"]) == (400, "PAYMENT_PENDING")
    stripe.confirm(intent["id"])
    confirmed = call_octo(client, f"bookings/{booking['uuid']}/confirm", cardPayment=confirm).json()
    assert (confirmed["status"], confirmed["cardPayment"]["totalPaid"]) == ("CONFIRMED", 4900)
    shown = client.get(f"/octo/bookings/{booking['uuid']}", headers=RESELLER).json()["cardPayment"]
    assert shown["stripe"]["paymentIntent"]["clientSecret"] is None


def test_reseller_pays_for_a_cart(client: Client, stripe: StripeEmulator) -> None:
    tour = make_tour()
    references = [book(client, tour, people=people)["uuid"] for people in (1, 2)]
    cart = call_octo(client, "orders", bookings=references).json()
    assert cart["cardPayment"]["amount"] == 3 * 2450
    intent = cart["cardPayment"]["stripe"]["paymentIntent"]
    assert intent["clientSecret"]
    pending = call_octo(client, f"orders/{cart['id']}/confirm")
    assert pending.json()["error"] == "PAYMENT_PENDING"
    stripe.confirm(intent["id"])
    confirmed = call_octo(client, f"orders/{cart['id']}/confirm", cardPayment={"gateway": "stripe"}).json()
    assert confirmed["status"] == "CONFIRMED"
    assert [each["status"] for each in confirmed["bookings"]] == ["CONFIRMED", "CONFIRMED"]
    other = call_octo(client, f"orders/{cart['id']}/confirm", cardPayment={"gateway": "adyen"})
    assert (other.status_code, other.json()["error"]) == (400, "GATEWAY_MISMATCH")


def test_empty_cart_is_not_paid_already(client: Client, stripe: StripeEmulator) -> None:
    empty = call_octo(client, "orders", bookings=[])
    assert (empty.status_code, empty.json()["errorMessage"]) == (422, "There is nothing to pay for.")
    assert not stripe.payment_intents


def test_strangers_book_nothing(client: Client) -> None:
    answer = client.post("/octo/orders", {}, content_type="application/json")
    assert answer.status_code in (401, 403)


@pytest.mark.parametrize(
    ("currency", "price"), [("cop", 100_000_000), ("krw", 150_000), ("isk", 1_500_000), ("kwd", 12_340)]
)
def test_tour_is_sold_in_any_currency(
    client: Client, stripe: StripeEmulator, currency: str, price: int
) -> None:
    booking = book(client, make_tour(currency=currency, price=price), people=1)
    intent = booking["cardPayment"]["stripe"]["paymentIntent"]
    assert (intent["amount"], intent["currency"]) == (price, currency)
    stripe.confirm(intent["id"])
    confirmed = call_octo(client, f"bookings/{booking['uuid']}/confirm").json()
    assert (confirmed["status"], confirmed["cardPayment"]["paid"]) == ("CONFIRMED", price)
    payment = Payment.objects.get()
    refunded = client.post(
        f"/bookings/payments/{payment.uuid}/refund", {}, content_type="application/json", headers=RESELLER
    )
    assert refunded.json()["status"] == "REFUNDED"
