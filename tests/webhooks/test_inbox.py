from __future__ import annotations

import datetime as dt
import json
import logging
import time
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from octo_stripe_gateway import signals
from octo_stripe_gateway.exceptions import BadRequestError, UnknownPaymentError
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Concern, Payment, WebhookEvent
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.support.ledger import list_concerns
from tests.support.objects import (
    make_charge,
    make_declined_intent,
    make_dispute,
    make_event,
    make_intent,
    make_paid_intent,
    make_refund,
    read_rows,
    sign,
)
from tests.support.receivers import listening
from tests.support.snapshots import snap_intent
from tests.support.threads import needs_row_locks, run_together, wait_for_locks

pytestmark = pytest.mark.django_db

SUCCESS = "payment_intent.succeeded"


def read_back(payload: dict[str, Any]) -> WebhookEvent:
    return WebhookEvent.objects.get(stripe_event_id=payload["id"])


@pytest.mark.parametrize(
    ("event_type", "stripe_object", "status"),
    [
        ("payment_intent.requires_action", make_intent(status="requires_action"), "pending"),
        ("payment_intent.processing", make_intent(status="processing"), "pending"),
        ("payment_intent.payment_failed", make_declined_intent(), "failed"),
        ("payment_intent.amount_capturable_updated", make_intent(status="requires_capture"), "authorized"),
        ("payment_intent.canceled", make_intent(status="canceled"), "canceled"),
        (SUCCESS, make_paid_intent(), "paid"),
    ],
)
def test_event_of_an_intent_is_applied(
    payment: Payment, event_type: str, stripe_object: Any, status: str
) -> None:
    event = inbox.receive_event(make_event(event_type, stripe_object))
    payment.refresh_from_db()
    assert payment.status == status
    assert (event.status, event.attempts, event.error_code) == ("processed", 1, "")
    assert set(WebhookEvent.objects.about(payment)) == {event}
    assert event.processed_at
    assert event.received_at <= event.processed_at + dt.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("event_type", "stripe_object"),
    [
        ("charge.refunded", make_charge(amount_refunded=500)),
        ("refund.created", make_refund()),
        ("refund.updated", make_refund()),
        ("charge.refund.updated", make_refund()),
    ],
)
def test_refund_made_elsewhere_is_heard_of(payment: Payment, event_type: str, stripe_object: Any) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    inbox.receive_event(make_event(event_type, stripe_object))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded) == ("paid", 500)


def test_refund_that_fails_frees_its_amount(payment: Payment) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    inbox.receive_event(make_event("refund.created", make_refund()))
    failed = make_refund(status="failed", failure_reason="lost_or_stolen_card")
    inbox.receive_event(make_event("refund.failed", failed))
    payment.refresh_from_db()
    assert (payment.amount_refunded, payment.refunds.get().failure_reason) == (0, "lost_or_stolen_card")


def test_disputes_are_put_on_record(payment: Payment) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    second = make_dispute(id="dp_2", amount=700)
    inbox.receive_event(make_event("charge.dispute.created", make_dispute()))
    inbox.receive_event(make_event("charge.dispute.created", second))
    inbox.receive_event(make_event("charge.dispute.closed", make_dispute(status="lost")))
    inbox.receive_event(make_event("charge.dispute.updated", make_dispute(status="under_review")))
    payment.refresh_from_db()
    assert (payment.disputed, payment.amount_lost, payment.amount_refundable) == (True, 500, 1500)
    rows = payment.disputes.order_by("pk").values_list("stripe_dispute_id", "status", "amount")
    assert list(rows) == [("dp_1", "lost", 500), ("dp_2", "needs_response", 700)]
    inbox.receive_event(make_event("charge.dispute.closed", second | {"status": "won"}))
    payment.refresh_from_db()
    assert (payment.disputed, payment.amount_lost) == (False, 500)


@pytest.mark.parametrize(
    ("event_type", "stripe_object"),
    [
        ("customer.created", {"id": "cus_1", "object": "customer"}),
        (SUCCESS, make_paid_intent(id="pi_of_another_shop")),
        ("refund.created", make_refund(payment_intent=None)),
        ("charge.dispute.created", make_dispute(payment_intent=None)),
        ("v1.billing.meter.no_meter_found", None),
        ("", make_intent()),
    ],
)
def test_event_that_does_not_concern_us_is_ignored(
    payment: Payment, event_type: str, stripe_object: Any
) -> None:
    event = inbox.receive_event(make_event(event_type, stripe_object))
    assert (event.status, event.error_code) == ("ignored", "")
    assert not WebhookEvent.objects.about(payment).exclude(type="")
    payment.refresh_from_db()
    assert payment.status == "pending"


# Of the first delivery and of later ones, which are looked for before they are inserted.
AGES = pytest.mark.parametrize("age", [0, inbox.FIRST_DELIVERY_WITHIN + 1])


@AGES
def test_finished_event_is_left_alone(age: int, payment: Payment) -> None:
    payload = make_event(SUCCESS, make_paid_intent(), created=int(time.time()) - age)
    inbox.receive_event(payload)
    before = read_rows(WebhookEvent), read_rows(Payment)
    assert inbox.receive_event(payload).status == "processed"
    assert inbox.receive_event(payload | {"type": "charge.refunded"}).status == "processed"
    assert (read_rows(WebhookEvent), read_rows(Payment)) == before


def test_event_is_one_per_account(payment: Payment) -> None:
    payload = make_event("customer.created", {"id": "cus_1"})
    inbox.receive_event(payload)
    inbox.receive_event(payload | {"account": "acct_1"})
    inbox.receive_event(payload | {"account": "acct_1"})
    accounts = WebhookEvent.objects.values_list("stripe_account", flat=True)
    assert sorted(accounts) == ["", "acct_1"]


def test_event_of_ours_that_beats_the_payment_waits_for_it() -> None:
    payment = PaymentFactory.build()
    ours = sign(payment)
    action = make_intent(status="requires_action", metadata=ours)
    event = inbox.receive_event(make_event("payment_intent.requires_action", action))
    assert (event.status, event.attempts, event.processed_at) == ("received", 1, None)

    PaymentFactory.create(uuid=payment.uuid, stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    event = inbox.process_event(event)
    assert (event.status, event.attempts) == ("processed", 2)
    row = Payment.objects.get()
    assert (row.intent_status, row.stripe_payment_intent_id) == ("requires_action", "pi_1")
    assert set(WebhookEvent.objects.about(row)) == {event}


def test_paid_intent_of_ours_without_a_row_fails_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    payment, heard = PaymentFactory.build(), []
    payload = make_event(SUCCESS, make_paid_intent(metadata=sign(payment)))
    with (
        listening(signals.payment_unknown, lambda event, **_: heard.append(event.stripe_event_id)),
        pytest.raises(UnknownPaymentError),
    ):
        inbox.receive_event(payload)
    event = read_back(payload)
    assert (event.status, event.attempts) == ("failed", 1)
    assert heard == [payload["id"]]
    assert any(record.levelno == logging.ERROR for record in caplog.records)

    # However old the event is.
    WebhookEvent.objects.update(received_at=timezone.now() - 2 * inbox.UNMATCHED_EVENT_TTL)
    with pytest.raises(UnknownPaymentError):
        inbox.process_event(event)
    PaymentFactory.create(uuid=payment.uuid, stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    assert inbox.process_event(event).status == "processed"
    assert Payment.objects.get().status == "paid"


def test_row_without_an_intent_is_not_given_one_that_contradicts_it() -> None:
    payment = PaymentFactory.create(stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    intent = make_paid_intent(metadata={"octo_payment": str(payment.uuid)}, currency="eur")
    event = inbox.receive_event(make_event(SUCCESS, intent))
    payment.refresh_from_db()
    assert (payment.stripe_payment_intent_id, payment.status) == (None, "pending")
    assert event.error_code
    assert list_concerns(payment) == ["intent_differs"]


def test_refund_waits_while_nobody_can_say_whose_it_is(stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/"))
    event = inbox.receive_event(make_event("refund.created", make_refund()))
    assert event.status == "received"
    stripe.clear_faults()
    inbox.process_event(event)
    event.refresh_from_db()
    assert event.status == "ignored"


def test_event_does_not_wait_for_ever() -> None:
    ours = sign(PaymentFactory.build())
    event = inbox.receive_event(make_event("payment_intent.processing", make_intent(metadata=ours)))
    assert event.status == "received"
    WebhookEvent.objects.update(received_at=timezone.now() - 2 * inbox.UNMATCHED_EVENT_TTL)
    assert inbox.process_event(event).status == "ignored"


def test_events_are_found_with_their_payment_whatever_became_of_them(
    payment: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = sign(PaymentFactory.build())
    inbox.receive_event(make_event("payment_intent.created", make_intent()))
    inbox.receive_event(make_event("payment_intent.processing", make_intent(id="pi_2", metadata=ours)))
    with monkeypatch.context() as patch:
        patch.setattr(handlers, "record", lambda *_, **_options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    inbox.receive_event(make_event("refund.created", make_refund()))
    about = WebhookEvent.objects.about(payment).order_by("pk")
    assert list(about.values_list("type", "status")) == [
        ("payment_intent.created", "ignored"),
        (SUCCESS, "failed"),
        ("refund.created", "processed"),
    ]
    early = WebhookEvent.objects.about(PaymentFactory.create(stripe_payment_intent_id="pi_2"))
    assert [event.status for event in early] == ["received"]


def test_client_secrets_are_redacted_at_any_depth(payment: Payment) -> None:
    secret = "pi_1_secret_ABCdef123"
    nested = {"deep": [{"client_secret": secret, "url": f"https://x/?s={secret}&a=1"}]}
    intent = make_paid_intent(client_secret=secret, next_action=nested, metadata={secret: "as a key"})
    payload = make_event(SUCCESS, intent, previous={"client_secret": secret})
    inbox.receive_event(payload)
    kept = json.dumps(read_back(payload).payload)
    assert "ABCdef123" not in kept
    assert "client_secret" not in kept
    assert "https://x/?s=pi_1_secret_[redacted]&a=1" in kept


@AGES
def test_failure_is_on_record_and_the_event_is_tried_again(
    age: int, payment: Payment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    payload = make_event(SUCCESS, make_paid_intent(), created=int(time.time()) - age)

    def fail(payment: Payment, snapshot: Any, **_options: Any) -> str:
        Payment.objects.update(failure_message="half done")
        raise DatabaseError("deadlock of pi_1_secret_ABC\0")

    with monkeypatch.context() as patch:
        patch.setattr(handlers, "record", fail)
        for attempts in (1, 2):
            with pytest.raises(DatabaseError):
                inbox.receive_event(payload)
            event = read_back(payload)
            assert (event.status, event.attempts, event.processed_at) == ("failed", attempts, None)
            known = {
                "type": SUCCESS,
                "error": "DatabaseError",
                "message": "deadlock of pi_1_secret_[redacted]\ufffd",
            }
            assert (event.error_code, event.error_parameters) == ("event_failed", known)
            concern = Concern.objects.all().open().get()
            assert (concern.code, concern.object_id) == ("event_failed", event.stripe_event_id)
            assert (concern.payment, concern.parameters) == (None, known)
    payment.refresh_from_db()
    assert payment.failure_message == ""
    assert "[OctoStripeGateway] Event" in caplog.text

    event = inbox.receive_event(payload)
    assert (event.status, event.attempts) == ("processed", 3)
    assert (event.error_code, event.error_parameters) == ("", {})
    assert not Concern.objects.all().open().exists()


@pytest.mark.parametrize(
    ("stripe_object", "differences"),
    [
        (make_paid_intent(currency="eur"), {"currency": ["usd", "eur"]}),
        (make_paid_intent(livemode=True), {"livemode": [False, True]}),
    ],
)
def test_mismatch_is_not_applied_but_kept_and_told(
    payment: Payment, stripe_object: Any, differences: Any
) -> None:
    event = inbox.receive_event(make_event(SUCCESS, stripe_object))
    payment.refresh_from_db()
    assert (payment.status, payment.confirmed_at) == ("pending", None)
    assert (event.status, event.error_code) == ("processed", "intent_differs")
    assert payment.concerns.get().parameters == {"differences": differences}

    # A later snapshot agrees.
    event = inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    payment.refresh_from_db()
    assert (payment.status, event.error_code, list_concerns(payment)) == ("paid", "", [])


@pytest.mark.parametrize("changes", [{"account": "acct_1"}, {"livemode": True}])
def test_event_of_another_account_or_mode_confirms_nothing(payment: Payment, changes: Any) -> None:
    event = inbox.receive_event(make_event(SUCCESS, make_paid_intent(), **changes))
    payment.refresh_from_db()
    assert payment.status == "pending"
    assert list_concerns(payment) == ["event_of_another"]
    known = {"event": event.stripe_event_id}
    assert (event.error_code, event.error_parameters) == ("event_of_another", known)


@pytest.mark.parametrize(
    ("event_type", "stripe_object", "code"),
    [
        ("charge.refunded", make_charge(currency="eur", amount_refunded=5), "charge_differs"),
        ("refund.created", make_refund(currency="eur"), "refund_differs"),
        ("charge.dispute.created", make_dispute(livemode=True), "dispute_differs"),
    ],
)
def test_mismatch_of_a_charge_refund_or_dispute_is_not_applied(
    payment: Payment, event_type: str, stripe_object: Any, code: str
) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    event = inbox.receive_event(make_event(event_type, stripe_object))
    payment.refresh_from_db()
    assert (event.error_code, list_concerns(payment)) == (code, [code])
    assert (payment.amount_refunded, payment.disputed, payment.refunds.count()) == (0, False, 0)


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [
        (SUCCESS, {"data": None}),
        (SUCCESS, {"data": {"object": "pi_1"}}),
        (SUCCESS, {"data": {"object": []}}),
        (SUCCESS, {"created": None}),
        (SUCCESS, {"created": 10**40}),
        (SUCCESS, {"data": {"object": make_paid_intent(amount="2000")}}),
        (SUCCESS, {"data": {"object": make_paid_intent(amount_received=10**40)}}),
        (SUCCESS, {"data": {"object": make_paid_intent(status="s" * 70)}}),
        (SUCCESS, {"data": {"object": make_paid_intent(latest_charge=["ch_1"])}}),
        ("charge.refunded", {"data": {"object": make_charge(amount_refunded=None)}}),
        ("refund.created", {"data": {"object": make_refund(payment_intent={"id": None})}}),
        ("charge.dispute.created", {"data": {"object": make_dispute(created="now")}}),
    ],
)
def test_malformed_event_is_kept_as_failed_and_refused(
    payment: Payment, event_type: str, changes: dict[str, Any]
) -> None:
    payload = make_event(event_type, make_paid_intent()) | changes
    with pytest.raises(BadRequestError, match=r"has no (valid|object)"):
        inbox.receive_event(payload)
    event = read_back(payload)
    assert (event.status, event.attempts) == ("failed", 1)
    assert event.error_parameters["error"] == "BadRequestError"
    payment.refresh_from_db()
    assert payment.status == "pending"


@pytest.mark.parametrize(
    "changes",
    [{"id": "e" * 256}, {"account": 5}, {"account": "a" * 300}, {"type": ["x"]}, {"type": "t" * 256}],
)
def test_event_that_no_row_can_hold_is_refused(changes: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BadRequestError):
        inbox.receive_event(make_event("x", {}, **changes))
    assert "[OctoStripeGateway] A signed event can't be taken in" in caplog.text
    assert not WebhookEvent.objects.exists()


def test_event_that_is_nested_too_deeply_is_refused() -> None:
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    with pytest.raises(BadRequestError):
        inbox.receive_event(make_event("x", {"nested": nested}))


def test_what_no_database_takes_is_replaced(payment: Payment) -> None:
    odd = {"nul": "a\0b", "half\0": "\ud800", "infinite": float("inf"), "nan": float("nan"), "huge": 10**400}
    payload = make_event(SUCCESS, make_paid_intent(odd=odd))
    assert inbox.receive_event(payload).status == "processed"
    kept = read_back(payload).stripe_object["odd"]
    assert kept == {"nul": "a\ufffdb", "half\ufffd": "?", "infinite": None, "nan": None, "huge": 10**400}


def test_event_of_a_megabyte_is_kept(payment: Payment) -> None:
    payload = make_event(SUCCESS, make_paid_intent(description="x" * 1_000_000))
    assert inbox.receive_event(payload).status == "processed"
    assert len(read_back(payload).stripe_object["description"]) == 1_000_000


def test_delivery_finishes_what_a_quicker_one_left_unfinished(payment: Payment) -> None:
    payload = make_event(SUCCESS, make_paid_intent())
    earlier = WebhookEvent.objects.create(
        stripe_event_id=payload["id"], type=payload["type"], payload=payload, status="failed", attempts=1
    )
    event = inbox.receive_event(payload)
    assert (event.pk, event.status, event.attempts) == (earlier.pk, "processed", 2)
    payment.refresh_from_db()
    assert payment.status == "paid"


# Endpoints of these versions report released amounts as refunds; intents look as in all versions.
OLD = {"api_version": "2024-06-20"}


@pytest.mark.parametrize(
    ("event_type", "stripe_object"),
    [("charge.refunded", make_charge(amount_refunded=500)), ("refund.created", make_refund())],
)
def test_refund_told_by_an_old_endpoint_waits_until_the_payment_is_synced(
    payment: Payment, event_type: str, stripe_object: Any
) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent(), **OLD))
    event = inbox.receive_event(make_event(event_type, stripe_object, **OLD))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.refunds.count()) == ("paid", 0, 0)
    assert (event.status, event.processed_at) == ("received", None)
    assert (event.error_code, event.error_parameters) == ("endpoint_outdated", {"version": "2024-06-20"})
    assert Concern.objects.all().open().get().code == "endpoint_outdated"
    assert payment in Payment.objects.due_for_check(now=timezone.now())

    assert inbox.process_event(event).status == "received"
    synced = snap_intent(make_paid_intent(latest_charge=make_charge()), second=1)
    with lock_payment(payment) as locked:
        record(locked, synced, ask=ask_host)
    event = inbox.process_event(event)
    assert (event.status, event.error_code) == ("processed", "")
    payment.refresh_from_db()
    assert payment.amount_refunded == 0


@pytest.mark.parametrize("api_version", ["2025-03-31.basil", "2026-10-28.endive", None])
def test_refund_told_by_a_newer_endpoint_is_applied(payment: Payment, api_version: str | None) -> None:
    inbox.receive_event(make_event(SUCCESS, make_paid_intent()))
    event = inbox.receive_event(make_event("refund.created", make_refund(), api_version=api_version))
    payment.refresh_from_db()
    assert (event.status, payment.amount_refunded) == ("processed", 500)


@needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event_type", [SUCCESS, "invoice.paid"])
@AGES
def test_simultaneous_deliveries_run_a_handler_once(
    age: int, payment: Payment, event_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    runs: list[str] = []

    @handlers.register(event_type)
    def note(event: WebhookEvent, payment: Payment | None) -> None:
        runs.append(event.stripe_event_id)
        # By now all others wait for this one's insert.
        wait_for_locks(11)

    payload = make_event(event_type, make_paid_intent(), created=int(time.time()) - age)

    deliveries = [lambda: inbox.receive_event(payload).status] * 12
    assert run_together(deliveries) == ["processed"] * 12
    assert runs == [payload["id"]]
    assert read_back(payload).attempts == 1
