"""A server in a process of its own, under mixed load while Stripe fails: it leaks and loses nothing.

`SOAK_SECONDS=600 pytest tests/whole/test_soak.py -m slow --log-cli-level=INFO` is the long one.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import upkeep
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.support.api import GatewayApi
from tests.support.events import is_about
from tests.support.http_client import HttpClient
from tests.support.ledger import (
    assert_export_equals,
    assert_ledger_equals,
    assert_nothing_orphaned,
    lose_payment,
    sync_unsettled,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("way_to_the_database"),
    pytest.mark.skipif(
        "connection.vendor == 'sqlite'", reason="another process cannot open SQLite's in-memory database"
    ),
]

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
BUYERS = 3
MEBIBYTE = 2**20
# The allocator may keep this much from a moment with more requests at once.
MOST_GROWTH = 16 * MEBIBYTE
SAMPLES = 8
MOST_TRIES = 200
FAULTS = [
    Fault(kind="delay", seconds=0.6, method="*"),
    Fault(kind="delay", seconds=0.6, method="*", when="after"),
    Fault(method="*"),
    Fault(method="*", when="after"),
    Fault(method="*", when="after", save=False),
    Fault(method="*", status=503),
    Fault(method="*", status=429),
    Fault(kind="reset", method="*"),
    Fault(kind="reset", method="*", when="after"),
]

# The SDK may repeat a call itself, without its usual half-second pause.
SERVER = """
import json, sys
from django.conf import settings
settings.ALLOWED_HOSTS = ["127.0.0.1"]
settings.DATABASES["default"] |= json.loads(sys.argv[1])
settings.OCTO_STRIPE_GATEWAY |= {
    "STRIPE_API_BASE": sys.argv[2],
    "STRIPE_TIMEOUT": (1, 0.4),
    "STRIPE_MAX_NETWORK_RETRIES": 1,
}
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
import stripe
from werkzeug.serving import make_server
stripe._http_client.HTTPClient.INITIAL_DELAY = 0.01
stripe._http_client.HTTPClient.MAX_DELAY = 0.02
server = make_server("127.0.0.1", 0, application, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""

logger = logging.getLogger(__name__)


class Server(NamedTuple):
    """The process that is watched, and its address."""

    process: subprocess.Popen[str]
    url: str

    def count_memory(self) -> int:
        """Return the bytes of memory that it has."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def count_files(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@pytest.fixture
def server(way_to_the_database: None, stripe: StripeEmulator, tmp_path: Path) -> Iterator[Server]:
    """Serve the API from another process, over real HTTP and with connections of its own."""
    database = {name: connection.settings_dict[name] for name in ("NAME", "HOST", "PORT")}
    command = [sys.executable, "-c", SERVER, json.dumps(database), stripe.url]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        try:
            yield Server(process, f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


class Purchase(NamedTuple):
    """What a buyer knows to have paid and got back."""

    payment_id: int
    payment_intent_id: str
    amount: int
    refunded: int


class Shop:
    """Sells for a given time, and keeps what each buyer knows."""

    def __init__(self, server: Server, *, stripe: StripeEmulator) -> None:
        self.server = server
        self.stripe = stripe
        self.purchases: list[Purchase] = []
        self.statuses: Counter[int] = Counter()
        self.memory: list[int] = []
        self.is_open = threading.Event()
        self.seeds = itertools.count()

    def __str__(self) -> str:
        return ", ".join(
            (
                f"{len(self.purchases)} purchases, {WebhookEvent.objects.count()} events",
                f"answers {dict(self.statuses)}",
                f"Stripe's {dict(Counter(request.status for request in self.stripe.requests))}",
                f"MiB {[round(size / MEBIBYTE, 1) for size in self.memory]}",
            )
        )

    def sell(self, *, seconds: float) -> None:
        """Let the buyers buy for that long, alongside the commands that a host schedules."""
        self.is_open.set()
        with ThreadPoolExecutor(BUYERS + 1) as pool:
            jobs = [pool.submit(self._serve, next(self.seeds)) for _each in range(BUYERS)]
            jobs.append(pool.submit(self._clean_up))
            for _each in range(SAMPLES):
                time.sleep(seconds / SAMPLES)
                self.memory.append(self.server.count_memory())
            self.is_open.clear()
        for job in jobs:
            job.result()

    def _serve(self, seed: int) -> None:
        client = HttpClient(self.server.url)
        buyer = Buyer(self, api=GatewayApi(cast(Client, client)), chance=random.Random(seed))
        with client.session:
            while self.is_open.is_set():
                if purchase := buyer.buy():
                    self.purchases.append(purchase)
        self.statuses.update(buyer.statuses)

    def _clean_up(self) -> None:
        try:
            while self.is_open.is_set():
                # A later run finishes whatever meets a fault.
                upkeep.make_due()
                for step in (upkeep.SYNCS, upkeep.EVENTS):
                    upkeep.work_off(step, limit=10_000)
                time.sleep(min(5, SECONDS / 10))
        finally:
            connections.close_all()


class Buyer:
    """Creates, pays, completes, reads and refunds payments one by one, while Stripe fails."""

    def __init__(self, shop: Shop, *, api: GatewayApi, chance: random.Random) -> None:
        self.stripe = shop.stripe
        self.api = api
        self.chance = chance
        self.statuses: Counter[int] = Counter()

    def buy(self) -> Purchase | None:
        """Return the outcome, or None if nothing was paid."""
        if self.chance.random() < 0.5:
            self.stripe.add_fault(self.chance.choice(FAULTS))
        amount = self.chance.randrange(500, 50_000)
        payment = self._create(amount)
        if payment is None or self.chance.random() < 0.1:
            return None
        intent_id = payment["stripePaymentIntentId"]
        self._pay(intent_id)
        self._deliver(intent_id)
        completed = self._persist(lambda: self.api.complete(payment))
        if completed.json()["status"] != "CONFIRMED":
            completed = self._persist(lambda: self.api.capture(payment))
        assert completed.json()["status"] == "CONFIRMED"
        assert self._persist(lambda: self.api.retrieve(payment)).json()["amount"] == amount
        refunded = self._refund(payment, amount=amount)
        self._deliver(intent_id)
        return Purchase(payment["id"], intent_id, amount, refunded)

    def _create(self, amount: int) -> Any:
        method = self.chance.choice(["automatic", "automatic", "manual"])
        body = {"amount": amount, "currency": "usd", "captureMethod": method}
        key = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        by = self.chance.choice(["key", "uuid", "nothing"])
        if by == "nothing":
            # Sent only once: again would be another purchase.
            response = self._send(lambda: self.api.create(body))
        elif by == "uuid":
            response = self._persist(lambda: self.api.create(body | {"uuid": key}))
        else:
            response = self._persist(lambda: self.api.create(body, **{"Idempotency-Key": key}))
        return response.json() if response.status_code == 201 else None

    def _pay(self, intent_id: str) -> None:
        if self.chance.random() < 0.1:
            self.stripe.confirm(intent_id, "pm_card_visa_chargeDeclined")
        self.stripe.confirm(intent_id)

    def _refund(self, payment: Any, *, amount: int) -> int:
        refunded = 0
        for _each in range(self.chance.choice([0, 0, 1, 2])):
            part = self.chance.choice([None, self.chance.randrange(100, amount // 4)])
            body = None if part is None else {"amount": part}
            key = {"Idempotency-Key": f"{payment['uuid']} {part}"}
            if self.chance.random() < 0.5:
                self._persist(partial(self.api.refund, payment, body, **key))
            else:
                # Sent only once: again might refund twice. Reconciliation finishes what got no answer.
                self._send(partial(self.api.refund, payment, body))
            refunded = amount if part is None else refunded + part
            if refunded == amount:
                break
        return refunded

    def _deliver(self, intent_id: str) -> None:
        """Have Stripe deliver the intent's events in any order, some of them twice and some never."""
        events = [event for event in self.stripe.events[-300:] if is_about(event, intent_id)]
        for event in self.chance.choices(events, k=len(events)):
            delivery = self.stripe.deliver_webhook(event)
            assert delivery.accepted, delivery
            self.statuses[delivery.status or 0] += 1

    def _persist(self, request: Callable[[], Any]) -> Any:
        """Send a request until it is answered."""
        for _each in range(MOST_TRIES):
            response = self._send(request)
            if response.status_code in {200, 201}:
                return response
            time.sleep(0.02)
        raise AssertionError(f"Still {response.status_code}: {response.text}")

    def _send(self, request: Callable[[], Any]) -> Any:
        response = request()
        self.statuses[response.status_code] += 1
        assert response.status_code in {200, 201, 409, 503}, response.content
        return response


def test_soak(server: Server, stripe: StripeEmulator) -> None:
    stripe.webhook_url = f"{server.url}/bookings/webhooks"
    # The emulator's own deliveries would pile up on a slow machine.
    stripe.withhold()
    shop = Shop(server, stripe=stripe)
    shop.sell(seconds=SECONDS / 3)
    memory, files = server.count_memory(), server.count_files()
    shop.sell(seconds=SECONDS * 2 / 3)
    stripe.clear_faults()
    wait_for_no_connections()
    grown, opened = server.count_memory() - memory, server.count_files() - files
    logger.info("%s; memory grew by %d bytes, open files from %d by %d", shop, grown, files, opened)
    assert {request.status for request in stripe.requests} & {None, 429, 500, 503}
    sync_unsettled()
    upkeep.work_off(upkeep.EVENTS, limit=10_000)
    assert not WebhookEvent.objects.exclude(status__in=["processed", "ignored"]).exists()
    assert_ledger_equals(stripe)
    assert_charged_once(shop.purchases, stripe=stripe)
    bring_trouble(shop.purchases, stripe=stripe)
    assert_ledger_equals(stripe)
    assert_books_close(stripe)
    assert grown < MOST_GROWTH
    assert opened <= BUYERS


def test_rows_lost_in_the_middle_come_back(server: Server, stripe: StripeEmulator) -> None:
    stripe.webhook_url = f"{server.url}/bookings/webhooks"
    stripe.withhold()
    shop = Shop(server, stripe=stripe)
    shop.sell(seconds=SECONDS / 4)
    # As after restoring a backup, but with gaps in the middle.
    lost = list(Payment.objects.order_by("pk"))[::2]
    for payment in lost:
        lose_payment(payment)
    shop.sell(seconds=SECONDS / 4)
    stripe.clear_faults()
    lose_refunds(Payment.objects.exclude(amount_refunded=0).last())
    call_command("reconcile_payments", "--from", "2020-01-01", "--adopt")
    PaymentChange.objects.exclude(deliver_at=None).update(deliver_at=timezone.now())
    WebhookEvent.objects.exclude(retry_at=None).update(retry_at=timezone.now())
    call_command("maintain_payments")
    known = {payment.uuid for payment in lost if payment.stripe_payment_intent_id}
    assert known <= set(Payment.objects.values_list("uuid", flat=True))
    assert_ledger_equals(stripe)
    assert_nothing_orphaned(stripe)
    assert_books_close(stripe)
    call_command("reconcile_payments", "--from", "2020-01-01")


def bring_trouble(purchases: Sequence[Purchase], *, stripe: StripeEmulator) -> None:
    """Make refunds fail late and banks dispute payments, with events in the wrong order."""
    before = len(stripe.events)
    made = [refund for refund in stripe.refunds.values() if refund["status"] == "succeeded"]
    for refund in made[:6]:
        stripe.settle_refund(refund["id"], status="failed")
    whole = [purchase for purchase in purchases if not purchase.refunded]
    for end, purchase in zip(itertools.cycle(("won", "lost", "open")), whole[:9], strict=False):
        dispute = stripe.open_dispute(purchase.payment_intent_id)
        if end != "open":
            stripe.close_dispute(dispute["id"], won=end == "won")
    for event in reversed(stripe.events[before:]):
        assert stripe.deliver_webhook(event).accepted


def assert_books_close(stripe: StripeEmulator) -> None:
    """Check that after maintenance the day's export equals Stripe's record."""
    call_command("maintain_payments")
    assert not Payment.objects.exclude(next_booking_at=None).exists()
    assert_export_equals(stripe)


def lose_refunds(payment: Payment | None) -> None:
    assert payment
    StripeRequest.objects.filter(payment=payment, kind="refund").delete()
    payment.refunds.all().delete()


def wait_for_no_connections() -> None:
    """Wait until no other session uses the tests' database: a server closes its own after the answer.

    Sessions that pgbouncer keeps need only be idle.
    """
    idle = "AND state <> 'idle'" if connection.settings_dict["PORT"] else ""
    for _ in range(100):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                f" AND backend_type = 'client backend' AND pid <> pg_backend_pid() {idle}"
            )
            (others,) = cursor.fetchone()
        if not others:
            return
        time.sleep(0.05)
    raise AssertionError(f"{others} connections are left over.")


def assert_charged_once(purchases: Sequence[Purchase], *, stripe: StripeEmulator) -> None:
    """Check that Stripe charged and refunded what each buyer knows of, and nothing else."""
    paid = [charge for charge in stripe.charges.values() if charge["paid"]]
    charged = {
        charge["payment_intent"]: (charge["amount_captured"], charge["amount_refunded"]) for charge in paid
    }
    assert len(paid) == len(charged) == len(purchases)
    assert charged == {each.payment_intent_id: (each.amount, each.refunded) for each in purchases}
    rows = Payment.objects.exclude(amount_received=0).values_list("pk", "stripe_payment_intent_id")
    assert set(rows) == {(each.payment_id, each.payment_intent_id) for each in purchases}
