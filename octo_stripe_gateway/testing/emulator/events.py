"""Events: what Stripe would say happened, and their signed delivery to the endpoint."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fnmatch
import hashlib
import heapq
import hmac
import itertools
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

import requests
import stripe

from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.versions import EVERY_VERSION, differences, render

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octo_stripe_gateway.testing.emulator.accounts import Accounts
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store
    from octo_stripe_gateway.testing.emulator.versions import Range

USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
# Types of events that tell what was different before, in `data.previous_attributes`.
CHANGES = ("updated", "charge.refunded", "charge.captured")
Order = Literal["created", "reversed", "shuffled"]


class Emit(Protocol):
    """Records an event about an object as it is at this moment."""

    def __call__(self, event_type: str, item: JsonObject, /, *, versions: Range = EVERY_VERSION) -> None: ...


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Tells how one attempt to deliver an event ended."""

    status: int | None
    error: str | None = None
    url: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclasses.dataclass
class LoggedEvent:
    """An event, with every attempt to deliver it.

    `payload` is what the endpoint gets, in its API version; `original` and `older` are what other
    versions are made of.
    """

    id: str
    type: str
    payload: JsonObject
    deliveries: list[Delivery] = dataclasses.field(default_factory=list)
    original: JsonObject = dataclasses.field(default_factory=dict, repr=False)
    older: JsonObject = dataclasses.field(default_factory=dict, repr=False)
    versions: Range = EVERY_VERSION

    @property
    def body(self) -> bytes:
        """The bytes that are signed and sent: JSON indented by two, as Stripe's."""
        return json.dumps(self.payload, indent=2).encode()

    def body_for(self, api_version: str) -> bytes:
        """Return the bytes for an endpoint of that API version."""
        return json.dumps(render(self.original, version=api_version, older=self.older), indent=2).encode()


@dataclasses.dataclass(frozen=True)
class Origin:
    """Names the API request that events come from; nothing for what nobody requested."""

    request_id: str | None = None
    idempotency_key: str | None = None


NOBODY = Origin()


def signature(body: bytes, *, secret: str, timestamp: int) -> str:
    """Return a `Stripe-Signature` header: HMAC-SHA256 of the time and the raw body."""
    signed = f"{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class Worker:
    """Runs jobs one after the other in a thread of its own, each when it is due."""

    def __init__(self) -> None:
        self._jobs: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stripe-emulator-events")
        self._thread.start()

    def stop(self) -> None:
        """Drop what isn't due yet and end the thread."""
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def run_in(self, seconds: float, job: Callable[[], object]) -> None:
        """Run the job after that many seconds."""
        with self._changed:
            heapq.heappush(self._jobs, (time.monotonic() + seconds, next(self._order), job))
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._jobs.clear()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            # What was to settle may have been settled by hand, or be forgotten.
            with contextlib.suppress(StripeApiError, KeyError):
                job()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._stopping:
                wait = self._jobs[0][0] - time.monotonic() if self._jobs else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._jobs)[2]
                self._changed.wait(wait)
        return None


class Events:
    """Records events and delivers them in order, each again until it is accepted."""

    def __init__(
        self,
        store: Store,
        *,
        accounts: Accounts,
        worker: Worker,
        webhook_url: str | None,
        webhook_secret: str,
        retry_delays: Sequence[float],
        timeout: float,
    ) -> None:
        self.webhook_url = webhook_url
        self.webhook_secret = webhook_secret
        self.api_version = stripe.api_version
        self.delivery_delay = 0.0
        self.copies = 1
        self.log: list[LoggedEvent] = []
        self.withheld: list[LoggedEvent] = []
        self.origin = NOBODY
        self._store = store
        self._accounts = accounts
        self._worker = worker
        self._retry_delays = tuple(retry_delays)
        self._timeout = timeout
        self._withholding: tuple[str, ...] = ()
        self._seen: dict[str, tuple[JsonObject, JsonObject]] = {}
        self._outstanding = 0
        self._delivered = threading.Condition()

    def emit(self, event_type: str, item: JsonObject, /, *, versions: Range = EVERY_VERSION) -> None:
        """Record an event with the object as it is now, and have it delivered."""
        if self.api_version not in versions:
            return
        event = self._record(event_type, item, versions=versions)
        if any(fnmatch.fnmatchcase(event_type, pattern) for pattern in self._withholding):
            self.withheld.append(event)
        else:
            self.schedule(event, copies=self.copies, delay=self.delivery_delay)

    def _record(self, event_type: str, item: JsonObject, *, versions: Range) -> LoggedEvent:
        account = self._store.account_of(item)
        shown, older = self._show(item)
        original = self._store.new(
            "event",
            account=account,
            api_version=stripe.api_version,
            data=self._data(event_type, shown, older=older),
            pending_webhooks=1 if self.webhook_url else 0,
            request={"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            type=event_type,
        )
        if self._accounts.is_connected(account):
            original["account"] = account
        payload = original
        if self.api_version != stripe.api_version:
            payload = render(original, version=self.api_version, older=older)
        event = LoggedEvent(original["id"], event_type, payload, [], original, older, versions)
        self.log.append(event)
        return event

    def _show(self, item: JsonObject) -> tuple[JsonObject, JsonObject]:
        older: JsonObject = {}
        if item["object"] == "charge":
            refunds = list(self._store.each("refund", charge=item["id"]))
            found = {"refunds": refunds, "released": self._store.released.get(item["id"])}
            older = copy.deepcopy({name: value for name, value in found.items() if value})
        return copy.deepcopy(item), older

    def _data(self, event_type: str, now: JsonObject, *, older: JsonObject) -> JsonObject:
        before, older_before = self._seen.get(now["id"], (now, {}))
        self._seen[now["id"]] = now, dict(older)
        if older_before:
            older["before"] = older_before
        changed = differences(before, now)
        tells = changed and event_type.endswith(CHANGES)
        return {"object": now, "previous_attributes": changed} if tells else {"object": now}

    def withhold(self, *patterns: str) -> None:
        """Keep back the events of these types (`payment_intent.*`), or all of them."""
        self._withholding = patterns or ("*",)

    def release(
        self,
        *,
        order: Order | Callable[[list[LoggedEvent]], Sequence[LoggedEvent]],
        copies: int,
        delay: float,
        keep_withholding: bool,
    ) -> list[LoggedEvent]:
        """Deliver what was kept back, in that order, and keep nothing back any more."""
        with self._store.lock:
            held, self.withheld = self.withheld, []
            if not keep_withholding:
                self._withholding = ()
        ordered = _ordered(held, order=order)
        for event in [event for event in ordered for _ in range(copies)]:
            self.schedule(event, copies=1, delay=delay)
        return ordered

    def schedule(self, event: LoggedEvent, *, copies: int, delay: float, attempt: int = 0) -> None:
        """Queue deliveries of an event; nothing while there is no endpoint."""
        if self.webhook_url is None:
            return
        for _ in range(copies):
            with self._delivered:
                self._outstanding += 1
            self._worker.run_in(delay, lambda: self._attempt(event, attempt=attempt))

    def deliver(
        self, event: LoggedEvent, *, secret: str | None, timestamp: int | None, api_version: str | None
    ) -> Delivery:
        """Send an event now, once, in the caller's thread."""
        body, header = self.signed(event, secret=secret, timestamp=timestamp, api_version=api_version)
        delivery = self._post(body, header=header)
        event.deliveries.append(delivery)
        return delivery

    def signed(
        self, event: LoggedEvent, *, secret: str | None, timestamp: int | None, api_version: str | None
    ) -> tuple[bytes, str]:
        """Return an event's raw body and its signature header, made at the real time."""
        at = int(time.time()) if timestamp is None else timestamp
        body = event.body_for(api_version) if api_version else event.body
        return body, signature(body, secret=secret or self.webhook_secret, timestamp=at)

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is left to deliver; return whether it came to that."""
        with self._delivered:
            return self._delivered.wait_for(lambda: self._outstanding == 0, timeout)

    def clear(self) -> None:
        """Forget every event, also those on their way."""
        self._worker.clear()
        self.log.clear()
        self.withheld.clear()
        self._seen.clear()
        self._withholding = ()
        with self._delivered:
            self._outstanding = 0
            self._delivered.notify_all()

    def _attempt(self, event: LoggedEvent, *, attempt: int) -> None:
        delivery = self.deliver(event, secret=None, timestamp=None, api_version=None)
        if not delivery.accepted and attempt < len(self._retry_delays):
            delay = self._retry_delays[attempt]
            self.schedule(event, copies=1, delay=delay, attempt=attempt + 1)
        with self._delivered:
            self._outstanding = max(0, self._outstanding - 1)
            self._delivered.notify_all()

    def _post(self, body: bytes, *, header: str) -> Delivery:
        if self.webhook_url is None:
            return Delivery(None, "There is no webhook endpoint.")
        headers: dict[str, Any] = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": header,
            "User-Agent": USER_AGENT,
        }
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    self.webhook_url,
                    data=body,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,  # a redirect is a failure to Stripe
                )
        except requests.RequestException as error:
            return Delivery(None, f"{type(error).__name__}: {error}", self.webhook_url)
        return Delivery(response.status_code, None, self.webhook_url)


def _ordered(
    held: list[LoggedEvent],
    *,
    order: Order | Callable[[list[LoggedEvent]], Sequence[LoggedEvent]],
) -> list[LoggedEvent]:
    if callable(order):
        return list(order(held))
    if order == "shuffled":
        return random.sample(held, len(held))
    return held[::-1] if order == "reversed" else held
