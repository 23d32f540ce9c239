"""The balance: a transaction for all money that moves, with Stripe's fee."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

Kind = Literal["charge", "payment", "refund", "payment_refund", "refund_failure", "adjustment"]

FEE_RATE, FIXED_FEE = 0.029, 30
CATEGORIES: dict[Kind, str] = {"payment": "charge", "payment_refund": "refund"}


def fee_for(amount: int) -> int:
    """Return what Stripe keeps of a payment: 2.9 % and 30 minor units, and never more than all of it."""
    return min(amount, round(amount * FEE_RATE) + FIXED_FEE)


class Balance:
    """Adds balance transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def book(
        self,
        source: JsonObject,
        *,
        amount: int,
        kind: Kind,
        fee: int = 0,
        category: str | None = None,
        description: str | None = None,
    ) -> JsonObject:
        """Add the transaction of money that moved, and return it."""
        currency = source["currency"]
        details = {"amount": fee, "application": None, "currency": currency, "type": "stripe_fee"}
        return self._store.new(
            "balance_transaction",
            account=self._store.account_of(source),
            amount=amount,
            available_on=self._store.now(),
            balance_type="payments",
            currency=currency,
            description=description,
            exchange_rate=None,
            fee=fee,
            fee_details=[details | {"description": "Stripe processing fees"}] if fee else [],
            net=amount - fee,
            reporting_category=category or CATEGORIES.get(kind, kind),
            source=source["id"],
            status="pending",
            type=kind,
        )
