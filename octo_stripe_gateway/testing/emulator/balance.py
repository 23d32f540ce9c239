"""The balance: a transaction for each movement of money, with Stripe's fee."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from octo_stripe_gateway.testing.emulator.currencies import decimals

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

Kind = Literal[
    "charge",
    "payment",
    "refund",
    "payment_refund",
    "refund_failure",
    "adjustment",
    "application_fee",
    "application_fee_refund",
    "transfer",
    "transfer_refund",
]

FEE_RATE, FIXED_FEE = 0.029, 30
TIME_TO_ARRIVE = 2 * 86_400
# The platform's application, which takes the application fees.
APPLICATION = "ca_EmulatedPlatform"
CATEGORIES: dict[Kind, str] = {
    "payment": "charge",
    "payment_refund": "refund",
    "application_fee": "platform_earning",
    "application_fee_refund": "platform_earning_refund",
}


def fee_for(amount: int) -> int:
    """Return what Stripe keeps of a payment: 2.9 % and 30 minor units, and never more than all of it."""
    return min(amount, round(amount * FEE_RATE) + FIXED_FEE)


class Balance:
    """Adds balance transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # The currency of a payment → the currency that it arrives in, and the exchange rate.
        self.rates: dict[str, tuple[str, float]] = {}

    def convert(self, amount: int, *, currency: str) -> int:
        """Return the amount that arrives, in the minor unit of the currency that it arrives in."""
        if currency not in self.rates:
            return amount
        arrives_in, rate = self.rates[currency]
        units = Fraction(amount, 10 ** decimals(currency)) * Fraction(str(rate))
        arrives: int = round(units * 10 ** decimals(arrives_in))
        return arrives

    def arrives_in(self, currency: str) -> str:
        """Return the currency that a payment in this one arrives in."""
        return self.rates.get(currency, (currency, None))[0]

    def of(self, account: str | None) -> dict[str, int]:
        """Return an account's balance by currency: the sum of its transactions."""
        balance: dict[str, int] = {}
        for booked in self._store.ordered("balance_transaction"):
            if self._store.account_of(booked) == account:
                balance[booked["currency"]] = balance.get(booked["currency"], 0) + booked["net"]
        return balance

    def dump(self) -> str:
        """Return the rates, as JSON."""
        return json.dumps(self.rates)

    def load(self, dumped: JsonObject) -> None:
        """Take in what was dumped."""
        self.rates = {currency: (arrives_in, rate) for currency, (arrives_in, rate) in dumped.items()}

    def book(
        self,
        source: JsonObject,
        *,
        amount: int,
        kind: Kind,
        fee: int = 0,
        application_fee: int = 0,
        account: str | None = None,
        category: str | None = None,
        description: str | None = None,
        available: bool = False,
    ) -> JsonObject:
        """Add a transaction for money that moved, and return it; the fees are in the currency that arrives.

        `account` is whose balance it is: by default its source's.
        """
        paid_in = source["currency"]
        currency, rate = self.rates.get(paid_in, (paid_in, None))
        amount = self.convert(amount, currency=paid_in)
        fees = [
            {
                "amount": part,
                "application": application,
                "currency": currency,
                "description": said,
                "type": of,
            }
            for part, application, said, of in (
                (fee, None, "Stripe processing fees", "stripe_fee"),
                (application_fee, APPLICATION, "application fee", "application_fee"),
            )
            if part
        ]
        return self._store.new(
            "balance_transaction",
            account=account or self._store.account_of(source),
            amount=amount,
            available_on=self._store.now() + (0 if available else TIME_TO_ARRIVE),
            balance_type="payments",
            currency=currency,
            description=description,
            exchange_rate=rate,
            fee=fee + application_fee,
            fee_details=fees,
            net=amount - fee - application_fee,
            reporting_category=category or CATEGORIES.get(kind, kind),
            source=source["id"],
            status="available" if available else "pending",
            type=kind,
        )
