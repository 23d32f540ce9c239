"""Amounts and metadata that Python code gives: what is no amount is an error before Stripe is asked."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError, StripeRefusedError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

WHOLE = [2000, Decimal(2000), Decimal("2000.00"), Decimal("2E3")]
NO_AMOUNTS = [
    *("2000", "20.00", 2000.0, 20.5, True, b"2000", [2000]),
    *(Decimal("20.5"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E99")),
]


@pytest.fixture(params=NO_AMOUNTS, ids=repr)
def wrong(request: Any) -> Any:
    return request.param


@pytest.fixture
def paid(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    return Payment.objects.get(pk=api.paid(stripe)["id"])


@pytest.fixture
def held(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    return Payment.objects.get(pk=api.authorized(stripe)["id"])


def fail(
    method: str, call: Callable[[], Any], *, stripe: StripeEmulator, error: Any = BadRequestError
) -> None:
    asked = len(stripe.requests)
    with pytest.raises(error, match=f"{method}: .*minor units, integer"):
        call()
    assert len(stripe.requests) == asked


def test_argument_that_is_no_amount_is_refused(
    wrong: Any, paid: Payment, held: Payment, stripe: StripeEmulator
) -> None:
    booking, create = Booking.objects.create(), services.create_payment
    fail("create_payment", lambda: create(wrong, currency="usd"), stripe=stripe)
    fail("create_payment", lambda: create(wrong, payable=booking), stripe=stripe)
    fail("refund_payment", lambda: services.refund_payment(paid, amount=wrong), stripe=stripe)
    fail("refund_payable", lambda: services.refund_payable(booking, amount=wrong), stripe=stripe)
    fail("capture_payment", lambda: services.capture_payment(held, amount=wrong), stripe=stripe)
    fee = {"application_fee_amount": wrong}
    fail("stripe_params.*fee_amount", lambda: create(500, stripe_params=fee), stripe=stripe)
    share = {"transfer_data": {"destination": "acct_1", "amount": wrong}}
    fail("stripe_params.*data.amount", lambda: create(500, stripe_params=share), stripe=stripe)


def test_price_that_is_no_amount_is_refused(
    wrong: Any, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = Booking.objects.create()

    def create() -> Any:
        return services.create_payment(payable=booking)

    monkeypatch.setattr(Booking, "get_payment_amount", lambda _: (wrong, "eur"))
    fail("Booking.get_payment_amount", create, stripe=stripe, error=ConfigurationError)
    monkeypatch.undo()
    parts = [("deposit", wrong, None), ("balance", 500, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _: parts, raising=False)
    fail("Booking.get_installments", create, stripe=stripe, error=ConfigurationError)


@pytest.mark.parametrize("amount", WHOLE, ids=repr)
def test_whole_decimal_is_an_amount(amount: Any, api: GatewayApi, stripe: StripeEmulator) -> None:
    first = services.create_payment(amount, currency="usd", capture_method="manual").payment
    stripe.confirm(str(first.stripe_payment_intent_id), payment_method="pm_card_visa")
    services.complete_payment(first)
    captured = services.capture_payment(first, amount=amount)
    assert services.refund_payment(captured, amount=amount).amount_refunded == 2000


@pytest.mark.parametrize("amount", WHOLE, ids=repr)
def test_whole_decimal_is_a_price(
    amount: Any, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = Booking.objects.create()
    monkeypatch.setattr(Booking, "get_payment_amount", lambda _: (amount, "EUR"))
    parts = [("deposit", amount - 500, None), ("balance", Decimal(500), None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _: parts, raising=False)
    payment = services.create_payment(amount, payable=booking, purpose="full").payment
    stripe.confirm(str(payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    assert services.complete_payment(payment).status == "paid"
    (refunded,) = services.refund_payable(booking, amount=amount)
    assert refunded.amount_refunded == 2000
    assert type(refunded.amount) is int


def test_same_create_with_a_decimal_is_the_same_create(stripe: StripeEmulator) -> None:
    caller = services.Caller(idempotency_key="one")
    first = services.create_payment(2000, caller=caller)
    assert services.create_payment(cast(int, Decimal("2000.0")), caller=caller).payment == first.payment


KRONUR = 50_000


@pytest.fixture
def held_in_kronur(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    return Payment.objects.get(pk=api.authorized(stripe, {"amount": KRONUR, "currency": "isk"})["id"])


def test_capture_keeps_to_the_step_of_its_currency(held_in_kronur: Payment, stripe: StripeEmulator) -> None:
    asked = len(stripe.requests)
    with pytest.raises(BadRequestError, match="divisible by 100 in ISK"):
        services.capture_payment(held_in_kronur, amount=150)
    assert len(stripe.requests) == asked
    captured = services.capture_payment(held_in_kronur, amount=1500)
    assert services.refund_payment(captured).amount_refunded == 1500


def test_capture_in_the_api_keeps_to_the_step_too(
    held_in_kronur: Payment, api: GatewayApi, stripe: StripeEmulator
) -> None:
    refused = api.capture(held_in_kronur.pk, {"amount": 150})
    assert (refused.status_code, refused.json()["error"]) == (400, "BAD_REQUEST")
    assert "divisible by 100 in ISK" in refused.json()["errorMessage"]


def test_refund_of_a_booking_in_half_units_is_refused_before_any_part_goes_back(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = Booking.objects.create(price=KRONUR, currency="isk")
    parts = [("deposit", 10_000, None), ("balance", 40_000, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _: parts, raising=False)
    for _each in parts:
        payment = services.create_payment(payable=booking).payment
        stripe.confirm(str(payment.stripe_payment_intent_id), payment_method="pm_card_visa")
        services.complete_payment(payment)
    with pytest.raises(BadRequestError, match="divisible by 100 in ISK"):
        services.refund_payable(booking, amount=40_050)
    assert stripe.refunds == {}


def test_new_price_of_an_open_payment_keeps_to_the_step(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create(price=KRONUR, currency="isk")
    services.create_payment(payable=booking)
    booking.price = KRONUR + 50
    booking.save()
    asked = len(stripe.requests)
    with pytest.raises(BadRequestError, match="divisible by 100 in ISK"):
        services.create_payment(payable=booking)
    assert (len(stripe.requests), Payment.objects.get().amount_requested) == (asked, None)


def test_stripe_decides_whether_a_rest_off_the_step_goes_back(
    held_in_kronur: Payment, stripe: StripeEmulator
) -> None:
    """Somebody captured it elsewhere, so no amount of ours is at fault."""
    services.capture_payment(held_in_kronur)
    Payment.objects.update(amount_received=150)
    asked = len(stripe.requests)
    with pytest.raises(StripeRefusedError):
        services.refund_payment(Payment.objects.get())
    assert stripe.requests[asked].path == "/v1/refunds"


METADATA = {
    "a list": [("a", "b")],
    "text": "a",
    "a number": {"a": 1},
    "nothing": {"a": None},
    "a number as key": {1: "a"},
    "nested": {"a": {"b": "c"}},
    "too many": {str(number): "" for number in range(50)},
    "a long key": {"a" * 41: ""},
    "no key": {"": "a"},
    "brackets": {"a[b]": ""},
    "a long value": {"a": "b" * 501},
    "null characters": {"a": "b\0"},
    "surrogates": {"a": "\ud800"},
    "a client secret": {"a": "pi_1_secret_abc"},
    "a key of ours": {"octo_payment": "1"},
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_checked_in_python_as_in_the_api(
    name: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    metadata: Any = METADATA[name]
    asked = len(stripe.requests)
    with pytest.raises(BadRequestError, match=r"^metadata"):
        services.create_payment(2000, metadata=metadata)
    with pytest.raises(BadRequestError, match=r"^stripe_params\.metadata"):
        services.create_payment(2000, stripe_params={"metadata": metadata})
    assert (Payment.objects.count(), len(stripe.requests)) == (0, asked)
    if name not in {"surrogates", "a list", "a number as key"}:
        answer = api.create({"amount": 2000, "metadata": metadata})
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
        assert answer.json()["errorMessage"].startswith("metadata")


def test_metadata_of_both_kinds_counts_together(stripe: StripeEmulator) -> None:
    half = {f"a{number}": "" for number in range(30)}
    other = {f"b{number}": "" for number in range(30)}
    with pytest.raises(BadRequestError, match="too many"):
        services.create_payment(2000, metadata=half, stripe_params={"metadata": other})
