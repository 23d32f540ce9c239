"""Formats prices in the page's language, exactly as the browser does."""

from __future__ import annotations

from decimal import Decimal

from django.utils import formats
from django.utils.translation import get_language

from octo_stripe_gateway.stripe.currencies import get_precision

# Those of the browser's that are alike in English and German; other currencies are written by their code.
SYMBOLS = {"eur": "€", "gbp": "£", "jpy": "¥", "krw": "₩", "usd": "$"}


def format_price(amount: int, *, currency: str) -> str:
    """Return an amount in minor units for people: €24.50, COP 1,000.00, or 24,50 €."""
    precision = get_precision(currency)
    number = formats.number_format(
        Decimal(amount).scaleb(-precision), decimal_pos=precision, use_l10n=True, force_grouping=True
    )
    symbol = SYMBOLS.get(currency, f"{currency.upper()}\N{NO-BREAK SPACE}")
    return f"{symbol}{number}" if get_language() == "en" else f"{number}\N{NO-BREAK SPACE}{symbol.strip()}"
