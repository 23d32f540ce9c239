"""Events by name: does what leads to one, as `stripe trigger` of Stripe's command line does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from octo_stripe_gateway.testing.emulator.commands import Commands
    from octo_stripe_gateway.testing.emulator.events import LoggedEvent


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The parameters of a payment and the steps that lead to an event."""

    steps: tuple[Callable[[Commands, str], object], ...]
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def trigger(stripe: Commands, event_type: str, *, payment_intent: str | None = None) -> LoggedEvent:
    """Bring an event about, with a new payment or the one given, and return it; raises ValueError."""
    recipe = RECIPES.get(event_type)
    if recipe is None:
        raise ValueError(f"{event_type!r} is none of {', '.join(sorted(RECIPES))}.")
    before = len(stripe.events)
    intent_id = payment_intent or stripe.create_intent(**recipe.params)["id"]
    for step in recipe.steps:
        step(stripe, intent_id)
    for event in reversed(stripe.events[before:]):
        if event.type == event_type:
            return event
    status = stripe.payment_intents[intent_id]["status"]
    raise ValueError(f"{intent_id} is {status}: there was no {event_type}.")


def _pay(stripe: Commands, intent_id: str) -> None:
    if not stripe.payment_intents[intent_id]["latest_charge"]:
        stripe.confirm(intent_id)


def _refund(stripe: Commands, intent_id: str) -> None:
    stripe.refund(intent_id)


def _latest(objects: Mapping[str, Any], intent_id: str) -> str:
    ids = [item["id"] for item in objects.values() if item["payment_intent"] == intent_id]
    return str(ids[-1])


def _fail_refund(stripe: Commands, intent_id: str) -> None:
    stripe.settle_refund(_latest(stripe.refunds, intent_id), status="failed")


def _dispute(stripe: Commands, intent_id: str) -> None:
    stripe.open_dispute(intent_id)


def _win(stripe: Commands, intent_id: str) -> None:
    stripe.close_dispute(_latest(stripe.disputes, intent_id), won=True)


def _warn(stripe: Commands, intent_id: str) -> None:
    stripe.warn_of_fraud(intent_id)


def _confirm(payment_method: str) -> Callable[[Commands, str], object]:
    return lambda stripe, intent_id: stripe.confirm(intent_id, payment_method)


HELD = {"capture_method": "manual"}
RECIPES = {
    "payment_intent.created": Recipe(()),
    **dict.fromkeys(("payment_intent.succeeded", "charge.succeeded", "charge.updated"), Recipe((_pay,))),
    **dict.fromkeys(
        ("payment_intent.payment_failed", "charge.failed"),
        Recipe((_confirm("pm_card_visa_chargeDeclined"),)),
    ),
    "payment_intent.requires_action": Recipe((_confirm("pm_card_threeDSecure2Required"),)),
    **dict.fromkeys(
        ("payment_intent.processing", "charge.pending"), Recipe((_confirm("pm_usBankAccount_success"),))
    ),
    "payment_intent.canceled": Recipe((lambda stripe, intent_id: stripe.cancel(intent_id),)),
    "payment_intent.amount_capturable_updated": Recipe((_pay,), HELD),
    "charge.captured": Recipe((_pay, lambda stripe, intent_id: stripe.capture(intent_id)), HELD),
    "charge.expired": Recipe((_pay, lambda stripe, intent_id: stripe.expire(intent_id)), HELD),
    **dict.fromkeys(("refund.created", "charge.refunded"), Recipe((_pay, _refund))),
    **dict.fromkeys(
        ("refund.failed", "refund.updated", "charge.refund.updated"), Recipe((_pay, _refund, _fail_refund))
    ),
    **dict.fromkeys(("charge.dispute.created", "charge.dispute.funds_withdrawn"), Recipe((_pay, _dispute))),
    **dict.fromkeys(
        ("charge.dispute.updated", "charge.dispute.funds_reinstated", "charge.dispute.closed"),
        Recipe((_pay, _dispute, _win)),
    ),
    "radar.early_fraud_warning.created": Recipe((_pay, _warn)),
    "radar.early_fraud_warning.updated": Recipe((_pay, _warn, _refund)),
}
