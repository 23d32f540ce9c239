"""Stripe's events as the benchmarks send them; needs neither Django nor the app."""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import json
import time
import uuid

from tests.benchmarks.upstream import make_intent

INTENT, EVENT, UUID, CREATED = "<intent>", "<event>", "<uuid>", 1234567890
numbers = itertools.count(1)
# Part of every id: those of earlier runs are still in the database.
RUN = f"{time.time_ns():x}"


def sign(body: bytes, *, secret: str) -> str:
    """Return the header that Stripe would send with the body."""
    moment = int(time.time())
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def make_event(
    intent_id: str, *, payment_uuid: uuid.UUID | str = "", size: int = 2700, age: int = 0
) -> bytes:
    """Return a `payment_intent.succeeded` of about that many bytes, made `age` seconds ago."""
    names = {INTENT: intent_id, EVENT: f"evt_{RUN}{next(numbers)}", UUID: str(payment_uuid)}
    names[str(CREATED)] = str(int(time.time()) - age)
    text = _make_template(size)
    for placeholder, value in names.items():
        text = text.replace(placeholder, value)
    return text.encode()


@functools.cache
def _make_template(size: int) -> str:
    # Encoding JSON anew for every request would take longer than sending it.
    intent = make_intent(INTENT)
    intent |= {"status": "succeeded", "amount_received": 2000, "metadata": {"octo_payment": UUID}}
    intent |= {"latest_charge": "ch_0123456789abcdefghijklmn", "x_lines": []}
    event = {
        "id": EVENT,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": CREATED,
        "data": {"object": intent},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_0123456789abcd", "idempotency_key": str(uuid.uuid4())},
        "type": "payment_intent.succeeded",
    }
    line = {"object": "line_item", "amount": 2000, "price": {"id": "price_01234567890123456789", "tax": None}}
    missing = size - len(json.dumps(event, indent=2))
    intent["x_lines"] = [line] * max(0, missing // len(json.dumps(line, indent=12)))
    intent["description"] = "x" * max(0, size - len(json.dumps(event, indent=2)))
    return json.dumps(event, indent=2)
