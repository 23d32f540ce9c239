"""Signals, at least once: the journal's undelivered changes are its outbox."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from django.db.models import F
from django.dispatch import Signal
from django.utils import timezone

from octo_stripe_gateway import signals
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.transactions import get_connection, write_transaction

logger = logging.getLogger(__name__)

# How long the process that made a change has to deliver it, before maintenance does.
FIRST_PAUSE = dt.timedelta(minutes=1)
LONGEST_PAUSE = dt.timedelta(days=1)


def get_undelivered(names: list[str]) -> dict[str, list[str]]:
    """Return those of the named signals that somebody listens to, as a new change records them."""
    return {name: [] for name in names if get_signal(name).has_listeners(Payment)}


def get_signal(name: str) -> Signal:
    """Return the signal of this name."""
    signal: Signal = getattr(signals, name)
    return signal


def deliver_change(change: PaymentChange, *, payment: Payment) -> None:
    """Send what is undelivered of a change, and record who failed to take it."""
    failed: dict[str, list[str]] = {}
    errors: list[str] = []
    for name, receivers in change.undelivered.items():
        for receiver, error in _send(get_signal(name), only=receivers, payment=payment, change=change):
            failed.setdefault(name, []).append(receiver)
            errors.append(f"{receiver}: {type(error).__name__}: {error}")
    _record_delivery(change, failed=failed, errors=errors)


def deliver_due_changes(*, limit: int) -> tuple[int, int]:
    """Send again what could not be delivered; returns how many changes were delivered and how many failed.

    Several processes may do so at once: each change is claimed by one of them.
    """
    delivered = failed = 0
    for change in _claim_due_changes(limit=limit):
        deliver_change(change, payment=change.payment)
        delivered += not change.undelivered
        failed += bool(change.undelivered)
    return delivered, failed


def _send(signal: Signal, *, only: list[str], **sent: Any) -> list[tuple[str, Exception]]:
    """Send a signal, to the named receivers where some are named, and return which raised what."""
    if only:
        signal = _pick_receivers(signal, names=only)
    answers = signal.send_robust(sender=Payment, **sent)
    return [(_get_name(receiver), answer) for receiver, answer in answers if isinstance(answer, Exception)]


def _pick_receivers(signal: Signal, *, names: list[str]) -> Signal:
    picked = Signal()
    # Django has no public way to list receivers.
    for receivers in signal._live_receivers(Payment):
        for receiver in receivers:
            if _get_name(receiver) in names:
                picked.connect(receiver, weak=False)
    return picked


def _get_name(receiver: Any) -> str:
    return f"{receiver.__module__}.{getattr(receiver, '__qualname__', type(receiver).__qualname__)}"


def _record_delivery(change: PaymentChange, *, failed: dict[str, list[str]], errors: list[str]) -> None:
    for error in errors:
        logger.error("[OctoStripeGateway] A receiver of payment %s failed: %s", change.payment_id, error)
    change.undelivered = failed
    change.delivery_error = "; ".join(errors)
    pause = min(FIRST_PAUSE * 2 ** min(change.deliveries, 20), LONGEST_PAUSE)
    change.deliveries += 1
    change.deliver_at = timezone.now() + pause if failed else None
    names = ["undelivered", "delivery_error", "deliveries", "deliver_at"]
    PaymentChange.ledger.save_changed(change, names=names)


def _claim_due_changes(*, limit: int) -> list[PaymentChange]:
    now = timezone.now()
    with write_transaction():
        due = PaymentChange.ledger.get_queryset().filter(deliver_at__lte=now).order_by("deliver_at")
        if get_connection().features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        keys = list(due.values_list("pk", flat=True)[:limit])
        # A receiver that kills its process does not get the change back at once.
        PaymentChange.ledger.filter(pk__in=keys).update(
            deliver_at=now + FIRST_PAUSE, deliveries=F("deliveries") + 1
        )
    return list(PaymentChange.ledger.filter(pk__in=keys).select_related("payment").order_by("pk"))
