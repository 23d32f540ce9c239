"""What a refund takes off the price: a booking that got money back doesn't owe it again, unless it should."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import BadRequestError, UnprocessableError
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = 9000
GOODWILL = 500


@pytest.fixture
def booking(db: None) -> Booking:
    return Booking.objects.create(price=PRICE, currency="usd")


@pytest.fixture
def cancel_booking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the deadline in the past, as the documentation says for a cancelled booking, or take it back."""

    def cancel_booking(is_cancelled: bool = True) -> None:
        deadline = timezone.now() - dt.timedelta(days=1) if is_cancelled else None
        monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: deadline, raising=False)

    return cancel_booking


def pay(api: GatewayApi, stripe: StripeEmulator, booking: Booking, **fields: Any) -> Payment:
    body = {"payable": {"type": "booking", "id": booking.pk}, **fields}
    return Payment.objects.get(pk=api.paid(stripe, body)["id"])


def get_due(api: GatewayApi, booking: Booking) -> int:
    """Return what the API, Python and the next create agree on as due."""
    booking = Booking.objects.get(pk=booking.pk)
    payment = booking.payments.latest("pk")
    due: int = booking.payments.get_amount_due()
    assert api.retrieve(payment.pk).json()["balance"]["due"] == due
    answer = api.create({"payable": {"type": "booking", "id": booking.pk}}).json()
    assert answer.get("amount", 0) == due, answer
    return due


def test_goodwill_is_not_owed_again(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    payment = pay(api, stripe, booking)
    api.refund(payment.pk, {"amount": GOODWILL})
    assert get_due(api, booking) == 0
    assert Refund.objects.get().amount_forgiven == GOODWILL
    body = api.retrieve(payment.pk).json()
    assert body["balance"]["forgiven"] == GOODWILL
    assert body["refunds"][0]["amountForgiven"] == GOODWILL
    assert len(stripe.payment_intents) == 1


def test_refund_of_the_wrong_card_is_owed_again(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    assert api.refund(payment.pk, {"dueAgain": True}).status_code == 200
    assert get_due(api, booking) == PRICE


def test_refund_of_what_was_overpaid_forgives_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    """A price that falls and rises again is owed in full."""
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=PRICE - 2000)
    services.refund_payment(payment, amount=2000)
    assert Refund.objects.get().amount_forgiven == 0
    assert get_due(api, booking) == 0
    Booking.objects.update(price=PRICE)
    assert get_due(api, booking) == 2000


def test_refund_of_more_than_was_overpaid_forgives_the_rest(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=PRICE - 2000)
    services.refund_payment(payment, amount=2500)
    assert Refund.objects.get().amount_forgiven == 500
    assert get_due(api, booking) == 0


def test_refund_that_fails_forgives_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    services.refund_payment(payment, amount=GOODWILL)
    stripe.settle_refund(Refund.objects.get().stripe_refund_id or "", status="failed")
    api.deliver(stripe)
    balance = booking.payments.get_dues()
    assert (balance.forgiven, balance.received - balance.refunded, balance.due) == (0, PRICE, 0)
    Booking.objects.update(price=PRICE + 100)
    assert get_due(api, booking) == 100


def test_refund_that_stripe_refuses_forgives_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    stripe.add_fault(Fault(path="/v1/refunds", status=400))
    assert api.refund(payment.pk, {"amount": GOODWILL}).status_code >= 400
    assert booking.payments.get_dues().forgiven == 0


def test_two_refunds_forgive_no_more_than_the_price(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    for amount in (3000, 6000):
        services.refund_payment(payment, amount=amount)
    assert sum(each.amount_forgiven or 0 for each in Refund.objects.all()) == PRICE
    assert get_due(api, booking) == 0


def test_unanswered_refund_of_what_was_overpaid_counts_as_gone(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    """The next refund is measured as if the one before had been answered."""
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=PRICE - 2000)
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when="after"))
    assert api.refund(payment.pk, {"amount": 2000}).status_code == 503
    services.refund_payment(payment, amount=GOODWILL)
    first, second = Refund.objects.order_by("pk")
    assert (first.amount_forgiven, second.amount_forgiven) == (0, GOODWILL)


def test_refund_made_at_stripe_is_not_owed_again(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=GOODWILL)
    api.deliver(stripe)
    assert get_due(api, booking) == 0
    run_upkeep(limit=10)
    assert Refund.objects.get().amount_forgiven == GOODWILL
    assert get_due(api, booking) == 0


def test_refund_made_at_stripe_of_what_was_overpaid_forgives_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=PRICE - 2000)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=2000)
    api.deliver(stripe)
    run_upkeep(limit=10)
    Booking.objects.update(price=PRICE)
    assert get_due(api, booking) == 2000


def test_lost_dispute_is_owed_until_an_operator_forgives_it(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    dispute = stripe.open_dispute(payment.stripe_payment_intent_id or "", amount=GOODWILL)
    stripe.close_dispute(dispute["id"], won=False)
    api.deliver(stripe)
    assert booking.payments.get_amount_due() == GOODWILL
    services.forgive(payment.disputes.get(), amount=GOODWILL)
    assert get_due(api, booking) == 0
    services.forgive(payment.disputes.get(), amount=0)
    assert get_due(api, booking) == GOODWILL


def test_operator_changes_what_a_refund_forgave(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    services.refund_payment(payment)
    refund = Refund.objects.get()
    changed = services.forgive(refund, amount=0)
    assert (changed.pk, changed.amount_forgiven) == (payment.pk, 0)
    assert get_due(api, booking) == PRICE


@pytest.mark.parametrize("amount", [-1, GOODWILL + 1])
def test_no_more_is_forgiven_than_went_back(
    amount: int, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    services.refund_payment(payment, amount=GOODWILL)
    with pytest.raises((BadRequestError, UnprocessableError)):
        services.forgive(Refund.objects.get(), amount=amount)


def test_cancelled_booking_owes_nothing_and_owes_again_once_reactivated(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, cancel_booking: Callable[..., None]
) -> None:
    payment = pay(api, stripe, booking)
    cancel_booking()
    services.refund_payable(booking, amount=7000, caller=Caller(idempotency_key="cancellation"))
    assert booking.payments.get_amount_due() == 0
    assert api.retrieve(payment.pk).json()["balance"]["due"] == 0
    cancel_booking(False)
    assert get_due(api, booking) == 7000


def test_refund_of_all_of_a_booking_may_be_owed_again(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    pay(api, stripe, booking)
    services.refund_payable(booking, due_again=True)
    assert get_due(api, booking) == PRICE


def test_payment_of_one_part_forgiven_is_not_owed_by_another(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [("deposit", 3000, None), ("balance", 6000, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    deposit = pay(api, stripe, booking)
    services.refund_payment(deposit, amount=GOODWILL)
    assert get_due(api, booking) in {6000}
    pay(api, stripe, booking)
    assert booking.payments.get_amount_due() == 0


def test_payment_of_all_parts_forgives_too(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [("deposit", 3000, None), ("balance", 6000, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    services.refund_payment(pay(api, stripe, booking, purpose="full"), amount=GOODWILL)
    assert booking.payments.get_amount_due() == 0


def test_price_that_cannot_be_told_does_not_hold_up_a_refund(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(api, stripe, booking)
    with monkeypatch.context() as patch:
        patch.setattr(Booking, "get_payment_amount", lambda _self: 1 / 0)
        services.refund_payment(payment, amount=GOODWILL)
    assert get_due(api, booking) == 0
    run_upkeep(limit=10)
    assert Refund.objects.get().amount_forgiven == GOODWILL


@pytest.mark.urls("tests.support.admin_urls")
def test_every_page_of_the_admin_says_what_the_api_says(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, admin_client: Client
) -> None:
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=PRICE + 2000)
    services.refund_payment(payment, amount=GOODWILL)
    assert api.retrieve(payment.pk).json()["balance"]["due"] == 2000
    own = admin_client.get(reverse("admin:shop_booking_change", args=[booking.pk])).content.decode()
    listed = admin_client.get(reverse("admin:octo_stripe_gateway_payablelock_changelist")).content.decode()
    assert "20.00" in own
    assert "20.00" in listed
    run_upkeep(limit=10)
    listed = admin_client.get(reverse("admin:octo_stripe_gateway_payablelock_changelist")).content.decode()
    assert "20.00" in listed


@pytest.mark.urls("tests.support.admin_urls")
def test_operator_forgives_from_the_payment_s_page(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, admin_client: Client
) -> None:
    payment = pay(api, stripe, booking)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=GOODWILL)
    api.deliver(stripe)
    refund = Refund.objects.get()
    url = reverse("admin:octo_stripe_gateway_payment_forgive", args=[payment.pk])
    page = admin_client.get(url)
    assert "5.00" in page.content.decode()
    key = page.context["form"]["key"].value()
    sent = {"key": key, "part": f"refund {refund.pk}", "amount": "0"}
    assert admin_client.post(url, sent).status_code == 302
    assert booking.payments.get_amount_due() == GOODWILL
