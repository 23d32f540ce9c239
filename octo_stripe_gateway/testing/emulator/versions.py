"""API versions: renders events for endpoints of older ones."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.store import JsonObject

# Before it, Stripe reports what a capture or a cancellation releases as a refund:
# https://docs.stripe.com/changelog/basil/2025-03-31/remove-refund-from-partial-capture-and-payment-cancellation-flow
BASIL = "2025-03-31.basil"
# From it on, every refund has `refund.*` events.
ACACIA = "2024-10-28.acacia"
# Before it, a charge contains its refunds.
NO_REFUNDS_IN_CHARGES = "2022-11-15"


@dataclasses.dataclass(frozen=True)
class Range:
    """The versions that an event exists in: from `since` on, and before `before`."""

    since: str = ""
    before: str = ""

    def __contains__(self, version: str) -> bool:
        return not is_before(version, self.since) and (not self.before or is_before(version, self.before))


EVERY_VERSION = Range()


def is_before(version: str, other: str) -> bool:
    """Return whether a version is older than another; both begin with their date."""
    return version[:10] < other[:10]


def render(payload: JsonObject, *, version: str, older: JsonObject) -> JsonObject:
    """Return an event as an endpoint of that version gets it; `older` holds what only older versions show."""
    data = payload["data"]
    now = data["object"]
    shown = {"object": _render_object(now, version=version, older=older)}
    if previous := data.get("previous_attributes"):
        before = _render_object(now | previous, version=version, older=older.get("before", {}))
        shown["previous_attributes"] = differences(before, shown["object"])
    return payload | {"api_version": version, "data": shown}


def differences(before: JsonObject, now: JsonObject) -> JsonObject:
    """Return the fields of `before` that have another value now."""
    return {name: value for name, value in before.items() if now.get(name) != value}


def _render_object(item: JsonObject, *, version: str, older: JsonObject) -> JsonObject:
    shown = copy.deepcopy(item)
    if item["object"] == "payment_intent":
        _render_intent(shown, version=version)
    if item["object"] == "charge":
        _render_charge(shown, version=version, older=older)
    return shown


def _render_intent(intent: JsonObject, *, version: str) -> None:
    if is_before(version, BASIL) and intent["cancellation_reason"] == "expired":
        intent["cancellation_reason"] = "automatic"


def _render_charge(charge: JsonObject, *, version: str, older: JsonObject) -> None:
    released: list[Any] = older.get("released", []) if is_before(version, BASIL) else []
    if released:
        charge["amount_refunded"] += sum(refund["amount"] for refund in released)
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        charge["amount_captured"] = charge["amount_captured"] or None
    if is_before(version, NO_REFUNDS_IN_CHARGES):
        refunds = [*older.get("refunds", []), *released]
        url = f"/v1/charges/{charge['id']}/refunds"
        charge["refunds"] = {"object": "list", "data": refunds, "has_more": False, "url": url}
