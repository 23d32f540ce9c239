"""Measures how much processor time each of the ledger's hand-written statements saves over the ORM."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.db import models, transaction
from django.utils import timezone

from octo_stripe_gateway.models import Payment, PaymentChange
from tests.benchmarks.cases import make_payments
from tests.benchmarks.report import Check

ROUNDS = 7
TIMES = 200
# The most that kept SQL may take of the ORM's time to be worth keeping.
KEPT = 0.9
NAMES = ["status", "intent_status", "intent_as_of", "amount_received", "confirmed_at", "updated_at"]

Work = Callable[[Payment], object]


class Pair(NamedTuple):
    """One thing done by kept SQL and by the ORM."""

    name: str
    ours: Work
    orm: Work


def check_kept_sql() -> list[Check]:
    """Measure each kind of statement both ways, in turns."""
    payments = make_payments(TIMES)
    return [_check(pair, payments) for pair in PAIRS]


def _check(pair: Pair, payments: Sequence[Payment]) -> Check:
    times: dict[Work, list[float]] = {pair.ours: [], pair.orm: []}
    for number in range(2 * (ROUNDS + 1)):
        work = (pair.ours, pair.orm)[number % 2]
        with transaction.atomic():
            began = time.process_time()
            for payment in payments:
                work(payment)
            times[work].append((time.process_time() - began) / len(payments) * 1e6)
            transaction.set_rollback(True)
    # The first round is a warm-up.
    ours, orm = (statistics.median(times[work][1:]) for work in (pair.ours, pair.orm))
    seen = f"{ours:,.0f} µs beside {orm:,.0f}: {ours / orm:.2f}"
    return Check(f"kept SQL, {pair.name}", seen, f"≤ {KEPT}", ours / orm <= KEPT)


def _change(payment: Payment) -> Payment:
    payment.status, payment.intent_status = Payment.Status.PAID, "succeeded"
    payment.intent_as_of, payment.amount_received = 1_800_000_000, payment.amount
    payment.confirmed_at = timezone.now()
    return payment


def _save(payment: Payment) -> None:
    # Bypass the model's own save(), which leaves the ledger's columns alone.
    models.Model.save(_change(payment), update_fields=NAMES)


def _make_payment() -> Payment:
    return Payment(amount=2000, currency="usd", metadata={"hotel": "Ritz"}, reseller_reference="R")


def _make_change(payment: Payment) -> PaymentChange:
    changes = {"status": ["pending", "paid"], "amount_received": [0, 2000]}
    return PaymentChange(payment=payment, changes=changes, source="webhook", event_id=1)


PAIRS = [
    Pair(
        "SELECT of a payment FOR UPDATE",
        lambda payment: Payment.ledger.get_by(lock=True, id=payment.pk),
        lambda payment: Payment.objects.select_for_update().get(id=payment.pk),
    ),
    Pair(
        "INSERT of a payment",
        lambda _payment: Payment.ledger.insert(_make_payment()),
        lambda _payment: _make_payment().save(force_insert=True),
    ),
    Pair(
        "INSERT of a change",
        lambda payment: PaymentChange.ledger.insert(_make_change(payment)),
        lambda payment: _make_change(payment).save(force_insert=True),
    ),
    Pair(
        "UPDATE of a payment",
        lambda payment: Payment.ledger.save_changed(_change(payment), names=NAMES),
        _save,
    ),
]
