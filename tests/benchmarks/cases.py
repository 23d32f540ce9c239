"""The work that is measured, each with its standard of comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from django.utils import timezone

from octo_stripe_gateway.models import Payment
from tests.benchmarks.events import RUN, make_event, numbers, sign
from tests.benchmarks.hand.models import Payment as PaymentByHand
from tests.benchmarks.settings import API_KEY, WEBHOOK_SECRET

OURS, BY_HAND = "/bookings", "/hand"
BATCH = 2000

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
    hand: Work
    must: float = 0.0
    moonshot: float = 0.0


def make_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {API_KEY}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if method != "GET":
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


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


def make_payments_by_hand(count: int, *, paid: bool = False) -> list[PaymentByHand]:
    """Write the same payments into the tables of the code by hand."""
    columns: dict[str, Any] = {"status": "paid", "amount_received": 2000} if paid else {}
    made = [
        PaymentByHand(
            amount=2000,
            currency="usd",
            stripe_payment_intent_id=f"pi_{RUN}{next(numbers)}",
            metadata={"hotel": "Ritz"},
            **columns,
        )
        for _number in range(count)
    ]
    return PaymentByHand.objects.bulk_create(made, batch_size=1000)


def make_for(site: str, count: int, *, paid: bool = False) -> list[Any]:
    """Write payments where that site reads them."""
    if site == BY_HAND:
        return list(make_payments_by_hand(count, paid=paid))
    return list(make_paid_payments(count) if paid else make_payments(count))


def deliver(path: str, body: bytes, *, secret: str = WEBHOOK_SECRET) -> bytes:
    return make_request("POST", path, body, Stripe_Signature=sign(body, secret=secret))


def first_delivery(path: str, *, of: str = OURS, size: int = 2700) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        return [
            deliver(path, make_event(each.stripe_payment_intent_id, payment_uuid=each.uuid, size=size))
            for each in make_for(of, count)
        ]

    return prepare


def foreign_event(count: int) -> list[bytes]:
    bodies = [make_event(f"pi_{RUN}foreign{next(numbers)}") for _ in range(count)]
    return [deliver(f"{OURS}/webhooks", body) for body in bodies]


def forged_signature(path: str) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        return [deliver(path, make_event("pi_forged"), secret="whsec_other")]

    return prepare


def create(site: str) -> Prepare:
    body = b'{"amount": 2000, "currency": "usd", "metadata": {"hotel": "Ritz"}}'
    return lambda _count: [make_request("POST", f"{site}/payments", body)]


def read(site: str) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        made = make_for(site, min(count, BATCH))
        return [make_request("GET", f"{site}/payments/{each.pk}") for each in made]

    return prepare


def change(method: str, site: str, action: str, *, paid: bool = False) -> Prepare:
    def prepare(count: int) -> list[bytes]:
        made = make_for(site, count, paid=paid)
        return [make_request(method, f"{site}/payments/{each.pk}/{action}") for each in made]

    return prepare


FIRST = Work("first delivery", first_delivery(f"{OURS}/webhooks"))
DUPLICATE = Work("duplicate", first_delivery(f"{OURS}/webhooks"), repeat=True, most=300)
READ = Work("read", read(OURS), repeat=True)
FIRST_BY_HAND = Work("by hand", first_delivery(f"{BY_HAND}/webhooks", of=BY_HAND))
CREATE = Work("create", create(OURS), repeat=True, status="201")
CREATE_BY_HAND = Work("by hand", create(BY_HAND), repeat=True, status="201")

CASES = [
    Case("webhook, first delivery", FIRST, FIRST_BY_HAND),
    # `prepare` sends these requests once before they are measured.
    Case("webhook, duplicate", DUPLICATE, FIRST, 1.2, 1.5),
    Case("webhook, foreign event", Work("foreign", foreign_event), FIRST, 1.2, 1.5),
    Case(
        "webhook, forged signature",
        Work("forged", forged_signature(f"{OURS}/webhooks"), repeat=True, status="400"),
        Work("empty view", forged_signature(f"{BY_HAND}/empty"), repeat=True),
        0.7,
        0.85,
    ),
    Case(
        "webhook, 200 kB",
        Work("200 kB", first_delivery(f"{OURS}/webhooks", size=200_000), most=300),
        Work("by hand", first_delivery(f"{BY_HAND}/webhooks", of=BY_HAND, size=200_000), most=300),
    ),
    Case("read", READ, Work("by hand", read(BY_HAND), repeat=True)),
    Case("create", CREATE, CREATE_BY_HAND),
    Case(
        "complete",
        Work("complete", change("PATCH", OURS, "complete")),
        Work("by hand", change("PATCH", BY_HAND, "complete")),
    ),
    Case(
        "refund",
        Work("refund", change("POST", OURS, "refund", paid=True)),
        Work("by hand", change("POST", BY_HAND, "refund", paid=True)),
    ),
]
