"""Domains on which wallets may be shown: https://docs.stripe.com/payments/payment-methods/pmd-registration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypedDict

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

KIND = "payment_method_domain"
# A name of letters with a dot: no address, no port, no path, and not this machine.
DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?")
METHODS = ("amazon_pay", "apple_pay", "google_pay", "klarna", "link", "paypal")
# Nobody can serve Apple's file there: https://www.rfc-editor.org/rfc/rfc2606
UNVERIFIABLE = ".invalid"


class ElementsSessionParams(TypedDict):
    """What Stripe.js sends to find out what it may show: the page's host."""

    referrer_host: str


def create_domain(store: Store, params: Parameters, *, account: str | None) -> JsonObject:
    """Register a domain; one that is registered already is returned as it is."""
    name = params["domain_name"]
    if not DOMAIN.fullmatch(name):
        raise InvalidParameterError(f"Invalid domain name: {name}", param="domain_name")
    known = (each for each in store.ordered(KIND) if store.account_of(each) == account)
    same = next((each for each in known if each["domain_name"] == name), None)
    made = same or store.new(KIND, account=account, domain_name=name, enabled=params.get("enabled", True))
    return validate_domain(made)


def validate_domain(domain: JsonObject) -> JsonObject:
    """Look again which payment methods may be shown there."""
    for method in METHODS:
        domain[method] = {"status": "active"}
    if domain["domain_name"].endswith(UNVERIFIABLE):
        message = "The domain could not be verified."
        domain["apple_pay"] = {"status": "inactive", "status_details": {"error_message": message}}
    return domain


def update_domain(domain: JsonObject, params: Parameters) -> JsonObject:
    """Enable or disable a domain."""
    domain["enabled"] = params.get("enabled", domain["enabled"])
    return domain


def show_elements_session(store: Store, params: Parameters, *, account: str | None) -> JsonObject:
    """Tell which wallets may be shown on a page: on this machine all, elsewhere where they are registered."""
    host = params["referrer_host"]
    known = (each for each in store.ordered(KIND) if store.account_of(each) == account and each["enabled"])
    domain = next((each for each in known if each["domain_name"] == host), None)
    preferences = {}
    for method in ("apple_pay", "google_pay"):
        may_be = domain[method]["status"] == "active" if domain else not DOMAIN.fullmatch(host)
        preferences[f"{method}_preference"] = "enabled" if may_be else "disabled"
    return {"object": "elements_session", **preferences}
