"""One emulated Stripe: start it, talk HTTP to it, and command it from a test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.accounts import Accounts
from octo_stripe_gateway.testing.emulator.api import Api
from octo_stripe_gateway.testing.emulator.balance import Balance
from octo_stripe_gateway.testing.emulator.cards import VOUCHERS
from octo_stripe_gateway.testing.emulator.charges import WEEK, Charges
from octo_stripe_gateway.testing.emulator.commands import Commands, RefundStatus
from octo_stripe_gateway.testing.emulator.connect import Connect
from octo_stripe_gateway.testing.emulator.control import Control
from octo_stripe_gateway.testing.emulator.delivery import Worker
from octo_stripe_gateway.testing.emulator.disputes import Disputes
from octo_stripe_gateway.testing.emulator.endpoints import WebhookEndpoints
from octo_stripe_gateway.testing.emulator.events import Events
from octo_stripe_gateway.testing.emulator.faults import Faults
from octo_stripe_gateway.testing.emulator.fraud import FraudWarnings
from octo_stripe_gateway.testing.emulator.intents import PaymentIntents
from octo_stripe_gateway.testing.emulator.methods import PaymentMethods
from octo_stripe_gateway.testing.emulator.refunds import Refunds
from octo_stripe_gateway.testing.emulator.server import LOOPBACK, Application, HttpServer
from octo_stripe_gateway.testing.emulator.state import Part, Records, State
from octo_stripe_gateway.testing.emulator.store import Store
from octo_stripe_gateway.testing.emulator.trigger import trigger
from octo_stripe_gateway.testing.emulator.versions import EVERY_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from octo_stripe_gateway.testing.emulator.delivery import Delivery
    from octo_stripe_gateway.testing.emulator.events import LoggedEvent
    from octo_stripe_gateway.testing.emulator.store import JsonObject
    from octo_stripe_gateway.testing.emulator.versions import Range

DEFAULT_PORT = 8421
SAVE_AFTER = 0.5
LATE_REFUNDS: dict[str, RefundStatus] = {"pends": "succeeded", "fails": "failed"}


class StripeEmulator(Commands):
    """A small stateful Stripe on loopback.

    Use it as a context manager, or call `start` and `stop`. `port=0` takes a free port.
    `retry_delays` are the seconds before each further attempt to deliver an event. With
    `settle_after` pending refunds, refunds that fail late and `processing` intents settle by
    themselves after that many seconds; without it they wait for a command. Authorizations can be
    captured for `hold_seconds` (`capture_before`). Below Stripe's week they also expire by themselves;
    otherwise only on command. `api_keys` are the only keys accepted; by default every well-formed test
    key is. `state` names a file that keeps everything: objects, idempotency keys and undelivered events;
    a request is answered only once its work is saved there. `on_event` and `on_delivery` are called with
    each event and each attempt to deliver one, and can't change them. Raises StateError.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = LOOPBACK,
        webhook_url: str | None = None,
        webhook_secret: str = "whsec_test",  # noqa: S107
        clock: Callable[[], float] = time.time,
        retry_delays: Sequence[float] = (0.1, 0.5, 2.0),
        webhook_timeout: float = 10.0,
        settle_after: float | None = None,
        hold_seconds: float = WEEK,
        api_keys: Collection[str] | None = None,
        state: str | Path | None = None,
        on_event: Callable[[LoggedEvent], object] | None = None,
        on_delivery: Callable[[LoggedEvent, Delivery], object] | None = None,
    ) -> None:
        if host != LOOPBACK:
            raise ValueError(f"The emulator listens on {LOOPBACK} only, not on {host}.")
        self._port, self._settle_after = port, settle_after
        self._server: HttpServer | None = None
        self._worker = Worker()
        self._store = Store(clock=clock)
        self._accounts = Accounts(api_keys=api_keys)
        self._faults = Faults()
        self._endpoints = WebhookEndpoints(
            self._store, accounts=self._accounts, url=webhook_url, secret=webhook_secret
        )
        self._events = Events(
            self._store,
            accounts=self._accounts,
            endpoints=self._endpoints,
            worker=self._worker,
            retry_delays=retry_delays,
            timeout=webhook_timeout,
        )
        self._events.on_event, self._events.on_delivery = on_event, on_delivery
        self._hold_seconds = hold_seconds
        self._application = self._build()
        self._state = self._open(state)

    def _build(self) -> Application:
        store, emit = self._store, self._emit
        self._balance = balance = Balance(store)
        methods = PaymentMethods(store)
        self._connect = connect = Connect(store, accounts=self._accounts, emit=emit, balance=balance)
        charges = Charges(store, emit=emit, balance=balance, connect=connect)
        charges.hold_seconds = self._hold_seconds
        self._intents = PaymentIntents(
            store,
            emit=emit,
            charges=charges,
            methods=methods,
            connect=connect,
            challenge_url=self._challenge_url,
        )
        self._refunds = Refunds(store, emit=emit, balance=balance, connect=connect)
        self._disputes = Disputes(store, emit=emit, balance=balance)
        self._fraud = FraudWarnings(store, emit=emit)
        self._charges = charges
        jobs = (
            self.book,
            self.expire,
            self.open_dispute,
            self.settle,
            self.settle_refund,
            self.warn_of_fraud,
        )
        for job in jobs:
            self._worker.handlers[job.__name__] = job
        api = Api(
            store,
            accounts=self._accounts,
            intents=self._intents,
            refunds=self._refunds,
            methods=methods,
            disputes=self._disputes,
            endpoints=self._endpoints,
            connect=connect,
            balance=balance,
            events=self._events,
        )
        return Application(
            store,
            api=api,
            accounts=self._accounts,
            events=self._events,
            faults=self._faults,
            control=Control(self),
            save=lambda: self._state.save(),
        )

    def _open(self, path: str | Path | None) -> State:
        parts: dict[str, Part] = {
            "accounts": self._accounts,
            "endpoints": self._endpoints,
            "refunds": self._refunds,
            "balance": self._balance,
            "connect": self._connect,
            "jobs": self._worker,
        }
        # In this order: events are about objects.
        records: dict[str, Records] = {
            "store": self._store,
            "idempotency_keys": self._application.keys,
            "events": self._events,
        }
        state = State(path, parts=parts, records=records, lock=self._store.lock)
        state.load()
        self._events.expect(self._worker.count("deliver"))
        if path:
            self._worker.handlers["save"] = state.save
            self._worker.on_done = self._save_soon
        return state

    def _save_soon(self, done: str) -> None:
        """Save soon after a delivery, not at once: losing one from the state only repeats it."""
        if done == "deliver" and not self._worker.count("save"):
            self._worker.run_in(SAVE_AFTER, "save")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen on loopback and deliver events, in threads of their own."""
        if self._server is not None:
            raise RuntimeError(f"The emulator is running already: {self.url}.")
        self._server = HttpServer(self._application, port=self._port)
        self._worker.start()
        self._server.start()
        return self

    def stop(self) -> None:
        """Release held requests and close every socket; undelivered events wait for the next start."""
        self._faults.clear()
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._worker.stop()
        self._state.close()

    def trigger(self, event_type: str, *, payment_intent: str | None = None) -> LoggedEvent:
        """Do what leads to an event of this type, with a payment of its own or with this one; return it.

        Raises ValueError for a type that it can't bring about.
        """
        return trigger(self, event_type, payment_intent=payment_intent)

    def _challenge_url(self, intent_id: str) -> str:
        return f"{self.url}/_emulator/challenges/{intent_id}"

    def _emit(
        self, event_type: str, item: JsonObject, /, *, versions: Range = EVERY_VERSION, again: bool = False
    ) -> None:
        self._events.emit(event_type, item, versions=versions, again=again)
        if event_type in ("charge.refunded", "charge.dispute.created"):
            self._fraud.review(item.get("charge") or item["id"])
        if event_type == "payment_intent.amount_capturable_updated" and self._hold_seconds < WEEK:
            self._worker.run_in(self._hold_seconds, "expire", intent_id=item["id"])
        if self._settle_after is not None:
            for job in self._settling(event_type, item):
                self._worker.run_in(self._settle_after, **job)

    def _settling(self, event_type: str, item: JsonObject) -> Iterator[JsonObject]:
        """Yield the jobs that will settle what this event began."""
        card = self._store.cards.get(item.get("payment_method") or "")
        if card is None:
            return
        waits = event_type == "payment_intent.processing" or (
            event_type == "payment_intent.requires_action" and card.kind in VOUCHERS
        )
        if waits and not card.stays_processing:
            yield {"name": "settle", "intent_id": item["id"], "succeed": card.decline is None}
        if event_type == "payment_intent.succeeded" and card.dispute:
            for left in range(card.disputes, 0, -1):
                amount = None if left == 1 else item["amount_received"] // card.disputes
                opened = {"reason": card.dispute, "amount": amount, "inquiry": card.inquiry}
                yield {"name": "open_dispute", "intent_id": item["id"], **opened}
        if event_type == "payment_intent.succeeded" and card.fraud_warning:
            yield {"name": "warn_of_fraud", "intent_id": item["id"]}
        if event_type == "payment_intent.succeeded" and card.books_late:
            yield {"name": "book", "intent_id": item["id"]}
        if event_type == "refund.created" and card.refund in LATE_REFUNDS:
            yield {"name": "settle_refund", "refund_id": item["id"], "status": LATE_REFUNDS[card.refund]}
