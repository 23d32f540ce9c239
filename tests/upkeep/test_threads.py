"""Threads take what the database can spare, and see what the caller's connection sees, or don't start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection as current
from django.db import connections
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger.claims import Step
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.upkeep import run_upkeep, threads
from octo_stripe_gateway.upkeep.threads import THREADS, count_threads
from tests.support.api import GatewayApi
from tests.support.threads import needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), needs_row_locks]

connection: Any = current
POOL = {"min_size": 4, "max_size": 4, "timeout": 1}


@contextmanager
def disconnected(**options: Any) -> Iterator[None]:
    """Close the connection, as a command finds it, and change its options meanwhile."""
    connection.close()
    settings = connection.settings_dict
    before = settings["OPTIONS"], settings["CONN_MAX_AGE"]
    settings["OPTIONS"], settings["CONN_MAX_AGE"] = before[0] | options, 0
    try:
        yield
    finally:
        connection.close()
        if options.get("pool"):
            connection.close_pool()
        settings["OPTIONS"], settings["CONN_MAX_AGE"] = before


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that have synced a payment, once all of them have had a chance to."""
    seen: set[int] = set()
    sync = services.sync_payment

    def watch(payment: Payment) -> Any:
        seen.add(threading.get_ident())
        threading.Event().wait(0.01)
        return sync(payment)

    monkeypatch.setattr("octo_stripe_gateway.upkeep.syncs.sync_payment", watch)
    monkeypatch.setattr(Step, "size", 10)
    return seen


def make_due(number: int) -> None:
    PaymentFactory.create_batch(number, stripe_payment_intent_id=None, next_check_at=timezone.now())


def test_many_due_payments_are_synced_by_several_threads(stripe: StripeEmulator, seen: set[int]) -> None:
    make_due(65)
    with disconnected():
        assert run_upkeep(limit=1000)["payments"] == {"unchanged": 65}
    assert len(seen) == THREADS


def test_small_pool_is_not_asked_for_more_than_it_has(stripe: StripeEmulator, seen: set[int]) -> None:
    pytest.importorskip("psycopg_pool")
    make_due(65)
    with disconnected(pool=POOL):
        assert count_threads() == POOL["max_size"]
        connection.pool.open(wait=True)
        taken = [connections.create_connection("default") for _each in range(2)]
        for each in taken:
            each.ensure_connection()
        try:
            assert count_threads() == int(POOL["max_size"]) - 2
            assert run_upkeep(limit=1000)["payments"] == {"unchanged": 65}
        finally:
            for each in taken:
                each.close()
    assert len(seen) == int(POOL["max_size"]) - 2


def test_thread_that_gets_no_connection_leaves_the_work_to_the_others(
    stripe: StripeEmulator, seen: set[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg_pool")
    make_due(65)
    monkeypatch.setattr("octo_stripe_gateway.upkeep.threads._count_spare", lambda _connection: 9)
    refused, warn, sync = threading.Event(), threads.logger.warning, services.sync_payment

    def tell(*told: Any) -> None:
        refused.set()
        warn(*told)

    def hold_until_refused(payment: Payment) -> Any:
        # Otherwise a quick machine is done before the others have waited for a connection in vain.
        assert refused.wait(60)
        seen.add(threading.get_ident())
        return sync(payment)

    monkeypatch.setattr(threads.logger, "warning", tell)
    monkeypatch.setattr("octo_stripe_gateway.upkeep.syncs.sync_payment", hold_until_refused)
    with disconnected(pool=POOL | {"min_size": 2, "max_size": 2}):
        assert run_upkeep(limit=1000)["payments"] == {"unchanged": 65}
    assert len(seen) == 2
    assert "There is one thread less" in caplog.text


@pytest.mark.slow
def test_djangos_pool_of_four_serves_601_due_payments(
    api: GatewayApi, stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("psycopg_pool")
    api.paid(stripe)
    make_due(601)
    PaymentFactory.create(stripe_payment_intent_id=None, expires_at=timezone.now())
    with disconnected(pool=True):
        done = run_upkeep(limit=1000)
    assert done["payments"] == {"unchanged": 601}
    assert (done["deadlines"], list(done["books"])) == ({"expired": 1}, ["booked"])
    assert not [each.message for each in caplog.records if "Upkeep" in each.message]


STATES: dict[str, Callable[[], object]] = {
    "a schema": lambda: execute("SET search_path TO other, public"),
    "a role": lambda: execute("SET ROLE pg_monitor"),
    "a setting": lambda: execute("SELECT set_config('app.tenant', '7', false)"),
    "an attribute": lambda: setattr(connection, "schema_name", "tenant"),
}


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("state", STATES)
def test_no_thread_starts_that_would_see_other_rows(state: str) -> None:
    with disconnected():
        assert count_threads() == THREADS
        STATES[state]()
        try:
            assert count_threads() == count_threads(8) == 1
        finally:
            vars(connection).pop("schema_name", None)


def test_what_the_host_has_set_holds_for_all_of_the_work(stripe: StripeEmulator) -> None:
    """Row level security by a setting of the session, as some hosts keep their tenants apart."""
    payments = [services.create_payment(2000, currency="usd").payment for _each in range(2)]
    for payment in payments:
        stripe.confirm(payment.stripe_payment_intent_id or "")
    Payment.objects.update(next_check_at=timezone.now())
    table = Payment._meta.db_table
    execute(f"CREATE POLICY own ON {table} USING (id::text = current_setting('app.payment', true))")
    execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    execute("CREATE ROLE tenant; GRANT ALL ON ALL TABLES IN SCHEMA public TO tenant")
    execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO tenant; SET ROLE tenant")
    execute(f"SELECT set_config('app.payment', '{payments[0].pk}', false)")
    try:
        assert run_upkeep(limit=10, threads=4)["payments"] == {"changed": 1}
    finally:
        execute("RESET ROLE")
        execute(f"DROP POLICY own ON {table}; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        execute("DROP OWNED BY tenant; DROP ROLE tenant")
    assert set(Payment.objects.values_list("pk", "status")) == {
        (payments[0].pk, "paid"),
        (payments[1].pk, "pending"),
    }
