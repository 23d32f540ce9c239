"""What fails while buyers buy, and the count of the money afterwards."""

from __future__ import annotations

import datetime as dt
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import requests
from django.db import connections
from django.db.models import F
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks.inbox import LEASE
from tests.cluster.apps import REJECTED
from tests.cluster.parts import Cluster, wait_for
from tests.settings import OCTO_STRIPE_GATEWAY
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.http_client import HttpClient
from tests.support.ledger import assert_ledger_equals, assert_nothing_orphaned

BUYERS = 6
PRICE = 2000
# Between purchases, once there are enough and only the harm isn't over.
PAUSE = 1
MOST_TRIES = 400
SETTLE_SECONDS = 120
# An answer that waited for a broker or a cache to the end would take as long as they hang.
HANG_SECONDS = 12
NOTICED_SECONDS = 5
MAINTENANCE_SECONDS = 30
MADE_UP_SECONDS = 60
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

    def run(self, harm: Callable[[Shop, threading.Event], str | None], *, purchases: int) -> str:
        """Let buyers buy while harm is done, wait until all is settled, and count."""
        began, over, sent = time.monotonic(), threading.Event(), len(self.stripe.events)
        self.slowest.clear()
        self.statuses.clear()
        with ThreadPoolExecutor(BUYERS + 1) as pool:
            harming = pool.submit(harm, self, over)
            try:
                bought = self._buy_together(pool, purchases // BUYERS)
            finally:
                over.set()
            while not harming.done():
                bought += self._buy_together(pool, 1)
                time.sleep(PAUSE)
            told = harming.result()
        wait_for(self._is_settled, what="the end of all work", seconds=SETTLE_SECONDS)
        self._count(bought)
        if harm in UNNOTICED:
            assert max(self.statuses) < 500, self.statuses
            assert max(self.slowest.values()) < NOTICED_SECONDS, self.slowest
            deliveries = [each for event in self.stripe.events[sent:] for each in event.deliveries]
            assert [each for each in deliveries if not each.accepted] == []
        seconds = time.monotonic() - began
        slowest = ", ".join(f"{name} {most:.1f} s" for name, most in sorted(self.slowest.items()))
        exact = f"{len(bought)} purchases exact in {seconds:.0f} s"
        return "; ".join(filter(None, [exact, str(dict(self.statuses)), f"slowest: {slowest}", told]))

    def make_api(self) -> GatewayApi:
        return GatewayApi(cast(Client, HttpClient(self.cluster.url)))

    @contextmanager
    def without_upkeep(self) -> Iterator[None]:
        for part in self.cluster.upkeep:
            part.kill()
        yield
        for part in self.cluster.upkeep:
            part.start()

    def _buy_together(self, pool: ThreadPoolExecutor, number: int) -> list[dict[str, Any]]:
        buyers = [pool.submit(self._buy, number) for _each in range(BUYERS)]
        return [each for buyer in buyers for each in buyer.result()]

    def _buy(self, number: int) -> list[dict[str, Any]]:
        api, chance = self.make_api(), random.Random()
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
        self._ask("read", lambda: api.retrieve(payment))
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


def kill_parts(shop: Shop, over: threading.Event) -> None:
    """Kill nodes, the worker and upkeep, wherever they are in their work."""
    cluster, chance = shop.cluster, random.Random()
    parts = [*cluster.nodes, cluster.worker, *cluster.upkeep]
    while not over.is_set() or parts:
        time.sleep(chance.uniform(0.2, 1))
        part = chance.choice(parts or cluster.nodes)
        part.kill()
        part.start()
        parts = [each for each in parts if each is not part]


def restart_one_by_one(shop: Shop, over: threading.Event) -> None:
    """Restart the nodes in good order, as a deployment does."""
    nodes = [*shop.cluster.nodes]
    while nodes or not over.is_set():
        shop.cluster.restart(nodes.pop() if nodes else random.choice(shop.cluster.nodes))


def fail_over_and_back(shop: Shop, _over: threading.Event) -> None:
    """Lose the primary twice, so that each database has been both."""
    for _each in range(2):
        time.sleep(1)
        shop.cluster.fail_over()


def lose_replica(shop: Shop, _over: threading.Event) -> str:
    """Have the replica fall behind, hang and be killed: lists may lack what is new, and go on."""
    primary, replica, api = shop.cluster.primary, shop.cluster.standby, shop.make_api()
    for node in shop.cluster.nodes:
        # They may have found it down a moment ago, and do without it for a while.
        shop.cluster.restart(node)
    # As if there were a second one, by which commits go on.
    primary.set("synchronous_standby_names", "")
    replica.execute("SELECT pg_wal_replay_pause()")
    payment = api.create().json()

    def read() -> list[Any]:
        listed = api.list_payments()
        return [listed.status_code, payment["id"] in [row["id"] for row in listed.json()]]

    assert [api.retrieve(payment).status_code, *read()] == [404, 200, False]
    replica.execute("SELECT pg_wal_replay_resume()")
    wait_for(lambda: api.retrieve(payment).status_code == 200 and read() == [200, True], what="what is new")
    slowest = 0.0
    for number in (signal.SIGSTOP, signal.SIGKILL):
        replica.send(number)
        for _each in range(20):
            began = time.monotonic()
            assert read() == [200, True]
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.1)
    api.cancel(payment)
    replica.kill()
    replica.start()
    replica.serve(primary)
    return f"slowest list without it {slowest:.1f} s"


def hang_redis(shop: Shop, _over: threading.Event) -> None:
    """Let broker and cache hang for a while."""
    shop.cluster.redis.send(signal.SIGSTOP)
    time.sleep(HANG_SECONDS)
    shop.cluster.redis.send(signal.SIGCONT)


def rely_on_worker(shop: Shop, over: threading.Event) -> None:
    """Do without upkeep, so that nobody but the worker processes events."""
    with shop.without_upkeep():
        over.wait()
        waiting = WebhookEvent.objects.filter(status="received")
        wait_for(lambda: not waiting.exists(), what="the worker", seconds=30)
        connections.close_all()


def kill_worker_in_task(shop: Shop, _over: threading.Event) -> str:
    """Kill the worker in mid-task, and leave what it has taken up to maintenance every half minute."""
    cluster = shop.cluster
    booking = Booking.objects.create(price=PRICE, currency="usd")
    payment = shop.make_api().create({"payable": {"type": "booking", "id": booking.pk}}).json()
    taken = WebhookEvent.objects.filter(payment_intent_id=payment["stripePaymentIntentId"], status="received")
    with shop.without_upkeep():
        with cluster.primary.connect() as connection:
            # Whoever processes its event waits for the payment.
            connection.execute(
                "SELECT 1 FROM octo_stripe_gateway_payment WHERE id = %s FOR UPDATE", [payment["id"]]
            )
            shop.stripe.confirm(payment["stripePaymentIntentId"])
            is_taken = taken.filter(retry_at__gt=F("received_at") + LEASE / 2)
            wait_for(lambda: is_taken.exists(), what="the worker in mid-task")
            cluster.worker.kill()
        killed_at, events = timezone.now(), list(is_taken)
        # The longest that it may take: a run comes just before the claim ends, the next half a minute later.
        claimed_until = max(event.retry_at or killed_at for event in events)
        time.sleep(max(0, (claimed_until - timezone.now()).total_seconds() - 6))
        for pause in (MAINTENANCE_SECONDS, 0):
            began = time.monotonic()
            cluster.maintain()
            time.sleep(max(0, pause - (time.monotonic() - began)))
        for event in events:
            event.refresh_from_db()
        connections.close_all()
        processed = [event.processed_at for event in events if event.processed_at]
        assert len(processed) == len(events)
        seconds = (max(processed) - killed_at).total_seconds()
        assert seconds < MADE_UP_SECONDS
    cluster.worker.start()
    return f"a worker killed in mid-task made up for in {seconds:.0f} s"


def do_nothing(_shop: Shop, _over: threading.Event) -> None:
    """Let all of it work, with two runs of upkeep at once."""


# What no buyer may notice, nor Stripe.
UNNOTICED = (do_nothing, rely_on_worker, restart_one_by_one, hang_redis)
SCENARIOS: dict[str, Callable[[Shop, threading.Event], str | None]] = {
    "calm": do_nothing,
    "worker alone": rely_on_worker,
    "worker killed": kill_worker_in_task,
    "kills": kill_parts,
    "rolling restart": restart_one_by_one,
    "failover": fail_over_and_back,
    "replica down": lose_replica,
    "hanging broker and cache": hang_redis,
}
