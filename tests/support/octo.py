"""OCTO's `cardPayment` as Ventrata's `octo-types` of January 2026 have it, written down as our own table."""

from __future__ import annotations

import uuid
from typing import Any

# What has to be there; the types' numbers are integers in minor units.
CARD_PAYMENT: dict[str, type] = {
    "id": str,
    "gateway": str,
    "source": str,
    "paid": int,
    "totalPaid": int,
    "paidSurcharge": int,
    "balance": int,
    "surcharge": int,
    "totalRefunded": int,
    "outstandingBalance": int,
    "currency": str,
    "currencyPrecision": int,
    "reusableCards": list,
}
PAYMENT_INTENT: dict[str, type] = {
    "id": str,
    "publishableKey": str,
    "clientSecret": str,
    "amount": int,
    "currency": str,
}


def find_faults(card_payment: dict[str, Any]) -> list[str]:
    """Return the fields in which an object isn't of the types of 2026."""
    intent = card_payment.get("stripe", {}).get("paymentIntent", {})
    faults = [
        f"{prefix}{name}"
        for prefix, shown, table in (
            ("", card_payment, CARD_PAYMENT),
            ("stripe.paymentIntent.", intent, PAYMENT_INTENT),
        )
        for name, kind in table.items()
        if not isinstance(shown.get(name), kind) or isinstance(shown[name], bool)
    ]
    if not isinstance(card_payment.get("stripe", {}).get("version", ""), str):
        faults.append("stripe.version")
    if not faults and card_payment["id"] != str(uuid.UUID(card_payment["id"])):
        faults.append("id")
    return faults
