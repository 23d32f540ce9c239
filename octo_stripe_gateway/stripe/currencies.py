"""Stripe's rules for amounts: https://docs.stripe.com/currencies."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import BadRequestError

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
# Written with two decimals for history's sake, though they have none.
WHOLE_UNITS = frozenset("isk ugx".split())
# The most digits of any currency; most have fewer, and Stripe says so.
MAX_AMOUNT = 999_999_999_999


def get_precision(currency: str) -> int:
    """Return how many decimals Stripe's minor unit of a lower-case currency has."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def get_step(currency: str) -> int:
    """Return the number that amounts of a lower-case currency must be divisible by."""
    if currency in WHOLE_UNITS:
        return 100
    return 10 if currency in THREE_DECIMAL else 1


def format_money(amount: int, *, currency: str) -> str:
    """Return an amount in minor units as people write it, with its currency: `2,000 JPY`."""
    precision = get_precision(currency)
    value = Decimal(amount).scaleb(-precision)
    return f"{number_format(value, decimal_pos=precision, force_grouping=True)} {currency.upper()}"


def read_amount(value: Any, *, source: str) -> int:
    """Return an amount in minor units that code of the host's gave; raises BadRequestError naming the source.

    A Decimal will do if it is whole. A float, text or a boolean is more likely a mistake than an amount.
    """
    if isinstance(value, Decimal) and value.is_finite() and abs(value) <= MAX_AMOUNT and value % 1 == 0:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequestError(f"{source}: an amount has to be in minor units, integer, and is {value!r}.")
    return value


def check_amount(amount: int, *, currency: str) -> None:
    """Raise BadRequestError for an amount that Stripe takes in no case.

    The smallest amount depends on the account's own currency, so that is left for Stripe to say.
    """
    if not 0 < amount <= MAX_AMOUNT:
        raise BadRequestError(_("amount: a positive integer in the minor unit is required."))
    step = get_step(currency)
    if amount % step:
        message = _("amount: it must be divisible by %(step)s in %(currency)s.")
        raise BadRequestError(message % {"step": step, "currency": currency.upper()})
