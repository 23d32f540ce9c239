"""Events: recorded as Stripe would, and delivered to the endpoints."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Protocol

import stripe

from octo_stripe_gateway.testing.emulator.delivery import Delivery, post, signature
from octo_stripe_gateway.testing.emulator.thin import thin_event
from octo_stripe_gateway.testing.emulator.versions import EVERY_VERSION, Range, differences, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from octo_stripe_gateway.testing.emulator.accounts import Accounts
    from octo_stripe_gateway.testing.emulator.delivery import Worker
    from octo_stripe_gateway.testing.emulator.endpoints import Destination, Payload, WebhookEndpoints
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

# Types of events that have `data.previous_attributes`.
CHANGES = ("updated", "charge.refunded", "charge.captured")
Order = Literal["created", "reversed", "shuffled"]


class Emit(Protocol):
    """Records an event about an object as it is at this moment.

    `again` means that it reports the same change as the object's previous event.
    """

    def __call__(
        self, event_type: str, item: JsonObject, /, *, versions: Range = EVERY_VERSION, again: bool = False
    ) -> None: ...


@dataclasses.dataclass
class LoggedEvent:
    """An event, with every attempt to deliver it.

    `payload` is what the endpoint in the settings gets, in its API version; the other versions are rendered
    from `original` and `older`.
    """

    id: str
    type: str
    payload: JsonObject
    deliveries: list[Delivery] = dataclasses.field(default_factory=list)
    original: JsonObject = dataclasses.field(default_factory=dict, repr=False)
    older: JsonObject = dataclasses.field(default_factory=dict, repr=False)
    account: str | None = None
    versions: Range = EVERY_VERSION

    @property
    def body(self) -> bytes:
        """The bytes that are signed and sent: JSON indented by two, as Stripe's."""
        return json.dumps(self.payload, indent=2).encode()

    def body_for(self, endpoint: Destination, *, api_version: str | None = None) -> bytes:
        """Return the bytes that an endpoint gets, in its API version or in the one given."""
        if endpoint.payload == "thin":
            return json.dumps(thin_event(self.original), indent=2).encode()
        version = api_version or endpoint.api_version
        if endpoint.names_account and version == self.payload["api_version"]:
            return self.body
        told = render(self.original, version=version, older=self.older)
        if not endpoint.names_account:
            told.pop("account", None)
        return json.dumps(told, indent=2).encode()


@dataclasses.dataclass(frozen=True)
class Origin:
    """The API request that caused an event; empty if no request did."""

    request_id: str | None = None
    idempotency_key: str | None = None


NOBODY = Origin()
WITHHELD = "withheld"


@dataclasses.dataclass(frozen=True)
class _Seen:
    """An object's last event: the object, the fields that only older versions have, and what changed."""

    item: JsonObject
    older: JsonObject
    changed: JsonObject


class Events:
    """Records events and delivers them in order, each again until it is accepted."""

    def __init__(
        self,
        store: Store,
        *,
        accounts: Accounts,
        endpoints: WebhookEndpoints,
        worker: Worker,
        retry_delays: Sequence[float],
        timeout: float,
    ) -> None:
        self.delivery_delay = 0.0
        self.copies = 1
        self.log: list[LoggedEvent] = []
        self.withheld: list[LoggedEvent] = []
        self.origin = NOBODY
        self.on_event: Callable[[LoggedEvent], object] | None = None
        self.on_delivery: Callable[[LoggedEvent, Delivery], object] | None = None
        self._store = store
        self._accounts = accounts
        self._endpoints = endpoints
        self._worker = worker
        worker.handlers["deliver"] = self._attempt
        self._retry_delays = tuple(retry_delays)
        self._timeout = timeout
        self._withholding: tuple[str, ...] = ()
        self._by_id: dict[str, LoggedEvent] = {}
        self._seen: dict[str, _Seen] = {}
        # For the file: the events that it doesn't have as they are.
        self._changed: dict[str, LoggedEvent] = {}
        self._withheld_text = ""
        self._outstanding = 0
        self._delivered = threading.Condition()

    def emit(
        self, event_type: str, item: JsonObject, /, *, versions: Range = EVERY_VERSION, again: bool = False
    ) -> None:
        """Record an event with the object as it is now, and queue its deliveries."""
        account = self._store.account_of(item)
        endpoints = self._endpoints.list_for(event_type, account=account)
        if not any(endpoint.api_version in versions for endpoint in endpoints):
            return
        event = self._record(event_type, item, versions=versions, again=again)
        if any(fnmatch.fnmatchcase(event_type, pattern) for pattern in self._withholding):
            self.withheld.append(event)
        else:
            self.schedule(event, copies=self.copies, delay=self.delivery_delay)

    def _record(self, event_type: str, item: JsonObject, *, versions: Range, again: bool) -> LoggedEvent:
        account = self._store.account_of(item)
        shown, older = self._show(item)
        original = self._store.new(
            "event",
            account=account,
            api_version=stripe.api_version,
            data=self._data(event_type, shown, older=older, again=again),
            pending_webhooks=0,
            request={"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            type=event_type,
        )
        if self._accounts.is_connected(account):
            original["account"] = account
        event = LoggedEvent(original["id"], event_type, original, [], original, older, account, versions)
        original["pending_webhooks"] = len(self._receivers(event))
        if self._endpoints.api_version != stripe.api_version:
            event.payload = render(original, version=self._endpoints.api_version, older=older)
        self._log(event)
        if self.on_event:
            self.on_event(event)
        return event

    def _log(self, event: LoggedEvent) -> None:
        self.log.append(event)
        self._by_id[event.id] = event
        self._changed[event.id] = event

    def _receivers(self, event: LoggedEvent) -> list[Destination]:
        endpoints = self._endpoints.list_for(event.type, account=event.account)
        return [one for one in endpoints if one.url and one.api_version in event.versions]

    def _show(self, item: JsonObject) -> tuple[JsonObject, JsonObject]:
        # An intent's charges are not kept with each of its events: only versions before 2022-11-15 have them.
        older = self._store.older_fields(item) if item["object"] == "charge" else {}
        return copy.deepcopy(item), older

    def _data(self, event_type: str, now: JsonObject, *, older: JsonObject, again: bool) -> JsonObject:
        seen = self._seen.get(now["id"], _Seen(now, {}, {}))
        if older_before := seen.older:
            older["before"] = older_before
        changed = seen.changed if again else differences(seen.item, now)
        self._seen[now["id"]] = _Seen(now, _without_before(older), changed)
        tells = changed and event_type.endswith(CHANGES)
        return {"object": now, "previous_attributes": changed} if tells else {"object": now}

    def withhold(self, *patterns: str) -> None:
        """Withhold events of these types (`payment_intent.*`), or all of them."""
        self._withholding = patterns or ("*",)

    def release(
        self,
        *,
        order: Order | Callable[[list[LoggedEvent]], Sequence[LoggedEvent]],
        copies: int,
        delay: float,
        keep_withholding: bool,
    ) -> list[LoggedEvent]:
        """Deliver the withheld events in this order; stops withholding unless told to keep on."""
        with self._store.lock:
            held, self.withheld = self.withheld, []
            if not keep_withholding:
                self._withholding = ()
        ordered = _ordered(held, order=order)
        for event in [event for event in ordered for _ in range(copies)]:
            self.schedule(event, copies=1, delay=delay)
        return ordered

    def schedule(self, event: LoggedEvent, *, copies: int, delay: float) -> None:
        """Queue an event's deliveries; none if no endpoint gets it."""
        for endpoint in self._receivers(event):
            for _ in range(copies):
                self._queue(delay, event=event.id, endpoint=endpoint.id, attempt=0)

    def deliver(
        self, event: LoggedEvent, *, secret: str | None, timestamp: int | None, api_version: str | None
    ) -> Delivery:
        """Send an event now, once, in the caller's thread, to the first endpoint that takes it."""
        receivers = self._receivers(event)
        endpoint = receivers[0] if receivers else self._endpoints.own
        return self._send(event, endpoint, secret=secret, timestamp=timestamp, api_version=api_version)

    def signed(
        self,
        event: LoggedEvent,
        *,
        secret: str | None,
        timestamp: int | None,
        api_version: str | None,
        endpoint: str,
        payload: Payload | None,
    ) -> tuple[bytes, str]:
        """Return an event's raw body and its signature header, as the endpoint would get it."""
        found = self._endpoints.find(endpoint)
        if found is None:
            raise KeyError(endpoint)
        if payload:
            found = dataclasses.replace(found, payload=payload)
        return _signed(event, found, secret=secret, timestamp=timestamp, api_version=api_version)

    def show(self, item: JsonObject) -> JsonObject:
        """Return an event as the API shows it: with the endpoints that have yet to accept it."""
        logged = self._by_id[item["id"]]
        accepted = {delivery.url for delivery in logged.deliveries if delivery.accepted}
        return item | {"pending_webhooks": max(0, item["pending_webhooks"] - len(accepted))}

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is left to deliver; returns False on timeout."""
        with self._delivered:
            return self._delivered.wait_for(lambda: self._outstanding == 0, timeout)

    def clear(self) -> None:
        """Forget every event, including those not delivered yet."""
        self._worker.clear()
        self.log.clear()
        self._by_id.clear()
        self.withheld.clear()
        self._seen.clear()
        self._withholding = ()
        self._changed.clear()
        with self._delivered:
            self._outstanding = 0
            self._delivered.notify_all()

    def _queue(self, delay: float, **job: object) -> None:
        with self._delivered:
            self._outstanding += 1
        self._worker.run_in(delay, "deliver", **job)

    def _attempt(self, *, event: str, endpoint: str, attempt: int) -> None:
        try:
            logged, found = self._by_id.get(event), self._endpoints.find(endpoint)
            if logged and found and found.url:
                self._try(logged, found, attempt=attempt)
        finally:
            self._end_attempt()

    def _try(self, event: LoggedEvent, endpoint: Destination, *, attempt: int) -> None:
        delivery = self._send(event, endpoint, secret=None, timestamp=None, api_version=None)
        if not delivery.accepted and attempt < len(self._retry_delays):
            delay = self._retry_delays[attempt]
            self._queue(delay, event=event.id, endpoint=endpoint.id, attempt=attempt + 1)

    def _end_attempt(self) -> None:
        with self._delivered:
            self._outstanding = max(0, self._outstanding - 1)
            self._delivered.notify_all()

    def _send(
        self,
        event: LoggedEvent,
        endpoint: Destination,
        *,
        secret: str | None,
        timestamp: int | None,
        api_version: str | None,
    ) -> Delivery:
        body, header = _signed(event, endpoint, secret=secret, timestamp=timestamp, api_version=api_version)
        if endpoint.url is None:
            delivery = Delivery(None, "There is no webhook endpoint.")
        else:
            delivery = post(endpoint.url, body=body, header=header, timeout=self._timeout)
        event.deliveries.append(delivery)
        with self._store.lock:
            self._changed[event.id] = event
        if self.on_delivery:
            self.on_delivery(event, delivery)
        return delivery

    def dump(self) -> dict[str, str | None]:
        """Return what the event objects themselves don't hold, as JSON."""
        self._withheld_text = ""
        return {event.id: _dumped(event) for event in self.log} | self._dump_withheld()

    def dump_changes(self) -> dict[str, str | None]:
        """Return what changed since the last dump."""
        changed, self._changed = self._changed, {}
        return {event_id: _dumped(event) for event_id, event in changed.items()} | self._dump_withheld()

    def _dump_withheld(self) -> dict[str, str | None]:
        text = json.dumps([[event.id for event in self.withheld], self._withholding])
        if self._withheld_text == text:
            return {}
        self._withheld_text = text
        return {WITHHELD: text}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take in what was dumped; the jobs that deliver events are loaded beside it."""
        for event_id, one in dumped.items():
            if event_id != WITHHELD:
                self._restore(event_id, **one)
        withheld, withholding = dumped.get(WITHHELD, ([], ()))
        self.withheld = [self._by_id[event_id] for event_id in withheld]
        self._withholding = tuple(withholding)

    def expect(self, deliveries: int) -> None:
        """Count the deliveries that were loaded with the worker's jobs."""
        self._outstanding = deliveries

    def _restore(
        self, event_id: str, *, older: JsonObject, versions: list[str], deliveries: list[Any]
    ) -> None:
        original = self._store.get(event_id)
        payload = original
        if self._endpoints.api_version != stripe.api_version:
            payload = render(original, version=self._endpoints.api_version, older=older)
        tried = [Delivery(*one) for one in deliveries]
        account = self._store.account_of(original)
        event = LoggedEvent(
            event_id, original["type"], payload, tried, original, older, account, Range(*versions)
        )
        self._log(event)
        shown = original["data"]["object"]
        changed = original["data"].get("previous_attributes", {})
        self._seen[shown["id"]] = _Seen(shown, _without_before(older), changed)


def _without_before(older: JsonObject) -> JsonObject:
    return {name: value for name, value in older.items() if name != "before"}


def _dumped(event: LoggedEvent) -> str:
    return json.dumps(
        {
            "older": event.older,
            "versions": [event.versions.since, event.versions.before],
            "deliveries": [[one.status, one.error, one.url] for one in event.deliveries],
        }
    )


def _signed(
    event: LoggedEvent,
    endpoint: Destination,
    *,
    secret: str | None,
    timestamp: int | None,
    api_version: str | None,
) -> tuple[bytes, str]:
    # The real time, not the emulator's: the receiver measures the tolerance by it.
    at = int(time.time()) if timestamp is None else timestamp
    body = event.body_for(endpoint, api_version=api_version)
    return body, signature(body, secret=secret or endpoint.secret, timestamp=at)


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
