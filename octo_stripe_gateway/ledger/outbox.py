"""Signals, at least once: the journal's undelivered changes are its outbox."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from asgiref.sync import AsyncToSync, async_to_sync
from django.db.models import Model, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from octo_stripe_gateway import signals
from octo_stripe_gateway.ledger.claims import Outcome, Step
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.stripe.redaction import clean_text, get_logger

logger = get_logger(__name__)

# How long the process that made a change has to deliver it, before maintenance does.
FIRST_PAUSE = dt.timedelta(minutes=1)
LONGEST_PAUSE = dt.timedelta(days=1)


class DeliveryStep(Step[PaymentChange]):
    """Sends again what could not be delivered.

    One change is claimed at a time, until its next pause is over: a receiver that kills its process holds up
    no other change, and is not called again at once.
    """

    name = "changes"
    column = "deliver_at"
    asks_stripe = False
    size = 1

    def list_due(self, now: dt.datetime) -> QuerySet[PaymentChange]:
        return PaymentChange.ledger.due_for_delivery(now=now).order_by("deliver_at")

    def claim(self, rows: list[PaymentChange], *, until: dt.datetime) -> None:
        for change in rows:
            schedule_delivery(change)
            PaymentChange.ledger.save_changed(change, names=["deliveries", "deliver_at"])

    def do(self, row: PaymentChange) -> str:
        deliver_change(row, payment=Payment.ledger.get(pk=row.payment_id))
        return Outcome.FAILED if row.undelivered else "delivered"


def get_undelivered(names: list[str]) -> dict[str, list[str]]:
    """Return the named signals that have listeners, in the form in which a new change records them."""
    return {name: [] for name in names if getattr(signals, name).has_listeners(Payment)}


def send_to_all(
    signal: Signal, *, sender: type[Model], only: Sequence[str] = (), **sent: Any
) -> list[tuple[str, Exception]]:
    """Send a signal to its receivers, or to the named ones, and return who raised what.

    With each goes a `change_id`, the same whenever the signal is sent again. Django's `send_robust` itself
    fails if the receiver that raises is a partial function or an object.
    """
    raised = []
    # Django has no public way to list receivers.
    receivers, async_receivers = signal._live_receivers(sender)
    calls = [(receiver, receiver) for receiver in receivers]
    calls += [(receiver, partial(call_async, receiver)) for receiver in async_receivers]
    for receiver, call in calls:
        named = getattr(receiver, "__qualname__", type(receiver).__qualname__)
        name = f"{receiver.__module__}.{named}"
        if only and name not in only:
            continue
        try:
            call(signal=signal, sender=sender, **sent)
        except Exception as error:
            logger.exception("[OctoStripeGateway] Receiver %s failed", name)
            raised.append((name, error))
    return raised


def schedule_delivery(change: PaymentChange) -> None:
    """Set when maintenance delivers a change, if its own process has not done so by then."""
    pause = min(FIRST_PAUSE * 2 ** min(change.deliveries, 20), LONGEST_PAUSE)
    change.deliveries += 1
    change.deliver_at = timezone.now() + pause


def deliver_change(change: PaymentChange, *, payment: Payment) -> None:
    """Send a change's undelivered signals, and record which receivers failed."""
    failed: dict[str, list[str]] = {}
    errors: dict[str, list[str]] = {}
    change_id = f"{payment.uuid}-{change.pk}"
    sent: dict[str, Any] = {"sender": Payment, "payment": payment, "change": change, "change_id": change_id}
    for name, receivers in change.undelivered.items():
        for receiver, error in send_to_all(getattr(signals, name), only=receivers, **sent):
            failed.setdefault(name, []).append(receiver)
            errors[receiver] = [type(error).__name__, clean_text(str(error))]
    change.undelivered, change.delivery_errors = failed, errors
    if not failed:
        change.deliver_at = None
    PaymentChange.ledger.save_changed(change, names=["undelivered", "delivery_errors", "deliver_at"])


class LastingLoop:
    """The event loop that async receivers share: in a thread of its own, started when it is first needed.

    `async_to_sync` alone runs each in a new loop, which breaks every client that a receiver keeps: its
    connections belong to a loop that is gone, and the call fails though it was carried out.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave the loop to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                name = "octo-stripe-gateway-receivers"
                threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()
            return self._loop


lasting_loop = LastingLoop()
os.register_at_fork(after_in_child=lasting_loop.forget)


def call_async(receiver: Callable[..., Coroutine[Any, Any, Any]], **sent: Any) -> None:
    """Run an async receiver on the lasting loop, and wait for it; raises what it raises.

    What it runs by `sync_to_async`, queries for instance, runs in the calling thread, on its connections.
    """

    async def hand_over() -> None:
        executor = getattr(AsyncToSync.executors, "current", None)

        async def receive() -> None:
            # asgiref finds the calling thread by this.
            AsyncToSync.executors.current = executor
            await receiver(**sent)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(receive(), lasting_loop.get()))

    async_to_sync(hand_over)()
