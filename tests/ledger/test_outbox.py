"""The journal as outbox: every listener hears of every change at least once."""

from __future__ import annotations

import datetime as dt
import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from octo_stripe_gateway import signals, upkeep
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import inbox
from tests.support.objects import make_event, make_paid_intent, make_refund
from tests.support.receivers import listening
from tests.support.threads import needs_row_locks, run_and_disconnect, run_together

pytestmark = pytest.mark.django_db(transaction=True)

KILLED = -9


class Receiver:
    """Counts what it hears, and raises the first so many times."""

    def __init__(self, *, failures: int = 0, error: Exception | None = None) -> None:
        self.heard: list[tuple[int, dict[str, Any]]] = []
        self.failures = failures
        self.error = error or RuntimeError("the host's own bug")

    def __call__(self, payment: Payment, change: PaymentChange, **_: Any) -> None:
        self.heard.append((payment.pk, change.changes))
        if len(self.heard) <= self.failures:
            raise self.error

    @property
    def count(self) -> int:
        return len(self.heard)


class OtherReceiver(Receiver):
    """A second receiver, with a name of its own."""


def pay(payment: Payment | None = None) -> PaymentChange:
    """Make a payment succeed, and return the change."""
    payment = payment or PaymentFactory.create()
    intent = make_paid_intent(id=payment.stripe_payment_intent_id)
    inbox.receive_event(make_event("payment_intent.succeeded", intent))
    return PaymentChange.objects.get(payment=payment)


def make_due() -> None:
    """End the pauses of all changes."""
    waiting = PaymentChange.objects.filter(deliver_at__isnull=False)
    waiting.update(deliver_at=timezone.now() - dt.timedelta(seconds=1))


def deliver_due(*, limit: int) -> tuple[int, int]:
    outcomes = upkeep.work_off(upkeep.DELIVERIES, limit=limit)
    return outcomes["delivered"], outcomes["failed"]


def deliver() -> tuple[int, int]:
    make_due()
    return deliver_due(limit=100)


def test_change_that_all_have_heard_of_is_delivered() -> None:
    receiver = Receiver()
    with listening(signals.payment_succeeded, receiver):
        change = pay()
        assert (change.undelivered, change.deliver_at, change.deliveries) == ({}, None, 1)
        assert deliver() == (0, 0)
    assert receiver.heard == [(change.payment_id, change.changes)]


def test_change_that_nobody_listens_to_waits_for_nobody() -> None:
    change = pay()
    assert (change.undelivered, change.deliver_at, change.deliveries) == ({}, None, 0)
    receiver = Receiver()
    with listening(signals.payment_succeeded, receiver):
        assert deliver() == (0, 0)
    assert receiver.count == 0


def test_receiver_that_raises_once_hears_again() -> None:
    receiver = Receiver(failures=1)
    with listening(signals.payment_succeeded, receiver):
        change = pay()
        assert list(change.undelivered) == ["payment_succeeded"]
        assert deliver_due(limit=100) == (0, 0)
        assert deliver() == (1, 0)
        assert deliver() == (0, 0)
    assert receiver.heard == [(change.payment_id, change.changes)] * 2
    change.refresh_from_db()
    assert (change.undelivered, change.deliver_at, change.delivery_errors) == ({}, None, {})


def test_only_the_receiver_that_failed_hears_again() -> None:
    failing, other = Receiver(failures=2), OtherReceiver()
    with listening(signals.payment_succeeded, failing), listening(signals.payment_succeeded, other):
        change = pay()
        assert change.undelivered == {"payment_succeeded": ["tests.ledger.test_outbox.Receiver"]}
        assert deliver() == (0, 1)
        assert deliver() == (1, 0)
    assert (failing.count, other.count) == (3, 1)


def test_only_the_signal_that_failed_is_sent_again(payment: Payment) -> None:
    refunded, succeeded = Receiver(failures=1), Receiver()
    inbox.receive_event(make_event("refund.created", make_refund()))
    with (
        listening(signals.payment_refunded, refunded),
        listening(signals.payment_succeeded, succeeded),
    ):
        inbox.receive_event(make_event("payment_intent.succeeded", make_paid_intent()))
        change = PaymentChange.objects.latest("pk")
        assert list(change.undelivered) == ["payment_refunded"]
        assert deliver() == (1, 0)
    assert (refunded.count, succeeded.count) == (2, 1)


def test_failing_receiver_stops_no_other_and_is_retried_in_growing_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing, other = Receiver(failures=100), OtherReceiver()
    pauses = []
    with listening(signals.payment_succeeded, failing), listening(signals.payment_succeeded, other):
        changes = [pay(), pay()]
        assert other.count == 2
        for _each in range(4):
            make_due()
            now = timezone.now()
            assert deliver_due(limit=100) == (0, 2)
            change = PaymentChange.objects.get(pk=changes[0].pk)
            assert change.deliver_at
            pauses.append(round((change.deliver_at - now) / dt.timedelta(minutes=1)))
    assert pauses == [2, 4, 8, 16]
    assert (failing.count, other.count) == (10, 2)
    assert change.deliveries == 5
    told = {"tests.ledger.test_outbox.Receiver": ["RuntimeError", "the host's own bug"]}
    assert change.delivery_errors == told
    assert "Receiver tests.ledger.test_outbox.Receiver failed" in caplog.text


def test_pauses_do_not_grow_beyond_a_day() -> None:
    with listening(signals.payment_succeeded, Receiver(failures=100)):
        change = pay()
        PaymentChange.objects.update(deliveries=30_000)
        assert deliver() == (0, 1)
    change.refresh_from_db()
    assert change.deliver_at
    assert dt.timedelta(hours=23) < change.deliver_at - timezone.now() <= dt.timedelta(days=1)


def test_error_that_no_database_takes_is_on_record_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # pytest-xdist's workers can't send each other a log with half a surrogate pair.
    caplog.set_level(logging.CRITICAL, logger="octo_stripe_gateway")
    error = ValueError("NUL \0, half a pair \ud800, pi_1_secret_abc")
    receiver = Receiver(failures=2, error=error)
    with listening(signals.payment_succeeded, receiver):
        change = pay()
        (told,) = change.delivery_errors.values()
        assert told == ["ValueError", "NUL \ufffd, half a pair ?, pi_1_secret_[redacted]"]
        assert deliver() == (0, 1)
        assert deliver() == (1, 0)


def test_receiver_that_is_gone_is_waited_for_by_nobody() -> None:
    other = OtherReceiver()
    with listening(signals.payment_succeeded, other):
        with listening(signals.payment_succeeded, Receiver(failures=1)):
            change = pay()
        assert change.undelivered
        assert deliver() == (1, 0)
    assert other.count == 1


def test_async_receiver_hears_again_too() -> None:
    heard: list[int] = []

    async def receive(payment: Payment, **_: Any) -> None:
        heard.append(payment.pk)
        if len(heard) == 1:
            raise RuntimeError("the host's own bug")

    other = Receiver()
    with listening(signals.payment_succeeded, receive), listening(signals.payment_succeeded, other):
        change = pay()
        (name,) = change.undelivered["payment_succeeded"]
        assert name.endswith("test_async_receiver_hears_again_too.<locals>.receive")
        assert deliver() == (1, 0)
    assert heard == [change.payment_id] * 2
    assert other.count == 1


def test_receiver_is_told_which_signal_it_hears() -> None:
    heard: list[Any] = []

    def receive(signal: Any, **_: Any) -> None:
        heard.append(signal)
        if len(heard) == 1:
            raise RuntimeError

    with listening(signals.payment_succeeded, receive):
        pay()
        deliver()
    assert heard == [signals.payment_succeeded] * 2


def test_receiver_gets_the_payment_as_it_is_and_the_change_as_it_was() -> None:
    seen: list[str] = []

    def receive(payment: Payment, change: PaymentChange, **_: Any) -> None:
        seen.append(f"{payment.reseller_reference} {change.changes['status'][1]}")
        if len(seen) == 1:
            raise RuntimeError

    with listening(signals.payment_succeeded, receive):
        change = pay()
        Payment.objects.filter(pk=change.payment_id).update(reseller_reference="since")
        deliver()
    assert seen == [" paid", "since paid"]


def test_no_more_than_the_limit_are_delivered_the_longest_due_first() -> None:
    receiver = Receiver(failures=3)
    with listening(signals.payment_succeeded, receiver):
        changes = [pay() for _each in range(3)]
        for hours, change in enumerate(changes):
            due = timezone.now() - dt.timedelta(hours=1 + hours)
            PaymentChange.objects.filter(pk=change.pk).update(deliver_at=due)
        assert deliver_due(limit=2) == (2, 0)
    assert [pk for pk, _changes in receiver.heard[3:]] == [changes[2].payment_id, changes[1].payment_id]


@needs_row_locks
def test_processes_that_deliver_at_once_deliver_each_change_once() -> None:
    with listening(signals.payment_succeeded, Receiver(failures=12)):
        changes = [pay() for _each in range(12)]
    make_due()
    heard: Counter[int] = Counter()
    threads: set[int] = set()
    both, lock = threading.Barrier(2), threading.Lock()

    class Meeting(Receiver):
        def __call__(self, payment: Payment, change: PaymentChange, **_: Any) -> None:
            with lock:
                heard[payment.pk] += 1
                is_first = threading.get_ident() not in threads
                threads.add(threading.get_ident())
            if is_first:
                # Both have claimed a change before either is done with its first.
                both.wait(10)

    PaymentChange.objects.update(undelivered={"payment_succeeded": []})
    with listening(signals.payment_succeeded, Meeting()):
        outcomes = run_together([lambda: deliver_due(limit=100)] * 2)
    assert heard == {change.payment_id: 1 for change in changes}
    assert len(threads) == 2
    assert sum(delivered for delivered, _failed in outcomes) == 12


@needs_row_locks
def test_change_that_another_process_is_claiming_is_passed_over() -> None:
    receiver = Receiver(failures=2)
    with listening(signals.payment_succeeded, receiver):
        claimed, other = pay(), pay()
        make_due()
        with ThreadPoolExecutor(1) as pool, transaction.atomic():
            PaymentChange.objects.select_for_update().get(pk=claimed.pk)
            delivery = pool.submit(run_and_disconnect, lambda: deliver_due(limit=100))
            assert delivery.result(10) == (1, 0)
    assert receiver.heard[2:] == [(other.payment_id, other.changes)]


# Where the process dies: before the signals are sent, or while a receiver runs.
DEATHS = {
    "committed": "connection.run_and_clear_commit_hooks = lambda: connection.run_on_commit and die()",
    "receiving": "signals.payment_succeeded.connect(die)",
}
CHILD = """
import json, os, signal, sys
import django
from django.conf import settings

database, payload, death = sys.argv[1:]
settings.DATABASES["default"]["NAME"] = database
django.setup()
from django.db import connection
from octo_stripe_gateway import signals
from octo_stripe_gateway.webhooks import inbox

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def listen(**kwargs):
    pass

connection.ensure_connection()
signals.payment_succeeded.connect(listen)
exec(death)
inbox.receive_event(json.loads(payload))
"""


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="another process cannot open SQLite's in-memory database"
)
@pytest.mark.parametrize("death", DEATHS)
def test_process_that_is_killed_between_commit_and_signal_loses_nothing(death: str, payment: Payment) -> None:
    payload = json.dumps(make_event("payment_intent.succeeded", make_paid_intent()))
    command = [sys.executable, "-c", CHILD, str(connection.settings_dict["NAME"]), payload, DEATHS[death]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == KILLED, done.stderr
    payment.refresh_from_db()
    change = PaymentChange.objects.get()
    assert payment.status == "paid"
    assert change.undelivered == {"payment_succeeded": []}
    assert change.deliver_at
    assert change.deliver_at > timezone.now()

    receiver = Receiver()
    with listening(signals.payment_succeeded, receiver):
        assert deliver_due(limit=100) == (0, 0)
        assert deliver() == (1, 0)
    assert receiver.heard == [(payment.pk, change.changes)]


def test_receiver_that_kills_its_process_does_not_get_its_change_back_at_once() -> None:
    class Death(BaseException):
        """Ends the delivery as a signal to the process would."""

    def die(**_: Any) -> None:
        raise Death

    with listening(signals.payment_succeeded, Receiver(failures=2)):
        deadly, other = pay(), pay()
    make_due()
    PaymentChange.objects.update(undelivered={"payment_succeeded": []})
    receiver = OtherReceiver()
    pauses = []
    for _each in range(2):
        now = timezone.now()
        PaymentChange.objects.filter(pk=deadly.pk).update(deliver_at=now - dt.timedelta(hours=1))
        with listening(signals.payment_succeeded, die), pytest.raises(Death):
            deliver_due(limit=1)
        deadly.refresh_from_db()
        assert deadly.deliver_at
        pauses.append(round((deadly.deliver_at - now) / dt.timedelta(minutes=1)))
        with listening(signals.payment_succeeded, receiver):
            deliver_due(limit=100)
    assert pauses == [2, 4]
    assert receiver.heard == [(other.payment_id, other.changes)]
