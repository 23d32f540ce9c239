"""How amounts in the minor unit are written."""

from __future__ import annotations

import pytest

from octo_stripe_gateway.stripe.currencies import format_money


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2000, "usd", "20.00 USD"),
        (2000, "jpy", "2,000 JPY"),
        (1, "eur", "0.01 EUR"),
        (1_234_567_890, "bhd", "1,234,567.890 BHD"),
        (2**63 - 1, "usd", "92,233,720,368,547,758.07 USD"),
        (0, "krw", "0 KRW"),
    ],
)
def test_amount_is_written_as_people_do(amount: int, currency: str, text: str) -> None:
    assert format_money(amount, currency=currency) == text
