"""After a run through everything: where the client secret and the keys are, which is nowhere."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

CLIENT_SECRET = re.compile(r"_secret_(?!\[redacted\])")
OWN_SECRETS = ("sk_test_gateway", "whsec_gateway", "gateway-key", "wrong-key")


class Lines(logging.Handler):
    """Keeps every line that any logger writes."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.lines.append(self.format(record))


class RecordingClient(Client):
    """Keeps every answer, with the call that it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, str, Any]] = []

    def request(self, **request: Any) -> Any:
        answer = super().request(**request)
        self.answers.append((request["REQUEST_METHOD"], request["PATH_INFO"], answer))
        return answer


@pytest.fixture
def log() -> Iterator[Lines]:
    """Everything that is logged, by every logger, at its most talkative."""
    handler = Lines()
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.Logger.manager.loggerDict)]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = True
    loggers[0].addHandler(handler)
    connection.force_debug_cursor = True
    yield handler
    connection.force_debug_cursor = False
    loggers[0].removeHandler(handler)
    for logger, level, propagate in before:
        logger.setLevel(level)
        logger.propagate = propagate


def fail(_payment: Payment, fact: Any) -> None:
    raise ZeroDivisionError(repr(fact))


def pay(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create({"amount": 2000, "metadata": {"note": "pi"}}, **{"Idempotency-Key": "k"}).json()
    api.create({"amount": 2000, "metadata": {"note": "pi"}}, **{"Idempotency-Key": "k"})
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa_chargeDeclined")
    api.complete(payment)
    stripe.confirm(payment["stripePaymentIntentId"])
    api.complete(payment)
    api.retrieve(payment)
    api.refund(payment, {"amount": 500})
    api.refund(payment)
    stripe.open_dispute(payment["stripePaymentIntentId"])
    api.capture(api.authorized(stripe))
    api.cancel(api.create().json())


def go_wrong(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.create({"amount": 1})
    api.create({"amount": "x"})
    api.retrieve(0)
    GatewayApi(api.client, key="wrong-key").create()
    faults = [
        Fault(),
        Fault(kind="reset"),
        Fault(kind="reset", when="after"),
        Fault(status=429),
        Fault(status=401),
    ]
    for fault in faults:
        stripe.add_fault(fault)
        api.create()
    stripe.add_fault(Fault(kind="reset", when="after"))
    api.refund(payment)


def deliver(api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    event = next(event for event in stripe.events if event.type == "payment_intent.succeeded")
    body, signature = stripe.signed(event)
    assert CLIENT_SECRET.search(body.decode())
    api.post_event(body, "t=1,v1=x")
    with monkeypatch.context() as patch:
        patch.setattr(services, "apply_payment_intent", fail)
        assert api.post_event(body, signature).status_code == 500
    api.deliver(stripe)
    api.deliver(stripe)


def read_every_column() -> list[str]:
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        rows = []
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            rows += [f"{table}: {json.dumps(row, default=str)}" for row in cursor.fetchall()]
    return rows


@pytest.fixture
def run(stripe: StripeEmulator, log: Lines, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RecordingClient]:
    def everything() -> RecordingClient:
        client = RecordingClient()
        api = GatewayApi(client)
        pay(api, stripe)
        go_wrong(api, stripe)
        deliver(api, stripe, monkeypatch)
        return client

    return everything


def test_no_secret_is_at_rest(run: Callable[[], RecordingClient]) -> None:
    run()
    rows = read_every_column()
    assert {"processed", "ignored"} <= set(WebhookEvent.objects.values_list("status", flat=True))
    assert any("octo_stripe_gateway_webhookevent" in row for row in rows)
    assert [row for row in rows if CLIENT_SECRET.search(row)] == []
    assert [row for row in rows if any(secret in row for secret in OWN_SECRETS)] == []


def test_no_secret_is_at_rest_while_an_event_fails(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_talking(_payment: Payment, _fact: Any) -> None:
        raise ZeroDivisionError("pi_1_secret_2")

    api.paid(stripe)
    monkeypatch.setattr(services, "apply_payment_intent", fail_talking)
    api.deliver(stripe)
    assert "ZeroDivisionError" in WebhookEvent.objects.filter(status="failed")[0].error
    assert [row for row in read_every_column() if CLIENT_SECRET.search(row)] == []


def test_no_secret_is_in_any_log(run: Callable[[], RecordingClient], log: Lines) -> None:
    run()
    talkers = {"stripe", "urllib3.connectionpool", "django.db.backends", "octo_stripe_gateway.inbox"}
    assert talkers <= log.names
    assert any("_secret_[redacted]" in line for line in log.lines)
    assert {line[:120] for line in log.lines if CLIENT_SECRET.search(line)} == set()
    assert [line for line in log.lines if any(secret in line for secret in OWN_SECRETS)] == []


def test_no_answer_but_that_to_create_has_the_secret(run: Callable[[], RecordingClient]) -> None:
    answers = run().answers
    with_secret = [
        (method, path, answer.status_code)
        for method, path, answer in answers
        if CLIENT_SECRET.search(answer.content.decode() + str(answer.headers))
    ]
    assert set(with_secret) == {("POST", "/bookings/payments", 201)}
    texts = [answer.content.decode() + str(answer.headers) for _method, _path, answer in answers]
    assert [text for text in texts if any(secret in text for secret in OWN_SECRETS)] == []
