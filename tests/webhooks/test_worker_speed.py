"""A worker of the task framework processes at least half as many events a second as a web process does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command

from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import inbox
from tests.support.objects import make_event, make_paid_intent
from tests.support.threads import needs_row_locks

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), needs_row_locks]

EVENTS = 400
WORKER = ("db_worker", "--batch", "--no-startup-delay", "--verbosity=0")
logger = logging.getLogger(__name__)


def make_events(way: str) -> list[dict[str, Any]]:
    ids = [f"pi_{way}_{number}" for number in range(EVENTS)]
    for intent_id in ids:
        PaymentFactory.create(stripe_payment_intent_id=intent_id, intent_as_of=0)
    intents = [make_paid_intent(id=each, latest_charge=None) for each in ids]
    return [make_event("payment_intent.succeeded", each, id=f"evt_{each['id']}") for each in intents]


def measure(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return EVENTS / (time.perf_counter() - began)


def test_worker_is_at_least_half_as_fast(settings: Any, configure: Callable[..., None]) -> None:
    from octo_stripe_gateway.webhooks import tasks

    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    configure(WEBHOOK_PROCESSING="task")
    inline, deferred = make_events("inline"), make_events("deferred")
    rates = {
        "inline": measure(lambda: [inbox.receive_event(each) for each in inline]),
        "defer": measure(lambda: [tasks.defer_event(each) for each in deferred]),
        "worker": measure(lambda: call_command(*WORKER)),
    }
    logger.info("Events a second: %s", {name: round(rate) for name, rate in rates.items()})
    assert set(WebhookEvent.objects.values_list("status", "attempts")) == {("processed", 1)}
    assert Payment.objects.filter(status="paid").count() == 2 * EVENTS
    assert rates["worker"] > rates["inline"] / 2, rates
