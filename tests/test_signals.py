from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import DatabaseError
from django.dispatch import Signal

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.models import Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.support.objects import (
    make_charge,
    make_declined_intent,
    make_dispute,
    make_event,
    make_fraud_warning,
    make_intent,
    make_paid_intent,
    make_refund,
)
from tests.support.receivers import listening

ALL = {name: signal for name, signal in vars(signals).items() if isinstance(signal, Signal)}
# The one left out is sent for events without a payment.
OF_PAYMENTS = {name: signal for name, signal in ALL.items() if signal is not signals.payment_unknown}
SUCCESS = make_paid_intent()

Deliver = Callable[..., None]


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The names of the signals sent, in order."""
    names: list[str] = []

    def listen(name: str) -> Callable[..., None]:
        def receive(sender: Any, payment: Payment, change: PaymentChange, **kwargs: Any) -> None:
            names.append(name.removeprefix("payment_"))
            try:
                assert sender is Payment
                # After commit, so that a receiver that asks the database sees the change.
                assert Payment.objects.get(pk=payment.pk).status == payment.status
                assert name in PaymentChange.objects.get(pk=change.pk, payment=payment).undelivered
            except Exception:
                # What a receiver raises would only be on record.
                names.append(f"{name} is wrong")
                raise

        return receive

    with ExitStack() as stack:
        for name, signal in OF_PAYMENTS.items():
            stack.enter_context(listening(signal, listen(name)))
        yield names


@pytest.fixture
def deliver(django_capture_on_commit_callbacks: Any) -> Deliver:
    def deliver(event_type: str, stripe_object: Any, **changes: Any) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            inbox.receive_event(make_event(event_type, stripe_object, **changes))

    return deliver


def test_every_change_has_its_signal() -> None:
    of_money = "created succeeded failed canceled expired refunded capture_due"
    of_trouble = "disputed fraud_warned needs_attention unknown"
    of_payments = {f"payment_{name}" for name in f"{of_money} {of_trouble}".split()}
    assert set(ALL) == of_payments | {"payable_paid", "installment_due"}


@pytest.mark.parametrize(
    ("event_type", "stripe_object", "name"),
    [
        ("payment_intent.succeeded", SUCCESS, "succeeded"),
        ("payment_intent.payment_failed", make_declined_intent(), "failed"),
        ("payment_intent.canceled", make_intent(status="canceled"), "canceled"),
        ("payment_intent.canceled", make_intent(status="canceled", cancellation_reason="expired"), "expired"),
        ("charge.dispute.created", make_dispute(), "disputed"),
        ("payment_intent.succeeded", make_paid_intent(currency="eur"), "needs_attention"),
        ("radar.early_fraud_warning.created", make_fraud_warning(actionable=False), "fraud_warned"),
    ],
)
def test_change_is_announced_once_however_often_it_is_told(
    payment: Payment, heard: list[str], deliver: Deliver, event_type: str, stripe_object: Any, name: str
) -> None:
    for created in (0, 1, 1, 0):
        deliver(event_type, stripe_object, created=1_800_000_000 + created)
    assert heard == [name]


@pytest.mark.parametrize(
    ("event_type", "stripe_object"),
    [
        ("payment_intent.requires_action", make_intent(status="requires_action")),
        ("payment_intent.processing", make_intent(status="processing")),
        ("customer.created", {"id": "cus_1"}),
    ],
)
def test_what_changes_nothing_for_a_host_is_not_announced(
    payment: Payment, heard: list[str], deliver: Deliver, event_type: str, stripe_object: Any
) -> None:
    deliver(event_type, stripe_object)
    assert heard == []


def test_refunds_are_announced_each_and_once(payment: Payment, heard: list[str], deliver: Deliver) -> None:
    deliver("payment_intent.succeeded", SUCCESS)
    deliver("refund.created", make_refund())
    deliver("charge.refunded", make_charge(amount_refunded=500))
    deliver("refund.created", make_refund(id="re_2", amount=1500))
    assert heard == ["succeeded", "refunded", "refunded"]
    deliver("refund.failed", make_refund(status="failed"))
    assert heard == ["succeeded", "refunded", "refunded", "needs_attention"]


def test_refund_heard_of_first_is_announced_with_the_success(
    payment: Payment, heard: list[str], deliver: Deliver
) -> None:
    deliver("refund.created", make_refund())
    assert heard == []
    deliver("payment_intent.succeeded", SUCCESS)
    assert heard == ["succeeded", "refunded"]


def test_another_decline_after_another_attempt_is_announced_again(
    payment: Payment, heard: list[str], deliver: Deliver
) -> None:
    for second, stripe_object in enumerate(
        (make_declined_intent(), make_intent(status="requires_action"), make_declined_intent("lost_card"))
    ):
        deliver("payment_intent.payment_failed", stripe_object, created=1_800_000_000 + second)
    assert heard == ["failed", "failed"]


def test_dispute_is_announced_each_time_it_changes(
    payment: Payment, heard: list[str], deliver: Deliver
) -> None:
    for status in ("needs_response", "under_review", "won", "won"):
        deliver("charge.dispute.updated", make_dispute(status=status))
    assert heard == ["disputed"] * 3


def test_warning_of_fraud_is_announced_with_what_it_needs(
    payment: Payment, heard: list[str], deliver: Deliver
) -> None:
    deliver("payment_intent.succeeded", SUCCESS)
    deliver("radar.early_fraud_warning.created", make_fraud_warning())
    assert heard == ["succeeded", "fraud_warned", "needs_attention"]


def test_nothing_is_announced_of_what_is_rolled_back(
    payment: Payment, heard: list[str], deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fail(event: WebhookEvent, payment: Payment | None) -> None:
        seen.append(payment.status if payment else "")
        raise DatabaseError

    monkeypatch.setattr(handlers, "HOST_HANDLERS", {"payment_intent.succeeded": [fail]})
    with pytest.raises(DatabaseError):
        deliver("payment_intent.succeeded", SUCCESS)
    assert (seen, heard) == (["paid"], [])
    assert not PaymentChange.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_creation_and_the_whole_life_are_announced_in_order(heard: list[str], stripe: StripeEmulator) -> None:
    payment = services.create_payment(2000, currency="usd").payment
    stripe.confirm(payment.stripe_payment_intent_id or "", "pm_card_chargeDeclined")
    services.complete_payment(payment)
    stripe.confirm(payment.stripe_payment_intent_id or "", "pm_card_visa")
    services.complete_payment(payment)
    services.refund_payment(payment, amount=500)
    services.refund_payment(payment)
    expected = ["created", "failed", "succeeded", "refunded", "refunded"]
    assert heard == expected
    for event in stripe.events:
        inbox.receive_event(event.payload)
    services.sync_payment(payment)
    assert heard == expected


@pytest.mark.django_db(transaction=True)
def test_receiver_that_raises_spoils_nothing(
    payment: Payment, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the host's own bug")

    with listening(signals.payment_succeeded, fail):
        event = inbox.receive_event(make_event("payment_intent.succeeded", SUCCESS))
    assert (event.status, Payment.objects.get().status) == ("processed", "paid")
    assert heard == ["succeeded"]
    assert "the host's own bug" in caplog.text
