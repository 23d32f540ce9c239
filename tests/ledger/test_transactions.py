"""No lock and no transaction spans a call to Stripe, and what is announced is committed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.serializers import serialize
from django.db import connection, transaction
from django.dispatch import Signal

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.models import IdempotencyKey, Payment, Refund
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.receivers import listening
from tests.support.threads import run_and_disconnect

pytestmark = pytest.mark.django_db(transaction=True)

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'",
    reason="only PostgreSQL tells who is in a transaction and holds locks",
)


Prepare = Callable[[GatewayApi, StripeEmulator], Any]
Request = Callable[[GatewayApi, Any], Any]


def refuse_next(path: str) -> Callable[[GatewayApi, StripeEmulator], Any]:
    """Authorize a payment, and make Stripe refuse the next request."""

    def prepare(api: GatewayApi, stripe: StripeEmulator) -> Any:
        payment = api.authorized(stripe)
        stripe.add_fault(Fault(path=path, status=400))
        return payment

    return prepare


CAPTURE, CANCEL = "/v1/payment_intents/.*/capture", "/v1/payment_intents/.*/cancel"

# The API's call, the payment it is about, and Stripe's call that is held meanwhile.
HELD: dict[str, tuple[Prepare, Request, str, str]] = {
    "create": (lambda _api, _stripe: None, lambda api, _: api.create(), "POST", "/v1/payment_intents$"),
    "complete": (
        GatewayApi.paid_at_stripe,
        lambda api, one: api.complete(one),
        "GET",
        "/v1/payment_intents/",
    ),
    "refund": (GatewayApi.paid, lambda api, one: api.refund(one), "POST", "/v1/refunds"),
    "resume a refund, looking": (
        GatewayApi.unanswered_refund,
        lambda api, one: api.refund(one),
        "GET",
        "/v1/refunds",
    ),
    "resume a refund, asking": (
        GatewayApi.unanswered_refund,
        lambda api, one: api.refund(one),
        "POST",
        "/v1/refunds",
    ),
    "capture": (GatewayApi.authorized, lambda api, one: api.capture(one), "POST", CAPTURE),
    "cancel": (GatewayApi.authorized, lambda api, one: api.cancel(one), "POST", CANCEL),
    "look after a refused capture": (
        refuse_next(CAPTURE),
        lambda api, one: api.capture(one),
        "GET",
        "/v1/payment_intents/",
    ),
    "look after a refused cancellation": (
        refuse_next(CANCEL),
        lambda api, one: api.cancel(one),
        "GET",
        "/v1/payment_intents/",
    ),
    "reconcile": (
        GatewayApi.paid_at_stripe,
        lambda _, one: services.sync_payment(Payment.objects.get(pk=one["id"])),
        "GET",
        "/v1/payment_intents/",
    ),
    "reconcile a refund": (
        GatewayApi.unanswered_refund,
        lambda _, one: services.sync_payment(Payment.objects.get(pk=one["id"])),
        "POST",
        "/v1/refunds",
    ),
}


@on_postgresql
@pytest.mark.parametrize("name", one_in(2, HELD))
def test_nothing_is_locked_or_open_while_stripe_thinks(
    name: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    prepare, request, method, path = HELD[name]
    one = prepare(api, stripe)
    with stripe.hold(method, path) as hold, in_thread(lambda: request(api, one)):
        hold.wait_until_reached()
        assert get_open_transactions() == []
        with transaction.atomic():
            # Raises if another session has locked any of these rows.
            for model in (Payment, Refund, IdempotencyKey):
                list(model._default_manager.select_for_update(nowait=True))
        hold.release()


@on_postgresql
def test_open_transaction_would_be_seen(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.create()
    opened, done = threading.Event(), threading.Event()

    def hold_lock() -> None:
        with transaction.atomic():
            Payment.objects.select_for_update().get()
            opened.set()
            done.wait(5)

    with in_thread(hold_lock):
        opened.wait(5)
        assert get_open_transactions() == ["idle in transaction"]
        done.set()


OPERATIONS: dict[str, Callable[[Payment], object]] = {
    "create": lambda _: services.create_payment(2000, currency="usd"),
    "complete": services.complete_payment,
    "refund": services.refund_payment,
    "capture": services.capture_payment,
    "cancel": services.cancel_payment,
    "reconcile": services.sync_payment,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_refuses_to_run_inside_a_transaction(
    name: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    api.paid(stripe)
    payment = Payment.objects.get()
    before, asked = snapshot(), len(stripe.requests)
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        OPERATIONS[name](payment)
    assert snapshot() == before
    assert len(stripe.requests) == asked


@pytest.mark.parametrize("start", ["create", "complete", "refund", "capture", "cancel"])
def test_api_works_with_atomic_requests_on(
    start: str, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.authorized(stripe) if start in {"capture", "cancel"} else api.paid(stripe)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    response = api.create() if start == "create" else getattr(api, start)(payment)
    assert response.status_code in {200, 201}, response.content


ANNOUNCED: dict[str, tuple[Prepare, Signal]] = {
    "create": (lambda api, _: api.create(), signals.payment_created),
    "success": (GatewayApi.paid, signals.payment_succeeded),
    "refund": (lambda api, stripe: api.refund(api.paid(stripe)), signals.payment_refunded),
    "cancel": (lambda api, _: api.cancel(api.create().json()), signals.payment_canceled),
}


@pytest.mark.parametrize("name", ANNOUNCED)
def test_change_is_announced_once_and_when_it_is_committed(
    name: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    change, signal = ANNOUNCED[name]
    heard: list[tuple[bool, str]] = []

    def listen(payment: Payment, **_: Any) -> None:
        committed = in_other_connection(lambda: Payment.objects.get(pk=payment.pk).status)
        heard.append((connection.in_atomic_block, committed))

    with listening(signal, listen):
        change(api, stripe)
        api.deliver(stripe)
        for payment in Payment.objects.all():
            services.sync_payment(payment)
    expected = {"create": "pending", "success": "paid", "refund": "refunded", "cancel": "canceled"}
    assert heard == [(False, expected[name])]


@pytest.mark.parametrize("name", one_in(2, ANNOUNCED))
def test_receiver_that_raises_harms_nothing(name: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    change, signal = ANNOUNCED[name]

    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    with listening(signal, fail):
        answer = change(api, stripe)
        delivered = api.deliver(stripe)
    assert getattr(answer, "status_code", 200) in {200, 201}
    assert {response.status_code for response in delivered} <= {200}


def test_change_that_is_rolled_back_is_not_announced(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.paid_at_stripe(stripe)
    heard: list[Any] = []

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    with listening(signals.payment_succeeded, lambda **_: heard.append(True)):
        monkeypatch.setattr("octo_stripe_gateway.webhooks.inbox._handle", fail)
        api.client.raise_request_exception = False
        api.deliver(stripe, "payment_intent.succeeded")
        assert Payment.objects.get(pk=payment["id"]).status == "pending"
        assert heard == []
        monkeypatch.undo()


def snapshot() -> list[str]:
    return [serialize("json", model._default_manager.all()) for model in (Payment, Refund, IdempotencyKey)]


def get_open_transactions() -> list[str]:
    """Return the state of every other session of this database that has a transaction open."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        return [state for (state,) in cursor.fetchall()]


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    """Run something in a thread beside the block, and raise its error."""
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run_and_disconnect, work)
        yield
        ended.result(10)


def in_other_connection(work: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run_and_disconnect, work).result(10)
