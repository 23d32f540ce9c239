"""Currencies and amounts, against what Stripe publishes."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator.currencies import format_amount


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        (50, "usd"), (50, "USD"), (30, "gbp"), (300, "sek"), (1500, "czk"), (17500, "huf"),
        (50, "jpy"), (1, "clp"), (100, "isk"), (100, "ugx"), (10, "kwd"), (99_999_999, "usd"),
        (999_999_999_999, "idr"),
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
        (100_000_000, "usd", "amount_too_large", "Amount must be no more than $999,999.99 usd"),
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
