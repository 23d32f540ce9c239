"""WEBHOOK_PROCESSING="task": events are stored, answered, and processed by a worker of Django's tasks."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.util
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import upkeep
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError
from octo_stripe_gateway.ledger import claims as due
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.support.api import GatewayApi
from tests.support.objects import make_event, make_paid_intent

FRAMEWORK = "django.tasks" if importlib.util.find_spec("django.tasks") else "django_tasks"
WORKER = ("db_worker", "--batch", "--no-startup-delay", "--verbosity=0")


def defer(payload: dict[str, Any]) -> WebhookEvent:
    from octo_stripe_gateway.webhooks import tasks

    return tasks.defer_event(payload)


WITHOUT_TASKS = """
import sys
import django
from django.conf import settings

sys.modules["django.tasks"] = sys.modules["django_tasks"] = None
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "octo_stripe_gateway"])
django.setup()
from octo_stripe_gateway.exceptions import ConfigurationError
try:
    from octo_stripe_gateway.webhooks import tasks
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture
def use(settings: Any, configure: Callable[..., None]) -> Callable[[str], None]:
    """Process events with this backend of the task framework."""

    def use(backend: str) -> None:
        if "." not in backend:
            backend = f"{FRAMEWORK}.backends.{backend.lower()}.{backend}Backend"
        settings.TASKS = {"default": {"BACKEND": backend}}
        configure(WEBHOOK_PROCESSING="task")

    return use


@pytest.fixture
def queue(use: Callable[[str], None]) -> Callable[[], Any]:
    """Use the database as queue, and give the tasks in it."""
    use("django_tasks_db.DatabaseBackend")
    results = pytest.importorskip("django_tasks_db.models").DBTaskResult

    return lambda: list(results.objects.order_by("enqueued_at"))


@pytest.mark.django_db(transaction=True)
def test_event_is_answered_first_and_processed_by_a_worker(
    api: GatewayApi, stripe: StripeEmulator, queue: Callable[[], Any]
) -> None:
    payment = api.paid_at_stripe(stripe)
    (answer,) = api.deliver(stripe, "payment_intent.succeeded")
    assert (answer.status_code, answer.json()["status"]) == (200, "received")
    assert api.retrieve(payment).json()["status"] == "PENDING"
    assert len(queue()) == 1

    call_command(*WORKER)
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("processed", 1)
    assert [task.status for task in queue()] == ["SUCCESSFUL"]


@pytest.mark.django_db(transaction=True)
def test_redelivery_before_the_worker_came_is_harmless(payment: Payment, queue: Callable[[], Any]) -> None:
    payload = make_event("payment_intent.succeeded", make_paid_intent())
    for _ in range(3):
        assert defer(payload).status == "received"
    call_command(*WORKER)
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("processed", 1)
    assert defer(payload).status == "processed"
    assert [task.status for task in queue()] == ["SUCCESSFUL"]


@pytest.mark.django_db(transaction=True)
def test_failure_in_the_worker_is_on_the_event(payment: Payment, queue: Callable[[], Any]) -> None:
    payload = make_event("payment_intent.succeeded", make_paid_intent(amount=None))
    defer(payload)
    call_command(*WORKER)
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("failed", 1)
    assert event.error_parameters["message"] == "Stripe's object has no valid amount."
    # Stripe was answered and won't deliver again: upkeep has to retry.
    assert defer(payload).status == "failed"
    assert len(queue()) == 1
    WebhookEvent.objects.update(retry_at=timezone.now())
    with pytest.raises(CommandError, match="1 events failed"):
        call_command("maintain_payments", "--threads", "1")
    assert WebhookEvent.objects.get().attempts == 2


@pytest.mark.django_db(transaction=True)
def test_one_call_of_a_worker_is_enough_for_all_that_waits(
    payment: Payment, queue: Callable[[], Any]
) -> None:
    for number in range(5):
        defer(make_event("payment_intent.succeeded", make_paid_intent(), id=f"evt_{number}"))
    assert len(queue()) == 1
    call_command(*WORKER)
    assert set(WebhookEvent.objects.values_list("status", "attempts")) == {("processed", 1)}
    defer(make_event("payment_intent.succeeded", make_paid_intent(), id="evt_later"))
    assert len(queue()) == 2


@pytest.mark.django_db(transaction=True)
def test_worker_that_does_not_come_within_a_minute_is_called_again(
    payment: Payment, queue: Callable[[], Any]
) -> None:
    defer(make_event("payment_intent.succeeded", make_paid_intent()))
    ago = timezone.now() - dt.timedelta(seconds=61)
    WebhookEvent.objects.update(received_at=ago, retry_at=ago)
    defer(make_event("payment_intent.succeeded", make_paid_intent(), id="evt_next"))
    assert len(queue()) == 2


@pytest.mark.django_db(transaction=True)
def test_event_of_a_killed_worker_is_processed_within_a_minute(
    payment: Payment, queue: Callable[[], Any]
) -> None:
    defer(make_event("payment_intent.succeeded", make_paid_intent()))
    due._claim(inbox.EventStep(), limit=10)
    moment = WebhookEvent.objects.get().retry_at
    assert moment
    # Maintenance comes every half minute where there are workers, as the page on deployment has it.
    assert timezone.now() < moment < timezone.now() + dt.timedelta(seconds=30)
    WebhookEvent.objects.update(retry_at=timezone.now())
    # Whoever comes first: the next event's worker, or upkeep.
    defer(make_event("payment_intent.succeeded", make_paid_intent(), id="evt_next"))
    assert len(queue()) == 2
    call_command(*WORKER)
    assert set(WebhookEvent.objects.values_list("status", "attempts")) == {("processed", 1)}


@pytest.mark.django_db
def test_immediate_backend_processes_at_once(payment: Payment, use: Callable[[str], None]) -> None:
    use("Immediate")
    defer(make_event("payment_intent.succeeded", make_paid_intent()))
    assert Payment.objects.get().status == "paid"
    assert WebhookEvent.objects.get().status == "processed"


@pytest.mark.django_db
def test_event_waits_where_nothing_works_the_queue(payment: Payment, use: Callable[[str], None]) -> None:
    use("Dummy")
    defer(make_event("payment_intent.succeeded", make_paid_intent()))
    assert (WebhookEvent.objects.get().status, Payment.objects.get().status) == ("received", "pending")
    upkeep.make_due()
    upkeep.work_off(upkeep.EVENTS, limit=100)
    assert (WebhookEvent.objects.get().status, Payment.objects.get().status) == ("processed", "paid")


@pytest.mark.django_db
def test_event_that_no_row_can_hold_is_refused_before_it_is_queued(use: Callable[[str], None]) -> None:
    use("Dummy")
    with pytest.raises(BadRequestError):
        defer(make_event("x", {}, id="e" * 300))
    assert not WebhookEvent.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("trouble", ["refuses", "hangs"])
def test_event_is_kept_and_answered_when_the_queue_is_down(
    trouble: str,
    payment: Payment,
    api: GatewayApi,
    stripe: StripeEmulator,
    use: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from octo_stripe_gateway.webhooks import tasks

    use("Dummy")
    over = threading.Event()

    def fail(self: Any, *args: Any, **kwargs: Any) -> None:
        if trouble == "hangs":
            over.wait(60)
        raise ConnectionError

    payment = api.paid_at_stripe(stripe)
    with monkeypatch.context() as patch:
        patch.setattr(type(tasks.process_due_events), "enqueue", fail)
        patch.setattr(tasks.BROKER, "seconds", 0.2)
        began = time.monotonic()
        (answer,) = api.deliver(stripe, "payment_intent.succeeded")
        assert time.monotonic() - began < 5
        over.set()
    assert (answer.status_code, answer.json()["status"]) == (200, "received")
    # The repeated delivery queues nothing: upkeep makes up for it.
    (answer,) = api.deliver(stripe, "payment_intent.succeeded")
    assert answer.json()["status"] == "received"
    retry_at = WebhookEvent.objects.get().retry_at
    assert retry_at
    assert retry_at < timezone.now() + dt.timedelta(seconds=20)
    WebhookEvent.objects.update(retry_at=timezone.now())
    call_command("maintain_payments", "--threads", "1")
    assert WebhookEvent.objects.get().status == "processed"
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


@pytest.mark.django_db(transaction=True)
def test_queue_that_fails_once_is_called_again_for_the_next_event(
    payment: Payment, queue: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from octo_stripe_gateway.webhooks import tasks

    with monkeypatch.context() as patch:
        patch.setattr(type(tasks.process_due_events), "enqueue", lambda _self: 1 / 0)
        defer(make_event("payment_intent.succeeded", make_paid_intent()))
    assert len(queue()) == 0
    defer(make_event("payment_intent.succeeded", make_paid_intent(), id="evt_next"))
    assert len(queue()) == 1


@pytest.mark.slow
def test_missing_framework_is_named_with_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_TASKS], capture_output=True, text=True, check=True
    )
    assert "pip install 'octo-stripe-gateway[tasks]'" in done.stdout
    assert issubclass(ConfigurationError, Exception)
