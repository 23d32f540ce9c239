"""Customers, as far as a payment names one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.methods import NO_ADDRESS
from octo_stripe_gateway.testing.emulator.params import merged_metadata

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

FIELDS = ("description", "email", "name", "phone")


def create_customer(store: Store, params: Parameters, *, account: str | None) -> JsonObject:
    """Create a customer."""
    empty: JsonObject = dict.fromkeys((*FIELDS, "address", "currency", "default_source", "discount"))
    made = store.new(
        "customer",
        account=account,
        **empty,
        balance=0,
        delinquent=False,
        invoice_prefix=None,
        metadata={},
        shipping=None,
    )
    return update_customer(made, params)


def update_customer(customer: JsonObject, params: Parameters) -> JsonObject:
    """Change what is known of a customer."""
    customer |= {name: params[name] or None for name in FIELDS if name in params}
    if "address" in params:
        customer["address"] = NO_ADDRESS | params["address"] if params["address"] else None
    if "metadata" in params:
        customer["metadata"] = merged_metadata(customer["metadata"], change=params["metadata"])
    return customer
