"""The work that is measured, each with its standard of comparison."""

from __future__ import annotations

import functools
import hashlib
import hmac
import itertools
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from django.utils import timezone

from octo_stripe_gateway.models import Payment
from tests.benchmarks.settings import API_KEY, WEBHOOK_SECRET
from tests.benchmarks.upstream import make_intent

OURS = "/bookings/webhooks"
FLOOR = "/floor/webhooks"
BATCH = 2000
INTENT, EVENT, UUID = "<intent>", "<event>", "<uuid>"
numbers = itertools.count(1)
RUN = f"{time.time_ns():x}"

Prepare = Callable[[int], list[bytes]]


class Work(NamedTuple):
    """Requests of one kind; those that change a payment need one each, the rest can `repeat`."""

    name: str
    prepare: Prepare
    repeat: bool = False
    status: str = "200"
    most: int = 20_000


class Case(NamedTuple):
    """Our work, its standard of comparison, and the speed ratios to reach; 0 means no target."""

    name: str
    work: Work
    floor: Work
    must: float = 0.0
    moonshot: float = 0.0


def make_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {API_KEY}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if method != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sign(body: bytes, *, secret: str) -> str:
    moment = int(time.time())
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def make_payments(count: int, **columns: Any) -> list[Payment]:
    """Write payments as they are after their intent was made."""
    now = int(time.time())
    made = [
        Payment(
            amount=2000,
            currency="usd",
            stripe_payment_intent_id=f"pi_{RUN}{next(numbers)}",
            **{"intent_status": "requires_payment_method", **columns},
            intent_as_of=now - 60,
            metadata={"hotel": "Ritz"},
            request_fingerprint="0" * 64,
            reseller_reference=f"ORDER-{number}",
        )
        for number in range(count)
    ]
    return Payment.objects.bulk_create(made, batch_size=1000)


def make_paid_payments(count: int) -> list[Payment]:
    return make_payments(
        count, status="paid", intent_status="succeeded", amount_received=2000, accepted_at=timezone.now()
    )


def make_event(intent_id: str, *, payment_uuid: uuid.UUID | None, size: int = 2700) -> bytes:
    """Return a `payment_intent.succeeded` of about that many bytes."""
    names = {INTENT: intent_id, EVENT: f"evt_{RUN}{next(numbers)}", UUID: str(payment_uuid or "")}
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
        "created": int(time.time()),
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


def deliver(path: str, body: bytes, *, secret: str = WEBHOOK_SECRET) -> bytes:
    return make_request("POST", path, body, Stripe_Signature=sign(body, secret=secret))


def first_delivery(path: str, *, size: int = 2700) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        return [
            deliver(path, make_event(str(each.stripe_payment_intent_id), payment_uuid=each.uuid, size=size))
            for each in make_payments(count)
        ]

    return prepare


def foreign_event(count: int) -> list[bytes]:
    bodies = [make_event(f"pi_{RUN}foreign{next(numbers)}", payment_uuid=None) for _ in range(count)]
    return [deliver(OURS, body) for body in bodies]


def forged_signature(path: str) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        body = make_event("pi_forged", payment_uuid=None)
        return [deliver(path, body, secret="whsec_other")]

    return prepare


def create(path: str) -> Prepare:
    body = b'{"amount": 2000, "currency": "usd", "metadata": {"hotel": "Ritz"}}'
    return lambda _count: [make_request("POST", path, body)]


def read(path: str) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        return [make_request("GET", path.format(each.pk)) for each in make_payments(min(count, BATCH))]

    return prepare


def change(method: str, path: str, *, paid: bool = False) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        made = make_paid_payments(count) if paid else make_payments(count)
        return [make_request(method, path.format(each.pk)) for each in made]

    return prepare


FIRST = Work("first delivery", first_delivery(OURS))
DUPLICATE = Work("duplicate", first_delivery(OURS), repeat=True, most=300)
READ = Work("read", read("/bookings/payments/{}"), repeat=True)
HAND_WRITTEN = Work("verify, UPDATE by ORM", first_delivery(FLOOR))
CREATE = Work("create", create("/bookings/payments"), repeat=True, status="201")
SDK_CREATE = Work("bare view calling the SDK", create("/floor/payments"), repeat=True, status="201")

COMPLETE = Work("complete", change("PATCH", "/bookings/payments/{}/complete"))
REFUND = Work("refund", change("POST", "/bookings/payments/{}/refund", paid=True))

CASES = [
    Case("webhook, first delivery", FIRST, HAND_WRITTEN, 0.75, 1.0),
    Case(
        "webhook, first delivery, beside the same statements by hand",
        FIRST,
        Work("same statements by cursor", first_delivery("/floor/safe-webhooks")),
    ),
    # `prepare` sends these requests once before they are measured.
    Case("webhook, duplicate", DUPLICATE, FIRST, 1.2, 1.5),
    Case("webhook, foreign event", Work("foreign", foreign_event), FIRST, 1.2, 1.5),
    Case(
        "webhook, forged signature",
        Work("forged", forged_signature(OURS), repeat=True, status="400"),
        Work("empty view", forged_signature("/floor/empty"), repeat=True),
        0.7,
        0.85,
    ),
    Case(
        "webhook, 200 kB",
        Work("200 kB", first_delivery(OURS, size=200_000), most=300),
        Work("verify, UPDATE by ORM", first_delivery(FLOOR, size=200_000), most=300),
    ),
    Case(
        "read",
        READ,
        Work("JsonResponse, same query", read("/floor/payments/{}"), repeat=True),
        0.95,
        1.3,
    ),
    Case("create", CREATE, SDK_CREATE, 0.95, 1.3),
    Case(
        "create, beside a view that writes too",
        CREATE,
        Work("SDK, INSERT and UPDATE", create("/floor/safe-payments"), repeat=True, status="201"),
    ),
    Case("complete", COMPLETE, Work("SDK and ORM", change("POST", "/floor/payments/{}/complete"))),
    Case(
        "complete, beside a view that locks too",
        COMPLETE,
        Work("SDK and ORM, under a lock", change("POST", "/floor/safe-payments/{}/complete")),
    ),
    Case("refund", REFUND, Work("SDK and ORM", change("POST", "/floor/payments/{}/refund", paid=True))),
    Case(
        "refund, beside a view that reserves and locks too",
        REFUND,
        Work("SDK and ORM, under locks", change("POST", "/floor/safe-payments/{}/refund", paid=True)),
    ),
]
