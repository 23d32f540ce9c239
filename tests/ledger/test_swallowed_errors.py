"""A database error that host code swallows breaks the ledger's transaction: it fails loudly, and is repeated.

PostgreSQL answers the COMMIT of a broken transaction with a rollback, and Django doesn't say so.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.models.signals import post_save

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.ledger.transactions import BrokenTransactionError, write_transaction
from octo_stripe_gateway.models import Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.objects import make_event
from tests.support.receivers import listening

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "connection.vendor != 'postgresql'", reason="SQLite goes on after an error in a transaction"
    ),
]

TAKEN = "seat 1"


def create() -> None:
    Ticket.objects.create(code=TAKEN)


def bulk_create() -> None:
    Ticket.objects.bulk_create([Ticket(code=TAKEN)])


def insert_by_cursor() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO shop_ticket (code) VALUES (%s)", [TAKEN])


def lock_at_once() -> None:
    Ticket.objects.select_for_update(nowait=True).get(code=TAKEN)


def run_task() -> None:
    """Run a task that fails: Django's ImmediateBackend does so at once, and keeps the error to itself."""
    from tests.ledger.failing_task import take_seat

    take_seat.enqueue(TAKEN)


def fail_before_the_database() -> None:
    """Fail as saving a child with two tables may: only Django knows, and rolls all of it back."""
    with transaction.atomic(savepoint=False):
        raise DatabaseError("A value of Python's has no place in the column.")


FAILING = [create, bulk_create, insert_by_cursor, lock_at_once, fail_before_the_database]
if importlib.util.find_spec("django.tasks") or importlib.util.find_spec("django_tasks"):
    FAILING.append(run_task)


@pytest.fixture(params=FAILING, ids=lambda each: each.__name__)
def swallow(request: Any, settings: Any) -> Iterator[Callable[..., None]]:
    """Write a row, then have the database refuse something, and go on as if nothing had happened."""
    framework = "django.tasks" if importlib.util.find_spec("django.tasks") else "django_tasks"
    settings.TASKS = {"default": {"BACKEND": f"{framework}.backends.immediate.ImmediateBackend"}}
    Ticket.objects.create(code=TAKEN)

    def swallow(*_: Any, **__: Any) -> None:
        Ticket.objects.create(code=f"written {Ticket.objects.count()}")
        with suppress(DatabaseError):
            request.param()

    with locked_elsewhere():
        yield swallow


class locked_elsewhere:  # noqa: N801 - a context manager
    """Hold a lock on the taken seat in another connection."""

    def __enter__(self) -> None:
        self.locked, self.done = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.hold)
        self.thread.start()
        assert self.locked.wait(10)

    def hold(self) -> None:
        try:
            with transaction.atomic():
                # An insert of the same key doesn't wait for this lock.
                Ticket.objects.select_for_update(no_key=True).get(code=TAKEN)
                self.locked.set()
                self.done.wait(60)
        finally:
            connections.close_all()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def deliver(api: GatewayApi, stripe: StripeEmulator, *types: str) -> list[int]:
    api.client.raise_request_exception = False
    return [answer.status_code for answer in api.deliver(stripe, *types)]


def count_written() -> int:
    return Ticket.objects.filter(code__startswith="written").count()


def book(**body: Any) -> dict[str, Any]:
    return {"payable": {"type": "booking", "id": str(Booking.objects.create().pk)}, **body}


@pytest.mark.parametrize("atomic_requests", one_in(2, [False, True]))
def test_hook_that_swallows_an_error_fails_and_is_called_again(
    swallow: Callable[..., None],
    atomic_requests: bool,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    monkeypatch.setattr(Booking, "on_payment_completed", swallow, raising=False)
    heard: list[str] = []
    with listening(signals.payment_succeeded, lambda **_: heard.append("succeeded")):
        payment = api.paid_at_stripe(stripe, book())
        assert deliver(api, stripe, "payment_intent.succeeded") == [500]
        event = WebhookEvent.objects.get(type="payment_intent.succeeded")
        assert (event.status, event.error_parameters["error"]) == ("failed", "BrokenTransactionError")
        assert api.complete(payment).status_code == 500
        row = Payment.objects.get()
        assert (row.status, row.accepted_at, heard, count_written()) == ("pending", None, [], 0)

        monkeypatch.setattr(Booking, "on_payment_completed", lambda *_: None)
        assert deliver(api, stripe, "payment_intent.succeeded") == [200]
    assert (Payment.objects.get().status, heard) == ("paid", ["succeeded"])


def test_hook_of_a_hold_that_swallows_an_error_fails(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    monkeypatch.setattr(Booking, "on_payment_authorized", swallow, raising=False)
    api.paid_at_stripe(stripe, book(captureMethod="manual"))
    assert deliver(api, stripe, "payment_intent.amount_capturable_updated") == [500]
    row = Payment.objects.get()
    assert (row.status, row.authorized_at, count_written()) == ("pending", None, 0)


@pytest.mark.parametrize("atomic_requests", one_in(2, [False, True]))
@pytest.mark.parametrize("event_type", ["payment_intent.succeeded", "invoice.paid"])
def test_handler_that_swallows_an_error_fails_the_event(
    swallow: Callable[..., None],
    event_type: str,
    atomic_requests: bool,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {event_type: [swallow]})
    heard: list[str] = []
    api.paid_at_stripe(stripe)
    with listening(signals.payment_succeeded, lambda **_: heard.append("succeeded")):
        if event_type == "invoice.paid":
            with pytest.raises(BrokenTransactionError):
                inbox.receive_event(make_event(event_type, {"object": "invoice"}))
        else:
            assert deliver(api, stripe, event_type) == [500]
    event = WebhookEvent.objects.get(type=event_type)
    assert (event.status, event.attempts) == ("failed", 1)
    assert (Payment.objects.get().status, heard, count_written()) == ("pending", [], 0)


def test_swallowed_error_in_a_receiver_of_djangos_signals_fails_the_event(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator
) -> None:
    api.paid_at_stripe(stripe)
    post_save.connect(swallow, sender=PaymentChange)
    try:
        assert deliver(api, stripe, "payment_intent.succeeded") == [500]
    finally:
        post_save.disconnect(swallow, sender=PaymentChange)
    event = WebhookEvent.objects.get(type="payment_intent.succeeded")
    assert (event.status, Payment.objects.get().status, count_written()) == ("failed", "pending", 0)


def test_price_that_swallows_an_error_creates_nothing(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = book()

    def get_payment_amount(self: Booking) -> tuple[int, str]:
        if connection.in_atomic_block:
            swallow()
        return 2000, "eur"

    monkeypatch.setattr(Booking, "get_payment_amount", get_payment_amount)
    api.client.raise_request_exception = False
    assert api.create(body).status_code == 500
    assert (Payment.objects.count(), len(stripe.requests), count_written()) == (0, 0, 0)


def test_price_that_raises_a_database_error_is_heard_of(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = Booking.objects.create()
    Ticket.objects.create(code=TAKEN)

    def get_payment_amount(self: Booking) -> tuple[int, str]:
        if connection.in_atomic_block:
            create()
        return 2000, "eur"

    monkeypatch.setattr(Booking, "get_payment_amount", get_payment_amount)
    with pytest.raises(IntegrityError):
        services.create_payment(payable=booking)
    assert (Payment.objects.count(), len(stripe.requests)) == (0, 0)


def test_receiver_that_swallows_an_error_after_the_commit_harms_nothing(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator
) -> None:
    def listen(**_: Any) -> None:
        with suppress(transaction.TransactionManagementError), transaction.atomic():
            swallow()

    with listening(signals.payment_succeeded, listen):
        api.paid_at_stripe(stripe)
        assert deliver(api, stripe, "payment_intent.succeeded") == [200]
    event = WebhookEvent.objects.get(type="payment_intent.succeeded")
    assert (event.status, Payment.objects.get().status) == ("processed", "paid")
    assert not PaymentChange.objects.exclude(deliver_at=None).exists()


def test_error_in_a_savepoint_of_the_hooks_own_is_its_own_business(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hook(_booking: Booking, _payment: Payment) -> None:
        Ticket.objects.create(code="written before")
        with suppress(DatabaseError), transaction.atomic():
            create()

    monkeypatch.setattr(Booking, "on_payment_completed", hook, raising=False)
    api.paid_at_stripe(stripe, book())
    assert deliver(api, stripe, "payment_intent.succeeded") == [200]
    assert (Payment.objects.get().status, count_written()) == ("paid", 1)


def test_hook_may_reject_because_of_an_error(
    swallow: Callable[..., None], api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hook(_booking: Booking, _payment: Payment) -> None:
        swallow()
        raise PaymentRejectedError("The seat is taken.")

    monkeypatch.setattr(Booking, "on_payment_completed", hook, raising=False)
    api.paid_at_stripe(stripe, book())
    assert deliver(api, stripe, "payment_intent.succeeded") == [200]
    row = Payment.objects.get()
    assert (row.status, row.amount_refunded, count_written()) == ("refunded", 2000, 0)


@pytest.mark.parametrize("has_failed", [False, True])
@pytest.mark.parametrize("statement", ["ROLLBACK", "COMMIT"])
def test_handler_that_ends_our_transaction_fails_the_event(
    statement: str,
    has_failed: bool,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statements.pop())

    statements = [statement, "an error"] if has_failed else [statement]
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {"payment_intent.succeeded": [run]})
    api.paid_at_stripe(stripe)
    if has_failed:
        assert deliver(api, stripe, "payment_intent.succeeded") == [500]
    # What is left to write would begin another transaction.
    assert deliver(api, stripe, "payment_intent.succeeded") == [500]


@pytest.fixture(params=["get_payment_amount", "get_payment_deadline", "get_installments"])
def ending(request: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have what a payable says end our transaction by a statement, then perhaps ask something."""
    told: dict[str, Any] = {
        "get_payment_amount": (2000, "eur"),
        "get_payment_deadline": None,
        "get_installments": [],
    }

    def end_by(*statements: str) -> None:
        def end(_self: Any) -> Any:
            if connection.in_atomic_block:
                for statement in statements:
                    with connection.cursor() as cursor:
                        cursor.execute(statement)
            return told[request.param]

        monkeypatch.setattr(Booking, request.param, end, raising=False)

    return end_by


@pytest.mark.parametrize("statements", [["ROLLBACK"], ["ROLLBACK", "SELECT 1"], ["COMMIT", "SELECT 1"]])
def test_price_that_ends_our_transaction_creates_nothing(
    statements: list[str], ending: Callable[..., None], stripe: StripeEmulator
) -> None:
    """What waits to be written would begin another transaction, without the payable's lock."""
    booking = Booking.objects.create()
    services.create_payment(payable=booking)
    ending(*statements)
    with pytest.raises(DatabaseError):
        services.create_payment(payable=booking, caller=services.Caller("key:viator"))
    assert Payment.objects.count() == 1


@pytest.mark.parametrize("statements", [["ROLLBACK", "SELECT 1"], ["COMMIT", "SELECT 1"]])
def test_price_that_ends_our_transaction_accepts_nothing(
    statements: list[str], ending: Callable[..., None], api: GatewayApi, stripe: StripeEmulator
) -> None:
    """Of two payments that arrive at once, both would be accepted without the payable's lock."""
    api.paid_at_stripe(stripe, book())
    ending(*statements)
    assert deliver(api, stripe, "payment_intent.succeeded") == [500]
    assert Payment.objects.get().accepted_at is None


def test_transaction_of_ours_is_refused_once_it_is_broken(swallow: Callable[..., None]) -> None:
    def swallow_in_transaction() -> None:
        with write_transaction():
            swallow()

    with pytest.raises(BrokenTransactionError, match="swallowed"):
        swallow_in_transaction()
    assert count_written() == 0
