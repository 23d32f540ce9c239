"""Turns codes with parameters into sentences, in the language of whoever reads."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.utils.translation import gettext as _

from octo_stripe_gateway.stripe.currencies import format_money

# Stands for a parameter that was erased.
UNKNOWN = "…"


def fill_in(sentence: Any, parameters: dict[str, Any], *, currency: str) -> str:
    """Return a sentence with its parameters, now, in the active language.

    Whole numbers are amounts in minor units of the parameter `currency`, else of the given one.
    """
    currency = parameters.get("currency") or currency
    shown = {name: _show(value, currency=currency) for name, value in parameters.items()}
    return str(sentence) % defaultdict(lambda: UNKNOWN, shown)


def _show(value: Any, *, currency: str) -> str:
    if isinstance(value, dict):
        return "; ".join(
            _("%(name)s is %(seen)s, not %(expected)s")
            % {
                "name": name,
                "seen": _show(seen, currency=currency),
                "expected": _show(expected, currency=currency),
            }
            for name, (expected, seen) in value.items()
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return format_money(value, currency=currency) if currency else str(value)
    return str(value)
