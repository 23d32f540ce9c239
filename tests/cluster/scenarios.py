"""What fails while buyers buy, and the count of the money afterwards."""

from __future__ import annotations

import datetime as dt
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import requests
from django.db import connections
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.cluster.apps import REJECTED
from tests.cluster.parts import Cluster, wait_for
from tests.settings import OCTO_STRIPE_GATEWAY
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.http_client import HttpClient
from tests.support.ledger import assert_ledger_equals, assert_nothing_orphaned

BUYERS = 6
PRICE = 2000
MOST_TRIES = 400
SETTLE_SECONDS = 120
FINAL = {200, 201, 400, 422}


class Shop:
    """Buyers, Stripe, and what both were told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.stripe = StripeEmulator(
            port=cluster.ports["STRIPE"],
            webhook_url=f"{cluster.url}/bookings/webhooks",
            webhook_secret=str(OCTO_STRIPE_GATEWAY["STRIPE_WEBHOOK_SECRET"]),
            webhook_timeout=5,
            retry_delays=(0.2, 0.5, 1, 2, 4, 8, 15),
        )
        self.ids: dict[int, str] = {}
        self.slowest: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.lock = threading.Lock()

    def run(self, harm: Callable[[Cluster, threading.Event], None], *, purchases: int) -> str:
        """Let buyers buy while harm is done, wait until all is settled, and count."""
        began, over = time.monotonic(), threading.Event()
        self.slowest.clear()
        self.statuses.clear()
        with ThreadPoolExecutor(BUYERS + 1) as pool:
            harming = pool.submit(harm, self.cluster, over)
            buyers = [pool.submit(self._buy, seed, purchases // BUYERS) for seed in range(BUYERS)]
            try:
                bought = [each for buyer in buyers for each in buyer.result()]
            finally:
                over.set()
            harming.result()
        wait_for(self._is_settled, what="the end of all work", seconds=SETTLE_SECONDS)
        self._count(bought)
        if harm in UNNOTICED:
            assert max(self.statuses) < 500, self.statuses
        seconds = time.monotonic() - began
        slowest = ", ".join(f"{name} {most:.1f} s" for name, most in sorted(self.slowest.items()))
        return f"{len(bought)} purchases exact in {seconds:.0f} s; {dict(self.statuses)}; slowest: {slowest}"

    def _buy(self, seed: int, number: int) -> list[dict[str, Any]]:
        client = HttpClient(self.cluster.url)
        api = GatewayApi(cast(Client, client))
        chance = random.Random(f"{seed} {time.time()}")
        try:
            return [self._buy_one(api, chance) for _each in range(number)]
        finally:
            connections.close_all()

    def _buy_one(self, api: GatewayApi, chance: random.Random) -> dict[str, Any]:
        booking = self._persist("database", lambda: Booking.objects.create(price=PRICE, currency="usd"))
        body = {"payable": {"type": "booking", "id": booking.pk}}
        keyed = {"Idempotency-Key": str(uuid.uuid4())}
        payment = self._ask("create", lambda: api.create(body, **keyed))
        with self.lock:
            assert self.ids.setdefault(payment["id"], payment["uuid"]) == payment["uuid"]
        self.stripe.confirm(payment["stripePaymentIntentId"])
        if chance.random() < 0.7:
            self._ask("complete", lambda: api.complete(payment))
        if chance.random() < 0.3:
            refund = {"Idempotency-Key": str(uuid.uuid4())}
            self._ask("refund", lambda: api.refund(payment, {"amount": 500}, **refund))
        bought: dict[str, Any] = payment
        return bought

    def _ask(self, name: str, request: Callable[[], Any]) -> Any:
        return self._persist(name, lambda: self._send(name, request)).json()

    def _send(self, name: str, request: Callable[[], Any]) -> Any:
        began = time.monotonic()
        try:
            response = request()
        finally:
            with self.lock:
                self.slowest[name] = max(self.slowest[name], time.monotonic() - began)  # type: ignore[assignment]
        with self.lock:
            self.statuses[response.status_code] += 1
        if response.status_code not in FINAL:
            raise requests.RequestException(response.text)
        return response

    def _persist(self, name: str, work: Callable[[], Any]) -> Any:
        """Try again and again, as a client does whose request was not answered for good."""
        for _each in range(MOST_TRIES):
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - this part of the cluster is down just now
                last = error
                connections.close_all()
                time.sleep(0.2)
        raise AssertionError(f"{name}: {last}")

    def _is_settled(self) -> bool:
        connections.close_all()
        now = timezone.now()
        WebhookEvent.objects.filter(retry_at__gt=now).update(retry_at=now)
        StripeRequest.objects.open().update(created_at=now - dt.timedelta(hours=1))
        Payment.objects.filter(next_check_at__gt=now).update(next_check_at=now)
        PaymentChange.objects.filter(deliver_at__gt=now).update(deliver_at=now)
        return not any(
            rows.exists()
            for rows in (
                WebhookEvent.objects.exclude(status__in=["processed", "ignored"]),
                StripeRequest.objects.open(),
                Payment.objects.filter(next_check_at__isnull=False),
                PaymentChange.objects.filter(deliver_at__isnull=False),
            )
        )

    def _count(self, bought: list[dict[str, Any]]) -> None:
        """Compare every cent with Stripe's, and every integer id with what buyers were told."""
        assert_ledger_equals(self.stripe)
        assert_nothing_orphaned(self.stripe)
        uuids = {str(key) for key in Payment.objects.values_list("uuid", flat=True)}
        assert {payment["uuid"] for payment in bought} <= uuids
        known = dict(Payment.objects.values_list("pk", "uuid"))
        assert self.ids == {key: str(known[key]) for key in self.ids}
        paid = [each for each in self.stripe.payment_intents.values() if each["amount_received"]]
        kept = [each for each in paid if uuid.UUID(each["metadata"]["octo_payment"]).int % REJECTED]
        # The host had its last word on each, once: a second one would fail, and the first is committed.
        assert Ticket.objects.count() == len(kept)


def kill_parts(cluster: Cluster, over: threading.Event) -> None:
    """Kill nodes, the worker and upkeep, wherever they are in their work."""
    chance = random.Random()
    while not over.wait(chance.uniform(1, 3)):
        part = chance.choice([*cluster.nodes, cluster.worker, *cluster.upkeep])
        part.kill()
        part.start()


def restart_one_by_one(cluster: Cluster, over: threading.Event) -> None:
    """Restart the nodes in good order, as a deployment does."""
    while not over.wait(1):
        for node in cluster.nodes:
            cluster.restart(node)


def fail_over_and_back(cluster: Cluster, over: threading.Event) -> None:
    """Lose the primary twice, so that each database has been both."""
    for _each in range(2):
        over.wait(2)
        cluster.fail_over()


def hang_redis(cluster: Cluster, over: threading.Event) -> None:
    """Let broker and cache hang for some seconds at a time."""
    while not over.wait(1):
        cluster.redis.send(signal.SIGSTOP)
        over.wait(4)
        cluster.redis.send(signal.SIGCONT)


def rely_on_worker(cluster: Cluster, over: threading.Event) -> None:
    """Do without upkeep, so that nobody but the worker processes events."""
    for part in cluster.upkeep:
        part.kill()
    over.wait()
    waiting = WebhookEvent.objects.filter(status="received")
    wait_for(lambda: not waiting.exists(), what="the worker", seconds=30)
    connections.close_all()
    for part in cluster.upkeep:
        part.start()


def do_nothing(_cluster: Cluster, _over: threading.Event) -> None:
    """Let all of it work, with two runs of upkeep at once."""


# What no buyer may notice.
UNNOTICED = (do_nothing, rely_on_worker, restart_one_by_one)
SCENARIOS: dict[str, Callable[[Cluster, threading.Event], None]] = {
    "calm": do_nothing,
    "worker alone": rely_on_worker,
    "kills": kill_parts,
    "rolling restart": restart_one_by_one,
    "failover": fail_over_and_back,
    "hanging broker and cache": hang_redis,
}
