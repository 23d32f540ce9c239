"""Thin events: what changed and where to ask for it, without the object.

See https://docs.stripe.com/event-destinations#thin-events. Stripe sends them for objects of v1 as well, as
`v1.payment_intent.succeeded`.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.store import JsonObject

KIND = "v2.core.event"
# A thin event has an id of its own. It is derived from its snapshot event's, so that both find each other.
_SNAPSHOT, _THIN = "evt_3", "evt_65"


def thin_event(snapshot: JsonObject) -> JsonObject:
    """Return the thin event that tells of the same change as a snapshot event."""
    item, request = snapshot["data"]["object"], snapshot["request"]
    asked = {"id": request["id"], "idempotency_key": request["idempotency_key"] or ""}
    return {
        "id": snapshot["id"].replace(_SNAPSHOT, _THIN, 1),
        "object": KIND,
        "type": f"v1.{snapshot['type']}",
        "created": timestamp(snapshot["created"]),
        "livemode": snapshot["livemode"],
        "context": snapshot.get("account"),
        "reason": {"type": "request", "request": asked} if asked["id"] else None,
        "related_object": {
            "id": item["id"],
            "type": item["object"],
            "url": f"/v1/{item['object'].replace('.', '/')}s/{item['id']}",
        },
        "snapshot_event": snapshot["id"],
    }


def snapshot_id(event_id: str) -> str:
    """Return the id of the snapshot event that a thin event belongs to."""
    return event_id.replace(_THIN, _SNAPSHOT, 1)


def timestamp(seconds: int) -> str:
    """Return a moment as v2 of the API writes it: `2027-01-15T08:00:00.000Z`."""
    return f"{datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC):%Y-%m-%dT%H:%M:%S.000Z}"
