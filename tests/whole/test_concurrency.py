"""Fifty at once, each with a connection of its own: one effect, no deadlock, no lost update."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test import Client

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.models import IdempotencyKey, Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals
from tests.support.receivers import listening

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("way_to_the_database"),
    pytest.mark.skipif(
        "connection.vendor != 'postgresql'", reason="SQLite has no row locks and one writer at a time"
    ),
]

THREADS = 50
KEY = {"Idempotency-Key": "the-client's"}

Work = Callable[[GatewayApi], Any]


@pytest.fixture(autouse=True)
def no_deadlocks() -> Iterator[None]:
    """Check by the database's own count that no session was in a deadlock."""
    before = count_deadlocks()
    yield
    assert count_deadlocks() == before


@pytest.fixture
def heard() -> Iterator[Counter[str]]:
    """Counts the signals that were sent."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for name in ("created", "succeeded", "canceled", "refunded"):
            signal = getattr(signals, f"payment_{name}")
            stack.enter_context(listening(signal, count_into(counts, name=name)))
        yield counts


def count_into(counts: Counter[str], *, name: str) -> Callable[..., None]:
    lock = threading.Lock()

    def count(**_: Any) -> None:
        with lock:
            counts[name] += 1

    return count


def test_same_full_refund_is_made_once(api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]) -> None:
    payment = api.paid(stripe)
    answers = together([lambda api: api.refund(payment)] * THREADS)
    # A repeat of what is under way, one that waits for the first, and one that comes after it.
    assert set(answers) <= {200, 409, 422}
    assert answers[200]
    assert get_refunded(stripe) == [2000]
    assert heard["refunded"] == 1
    assert_ledger_equals(stripe)


@pytest.mark.parametrize("body", [None, {"amount": 500}])
def test_same_refund_by_one_key_is_made_once(body: Any, api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    answers = together([patient(lambda api: api.refund(payment, body, **KEY))] * THREADS)
    assert answers == {200: THREADS}
    assert get_refunded(stripe) == [500 if body else 2000]
    assert IdempotencyKey.objects.count() == 1
    assert_ledger_equals(stripe)


def test_one_key_with_other_parameters_is_refused(api: GatewayApi, stripe: StripeEmulator) -> None:
    payments = [api.paid(stripe) for _ in range(4)]
    calls: list[Work] = [
        patient(lambda api, one=payments[n % 4]: api.refund(one, {"amount": 500}, **KEY))  # type: ignore[misc]
        for n in range(THREADS)
    ]
    answers = together(calls)
    assert set(answers) == {200, 422}
    assert get_refunded(stripe) == [500]
    assert_ledger_equals(stripe)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(6))
def test_one_key_for_a_create_and_for_refunds_is_no_deadlock(
    round_: int, api: GatewayApi, stripe: StripeEmulator
) -> None:
    """A create with a uuid locks its payment and then the key, and so does a refund of it."""
    key = {"Idempotency-Key": f"round {round_}"}
    body = {"amount": 2000, "currency": "usd", "uuid": str(uuid.uuid4())}
    payments = [api.paid(stripe, body), api.paid(stripe)]
    calls: list[Work] = [
        lambda api: api.create(body, **key),
        lambda api: api.refund(payments[0], {"amount": 500}, **key),
        lambda api: api.refund(payments[1], {"amount": 500}, **key),
        lambda api: api.cancel(payments[1], **key),
    ]
    answers = together([patient(each) for each in calls] * 6)
    assert answers[422] >= 18
    assert IdempotencyKey.objects.count() == 1
    assert_ledger_equals(stripe)


def test_different_partial_refunds_never_exceed_what_was_captured(
    api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]
) -> None:
    payment = api.paid(stripe)
    amounts = [50 + 3 * n for n in range(THREADS)]
    answers = together([(lambda api, a=a: api.refund(payment, {"amount": a})) for a in amounts])  # type: ignore[misc]
    assert set(answers) == {200, 422}
    refunded = get_refunded(stripe)
    assert len(refunded) == answers[200] == heard["refunded"]
    assert 2000 - max(amounts) < sum(refunded) <= 2000
    assert_ledger_equals(stripe)


def test_partial_refunds_each_with_a_key_are_all_made(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    calls: list[Work] = [
        (lambda api, n=n: api.refund(payment, {"amount": 40}, **{"Idempotency-Key": f"key {n}"}))  # type: ignore[misc]
        for n in range(THREADS)
    ]
    assert together(calls) == {200: THREADS}
    assert get_refunded(stripe) == [40] * THREADS
    assert Payment.objects.get().status == "refunded"
    assert_ledger_equals(stripe)


def test_complete_webhook_and_reconcile_agree(
    api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]
) -> None:
    payment = api.paid_at_stripe(stripe)
    signed = stripe.signed("payment_intent.succeeded")
    works: list[Work] = [
        lambda api: api.complete(payment),
        lambda api: api.post_event(*signed),
        lambda _: reconcile(payment),
    ]
    assert together(works * (THREADS // 3)) == {200: THREADS // 3 * 3}
    assert heard == {"created": 1, "succeeded": 1}
    assert Payment.objects.get().status == "paid"
    assert_ledger_equals(stripe)


@pytest.mark.parametrize("headers", [{}, KEY])
def test_same_create_makes_one_payment(
    headers: dict[str, str], api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]
) -> None:
    body: dict[str, Any] = {"amount": 2000, "currency": "usd"}
    body |= {} if headers else {"uuid": str(uuid.uuid4())}
    created: list[Any] = []

    def create(api: GatewayApi) -> Any:
        response = api.create(body, **headers)
        if response.status_code == 201:
            created.append(response.json())
        return response

    assert together([patient(create)] * THREADS) == {201: THREADS}
    (payment,) = Payment.objects.all()
    (intent,) = stripe.payment_intents.values()
    assert payment.stripe_payment_intent_id == intent["id"]
    assert {(one["id"], one["stripeClientSecret"]) for one in created} == {
        (payment.pk, intent["client_secret"])
    }
    assert heard == {"created": 1}


@pytest.mark.parametrize("by_key", [True, False])
def test_same_create_with_other_parameters_is_refused(
    by_key: bool, api: GatewayApi, stripe: StripeEmulator
) -> None:
    same = {} if by_key else {"uuid": str(uuid.uuid4())}
    headers = KEY if by_key else {}
    works: list[Work] = [
        patient(lambda api, a=a: api.create({"amount": a, "currency": "usd", **same}, **headers))  # type: ignore[misc]
        for a in (1000, 2000) * (THREADS // 2)
    ]
    assert together(works) == {201: THREADS // 2, 422: THREADS // 2}
    assert Payment.objects.count() == len(stripe.payment_intents) == 1


def test_capture_races_cancellation(api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]) -> None:
    payments = [api.authorized(stripe) for _ in range(5)]
    answers = together([work for payment in payments for work in race_capture(payment)])
    assert answers[200] >= 5
    assert set(answers) <= {200, 400, 409, 422}
    assert heard["succeeded"] + heard["canceled"] == 5
    assert_ledger_equals(stripe)


def race_capture(payment: Any) -> list[Work]:
    return [lambda api: api.capture(payment), lambda api: api.cancel(payment)] * 5


def test_captures_of_different_amounts_take_one(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    answers = together([(lambda api, a=100 + n: api.capture(payment, {"amount": a})) for n in range(THREADS)])  # type: ignore[misc]
    assert answers[200] == 1
    assert set(answers) <= {200, 422}
    assert_ledger_equals(stripe)


def test_refund_races_its_own_event(api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]) -> None:
    payment = api.paid(stripe)
    with stripe.hold("POST", "/v1/refunds") as hold:

        def deliver(api: GatewayApi) -> Any:
            hold.wait_until_reached()
            responses = api.deliver(stripe, "refund.created", "charge.refunded")
            return responses[-1]

        def release(_: GatewayApi) -> int:
            hold.wait_until_reached()
            hold.release()
            return 200

        works: list[Work] = [lambda api: api.refund(payment, {"amount": 500}), *[deliver] * 20, release]
        assert together(works) == {200: 22}
    assert get_refunded(stripe) == [500]
    assert heard["refunded"] == 1
    assert_ledger_equals(stripe)


@pytest.mark.parametrize("known", [True, False])
def test_same_event_is_processed_once(
    known: bool, api: GatewayApi, stripe: StripeEmulator, heard: Counter[str]
) -> None:
    api.paid_at_stripe(stripe)
    if not known:
        Payment.objects.update(stripe_payment_intent_id=None)
    signed = stripe.signed("payment_intent.succeeded")
    assert together([lambda api: api.post_event(*signed)] * THREADS) == {200: THREADS}
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts, event.error_code) == ("processed", 1, "")
    assert heard["succeeded"] == 1
    assert_ledger_equals(stripe)


def test_event_that_meets_the_creations_answer_is_processed(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    signed = stripe.signed("payment_intent.succeeded")
    Payment.objects.update(stripe_payment_intent_id=None)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            row = Payment.objects.select_for_update().get()
            status = pool.submit(run, lambda api: api.post_event(*signed))
            wait_for_a_lock()
            row.stripe_payment_intent_id = payment["stripePaymentIntentId"]
            row.save()
        assert status.result(10) == 200
    assert WebhookEvent.objects.get().status == "processed"
    assert_ledger_equals(stripe)


def test_all_events_of_a_payment_arrive_at_once(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    for amount in (300, 400, 500):
        stripe.refund(payment["stripePaymentIntentId"], amount=amount)
    signed = [stripe.signed(event) for event in stripe.events] * 5
    works: list[Work] = [(lambda api, one=one: api.post_event(*one)) for one in signed]  # type: ignore[misc]
    assert together(works) == {200: len(works)}
    assert_ledger_equals(stripe)


def test_storm(api: GatewayApi, stripe: StripeEmulator) -> None:
    weather_storm(api, stripe, rounds=6, seed=10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_long_storm(seed: int, api: GatewayApi, stripe: StripeEmulator) -> None:
    weather_storm(api, stripe, rounds=125, seed=seed)


def weather_storm(api: GatewayApi, stripe: StripeEmulator, *, rounds: int, seed: int) -> None:
    """Do everything to two payments at once, round after round."""
    chance = random.Random(seed)
    with ThreadPoolExecutor(8) as pool:
        for number in range(rounds):
            payments = [api.paid(stripe), api.authorized(stripe)]
            events = [stripe.signed(event) for event in stripe.events[-8:]]
            works = [choose_work(chance, payments=payments, events=events) for _ in range(8)]
            statuses = set(pool.map(run, works))
            assert statuses <= {200, 400, 409, 422}, number
            settle(payments)
        assert_ledger_equals(stripe)
        assert not WebhookEvent.objects.filter(status="failed").exists()


def choose_work(chance: random.Random, *, payments: Sequence[Any], events: Sequence[Any]) -> Work:
    payment, event = chance.choice(payments), chance.choice(events)
    amount = chance.choice([300, 700, 900])
    headers = chance.choice([{}, {"Idempotency-Key": f"{payment['uuid']} {amount}"}])
    works: list[Work] = [
        lambda api: api.complete(payment),
        lambda api: api.refund(payment),
        lambda api: api.refund(payment, {"amount": amount}, **headers),
        lambda api: api.capture(payment, {"amount": amount}),
        lambda api: api.cancel(payment),
        lambda api: api.post_event(*event),
        lambda _: reconcile(payment),
    ]
    return chance.choice(works)


def settle(payments: Sequence[Any]) -> None:
    """Reconcile each payment once more: a call that was told to try again left an amount reserved."""
    for payment in payments:
        assert reconcile(payment) == 200


def reconcile(payment: Any) -> int:
    try:
        services.sync_payment(Payment.objects.get(pk=payment["id"]))
    except GatewayError as error:
        return 409 if error.code == "UNPROCESSABLE_ENTITY" else 500
    return 200


def patient(work: Work) -> Work:
    """Repeat a request for as long as its first attempt is still running."""

    def repeat(api: GatewayApi) -> Any:
        while True:
            response = work(api)
            if response.status_code != 409:
                return response

    return repeat


def together(works: Sequence[Work]) -> Counter[int]:
    """Run all works at one moment, each in a thread with its own connection, and count the statuses."""
    barrier = threading.Barrier(len(works))

    def wait_and_run(work: Work) -> int:
        connection.ensure_connection()
        barrier.wait(20)
        return run(work)

    with ThreadPoolExecutor(len(works)) as pool:
        return Counter(pool.map(wait_and_run, works))


def run(work: Work) -> int:
    try:
        answer: Any = work(GatewayApi(Client()))
    finally:
        connections.close_all()
    return int(getattr(answer, "status_code", answer))


def get_refunded(stripe: StripeEmulator) -> list[int]:
    return [refund["amount"] for refund in stripe.refunds.values()]


def wait_for_a_lock() -> None:
    """Wait until another session waits for a row's lock."""
    for _ in range(500):
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise TimeoutError("No session came to wait for a lock.")


def count_deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
