"""How many SQL statements a request makes, and that their number does not grow with the tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from octo_stripe_gateway import signals
from octo_stripe_gateway.api.card_payments import CardPaymentField
from octo_stripe_gateway.api.views import REFUNDS_SHOWN
from octo_stripe_gateway.models import Installation, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, WebhookEventFactory
from octo_stripe_gateway.webhooks.inbox import FIRST_DELIVERY_WITHIN, keep_event, process_event
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.objects import make_paid_intent
from tests.support.receivers import listening

# With real transactions, as on a server, BEGIN and COMMIT are seen.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "connection.vendor != 'postgresql'", reason="SQLite makes other statements: it has no row locks"
    ),
]


@pytest.fixture(autouse=True)
def installation(db: None) -> None:
    """Make what the first `migrate` makes, and the tests before may have flushed."""
    Installation.ledger.get_own()


TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK")
VERB = re.compile(r"(?:^|AS \()(INSERT|UPDATE|DELETE|SELECT)\b")
KEY = {"Idempotency-Key": "the-client's"}


class Statements:
    """The statements that were made, and how many transactions had any in them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.transactions = 0

    @property
    def kinds(self) -> list[str]:
        """Return the first word of each, with LOCK for those that lock, and all words of joined writes."""
        return ["LOCK" if "FOR UPDATE" in text else "+".join(VERB.findall(text)) for text in self.texts]

    def __len__(self) -> int:
        return len(self.texts)


@contextmanager
def statements() -> Iterator[Statements]:
    made = Statements()
    with CaptureQueriesContext(connection) as captured:
        yield made
    texts = [str(query["sql"]) for query in captured.captured_queries]
    made.texts = [text for text in texts if not text.startswith(TRANSACTION)]
    made.transactions = sum(
        text == "BEGIN" and not following.startswith(TRANSACTION)
        for text, following in zip(texts, [*texts[1:], "COMMIT"], strict=False)
    )


def make_event(*, age: int = 0) -> tuple[bytes, str]:
    payment = PaymentFactory.create()
    intent = make_paid_intent(id=payment.stripe_payment_intent_id)
    return signed_event("payment_intent.succeeded", intent, created=int(time.time()) - age)


@pytest.mark.parametrize("by", ["pk", "uuid"])
def test_read_is_one_statement_for_the_payment_and_one_for_its_refunds(by: str, api: GatewayApi) -> None:
    payment = PaymentFactory.create(refunded=True)
    with statements() as made:
        assert api.retrieve(getattr(payment, by)).status_code == 200
    assert (made.kinds, made.transactions) == (["SELECT"] * 2, 0)


LISTS = {
    "": [],
    "?status=PENDING": [],
    "?resellerReference=R": [],
    "?payableType=booking&payableId=1": [],
    # Without an index for both, one statement looks at how far to read.
    "?resellerReference=R&status=PENDING": ["SELECT"],
}


@pytest.mark.parametrize("query", LISTS)
def test_list_is_one_statement_and_one_that_tells_how_to_read(
    query: str, api: GatewayApi, configure: Callable[..., None]
) -> None:
    configure(PAGE_SIZE=3)
    booking = Booking.objects.create(pk=1)
    kinds: list[list[str]] = []
    for _each in range(2):
        PaymentFactory.create_batch(2, payable=booking, reseller_reference="R")
        # A warm-up: a process asks for the payable's content type once.
        api.list_payments(query)
        with statements() as made:
            assert len(api.list_payments(query).json()) == 2 + len(kinds)
        assert made.transactions == 1
        kinds.append(made.kinds)
    setting, page = ["SELECT"], ["SELECT"]
    assert kinds == [[*setting, *LISTS[query], *page]] * 2


def test_first_delivery_locks_and_writes_once_in_one_transaction(api: GatewayApi) -> None:
    event = make_event()
    with statements() as made:
        assert api.post_event(*event).json()["status"] == "processed"
    assert (made.kinds, made.transactions) == (["INSERT", "LOCK", "UPDATE+INSERT"], 1)


def test_change_that_somebody_listens_to_costs_one_statement_more(api: GatewayApi) -> None:
    event = make_event()
    with listening(signals.payment_succeeded, lambda **_: None), statements() as made:
        assert api.post_event(*event).json()["status"] == "processed"
    assert (made.kinds, made.transactions) == (["INSERT", "LOCK", "UPDATE+INSERT", "UPDATE"], 1)


def test_only_the_columns_that_changed_are_written(api: GatewayApi) -> None:
    event = make_event()
    with statements() as made:
        api.post_event(*event)
    (update,) = (text for text in made.texts if "UPDATE " in text.replace("FOR UPDATE", ""))
    assert "intent_status" in update
    assert "metadata" not in update
    assert "reseller_reference" not in update


def test_duplicate_is_one_insert_that_does_nothing_and_one_look_up(api: GatewayApi) -> None:
    event = make_event()
    api.post_event(*event)
    with statements() as made:
        assert api.post_event(*event).json()["status"] == "processed"
    assert (made.kinds, made.transactions) == (["INSERT", "SELECT"], 1)
    assert "payload" not in made.texts[1]


def test_duplicate_that_comes_late_is_one_look_up_without_a_transaction(api: GatewayApi) -> None:
    event = make_event(age=FIRST_DELIVERY_WITHIN + 1)
    with statements() as first:
        api.post_event(*event)
    assert first.kinds == ["SELECT", "INSERT", "LOCK", "UPDATE+INSERT"]
    with statements() as made:
        assert api.post_event(*event).json()["status"] == "processed"
    assert (made.kinds, made.transactions) == (["SELECT"], 0)
    assert "payload" not in made.texts[0]


def test_event_that_waits_is_locked_when_it_is_delivered_again(api: GatewayApi) -> None:
    body, signature = make_event()
    keep_event(json.loads(body))
    with statements() as made:
        assert api.post_event(body, signature).json()["status"] == "processed"
    look, apply = ["INSERT", "SELECT", "LOCK"], ["LOCK", "UPDATE+INSERT+UPDATE"]
    assert (made.kinds, made.transactions) == ([*look, *apply], 1)


def test_foreign_event_is_inserted_and_its_payment_looked_for(api: GatewayApi) -> None:
    event = signed_event("payment_intent.succeeded", make_paid_intent(id="pi_foreign"))
    with statements() as made:
        assert api.post_event(*event).json()["status"] == "ignored"
    assert (made.kinds, made.transactions) == (["INSERT", "LOCK", "UPDATE"], 1)


def test_event_that_nothing_handles_is_one_statement(api: GatewayApi) -> None:
    event = signed_event("customer.created", {"id": "cus_1", "object": "customer"})
    with statements() as made:
        assert api.post_event(*event).json()["status"] == "ignored"
    assert (made.kinds, made.transactions) == (["INSERT"], 1)


def test_payload_is_not_written_again(api: GatewayApi) -> None:
    event = WebhookEventFactory.create(failed=True)
    with statements() as made:
        assert process_event(event).status == "processed"
    (update,) = (text for text in made.texts if 'UPDATE "octo_stripe_gateway_webhookevent"' in text)
    assert "payload" not in update


def test_forged_event_is_no_statement(api: GatewayApi) -> None:
    body, signature = make_event()
    with statements() as made:
        assert api.post_event(body, signature[:-1]).status_code == 400
    assert made.texts == []


def test_denied_caller_is_no_statement(api: GatewayApi) -> None:
    api.key = "wrong"
    with statements() as made:
        assert api.create().status_code == 403
        assert api.retrieve(1).status_code == 403
    assert made.texts == []


# The request is recorded before the call; then the answer is applied and journaled, and the request closed.
APPLY = ["UPDATE+INSERT+UPDATE"]
# What Stripe's metadata names the installation by.
OWN = ["SELECT"]


def test_create_is_reserved_and_applied(api: GatewayApi, stripe: StripeEmulator) -> None:
    with statements() as made:
        assert api.create().status_code == 201
    assert made.kinds == [*OWN, "INSERT+INSERT", "LOCK", *APPLY]
    assert made.transactions == 2


def test_idempotency_key_is_one_insert_more(api: GatewayApi, stripe: StripeEmulator) -> None:
    with statements() as made:
        assert api.create(**KEY).status_code == 201
    assert made.kinds == [*OWN, "INSERT+INSERT", "INSERT", "LOCK", *APPLY]
    assert made.transactions == 2


def test_repeat_of_create_is_looked_up(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.create(**KEY)
    with statements() as made:
        assert api.create(**KEY).status_code == 201
    insert, look, apply = [*OWN, "INSERT+INSERT"], ["SELECT", "LOCK"], ["LOCK"]
    assert (made.kinds, made.transactions) == ([*insert, *look, *apply], 3)


def test_complete_is_applied(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"])
    with statements() as made:
        assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert (made.kinds, made.transactions) == (["SELECT", "LOCK", "UPDATE+INSERT"], 1)


def test_refund_is_reserved_and_applied(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    with statements() as made:
        assert api.refund(payment).json()["status"] == "REFUNDED"
    reserve = ["LOCK", *OWN, "INSERT+UPDATE+INSERT+INSERT"]
    apply = ["LOCK", "SELECT", "UPDATE+UPDATE+INSERT+UPDATE"]
    assert (made.kinds, made.transactions) == (["SELECT", *reserve, *apply], 2)


def test_another_refund_reads_those_before(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.refund(payment, {"amount": 10})
    with statements() as made:
        assert api.refund(payment).json()["status"] == "REFUNDED"
    assert made.kinds[:4] == ["SELECT", "LOCK", "SELECT", *OWN]


def test_repeat_of_refund_is_looked_up(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.refund(payment, **KEY)
    with statements() as made:
        assert api.refund(payment, **KEY).status_code == 200
    assert (made.kinds, made.transactions) == (["SELECT", "LOCK", "SELECT"], 1)


def test_capture_is_opened_and_applied(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    with statements() as made:
        assert api.capture(payment).json()["status"] == "CONFIRMED"
    reserve, apply = ["LOCK", "SELECT", "INSERT"], ["LOCK", *APPLY]
    assert (made.kinds, made.transactions) == (["SELECT", *reserve, *apply], 2)


def test_cancel_is_opened_and_applied(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create().json()
    with statements() as made:
        assert api.cancel(payment).json()["status"] == "CANCELLED"
    reserve, apply = ["LOCK", "SELECT", "INSERT"], ["LOCK", *APPLY]
    assert (made.kinds, made.transactions) == (["SELECT", *reserve, *apply], 2)


CALLS: dict[str, Callable[[GatewayApi, Any], Any]] = {
    "retrieve": lambda api, payment: api.retrieve(payment),
    "list": lambda api, _payment: api.list_payments(),
    "complete": lambda api, payment: api.complete(payment),
    "refund": lambda api, payment: api.refund(payment, {"amount": 10}),
}


@pytest.mark.parametrize("call", CALLS)
def test_statements_do_not_grow_with_the_tables(
    call: str, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.paid(stripe)
    # Every answer to `complete` dates all the refunds anew, so each of them is written again.
    own = {"complete": 0}.get(call, 20)
    for _each in range(min(own, 1)):
        api.refund(payment, {"amount": 5})
    # The payment is dated anew too: within the same second there would be nothing to write.
    monkeypatch.setattr(stripe, "clock", lambda: time.time() + 60)
    with statements() as few:
        assert CALLS[call](api, payment).status_code == 200
    for _each in range(own):
        api.refund(payment, {"amount": 5})
    for _each in range(20):
        RefundFactory.create()
        WebhookEventFactory.create(processed=True)
    monkeypatch.setattr(stripe, "clock", lambda: time.time() + 120)
    with statements() as many:
        assert CALLS[call](api, payment).status_code == 200
    assert many.kinds == few.kinds


def test_delivery_does_not_grow_with_the_events_of_its_payment(api: GatewayApi) -> None:
    payment = PaymentFactory.create()
    intent = make_paid_intent(id=payment.stripe_payment_intent_id)
    now = int(time.time())
    events = [signed_event("payment_intent.succeeded", intent, created=now) for _each in range(20)]
    counts = []
    for event in events:
        with statements() as made:
            assert api.post_event(*event).status_code == 200
        counts.append(len(made))
    # The first writes the payment, and the others change nothing of it.
    assert counts == [3] + [2] * 19


@contextmanager
def counted_rows(table: str) -> Iterator[list[int]]:
    """Count the rows of a table that PostgreSQL reads for each SELECT, those that it passes over included."""
    counts: list[int] = []

    def count(node: dict[str, Any]) -> int:
        own = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Relation Name" in node else 0
        return int(own * node["Actual Loops"]) + sum(map(count, node.get("Plans", [])))

    def explain(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("SELECT") and f'FROM "{table}"' in sql:
            # Bypass Django's cursors, which would explain this statement too.
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
                (plans,) = cursor.fetchone()
                counts.append(count(plans[0]["Plan"]))
        return execute(sql, params, *rest)

    with connection.cursor() as cursor:
        # The planner would rather read a small table whole.
        cursor.execute(f'ANALYZE "{table}"; SET enable_seqscan = off; SET enable_bitmapscan = off')
    try:
        with connection.execute_wrapper(explain):
            yield counts
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET enable_seqscan; RESET enable_bitmapscan")


def pay_by_event(api: GatewayApi, payment: Payment) -> Any:
    paid = make_paid_intent(id=payment.stripe_payment_intent_id, currency="eur")
    return api.post_event(*signed_event("payment_intent.succeeded", paid))


OF_PAYABLE: dict[str, Callable[[GatewayApi, Payment], Any]] = {
    "retrieve": lambda api, payment: api.retrieve(payment.pk),
    "event": pay_by_event,
    "refund": lambda api, payment: api.refund(payment.pk),
    "host's dues": lambda _api, payment: Booking.objects.get(pk=str(payment.payable_id)).payments.get_dues(),
    "cardPayment": lambda _api, payment: CardPaymentField().to_representation(payment.payable),
}


@pytest.mark.parametrize("call", OF_PAYABLE)
def test_nothing_grows_with_the_payments_that_were_given_up(
    call: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    made: list[tuple[list[str], list[int]]] = []
    for given_up in (0, 9, 99):
        booking = Booking.objects.create()
        for number in range(given_up):
            end = "expired" if number % 2 else "canceled"
            PaymentFactory.create(payable=booking, currency="eur", **{end: True})
        state = {"paid": True} if call == "refund" else {}
        payment = PaymentFactory.create(payable=booking, currency="eur", **state)
        with statements() as few, counted_rows("octo_stripe_gateway_payment") as rows:
            OF_PAYABLE[call](api, payment)
        # A process asks for the payable's content type once.
        kinds = [kind for kind, text in zip(few.kinds, few.texts, strict=True) if "content_type" not in text]
        made.append((kinds, rows))
    assert made[0] == made[1] == made[2]
    assert max(made[2][1]) <= 2


@pytest.mark.parametrize("refunds", [1, 200])
def test_read_takes_one_short_statement_for_any_number_of_refunds(refunds: int, api: GatewayApi) -> None:
    payment = PaymentFactory.create(paid=True, amount_refunded=refunds)
    RefundFactory.create_batch(refunds, payment=payment, amount=1)
    with statements() as made:
        answer = api.retrieve(payment.pk)
    assert [each["amount"] for each in answer.json()["refunds"]] == [1] * min(refunds, REFUNDS_SHOWN)
    assert made.kinds == ["SELECT"] * 2
    assert "request_fingerprint" not in made.texts[1]
