from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Model
from django.db.models.signals import post_save, pre_save
from django.dispatch import Signal
from django.utils import timezone

from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.models import Payment, StripeRequest, WebhookEvent
from octo_stripe_gateway.models.joined_writes import one_cursor
from octo_stripe_gateway.models.ledger_manager import LedgerRow
from octo_stripe_gateway.testing.factories import PaymentFactory, WebhookEventFactory
from tests.shop.models import Booking

pytestmark = pytest.mark.django_db


def get_columns(row: Any) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.mark.parametrize("name", ["id", "uuid", "stripe_payment_intent_id"])
def test_finds_what_filter_finds(name: str) -> None:
    booking = Booking.objects.create(price=100)
    payment = PaymentFactory.create(refunded=True, payable=booking, metadata={"hotel": "Ritz"})
    PaymentFactory.create()
    for _time in range(2):
        (found,) = Payment.ledger.list_by(**{name: getattr(payment, name)})
        assert get_columns(found) == get_columns(Payment.objects.get(pk=payment.pk))
        assert (found.payable, found._state.db, found._state.adding) == (booking, "default", False)


def test_finds_by_several_columns_in_any_order() -> None:
    event = WebhookEventFactory.create(stripe_account="acct_1")
    names: dict[str, Any] = {"stripe_event_id": event.stripe_event_id, "stripe_account": "acct_1"}
    assert WebhookEvent.ledger.list_by(**names) == [event]
    assert WebhookEvent.ledger.list_by(**dict(reversed(names.items()))) == [event]
    assert WebhookEvent.ledger.list_by(**names | {"stripe_account": ""}) == []


def test_finds_one_or_none() -> None:
    payment = PaymentFactory.create()
    assert Payment.ledger.get_by(id=payment.pk) == payment
    assert Payment.ledger.get_by(id=0) is None


def test_takes_a_uuid_as_text_too() -> None:
    payment = PaymentFactory.create()
    assert Payment.ledger.list_by(uuid=str(payment.uuid).upper()) == [payment]


@pytest.mark.parametrize("value", ["' OR 1=1 --", "%s", "pi_%", "\\", "é\u2028"])
def test_a_value_is_only_a_value(value: str) -> None:
    PaymentFactory.create()
    assert Payment.ledger.list_by(stripe_payment_intent_id=value) == []
    payment = PaymentFactory.create(stripe_payment_intent_id=value)
    assert Payment.ledger.list_by(stripe_payment_intent_id=value) == [payment]


@pytest.fixture
def saves() -> Iterator[list[dict[str, Any]]]:
    """Collect what a host's receivers of Django's own signals get."""
    heard: list[dict[str, Any]] = []

    def receive(signal: Signal, **arguments: Any) -> None:
        heard.append({"signal": signal, **arguments})

    for signal in (pre_save, post_save):
        signal.connect(receive)
    yield heard
    for signal in (pre_save, post_save):
        signal.disconnect(receive)


def without_instance(heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name != "instance"} for each in heard]


def test_insert_writes_and_announces_what_save_does(saves: list[dict[str, Any]]) -> None:
    payment = PaymentFactory.create()
    saves.clear()
    saved, inserted = (
        WebhookEventFactory.build(payment=payment, payload={"text": "é\\'%s", "none": None}) for _each in "12"
    )
    saved.save(force_insert=True)
    by_save = without_instance(saves)
    saves.clear()
    WebhookEvent.ledger.insert(inserted)
    assert without_instance(saves) == by_save
    assert (inserted._state.adding, inserted._state.db) == (False, "default")
    own = {"id": None, "stripe_event_id": None, "received_at": None, "retry_at": None}
    stored = WebhookEvent.objects.get(pk=inserted.pk)
    assert get_columns(stored) == get_columns(inserted)
    assert get_columns(stored) | own == get_columns(WebhookEvent.objects.get(pk=saved.pk)) | own


@pytest.mark.parametrize("value", ["", 0, False, [], {}, "''", "false", "NULL", None])
def test_blank_json_is_what_it_was(value: Any) -> None:
    payment = PaymentFactory.build(metadata=value if value is not None else {"none": None})
    Payment.ledger.insert(payment)
    stored = Payment.objects.get(pk=payment.pk)
    assert repr(stored.metadata) == repr(payment.metadata)
    payment.metadata, payment.reseller_reference, payment.disputed, payment.checks = {"a": 1}, "R", True, 5
    names = ["metadata", "reseller_reference", "disputed", "checks", "next_check_at"]
    Payment.ledger.save_changed(payment, names=names)
    payment.metadata, payment.reseller_reference, payment.disputed, payment.checks = (
        stored.metadata,
        "",
        False,
        0,
    )
    payment.next_check_at = None
    Payment.ledger.save_changed(payment, names=names)
    assert get_columns(Payment.objects.get(pk=payment.pk)) == get_columns(payment)


def test_finds_by_key_or_raises() -> None:
    payment = PaymentFactory.create()
    assert Payment.ledger.get_by_pk(payment.pk) == payment
    with pytest.raises(Payment.DoesNotExist):
        Payment.ledger.get_by_pk(0)


def test_insert_refuses_what_the_database_refuses() -> None:
    event = WebhookEventFactory.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        WebhookEvent.ledger.insert(WebhookEventFactory.build(stripe_event_id=event.stripe_event_id))


@pytest.mark.parametrize("returns_key", [True, False])
def test_insert_says_whether_another_row_had_its_unique_values(
    returns_key: bool, saves: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = WebhookEventFactory.create()
    new, again = (
        WebhookEventFactory.build(stripe_event_id=event_id, payment=None, payment_intent_id="", payload={})
        for event_id in ("evt_new", event.stripe_event_id)
    )

    def save(row: WebhookEvent, **arguments: Any) -> None:
        # This database does return keys, and Django has no other way to get them from it.
        with monkeypatch.context() as patch:
            patch.setattr(connection.features, "can_return_columns_from_insert", True)
            Model.save(row, **arguments)

    monkeypatch.setattr(WebhookEvent, "save", save)
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", returns_key)
    saves.clear()
    assert WebhookEvent.ledger.insert(new, or_ignore=True) is True
    assert [heard["signal"] for heard in saves] == [pre_save, post_save]
    assert WebhookEvent.objects.get(stripe_event_id="evt_new") == new
    saves.clear()
    assert WebhookEvent.ledger.insert(again, or_ignore=True) is False
    assert again.pk is None
    assert [heard["signal"] for heard in saves] == [pre_save]
    assert WebhookEvent.objects.count() == 2


def test_insert_where_the_database_returns_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[dict[str, Any]] = []
    monkeypatch.setattr(connection.features, "can_return_columns_from_insert", False)
    monkeypatch.setattr(WebhookEvent, "save", lambda _row, **arguments: saved.append(arguments))
    WebhookEvent.ledger.insert(WebhookEvent())
    assert saved == [{"force_insert": True, "using": "default"}]


def test_save_changed_writes_and_announces_what_save_does(saves: list[dict[str, Any]]) -> None:
    payment, other = PaymentFactory.create(), PaymentFactory.create()
    names = ["status", "metadata", "confirmed_at", "updated_at"]
    payment.status, payment.metadata, payment.amount = "paid", {"a": "%s"}, 5
    before = payment.updated_at
    saves.clear()
    # Django's own save: the payment's would protect the ledger's columns from the host.
    Model.save(payment, update_fields=names)
    by_save = without_instance(saves)
    saves.clear()
    Payment.ledger.save_changed(payment, names=names)
    assert without_instance(saves) == by_save
    stored = Payment.objects.get(pk=payment.pk)
    assert (stored.status, stored.metadata, stored.amount) == ("paid", {"a": "%s"}, 2000)
    assert stored.updated_at == payment.updated_at > before
    assert get_columns(Payment.objects.get(pk=other.pk)) == get_columns(other)


def test_save_changed_of_a_row_that_is_gone_raises() -> None:
    payment = PaymentFactory.create()
    Payment.objects.filter(pk=payment.pk).delete()
    with pytest.raises(DatabaseError):
        Payment.ledger.save_changed(payment, names=["status"])


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no row locks")
@pytest.mark.django_db(transaction=True)
def test_lock_makes_others_wait() -> None:
    payment = PaymentFactory.create()
    locked, seen = threading.Event(), []

    def read_under_lock() -> None:
        locked.wait(10)
        with transaction.atomic():
            seen.append(Payment.ledger.get_by_pk(payment.pk, lock=True).amount)
        connection.close()

    thread = threading.Thread(target=read_under_lock)
    thread.start()
    with transaction.atomic():
        Payment.ledger.get_by_pk(payment.pk, lock=True)
        locked.set()
        thread.join(0.3)
        assert thread.is_alive()
        Payment.objects.filter(pk=payment.pk).update(amount=1)
    thread.join(10)
    assert seen == [1]


@pytest.mark.django_db(transaction=True)
def test_lock_outside_a_transaction_is_refused() -> None:
    payment = PaymentFactory.create()
    with transaction.atomic():
        Payment.ledger.get_by_pk(payment.pk, lock=True)
    with pytest.raises(transaction.TransactionManagementError):
        Payment.ledger.get_by_pk(payment.pk, lock=True)
    with pytest.raises(Payment.DoesNotExist), transaction.atomic():
        Payment.ledger.get_by_pk(0, lock=True)


@pytest.mark.parametrize("left", ["closed", "of a connection that is gone"])
@pytest.mark.django_db(transaction=True)
def test_interrupted_transaction_leaves_the_next_one_its_own_cursor(left: str) -> None:
    payment = PaymentFactory.create()
    torn = one_cursor(connection)
    cursor = torn.__enter__()
    cursor.close() if left == "closed" else connection.close()
    assert Payment.ledger.get_by(uuid=payment.uuid) == payment
    torn.__exit__(None, None, None)


@pytest.mark.django_db(transaction=True)
def test_writes_of_a_transaction_are_joined_and_seen_by_what_is_asked_next() -> None:
    payment = PaymentFactory.build(payable=None)
    with write_transaction():
        Payment.ledger.insert(payment)
        request = StripeRequest(payment=payment, kind="create")
        StripeRequest.ledger.insert(request)
        request.close(StripeRequest.State.DONE)
        StripeRequest.ledger.save_changed(request, names=["state", "answered_at"])
        assert Payment.ledger.get_by(uuid=payment.uuid) == payment
        payment.reseller_reference = "R"
        Payment.ledger.save_changed(payment, names=["reseller_reference"])
        assert Payment.objects.filter(reseller_reference="R").exists()
    assert request.payment is payment
    assert request.payment_id == payment.pk
    assert get_columns(StripeRequest.objects.get()) == get_columns(request)
    assert get_columns(Payment.objects.get()) == get_columns(payment)


def refer(*payments: Payment) -> None:
    with write_transaction():
        for payment in payments:
            payment.reseller_reference = "R"
            Payment.ledger.save_changed(payment, names=["reseller_reference"])


@pytest.mark.django_db(transaction=True)
def test_host_that_hears_of_a_write_can_still_undo_it() -> None:
    payment = PaymentFactory.create()

    def refuse(sender: Any, **_arguments: Any) -> None:
        raise LookupError

    post_save.connect(refuse, sender=Payment)
    try:
        with pytest.raises(LookupError):
            refer(payment)
    finally:
        post_save.disconnect(refuse, sender=Payment)
    assert Payment.objects.get().reseller_reference != "R"


@pytest.mark.django_db(transaction=True)
def test_two_changes_of_a_row_by_two_instances_are_both_written() -> None:
    payment = PaymentFactory.create()
    with write_transaction():
        first, second = Payment.ledger.get_by_pk(payment.pk), Payment.ledger.get_by_pk(payment.pk)
        first.reseller_reference, second.checks = "R", 5
        Payment.ledger.save_changed(first, names=["reseller_reference"])
        Payment.ledger.save_changed(second, names=["checks"])
    stored = Payment.objects.get(pk=payment.pk)
    assert (stored.reseller_reference, stored.checks) == ("R", 5)


@pytest.mark.django_db(transaction=True)
def test_a_unique_value_that_one_row_frees_another_takes_in_the_same_transaction() -> None:
    event = WebhookEventFactory.create()
    taken = event.stripe_event_id
    with write_transaction():
        event.stripe_event_id = "evt_other"
        WebhookEvent.ledger.save_changed(event, names=["stripe_event_id"])
        WebhookEvent.ledger.insert(WebhookEventFactory.build(stripe_event_id=taken))
    assert WebhookEvent.objects.filter(stripe_event_id__in=["evt_other", taken]).count() == 2


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.django_db(transaction=True)
def test_joined_writes_are_undone_where_one_of_their_rows_is_gone(first: bool) -> None:
    payment, gone = PaymentFactory.create_batch(2)
    Payment.objects.filter(pk=gone.pk).delete()
    rows = [gone, payment] if first else [payment, gone]
    with pytest.raises(DatabaseError):
        refer(*rows)
    assert Payment.objects.get().reseller_reference != "R"


def test_moment_without_a_zone_is_written_as_django_writes_it(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    payment, moment = PaymentFactory.create(), dt.datetime(2030, 1, 1, 12)  # noqa: DTZ001 - the case
    payment.expires_at = moment
    with pytest.warns(RuntimeWarning, match="naive"):
        Payment.ledger.save_changed(payment, names=["expires_at"])
    assert Payment.objects.get().expires_at == timezone.make_aware(moment)


@pytest.mark.parametrize("model", LedgerRow.__subclasses__(), ids=lambda model: model.__name__)
def test_row_is_made_as_django_makes_it(model: Any) -> None:
    made, by_django = model(pk=5), model.__new__(model)
    Model.__init__(by_django, pk=5)
    own = {field.attname for field in model._meta.concrete_fields if callable(field.default)} - {"metadata"}
    assert {**get_columns(made), **dict.fromkeys(own)} == {**get_columns(by_django), **dict.fromkeys(own)}
    assert all(type(getattr(made, name)) is type(getattr(by_django, name)) for name in own)
    assert (made._state.adding, made._state.db) == (True, None)
    with pytest.raises(TypeError):
        model(unknown=1)
