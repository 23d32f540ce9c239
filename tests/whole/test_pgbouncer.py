"""Every command through pgbouncer in transaction mode, with Django's defaults and beside traffic."""

from __future__ import annotations

import datetime as dt
import io
import json
import threading
from collections.abc import Callable, Iterator

import pytest
from django.core.management import call_command, get_commands
from django.db import connection, connections
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger.claims import Step
from octo_stripe_gateway.models import IdempotencyKey, Payment, PaymentChange, WebhookEvent, batches
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory, WebhookEventFactory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("pooled", "traffic"),
]

ROWS = 7
OLD = timezone.now() - dt.timedelta(days=400)


@pytest.fixture
def traffic(pooled: None) -> Iterator[None]:
    """Keep other sessions busy, so that each transaction of a command gets a different one."""
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            Payment.objects.count()
        connections.close_all()

    threads = [threading.Thread(target=read) for _each in range(3)]
    for thread in threads:
        thread.start()
    yield
    is_over.set()
    for thread in threads:
        thread.join()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches.iterate_batches, "__kwdefaults__", {"size": 2})
    monkeypatch.setattr(Step, "size", 2)


def run(*command: str) -> str:
    out = io.StringIO()
    call_command(*command, stdout=out, stderr=out)
    return out.getvalue()


def reconcile(stripe: StripeEmulator) -> None:
    payments = [services.create_payment(2000, currency="usd").payment for _each in range(ROWS)]
    for payment in payments:
        stripe.confirm(payment.stripe_payment_intent_id or "")
    assert f"{ROWS} payments checked, {ROWS} changed" in run("reconcile_payments", "--from", "2020-01-01")
    assert not Payment.objects.exclude(status="paid").exists()


def prune_records(stripe: StripeEmulator) -> None:
    for payment in PaymentFactory.create_batch(ROWS, paid=True):
        PaymentChange.objects.create(payment=payment, source="webhook", changes={})
        IdempotencyKey.objects.create(payment=payment, key=str(payment.uuid))
    PaymentChange.objects.update(created_at=OLD)
    IdempotencyKey.objects.update(created_at=OLD)
    WebhookEventFactory.create_batch(ROWS + 1, processed=True)
    WebhookEvent.objects.update(received_at=OLD)
    lines = run("prune_records", "--key-days", "30", "--change-days", "30", "--batch-size", "2").splitlines()
    assert lines[0] == f"{ROWS} events deleted"
    assert lines[-1] == f"{ROWS} changes deleted"


def erase(stripe: StripeEmulator) -> None:
    payments = PaymentFactory.create_batch(ROWS, paid=True, reseller_reference="Ada")
    run("erase_payment_data", "--no-input", *(str(payment.pk) for payment in payments))
    assert not Payment.objects.filter(reseller_reference="Ada").exists()


def export(stripe: StripeEmulator) -> None:
    PaymentFactory.create_batch(ROWS, paid=True)
    assert len(run("export_payments").splitlines()) == ROWS + 1
    assert len(run("export_payments", "--movements").splitlines()) == 1


def maintain(stripe: StripeEmulator) -> None:
    payments = [services.create_payment(2000, currency="usd").payment for _each in range(ROWS)]
    for payment in payments:
        stripe.confirm(payment.stripe_payment_intent_id or "")
    Payment.objects.update(next_check_at=OLD)
    events = WebhookEventFactory.create_batch(ROWS, failed=True)
    WebhookEvent.objects.update(retry_at=OLD)
    done = json.loads(run("maintain_payments", "--threads", "3"))
    assert done["payments"] == {"changed": ROWS}
    assert done["events"] == {"processed": len(events)}


WORKS: dict[str, Callable[[StripeEmulator], None]] = {
    "reconcile_payments": reconcile,
    "maintain_payments": maintain,
    "prune_records": prune_records,
    "erase_payment_data": erase,
    "export_payments": export,
}
# These read and write hardly any of our rows, or go through them as `reconcile_payments` does.
OTHERS = {"recover_ledger", "stripe_doctor", "stripe_emulator", "stripe_setup"}


@pytest.mark.parametrize("command", WORKS)
def test_command(command: str, stripe: StripeEmulator) -> None:
    WORKS[command](stripe)


def test_every_command_is_here() -> None:
    ours = {name for name, app in get_commands().items() if app == "octo_stripe_gateway"}
    assert ours == WORKS.keys() | OTHERS


def test_nothing_lives_in_a_session_here() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('octo.test', 'set', false)")
        seen = set()
        for _each in range(100):
            cursor.execute("SELECT coalesce(current_setting('octo.test', true), '')")
            seen.add(cursor.fetchone()[0])
    assert "" in seen
