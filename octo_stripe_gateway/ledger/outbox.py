"""Signals, at least once: the journal's undelivered changes are its outbox."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db.models import Model
from django.dispatch import Signal
from django.utils import timezone

from octo_stripe_gateway import signals
from octo_stripe_gateway.ledger.async_receivers import call_async
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.stripe.redaction import clean_text, get_logger

logger = get_logger(__name__)

# How long the process that made a change has to deliver it, before maintenance does.
FIRST_PAUSE = dt.timedelta(minutes=1)
LONGEST_PAUSE = dt.timedelta(days=1)


def get_undelivered(names: list[str]) -> dict[str, list[str]]:
    """Return the named signals that have listeners, in the form in which a new change records them."""
    return {name: [] for name in names if get_signal(name).has_listeners(Payment)}


def get_signal(name: str) -> Signal:
    """Return the signal of this name."""
    signal: Signal = getattr(signals, name)
    return signal


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
        name = _get_name(receiver)
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
        for receiver, error in send_to_all(get_signal(name), only=receivers, **sent):
            failed.setdefault(name, []).append(receiver)
            errors[receiver] = [type(error).__name__, clean_text(str(error))]
    change.undelivered, change.delivery_errors = failed, errors
    if not failed:
        change.deliver_at = None
    PaymentChange.ledger.save_changed(change, names=["undelivered", "delivery_errors", "deliver_at"])


def _get_name(receiver: Any) -> str:
    return f"{receiver.__module__}.{getattr(receiver, '__qualname__', type(receiver).__qualname__)}"
