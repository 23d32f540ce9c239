"""API versions: renders events and answers for endpoints and clients of older ones.

The versions are those that the SDK can register an endpoint for.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, get_args

import stripe
from stripe import params as p

from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.params import fields_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject

# Before it, Stripe reports what a capture or a cancellation releases as a refund:
# https://docs.stripe.com/changelog/basil/2025-03-31/remove-refund-from-partial-capture-and-payment-cancellation-flow
BASIL = "2025-03-31.basil"
# From it on, every refund has `refund.*` events.
ACACIA = "2024-10-28.acacia"
# Before it, a charge contains its refunds, and an intent its charges in place of `latest_charge`.
NO_REFUNDS_IN_CHARGES = "2022-11-15"
# From it on, an intent takes the dashboard's payment methods unless told otherwise.
AUTOMATIC = "2023-08-16"
# From it on, an intent is created with `allowed_payment_method_types`.
ENDIVE = "2026-09-30.endive"
KNOWN: frozenset[str] = frozenset(get_args(fields_of(p.WebhookEndpointCreateParams)["api_version"]))


@dataclasses.dataclass(frozen=True)
class Range:
    """The versions that an event exists in: from `since` on, and before `before`."""

    since: str = ""
    before: str = ""

    def __contains__(self, version: str) -> bool:
        return not is_before(version, self.since) and (not self.before or is_before(version, self.before))


EVERY_VERSION = Range()


def check_version(version: str | None) -> str:
    """Return the version that a request is answered in, or refuse one that Stripe never had."""
    if version is None:
        return stripe.api_version
    if version not in KNOWN:
        raise StripeApiError(f"Invalid Stripe API version: {version}", saved=False)
    return version


def modernize(params: Parameters, *, version: str) -> Parameters:
    """Return what an older version's parameters for a new intent are called and mean today."""
    params = dict(params)
    if is_before(version, ENDIVE) and "payment_method_types" in params:
        params["allowed_payment_method_types"] = params.pop("payment_method_types")
    if is_before(version, AUTOMATIC) and "automatic_payment_methods" not in params:
        params["automatic_payment_methods"] = {"enabled": "false"}
        params.setdefault("allowed_payment_method_types", ["card"])
    return params


def render_answer(answer: Any, *, version: str, older: Callable[[JsonObject], JsonObject]) -> Any:
    """Return an answer as a client of that version gets it; `older` finds what only older versions show."""
    if isinstance(answer, list):
        return [render_answer(item, version=version, older=older) for item in answer]
    if not isinstance(answer, dict):
        return answer
    shown = {name: render_answer(value, version=version, older=older) for name, value in answer.items()}
    if shown.get("object") in ("payment_intent", "charge") and "status" in shown:
        return _render_object(shown, version=version, older=older(shown))
    return shown


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
        _render_intent(shown, version=version, older=older)
    if item["object"] == "charge":
        _render_charge(shown, version=version, older=older)
    return shown


def _render_intent(intent: JsonObject, *, version: str, older: JsonObject) -> None:
    if is_before(version, BASIL) and intent.get("cancellation_reason") == "expired":
        intent["cancellation_reason"] = "automatic"
    if is_before(version, NO_REFUNDS_IN_CHARGES) and "charges" in older:
        intent.pop("latest_charge", None)
        charges = render_answer(older["charges"], version=version, older=lambda _charge: {})
        url = f"/v1/charges?payment_intent={intent['id']}"
        intent["charges"] = {"object": "list", "data": charges, "has_more": False, "url": url}


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
