"""Refunds of all of a booking's money, where Stripe refuses a part."""

from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import GatewayError, StripeUnavailableError
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def booking(api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> Booking:
    """Return a booking of which deposit and balance are paid."""
    parts = [("deposit", 3000, None), ("balance", 6000, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    booking = Booking.objects.create(price=9000, currency="usd")
    for _each in range(2):
        api.paid(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    return booking


def refuse_once(stripe: StripeEmulator, **fields: Any) -> None:
    stripe.add_fault(Fault(path="/v1/refunds", status=400, code="charge_disputed", times=1))


@pytest.mark.parametrize("amount", [None, 7000])
def test_rest_is_refunded_where_stripe_refuses_one(
    amount: int | None, stripe: StripeEmulator, booking: Booking
) -> None:
    refuse_once(stripe)
    with pytest.raises(GatewayError):
        services.refund_payable(booking, amount=amount, caller=Caller(idempotency_key="one"))
    refunded = {each.purpose: each.amount_refunded for each in Payment.objects.all()}
    assert refunded == {"deposit": 1000 if amount else 3000, "balance": 0}
    (concern,) = Concern.objects.open()
    assert (concern.code, concern.payment and concern.payment.purpose) == ("refund_refused", "balance")
    assert concern.parameters["amount"] == 6000


def test_refund_that_works_later_ends_the_concern(stripe: StripeEmulator, booking: Booking) -> None:
    refuse_once(stripe)
    with pytest.raises(GatewayError):
        services.refund_payable(booking)
    services.refund_payable(booking)
    assert not Concern.objects.open().exists()


@pytest.mark.parametrize(("amount", "refunded"), [(None, [3000, 6000]), (1000, [1000, 0])])
def test_unanswered_refund_is_sent_again_by_a_refund_of_all(
    amount: int | None, refunded: list[int], stripe: StripeEmulator, booking: Booking
) -> None:
    stripe.add_fault(Fault(path="/v1/refunds", status=503, times=1))
    with pytest.raises(StripeUnavailableError):
        services.refund_payment(Payment.objects.get(purpose="balance"))
    services.refund_payable(booking, amount=amount)
    rows = Payment.objects.order_by("pk")
    assert [each.amount_refunded for each in rows] == refunded
    assert len(stripe.refunds) == (2 if amount is None else 1)


def test_refund_of_a_part_without_a_key_repeats_the_unanswered_one(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = Payment.objects.get(pk=api.unanswered_refund(stripe, {"amount": 500}, when="after")["id"])
    assert services.refund_payment(payment, amount=500).amount_refunded == 500
    assert services.refund_payment(payment, amount=500).amount_refunded == 1000
    assert len(stripe.refunds) == 2
