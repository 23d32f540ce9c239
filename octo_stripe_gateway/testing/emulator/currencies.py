"""Currencies and amounts as https://docs.stripe.com/currencies publishes them.

Written independently of the app's own table on purpose: tests compare the two.
"""

from __future__ import annotations

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError

SUPPORTED = (
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp "
    "byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip "
    "gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd "
    "kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok "
    "npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos "
    "srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf "
    "yer zar zmw"
).split()
ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split())
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
STEPS = {"isk": 100, "ugx": 100} | dict.fromkeys(THREE_DECIMAL, 10)
# In minor units; a currency that isn't listed has none.
MINIMUMS = {
    **dict.fromkeys("usd ars aud brl cad chf cop eur idr ils inr jpy krw nzd php rub sgd zar".split(), 50),
    "gbp": 30,
    "aed": 200,
    "czk": 1500,
    "dkk": 250,
    "hkd": 400,
    "huf": 17500,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "thb": 1000,
}
MAXIMUM = 999_999_999_999
AMEX_MAXIMUM = 999_999_999
OTHER_MAXIMUM = 99_999_999
OTHER_MAXIMUMS = {"idr": 999_999_999_999, "cop": 9_999_999_999, "inr": 999_999_999}
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "inr": "₹", "krw": "₩"}


def decimals(currency: str) -> int:
    """Return how many decimals the currency is written with."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def format_amount(amount: int, *, currency: str) -> str:
    """Return the amount as Stripe's messages write it: `$20.00`, `¥500`, `20.00 SEK`."""
    places = decimals(currency)
    number = f"{amount / 10**places:,.{places}f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{number}" if symbol else f"{number} {currency.upper()}"


def check_currency(currency: str) -> str:
    """Return the currency in lower case, or refuse one that Stripe doesn't support."""
    lowered = currency.lower()
    if lowered in SUPPORTED:
        return lowered
    raise InvalidParameterError(
        f"Invalid currency: {lowered}. Stripe currently supports these currencies: {', '.join(SUPPORTED)}",
        param="currency",
    )


def check_amount(amount: int, *, currency: str) -> int:
    """Return the amount if it can be charged: Stripe's step, minimum and maximum."""
    _check_maximum(amount, maximum=MAXIMUM, currency=currency)
    check_step(amount, currency=currency)
    minimum = MINIMUMS.get(currency, 1)
    if amount < minimum:
        limit = format_amount(minimum, currency=currency)
        raise _refused(f"Amount must be at least {limit} {currency}", code="amount_too_small")
    return amount


def check_step(amount: int, *, currency: str, param: str = "amount") -> None:
    """Refuse an amount between the steps of a currency, whether it is charged, captured or refunded."""
    step = STEPS.get(currency, 1)
    if amount % step:
        raise _refused(
            f"Invalid amount: {amount}. Amounts in {currency} must be divisible by {step}.",
            code="parameter_invalid_integer",
            param=param,
        )


def check_method_maximum(amount: int, *, currency: str, kind: str, brand: str) -> None:
    """Refuse an amount that a payment method can't be charged; most cards take what any intent takes."""
    if kind == "card":
        maximum = AMEX_MAXIMUM if brand == "amex" else MAXIMUM
    else:
        maximum = OTHER_MAXIMUMS.get(currency, OTHER_MAXIMUM)
    _check_maximum(amount, maximum=maximum, currency=currency)


def _check_maximum(amount: int, *, maximum: int, currency: str) -> None:
    if amount > maximum:
        limit = format_amount(maximum, currency=currency)
        raise _refused(f"Amount must be no more than {limit} {currency}", code="amount_too_large")


def _refused(message: str, *, code: str, param: str = "amount") -> InvalidParameterError:
    return InvalidParameterError(message, param=param, code=code)
