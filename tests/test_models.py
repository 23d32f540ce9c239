from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.exceptions import BadRequestError, PaymentNotFoundError
from octo_stripe_gateway.models import Payment, Refund, WebhookEvent
from octo_stripe_gateway.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, WebhookEventFactory
from tests.support.objects import (
    SECOND,
    make_charge,
    make_declined_intent,
    make_dispute,
    make_event,
    make_intent,
    make_paid_intent,
    make_payment,
    make_refund,
)

AS_OF = SECOND
HOUR = dt.timedelta(hours=1)


def intent(stripe_object: Any, *, second: int = 0) -> PaymentIntentSnapshot:
    return PaymentIntentSnapshot.from_object(stripe_object, as_of=AS_OF + second * 1000)


def refund_fact(*, second: int = 0, **changes: Any) -> RefundSnapshot:
    return RefundSnapshot.from_object(make_refund(**changes), as_of=AS_OF + second * 1000)


def charge_fact(amount_refunded: int, *, second: int = 0) -> ChargeSnapshot:
    charge = make_charge(amount_refunded=amount_refunded)
    return ChargeSnapshot.from_object(charge, as_of=AS_OF + second * 1000)


def paid_payment() -> Payment:
    payment = make_payment()
    payment.take_intent(intent(make_paid_intent()))
    return payment


def known_refund(payment: Payment, **changes: Any) -> Refund:
    refund = Refund(payment=payment, amount=changes.get("amount", 500))
    refund.take(refund_fact(**changes))
    return refund


@pytest.mark.parametrize(
    ("stripe_object", "status"),
    [
        (make_intent(), "pending"),
        (make_intent(status="requires_action"), "pending"),
        (make_intent(status="processing"), "pending"),
        (make_intent(status="something_new"), "pending"),
        (make_declined_intent(), "failed"),
        (make_intent(status="requires_capture", amount_capturable=2000), "authorized"),
        (make_paid_intent(), "paid"),
        (make_intent(status="canceled"), "canceled"),
    ],
)
def test_status_follows_the_intent(stripe_object: Any, status: str) -> None:
    payment = make_payment()
    payment.take_intent(intent(stripe_object))
    assert payment.status == status


def test_late_decline_does_not_undo_a_success() -> None:
    payment = paid_payment()
    payment.take_intent(intent(make_declined_intent(), second=60))
    assert (payment.status, payment.failure_code, payment.failed_at) == ("paid", "", None)


def test_decline_is_cleared_by_the_next_attempt() -> None:
    payment = make_payment()
    payment.take_intent(intent(make_declined_intent()))
    assert payment.failed_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)
    payment.take_intent(intent(make_intent(status="requires_action"), second=1))
    assert (payment.status, payment.failure_code) == ("pending", "")
    assert not payment.failed_at


def test_capture_under_way_at_the_bank_is_no_authorization_any_more() -> None:
    payment = make_payment(capture_method="manual")
    payment.take_intent(intent(make_intent(status="requires_capture")))
    payment.take_intent(intent(make_intent(status="processing"), second=1))
    assert payment.status == "pending"


@pytest.mark.parametrize("seconds", list(itertools.permutations((0, 5, 9))))
def test_confirmation_is_dated_by_the_earliest_fact_whatever_came_first(seconds: tuple[int, ...]) -> None:
    payment = make_payment()
    for second in seconds:
        payment.take_intent(intent(make_paid_intent(), second=second))
    assert payment.confirmed_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)


@pytest.mark.parametrize(
    ("stripe_object", "said"),
    [
        (make_intent(id="pi_2"), "id is 'pi_2', not 'pi_1'"),
        (make_intent(amount=1999), "amount is 1999, not 2000"),
        (make_intent(currency="eur"), "currency is 'eur', not 'usd'"),
        (make_intent(livemode=True), "livemode is True, not False"),
        (make_paid_intent(amount_received=1), "amount_received is 1, not 2000"),
        (make_intent(amount_received=2001), "amount_received is 2001, more than 2000"),
        (make_intent(amount_capturable=2001), "amount_capturable is 2001, more than 2000"),
    ],
)
def test_intent_that_contradicts_the_row_is_a_mismatch(stripe_object: Any, said: str) -> None:
    assert make_payment().find_mismatch(intent(stripe_object)) == said


def test_partial_capture_is_no_mismatch_where_capture_is_manual() -> None:
    fact = intent(make_paid_intent(amount_received=1))
    assert make_payment(capture_method="manual").find_mismatch(fact) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"payment_intent": "pi_2"}, "payment_intent_id is 'pi_2', not 'pi_1'"),
        ({"currency": "eur"}, "currency is 'eur', not 'usd'"),
        ({"livemode": True}, "livemode is True, not False"),
        ({"amount_refunded": 2001}, "amount_refunded is 2001, more than 2000"),
    ],
)
def test_charge_that_contradicts_the_row_is_a_mismatch(changes: Any, said: str) -> None:
    fact = ChargeSnapshot.from_object(make_charge(**changes), as_of=AS_OF)
    assert make_payment().find_charge_mismatch(fact) == said


def test_dispute_may_be_of_another_currency_but_not_of_another_payment() -> None:
    read = DisputeSnapshot.from_object
    assert make_payment().find_charge_mismatch(read(make_dispute(currency="eur"), as_of=AS_OF)) == ""
    other = read(make_dispute(payment_intent="pi_2", livemode=True), as_of=AS_OF)
    assert "pi_2" in make_payment().find_charge_mismatch(other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"amount": 400}, "refund re_1: amount is 400, not 500"),
        ({"currency": "eur"}, "refund re_1: currency is 'eur', not 'usd'"),
        ({"payment_intent": "pi_2"}, "refund re_1: payment_intent_id is 'pi_2', not 'pi_1'"),
    ],
)
def test_refund_that_contradicts_its_row_is_a_mismatch(changes: Any, said: str) -> None:
    assert Refund(payment=make_payment(), amount=500).find_mismatch(refund_fact(**changes)) == said


def test_refund_of_more_than_the_payment_is_a_mismatch() -> None:
    refund = Refund(payment=make_payment(), amount=2001)
    assert "more than 2000" in refund.find_mismatch(refund_fact(amount=2001))


def test_refund_given_up_here_is_taken_back_when_stripe_made_it_after_all() -> None:
    refund = Refund(payment=paid_payment(), amount=500, status="failed", failure_reason="abandoned")
    refund.take(refund_fact())
    assert (refund.status, refund.failure_reason, refund.is_live) == ("succeeded", "", True)


def test_refunds_are_counted_once_beside_the_charges_total() -> None:
    payment = paid_payment()
    payment.take_charge(charge_fact(500))
    payment.update_refunded([])
    assert (payment.amount_refunded, payment.status) == (500, "paid")
    payment.update_refunded([known_refund(payment)])
    assert payment.amount_refunded == 500


def test_refund_that_failed_before_the_total_was_taken_is_not_in_it() -> None:
    payment = paid_payment()
    failed = known_refund(payment, status="failed", second=1)
    payment.take_charge(charge_fact(300, second=2))
    payment.update_refunded([failed])
    assert payment.amount_refunded == 300


def test_refund_that_failed_after_the_total_was_taken_gives_its_amount_back() -> None:
    payment = paid_payment()
    payment.take_charge(charge_fact(500, second=1))
    payment.update_refunded([known_refund(payment, status="failed", second=1)])
    assert payment.amount_refunded == 0


@pytest.mark.parametrize("totals", [(500, 800), (800, 500)])
def test_largest_total_of_a_second_is_its_last(totals: tuple[int, int]) -> None:
    payment = paid_payment()
    for total in totals:
        payment.take_charge(charge_fact(total))
    assert payment.charge_amount_refunded == 800


def test_nothing_is_refunded_before_it_is_known_to_be_received() -> None:
    payment = make_payment()
    refund = known_refund(payment, amount=2000)
    payment.take_charge(charge_fact(2000))
    payment.update_refunded([refund])
    assert (payment.amount_refunded, payment.status) == (0, "pending")
    payment.take_intent(intent(make_paid_intent()))
    payment.update_refunded([refund])
    assert (payment.amount_refunded, payment.status) == (2000, "refunded")
    assert payment.refunded_at


def test_reserved_amounts_are_gone_but_not_refunded() -> None:
    payment = paid_payment()
    payment.update_refunded([Refund(payment=payment, amount=700), known_refund(payment)])
    assert (payment.amount_refunded, payment.amount_reserved, payment.amount_refundable) == (500, 700, 800)


def test_full_refund_that_fails_makes_the_payment_paid_again() -> None:
    payment = paid_payment()
    refund = known_refund(payment, amount=2000)
    payment.update_refunded([refund])
    assert payment.status == "refunded"
    refund.take(refund_fact(amount=2000, status="failed", second=9))
    payment.update_refunded([refund])
    assert (payment.status, payment.refunded_at, payment.amount_refundable) == ("paid", None, 2000)


DISPUTES = [
    make_dispute(),
    make_dispute(status="under_review"),
    make_dispute(status="won"),
    make_dispute(id="dp_2", created=SECOND + 5, status="needs_response"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(DISPUTES)))
def test_latest_dispute_shows_whatever_came_first(order: tuple[Any, ...]) -> None:
    payment = make_payment()
    for dispute in order:
        payment.take_dispute(DisputeSnapshot.from_object(dispute, as_of=AS_OF))
    assert (payment.disputed, payment.stripe_dispute_id) == (True, "dp_2")
    assert payment.dispute_status == "needs_response"


@pytest.mark.django_db
def test_payment_is_found_by_integer_and_uuid_only() -> None:
    payment = PaymentFactory.create()
    found = Payment.objects.get_by_public_id
    assert found(str(payment.pk)) == found(str(payment.uuid)) == found(str(payment.uuid).upper()) == payment
    for wrong in ("", "0", "-1", "1e3", "٣", "9" * 30, payment.uuid.hex, "\0", "pi_1"):
        with pytest.raises(PaymentNotFoundError):
            found(wrong)


@pytest.mark.django_db
def test_unsettled_are_those_of_which_stripe_may_know_more() -> None:
    now = timezone.now()
    waiting = {"pending": PaymentFactory.create(), "failed": PaymentFactory.create(failed=True)}
    held = PaymentFactory.create(authorized=True)
    refunding = RefundFactory.create(status="pending").payment
    reserved = RefundFactory.create(status="reserved", stripe_refund_id=None).payment
    RefundFactory.create(status="reserved", stripe_refund_id=None, payment=reserved)
    for settled in ({"paid": True}, {"canceled": True}, {"refunded": True}):
        PaymentFactory.create(**settled)
    PaymentFactory.create(failed=True, stripe_payment_intent_id=None, intent_status="")
    found = Payment.objects.unsettled(since=now - HOUR, until=now + HOUR)
    expected = {*waiting.values(), held, refunding, reserved}
    assert set(found) == expected
    assert len(found) == len(expected)

    assert not Payment.objects.unsettled(since=now - HOUR, until=now - HOUR)
    # However old a payment is, money that is held or on its way back is worth a look.
    later = now + HOUR
    assert set(Payment.objects.unsettled(since=later, until=later)) == {held, refunding, reserved}


@pytest.mark.django_db
def test_batches_give_each_payment_once_with_one_query_each(django_assert_num_queries: Any) -> None:
    payments = PaymentFactory.create_batch(5)
    with django_assert_num_queries(4):
        batches = [[payment.pk for payment in batch] for batch in Payment.objects.in_batches(2)]
    assert batches == [[each.pk for each in payments[i : i + 2]] for i in (0, 2, 4)]


@pytest.mark.parametrize("payload", [{}, {"data": None}, {"data": []}, {"data": {"object": "pi_1"}}])
def test_event_without_an_object_says_so(payload: Any) -> None:
    with pytest.raises(BadRequestError, match="no object"):
        _ = WebhookEvent(payload=payload).stripe_object


@pytest.mark.parametrize("created", [None, "now", 1.5, True, -1, 10**30])
def test_event_without_a_time_says_so(created: Any) -> None:
    with pytest.raises(BadRequestError, match="no valid created"):
        _ = WebhookEvent(payload=make_event("x", {}, created=created)).as_of


@pytest.mark.django_db
def test_unprocessed_events_are_the_failed_and_the_old_received_ones() -> None:
    failed, received = WebhookEventFactory.create(failed=True), WebhookEventFactory.create()
    processed = WebhookEventFactory.create(processed=True)
    now = timezone.now()
    assert set(WebhookEvent.objects.unprocessed(until=now)) == {failed, received}
    assert set(WebhookEvent.objects.unprocessed(until=now - HOUR)) == {failed}
    assert set(WebhookEvent.objects.finished(until=now)) == {processed}
    assert not WebhookEvent.objects.finished(until=now - HOUR)


@pytest.mark.django_db
def test_rows_say_what_they_are() -> None:
    payment = PaymentFactory.create(paid=True)
    assert str(payment) == str(payment.uuid)
    refund = RefundFactory.create(payment=payment)
    assert str(refund) == str(refund.uuid)
    event = WebhookEventFactory.create(payment=payment)
    assert str(event) == f"payment_intent.succeeded {event.stripe_event_id}"
