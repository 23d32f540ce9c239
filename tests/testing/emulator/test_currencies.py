"""Currencies and amounts, against what Stripe publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from octo_stripe_gateway.testing.emulator.currencies import check_method_maximum, format_amount
from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (50, "usd"), (50, "USD"), (30, "gbp"), (300, "sek"), (1500, "czk"), (17500, "huf"),
        (50, "jpy"), (1, "clp"), (100, "isk"), (100, "ugx"), (10, "kwd"), (999_999_999_999, "usd"),
        (100_000_000, "cop"), (100_000_000, "vnd"), (100_000_000, "inr"), (100_000_000, "krw"),
        (999_999_999_999, "idr"), (50, "krw"), (50, "zar"), (1, "bgn"),
    ],
)  # fmt: skip
def test_an_amount_that_can_be_charged_is_taken(api: Any, amount: int, currency: str) -> None:
    intent = api.payment_intents.create(params={"amount": amount, "currency": currency})
    assert (intent.amount, intent.currency) == (amount, currency.lower())


@pytest.mark.parametrize(
    ("amount", "currency", "code", "message"),
    [
        (49, "usd", "amount_too_small", "Amount must be at least $0.50 usd"),
        (29, "gbp", "amount_too_small", "Amount must be at least £0.30 gbp"),
        (49, "jpy", "amount_too_small", "Amount must be at least ¥50 jpy"),
        (49, "krw", "amount_too_small", "Amount must be at least ₩50 krw"),
        (49, "ils", "amount_too_small", "Amount must be at least 0.50 ILS ils"),
        (49, "zar", "amount_too_small", "Amount must be at least 0.50 ZAR zar"),
        (10**12, "usd", "amount_too_large", "Amount must be no more than $9,999,999,999.99 usd"),
        (
            10**12,
            "idr",
            "amount_too_large",
            "Amount must be no more than 9,999,999,999.99 IDR idr",
        ),
        (150, "isk", "parameter_invalid_integer", "divisible by 100"),
        (150, "ugx", "parameter_invalid_integer", "divisible by 100"),
        (1005, "bhd", "parameter_invalid_integer", "divisible by 10."),
        (0, "usd", "parameter_invalid_integer", "greater than or equal to 1"),
        (-5, "usd", "parameter_invalid_integer", "greater than or equal to 1"),
        ("20.00", "usd", "parameter_invalid_integer", "Invalid integer: 20.00"),
    ],
)
def test_an_amount_that_cannot_be_charged_is_refused(
    api: Any, amount: Any, currency: str, code: str, message: str
) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.create(params={"amount": amount, "currency": currency})
    assert (caught.value.http_status, caught.value.code, caught.value.param) == (
        400,
        code,
        "amount",
    )
    assert message in str(caught.value.user_message)


def refuse(call: Callable[[], Any]) -> tuple[str | None, str | None]:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        call()
    return caught.value.code, caught.value.param


@pytest.mark.parametrize(
    ("currency", "method", "largest"),
    [
        ("usd", "pm_card_visa", 999_999_999_999),
        ("usd", "pm_card_amex", 999_999_999),
        ("cop", "pm_card_amex", 999_999_999),
        ("usd", "pm_usBankAccount", 99_999_999),
    ],
)
def test_a_payment_method_has_a_largest_amount(api: Any, currency: str, method: str, largest: int) -> None:
    create = api.payment_intents.create
    pay = {**PAID, "currency": currency, "payment_method": method}
    assert create(params={**pay, "amount": largest}).amount == largest
    assert refuse(lambda: create(params={**pay, "amount": largest + 1})) == ("amount_too_large", "amount")


@pytest.mark.parametrize(
    ("currency", "largest"),
    [("idr", 999_999_999_999), ("cop", 9_999_999_999), ("inr", 999_999_999), ("eur", 99_999_999)],
)
def test_methods_other_than_cards_have_a_largest_amount_by_currency(currency: str, largest: int) -> None:
    check_method_maximum(largest, currency=currency, kind="transfer", brand="")
    with pytest.raises(StripeApiError, match="no more than"):
        check_method_maximum(largest + 1, currency=currency, kind="transfer", brand="")


@pytest.mark.parametrize(
    ("currency", "amount", "step"), [("isk", 50_000, 100), ("ugx", 50_000, 100), ("kwd", 5000, 10)]
)
def test_the_step_counts_for_every_amount(
    api: Any, stripe: StripeEmulator, currency: str, amount: int, step: int
) -> None:
    pay = {**PAID, "currency": currency, "amount": amount, "capture_method": "manual"}
    held = api.payment_intents.create(params=pay)
    between = amount // 2 + step // 2
    capture, refund = api.payment_intents.capture, api.refunds.create
    refused = refuse(lambda: capture(held.id, params={"amount_to_capture": between}))
    assert refused == ("parameter_invalid_integer", "amount_to_capture")
    assert capture(held.id, params={"amount_to_capture": amount // 2}).amount_received == amount // 2
    refused = refuse(lambda: refund(params={"payment_intent": held.id, "amount": step // 2}))
    assert refused == ("parameter_invalid_integer", "amount")
    assert refund(params={"payment_intent": held.id, "amount": step}).amount == step
    with pytest.raises(StripeApiError, match="must be divisible by"):
        stripe.open_dispute(held.id, amount=step // 2)


def test_an_unknown_currency_is_refused(api: Any) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.payment_intents.create(params={"amount": 2000, "currency": "euro"})
    assert caught.value.param == "currency"
    message = "Invalid currency: euro. Stripe currently supports these currencies: usd, aed, afn"
    assert str(caught.value.user_message).startswith(message)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (123456, "usd", "$1,234.56"),
        (500, "jpy", "¥500"),
        (1230, "kwd", "1.230 KWD"),
        (500, "sek", "5.00 SEK"),
    ],
)
def test_amounts_are_shown_as_the_currency_is_written(amount: int, currency: str, shown: str) -> None:
    assert format_amount(amount, currency=currency) == shown
