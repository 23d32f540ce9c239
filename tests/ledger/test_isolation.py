"""The ledger's transactions are its own and READ COMMITTED, however the host's connection is set up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.ledger import transactions
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, Refund, StripeRequest, WebhookEvent
from octo_stripe_gateway.services.refunds import void_or_refund
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import ConcernFactory, PaymentFactory, WebhookEventFactory
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.ledger import assert_ledger_equals
from tests.support.objects import make_event, make_paid_intent, read_rows
from tests.support.threads import needs_row_locks, run_together

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 50
KEY = {"Idempotency-Key": "the-client's"}


def set_by_options(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    wanted = IsolationLevel[level.replace(" ", "_").upper()]
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", wanted)


def set_by_database(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(
        f"ALTER DATABASE {connection.settings_dict['NAME']} SET default_transaction_isolation = '{level}'"
    )


SETTERS = {"options": set_by_options, "database": set_by_database}


@pytest.fixture(params=[(where, level) for where in SETTERS for level in ("repeatable read", "serializable")])
def level(
    request: pytest.FixtureRequest, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The isolation level that the host's transactions begin with."""
    where, level = request.param
    with monkeypatch.context() as patch:
        SETTERS[where](level, patch)
        connection.close()
        yield level
    execute(f"ALTER DATABASE {connection.settings_dict['NAME']} RESET default_transaction_isolation")
    connection.close()


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def get_level() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


def get_hosts_level() -> str:
    with transaction.atomic():
        return get_level()


@needs_row_locks
def test_ledger_reads_committed_and_leaves_the_hosts_isolation_alone(level: str) -> None:
    assert get_hosts_level() == level
    for _each in range(2):
        with transactions.write_transaction():
            assert get_level() == "read committed"
        assert get_hosts_level() == level
    with pytest.raises(ZeroDivisionError), transactions.write_transaction():
        _ = 1 / 0
    assert get_hosts_level() == level


@needs_row_locks
def test_hosts_hooks_run_in_the_ledgers_transaction(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[str] = []
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {"x": [lambda *_: levels.append(get_level())]})
    inbox.receive_event(make_event("x", {"object": "x"}))
    assert levels == ["read committed"]


Race = Callable[[GatewayApi, StripeEmulator], Callable[[GatewayApi], Any]]


def race_refunds(api: GatewayApi, stripe: StripeEmulator) -> Callable[[GatewayApi], Any]:
    payment = api.paid(stripe)
    return lambda own: own.refund(payment)


def race_creations(api: GatewayApi, stripe: StripeEmulator) -> Callable[[GatewayApi], Any]:
    return lambda own: own.create(**KEY)


def race_events(api: GatewayApi, stripe: StripeEmulator) -> Callable[[GatewayApi], Any]:
    api.paid_at_stripe(stripe)
    signed = stripe.signed("payment_intent.succeeded")
    return lambda own: own.post_event(*signed)


def race_completions(api: GatewayApi, stripe: StripeEmulator) -> Callable[[GatewayApi], Any]:
    payment = api.paid_at_stripe(stripe)
    return lambda own: own.complete(payment)


RACES: dict[str, tuple[Race, set[int]]] = {
    # 409 for a repeat while the first is under way, 422 for one that comes too late.
    "refunds": (race_refunds, {200, 409, 422}),
    "creations": (race_creations, {201, 409}),
    "events": (race_events, {200}),
    "completions": (race_completions, {200}),
}


@needs_row_locks
@pytest.mark.parametrize("race", one_in(2, RACES))
@pytest.mark.parametrize("level", [("options", "repeatable read")], indirect=True)
def test_no_race_is_lost_to_the_hosts_isolation_level(
    race: str, level: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    prepare, allowed = RACES[race]
    call = prepare(api, stripe)
    answers = run_together([lambda: call(GatewayApi(Client())).status_code] * THREADS)
    counts = Counter(answers)
    assert set(counts) <= allowed
    assert counts[min(allowed)]
    assert_ledger_equals(stripe)


OPERATIONS: dict[str, Callable[[Payment], object]] = {
    "create": lambda _: services.create_payment(2000, currency="usd"),
    "complete": services.complete_payment,
    "refund": services.refund_payment,
    "capture": services.capture_payment,
    "cancel": services.cancel_payment,
    "reconcile": services.sync_payment,
    "void or refund": void_or_refund,
    "settle": lambda _: services.settle_concern(Concern.objects.get(), reason="Seen."),
    "erase": services.erase_personal_data,
    "deliver": lambda _: upkeep.work_off(upkeep.DELIVERIES, limit=1),
    "receive": lambda _: inbox.receive_event(make_event("payment_intent.succeeded", make_paid_intent())),
    "process": lambda _: inbox.process_event(WebhookEvent.objects.get()),
}
MODELS = (Payment, Refund, StripeRequest, PaymentChange, WebhookEvent)


@pytest.fixture(params=["set_autocommit", "AUTOCOMMIT"])
def autocommit_off(
    request: pytest.FixtureRequest, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    """Turn autocommit off, by call or by setting, as a host that commits by itself may."""

    def turn_off() -> None:
        if request.param == "AUTOCOMMIT":
            monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)
            reconnect()
        connection.set_autocommit(False)

    yield turn_off
    connection.rollback()
    connection.set_autocommit(True)


def reconnect() -> None:
    # SQLite's database is gone with its last connection.
    if connection.vendor != "sqlite":
        connection.close()
        connection.connect()
        assert not connection.get_autocommit()


@pytest.mark.parametrize("name", one_in(3, OPERATIONS))
def test_operation_is_refused_where_autocommit_is_off(
    name: str, autocommit_off: Callable[[], None], stripe: StripeEmulator
) -> None:
    payment = PaymentFactory.create(paid=True, stripe_payment_intent_id="pi_1")
    WebhookEventFactory.create(payment=payment)
    ConcernFactory.create(payment=payment)
    before = [read_rows(model) for model in MODELS]
    autocommit_off()
    with pytest.raises(RuntimeError, match="needs autocommit"):
        OPERATIONS[name](payment)
    connection.commit()
    assert [read_rows(model) for model in MODELS] == before
    assert stripe.requests == []
