"""Refunds follow how a payment was charged with Stripe Connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.ledger import lose_payment

pytestmark = pytest.mark.django_db(transaction=True)

Configure = Callable[..., None]

FEE = 200


@pytest.fixture
def seller(stripe: StripeEmulator) -> str:
    return stripe.connect_account("acct_1Seller")


def pay(stripe: StripeEmulator, *, seller: str, payable: Any = None, direct: bool = False) -> Payment:
    """Pay for a seller, by a destination charge or a direct one."""
    params: dict[str, Any] = {"application_fee_amount": FEE}
    if not direct:
        params |= {"transfer_data": {"destination": seller}, "on_behalf_of": seller}
    account = seller if direct else ""
    created = services.create_payment(
        2000, currency="usd", payable=payable, stripe_params=params, stripe_account=account
    )
    stripe.confirm(created.payment.stripe_payment_intent_id or "")
    return services.complete_payment(created.payment)


def get_asked(stripe: StripeEmulator) -> dict[str, Any]:
    """Return what the last refund asked for beside its amount."""
    request = [each for each in stripe.requests if each.path == "/v1/refunds"][-1]
    names = ("reverse_transfer", "refund_application_fee")
    return {name: request.params[name] for name in names if name in request.params}


def get_taken_back(stripe: StripeEmulator) -> tuple[int, int]:
    """Return how much of the transfer is reversed, and how much of the fee returned."""
    reversed_ = sum(each["amount_reversed"] for each in stripe.transfers.values())
    return reversed_, sum(each["amount_refunded"] for each in stripe.application_fees.values())


def test_payment_remembers_how_it_was_charged(stripe: StripeEmulator, seller: str) -> None:
    payment = Payment.objects.get(pk=pay(stripe, seller=seller).pk)
    assert payment.connect == {
        "application_fee_amount": FEE,
        "on_behalf_of": seller,
        "transfer_data": {"destination": seller},
    }


@pytest.mark.parametrize(("amount", "taken_back"), [(None, (2000, FEE)), (500, (500, FEE // 4))])
def test_refund_takes_transfer_and_fee_back_in_proportion(
    amount: int | None, taken_back: tuple[int, int], stripe: StripeEmulator, seller: str
) -> None:
    services.refund_payment(pay(stripe, seller=seller), amount=amount)
    assert get_taken_back(stripe) == taken_back


def test_refund_of_a_direct_charge_returns_the_fee(stripe: StripeEmulator, seller: str) -> None:
    services.refund_payment(pay(stripe, seller=seller, direct=True))
    assert get_asked(stripe).keys() == {"refund_application_fee"}
    assert get_taken_back(stripe) == (0, FEE)


def test_refund_of_an_ordinary_payment_asks_for_nothing_more(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.refund(api.paid(stripe))
    assert get_asked(stripe) == {}


def test_money_that_goes_back_by_itself_takes_them_along(
    stripe: StripeEmulator, seller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_ticket: Ticket, _payment: Payment) -> None:
        raise PaymentRejectedError("The seat is taken.")

    monkeypatch.setattr(Ticket, "on_payment_completed", refuse, raising=False)
    with pytest.raises(PaymentRejectedError):
        pay(stripe, seller=seller, payable=Ticket.objects.create(code="T-1"))
    assert get_taken_back(stripe) == (2000, FEE)


def test_settings_say_otherwise_for_all(stripe: StripeEmulator, seller: str, configure: Configure) -> None:
    configure(REVERSE_TRANSFERS=False, REFUND_APPLICATION_FEES=False)
    services.refund_payment(pay(stripe, seller=seller))
    assert get_asked(stripe) == {}


def test_arguments_say_otherwise_for_one(stripe: StripeEmulator, seller: str) -> None:
    payment = pay(stripe, seller=seller)
    services.refund_payment(payment, amount=500, refund_application_fee=False)
    assert get_asked(stripe).keys() == {"reverse_transfer"}
    services.refund_payment(payment, amount=500, reverse_transfer=False)
    assert get_asked(stripe).keys() == {"refund_application_fee"}


def test_refund_of_a_booking_takes_them_back(stripe: StripeEmulator, seller: str) -> None:
    booking = Booking.objects.create(price=2000, currency="usd")
    pay(stripe, seller=seller, payable=booking)
    services.refund_payable(booking, refund_application_fee=False)
    assert get_taken_back(stripe) == (2000, 0)


def test_adopted_payment_remembers_it_too(stripe: StripeEmulator, seller: str) -> None:
    payment = pay(stripe, seller=seller)
    lose_payment(payment)
    adopted = services.adopt_payment(payment.stripe_payment_intent_id or "")
    assert adopted.connect == payment.connect
    services.refund_payment(services.confirm_adoption(adopted))
    assert get_taken_back(stripe) == (2000, FEE)


@pytest.mark.parametrize(
    ("terms", "is_reused"),
    [
        ({"application_fee_amount": FEE, "transfer_data": {"destination": "acct_1Seller"}}, True),
        ({"application_fee_amount": 300, "transfer_data": {"destination": "acct_1Seller"}}, False),
        ({"transfer_data": {"destination": "acct_1Seller"}}, False),
        ({}, False),
    ],
)
def test_open_payment_is_taken_again_on_the_same_terms_only(
    terms: dict[str, Any], is_reused: bool, stripe: StripeEmulator, seller: str
) -> None:
    booking = Booking.objects.create()
    agreed = {"application_fee_amount": FEE, "transfer_data": {"destination": seller}}
    first = services.create_payment(payable=booking, stripe_params=agreed).payment
    booking.price = 3000
    booking.save()
    second = services.create_payment(payable=booking, stripe_params=terms).payment
    assert (second == first) is is_reused
    assert (Payment.objects.get(pk=first.pk).status == "canceled") is not is_reused
    intent = stripe.payment_intents[second.stripe_payment_intent_id or ""]
    assert intent["application_fee_amount"] == terms.get("application_fee_amount")
    assert intent["amount"] == 3000
