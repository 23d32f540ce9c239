"""Payments whose time has run out, and holds that are about to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals
from tests.support.receivers import listening

pytestmark = pytest.mark.django_db(transaction=True)

Held = Callable[..., Any]


@pytest.fixture
def held(api: GatewayApi, monkeypatch: pytest.MonkeyPatch) -> Held:
    """Create a payment for a booking whose places are held for an hour, and let that hour pass."""
    deadline = {"at": timezone.now() + dt.timedelta(hours=1)}
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: deadline["at"], raising=False)

    def create(**body: Any) -> Any:
        booking = Booking.objects.create(currency="usd")
        payment = api.create({"payable": {"type": "booking", "id": booking.pk}, **body}).json()
        deadline["at"] = timezone.now() - dt.timedelta(seconds=1)
        Payment.objects.update(expires_at=deadline["at"])
        return payment

    return create


def expire() -> int:
    return services.expire_due_payments(limit=100)


def test_the_deadline_is_shown(api: GatewayApi, stripe: StripeEmulator, held: Held) -> None:
    assert held()["utcExpiresAt"].endswith("Z")


def test_a_payment_expires_at_stripe_and_tells_the_host(
    api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held()
    heard: list[int] = []
    with listening(signals.payment_expired, lambda payment, **_: heard.append(payment.pk)):
        assert expire() == 1
        assert expire() == 0
    assert heard == [payment["id"]]
    assert api.retrieve(payment).json()["status"] == "EXPIRED"
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert Payment.objects.get().status == "expired"


def test_nothing_is_created_after_the_deadline(api: GatewayApi, stripe: StripeEmulator, held: Held) -> None:
    held()
    expire()
    booking = Booking.objects.get()
    answer = api.create({"payable": {"type": "booking", "id": booking.pk}})
    assert answer.status_code == 422
    assert len(stripe.payment_intents) == 1


def test_a_deadline_that_the_host_has_moved_is_followed(
    api: GatewayApi, stripe: StripeEmulator, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = held()
    later = timezone.now() + dt.timedelta(hours=2)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: later)
    assert expire() == 0
    assert Payment.objects.get().expires_at == later
    assert api.retrieve(payment).json()["status"] == "PENDING"


def test_one_that_was_paid_first_is_completed_and_the_host_decides(
    api: GatewayApi, stripe: StripeEmulator, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        Booking, "on_payment_completed", lambda _self, payment: asked.append(payment.pk), raising=False
    )
    payment = held()
    stripe.confirm(payment["stripePaymentIntentId"])
    assert expire() == 0
    row = Payment.objects.get()
    assert (row.status, row.is_expiring, asked) == ("paid", False, [payment["id"]])
    assert_ledger_equals(stripe)


def test_one_that_is_at_the_bank_is_left_until_it_settles(
    api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_usBankAccount_success")
    api.complete(payment)
    assert expire() == 0
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "processing"
    stripe.settle(payment["stripePaymentIntentId"])
    assert api.complete(payment).json()["status"] == "CONFIRMED"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_expiry_without_an_answer_goes_on(
    when: Any, api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held()
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/cancel", when=when))
    assert expire() == 0
    assert StripeRequest.objects.open().count() == 1
    assert expire() == 1
    assert api.retrieve(payment).json()["status"] == "EXPIRED"
    assert not StripeRequest.objects.open().exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_creation_without_an_answer_leaves_no_payable_intent(
    when: Any, api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents", when=when))
    held()
    assert expire() == 1
    assert {intent["status"] for intent in stripe.payment_intents.values()} == {"canceled"}


def test_a_hold_says_until_when_and_reminds_a_day_ahead(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.authorized(stripe)
    row = Payment.objects.get()
    assert row.capture_before
    assert services.remind_of_captures(limit=10) == 0
    Payment.objects.update(capture_before=timezone.now() + dt.timedelta(hours=23))
    heard: list[int] = []
    with listening(signals.payment_capture_due, lambda payment, **_: heard.append(payment.pk)):
        assert services.remind_of_captures(limit=10) == 1
        assert services.remind_of_captures(limit=10) == 0
    assert heard == [payment["id"]]


def test_a_hold_that_ran_out_at_stripe_is_expired(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.expire(payment["stripePaymentIntentId"])
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert api.retrieve(payment).json()["status"] == "EXPIRED"
