"""Tells which payment an event of the emulator belongs to."""

from __future__ import annotations

from octo_stripe_gateway.testing.emulator import LoggedEvent


def is_about(event: LoggedEvent, intent_id: str) -> bool:
    """Tell whether an event is about an intent, or about a charge or refund of it."""
    item = event.payload["data"]["object"]
    return intent_id in (item["id"], item.get("payment_intent"))
