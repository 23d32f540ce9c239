"""Writes that wait for each other: whatever host code does meanwhile, none is lost, and none comes later."""

from __future__ import annotations

import pickle
import uuid as uuids
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from django.db.models.signals import post_save

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger.transactions import BrokenTransactionError, write_transaction
from octo_stripe_gateway.models import Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.models.joined_writes import join_writes
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import handlers
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="writes are joined on PostgreSQL only"),
]

STATUS = "SELECT status FROM octo_stripe_gateway_payment"
SUCCESS = "payment_intent.succeeded"


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Register a host's handler of a payment's success."""
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    return lambda handler: handlers.HOST_HANDLERS.update({SUCCESS: [lambda *_: handler()]})


def read_by_copy() -> str:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({STATUS}) TO STDOUT") as rows:
        return str(next(rows.rows())[0])


def read_by_procedure() -> str:
    with connection.cursor() as cursor:
        cursor.callproc("get_status")
        return str(cursor.fetchone()[0])


def read_by_driver() -> str:
    return str(connection.connection.execute(STATUS).fetchone()[0])


@pytest.mark.parametrize("read", [read_by_copy, read_by_procedure, read_by_driver])
def test_host_sees_what_was_written_whatever_way_it_looks(
    read: Callable[[], str], handle: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    """Django's wrappers of `execute` don't see these."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE FUNCTION get_status() RETURNS text LANGUAGE sql AS $${STATUS}$$")
    seen: list[str] = []
    handle(lambda: seen.append(read()))
    api.paid_at_stripe(stripe)
    api.deliver(stripe, SUCCESS)
    assert seen == ["paid"]


def roll_back_to_a_savepoint() -> None:
    saved = str(connection.savepoint())
    Ticket.objects.create(code="rolled back")
    connection.savepoint_rollback(saved)


def fail_in_a_block() -> None:
    with suppress(LookupError), transaction.atomic():
        Ticket.objects.create(code="rolled back")
        raise LookupError


def set_a_block_to_roll_back() -> None:
    with transaction.atomic():
        Ticket.objects.create(code="rolled back")
        transaction.set_rollback(True)


def read_by_server_side_cursor() -> None:
    assert [each.status for each in Payment.objects.iterator(chunk_size=1)] == ["paid"]


def lock_and_save() -> None:
    payment = Payment.objects.select_for_update().get()
    payment.reseller_reference = "host"
    payment.save(update_fields=["reseller_reference"])
    payment.refresh_from_db()
    assert (payment.status, payment.reseller_reference) == ("paid", "host")


def look_from_a_coroutine() -> None:
    async def look() -> str:
        payment = await Payment.objects.aget()
        await sync_to_async(lock_and_save)()
        return payment.status

    assert async_to_sync(look)() == "paid"


def look_from_a_pickled_copy() -> None:
    payment = pickle.loads(pickle.dumps(Payment.objects.get()))
    assert payment.changes.filter(changes__has_key="status").exists()


@pytest.mark.parametrize("way", ["handler", "hook"])
@pytest.mark.parametrize(
    "deed",
    [
        roll_back_to_a_savepoint,
        fail_in_a_block,
        set_a_block_to_roll_back,
        read_by_server_side_cursor,
        lock_and_save,
        look_from_a_coroutine,
        look_from_a_pickled_copy,
    ],
    ids=lambda deed: deed.__name__,
)
def test_host_may_do_with_the_transaction_what_django_allows(
    deed: Callable[[], None],
    way: str,
    handle: Any,
    api: GatewayApi,
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "handler":
        handle(deed)
    else:
        monkeypatch.setattr(Booking, "on_payment_completed", lambda *_: deed(), raising=False)
    booking = Booking.objects.create()
    payment = api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    assert [each.status_code for each in api.deliver(stripe, SUCCESS)] == [200]
    row = Payment.objects.get(pk=payment["id"])
    assert (row.status, row.accepted_at is None) == ("paid", False)
    assert {name for each in row.changes.all() for name in each.changes} >= {"status", "accepted_at"}
    assert WebhookEvent.objects.get().status == "processed"
    assert not Ticket.objects.exists()


@pytest.mark.parametrize("way", ["handler", "hook"])
def test_connection_that_a_host_closes_fails_the_event(
    way: str, handle: Any, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.client.raise_request_exception = False
    booking = Booking.objects.create()
    payment = api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}})
    with monkeypatch.context() as patch:
        patch.setattr(Booking, "on_payment_completed", lambda *_: connection.close(), raising=False)
        if way == "handler":
            patch.delattr(Booking, "on_payment_completed")
            handle(connection.close)
        assert [each.status_code for each in api.deliver(stripe, SUCCESS)] == [500]
    handle(lambda: None)
    assert [each.status_code for each in api.deliver(stripe, SUCCESS)] == [200]
    assert Payment.objects.get(pk=payment["id"]).status == "paid"
    assert connection.execute_wrappers == []


def look_for_a_ticket() -> None:
    with suppress(Exception):
        Ticket.objects.filter(code="none").exists()


def test_veto_of_a_receiver_is_swallowed_by_no_handler(
    handle: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    def refuse(**_arguments: Any) -> None:
        raise LookupError

    api.client.raise_request_exception = False
    handle(look_for_a_ticket)
    api.paid_at_stripe(stripe)
    post_save.connect(refuse, sender=PaymentChange)
    try:
        assert [each.status_code for each in api.deliver(stripe, SUCCESS)] == [500]
    finally:
        post_save.disconnect(refuse, sender=PaymentChange)
    assert Payment.objects.get().status == "pending"
    assert WebhookEvent.objects.get().error_parameters["error"] == "LookupError"


def test_transaction_whose_write_failed_is_not_committed() -> None:
    payment, gone = PaymentFactory.create_batch(2)
    Payment.objects.filter(pk=gone.pk).delete()

    def write_both() -> None:
        with write_transaction():
            for each in (payment, gone):
                each.reseller_reference = "R"
                Payment.ledger.save_changed(each, names=["reseller_reference"])
            look_for_a_ticket()

    with pytest.raises(BrokenTransactionError):
        write_both()
    assert Payment.objects.get().reseller_reference != "R"


def test_wrapper_that_a_host_leaves_behind_is_its_own(
    handle: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    asked: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    before = [*connection.execute_wrappers]
    handle(lambda: connection.execute_wrappers.append(note))
    api.paid_at_stripe(stripe)
    api.deliver(stripe, SUCCESS)
    assert connection.execute_wrappers == [*before, note]
    connection.execute_wrappers.remove(note)


def test_transaction_that_a_time_out_has_torn_off_stands_in_nobodys_way() -> None:
    payment = PaymentFactory.create()
    torn = join_writes(connections["default"])
    with transaction.atomic():
        torn.__enter__()
        assert Payment.objects.exists()
    with transaction.atomic():
        assert Payment.objects.exists()
    payment.reseller_reference = "R"
    Payment.ledger.save_changed(payment, names=["reseller_reference"])
    assert Payment.objects.get().reseller_reference == "R"
    torn.__exit__(None, None, None)


def test_repeated_create_is_answered_though_its_deadline_swallows_errors(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the repeat inserts is refused, and that is no business of the host's."""
    monkeypatch.setattr(Ticket, "get_payment_deadline", lambda _self: look_for_a_ticket(), raising=False)
    ticket, uuid = Ticket.objects.create(code="A"), uuids.uuid4()
    first, again = (
        services.create_payment(2000, payable=ticket, currency="usd", uuid=uuid).payment for _each in range(2)
    )
    assert first == again


def test_trigger_of_the_hosts_sees_what_was_written_before(api: GatewayApi, stripe: StripeEmulator) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION note_status() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO shop_ticket (code) VALUES (TG_WHEN || ' ' ||"
            " (SELECT status FROM octo_stripe_gateway_payment WHERE id = NEW.payment_id));"
            " RETURN NEW; END $$"
        )
        for moment in ("BEFORE", "AFTER"):
            cursor.execute(
                f"CREATE TRIGGER note_status_{moment} {moment} INSERT ON octo_stripe_gateway_paymentchange"
                " FOR EACH ROW WHEN (NEW.changes ? 'accepted_at') EXECUTE FUNCTION note_status()"
            )
    try:
        api.paid(stripe)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION note_status CASCADE")
    assert {*Ticket.objects.values_list("code", flat=True)} == {"BEFORE paid", "AFTER paid"}
