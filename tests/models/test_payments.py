from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.exceptions import PaymentNotFoundError
from octo_stripe_gateway.models import Dispute, Payment, Refund
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.objects import (
    SECOND,
    make_declined_intent,
    make_intent,
    make_paid_intent,
    make_payment,
)
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

HOUR = dt.timedelta(hours=1)


def paid_payment(**columns: Any) -> Payment:
    payment = make_payment(**columns)
    payment.apply_intent(snap_intent(make_paid_intent()))
    return payment


def known_refund(payment: Payment, **changes: Any) -> Refund:
    refund = Refund(payment=payment, amount=changes.get("amount", 500))
    refund.apply(snap_refund(**changes))
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
        (make_intent(status="canceled", cancellation_reason="abandoned"), "canceled"),
        (make_intent(status="canceled", cancellation_reason="expired"), "expired"),
    ],
)
def test_status_follows_the_intent(stripe_object: Any, status: str) -> None:
    payment = make_payment()
    payment.apply_intent(snap_intent(stripe_object))
    assert payment.status == status


def test_late_decline_does_not_undo_a_success() -> None:
    payment = paid_payment()
    payment.apply_intent(snap_intent(make_declined_intent(), second=60))
    assert (payment.status, payment.failure_code, payment.failed_at) == ("paid", "", None)


def test_decline_is_cleared_by_the_next_attempt() -> None:
    payment = make_payment()
    payment.apply_intent(snap_intent(make_declined_intent()))
    assert payment.failed_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)
    payment.apply_intent(snap_intent(make_intent(status="requires_action"), second=1))
    assert (payment.status, payment.failure_code) == ("pending", "")
    assert not payment.failed_at


@pytest.mark.parametrize(
    "earlier", [make_intent(), make_intent(status="requires_action"), make_intent(status="processing")]
)
def test_authorization_is_undone_by_no_earlier_state(earlier: Any) -> None:
    payment = make_payment(capture_method="manual")
    held = make_intent(status="requires_capture", amount_capturable=2000)
    payment.apply_intent(snap_intent(held))
    payment.apply_intent(snap_intent(earlier, second=1))
    assert (payment.status, payment.amount_capturable) == ("authorized", 2000)


@pytest.mark.parametrize("seconds", list(itertools.permutations((0, 5, 9))))
def test_confirmation_is_dated_by_the_earliest_snapshot_whatever_came_first(seconds: tuple[int, ...]) -> None:
    payment = make_payment()
    for second in seconds:
        payment.apply_intent(snap_intent(make_paid_intent(), second=second))
    assert payment.confirmed_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)


@pytest.mark.parametrize("charges", list(itertools.permutations((None, "ch_1"))))
def test_event_that_names_no_charge_blanks_none(charges: tuple[str | None, ...]) -> None:
    payment = make_payment()
    for second, charge in enumerate(charges):
        payment.apply_intent(snap_intent(make_paid_intent(latest_charge=charge), second=second))
    assert payment.stripe_charge_id == "ch_1"


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
    assert make_payment().compare_intent(snap_intent(stripe_object)) == said


def test_partial_capture_is_no_mismatch_where_capture_is_manual() -> None:
    snapshot = snap_intent(make_paid_intent(amount_received=1))
    assert make_payment(capture_method="manual").compare_intent(snapshot) == ""


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
    assert make_payment().compare_charge(snap_charge(**changes)) == said


def test_dispute_may_be_of_another_currency_but_not_of_another_payment() -> None:
    assert make_payment().compare_dispute(snap_dispute(currency="eur")) == ""
    other = snap_dispute(payment_intent="pi_2", livemode=True)
    assert "pi_2" in make_payment().compare_dispute(other)


def test_refunds_are_counted_once_beside_the_charges_total() -> None:
    payment = paid_payment()
    payment.apply_charge(snap_charge(amount_refunded=500))
    payment.update_refunded([])
    assert (payment.amount_refunded, payment.status) == (500, "paid")
    payment.update_refunded([known_refund(payment)])
    assert payment.amount_refunded == 500


def test_refund_that_failed_before_the_total_was_taken_is_not_in_it() -> None:
    payment = paid_payment()
    failed = known_refund(payment, status="failed", second=1)
    payment.apply_charge(snap_charge(amount_refunded=300, second=2))
    payment.update_refunded([failed])
    assert payment.amount_refunded == 300


def test_refund_that_failed_after_the_total_was_taken_frees_its_amount() -> None:
    payment = paid_payment()
    payment.apply_charge(snap_charge(amount_refunded=500, second=1))
    payment.update_refunded([known_refund(payment, status="failed", second=1)])
    assert payment.amount_refunded == 0


@pytest.mark.parametrize("totals", [(500, 800), (800, 500)])
def test_largest_total_of_a_second_is_its_last(totals: tuple[int, int]) -> None:
    payment = paid_payment()
    for total in totals:
        payment.apply_charge(snap_charge(amount_refunded=total))
    assert payment.charge_amount_refunded == 800


def test_nothing_is_refunded_before_it_is_known_to_be_received() -> None:
    payment = make_payment()
    refund = known_refund(payment, amount=2000)
    payment.apply_charge(snap_charge(amount_refunded=2000))
    payment.update_refunded([refund])
    assert (payment.amount_refunded, payment.status) == (0, "pending")
    payment.apply_intent(snap_intent(make_paid_intent()))
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
    refund.apply(snap_refund(amount=2000, status="failed", second=9))
    payment.update_refunded([refund])
    assert (payment.status, payment.refunded_at, payment.amount_refundable) == ("paid", None, 2000)


def test_rejected_payment_is_failed_until_its_money_went_back() -> None:
    payment = paid_payment()
    payment.reject("The tour is full.")
    assert (payment.status, payment.confirmed_at, payment.needs_reversal) == ("failed", None, True)
    payment.update_refunded([known_refund(payment, amount=2000)])
    assert (payment.status, payment.needs_reversal) == ("refunded", False)


@pytest.mark.parametrize(
    ("stripe_object", "settled"),
    [
        (make_intent(), False),
        (make_declined_intent(), False),
        (make_intent(status="processing"), False),
        (make_intent(status="requires_capture"), False),
        (make_intent(status="canceled"), True),
        (make_paid_intent(), True),
    ],
)
def test_payment_is_checked_until_stripe_will_not_change_it(stripe_object: Any, settled: bool) -> None:
    payment = make_payment(accepted_at=timezone.now())
    payment.apply_intent(snap_intent(stripe_object))
    assert payment.is_settled is settled
    assert (payment.next_check_at is None) is settled


def test_payment_is_checked_again_while_a_refund_is_under_way() -> None:
    payment = paid_payment(accepted_at=timezone.now())
    assert payment.next_check_at is None
    for refund, settled in (
        (Refund(payment=payment, amount=500), False),
        (known_refund(payment, status="pending"), False),
        (known_refund(payment), True),
    ):
        payment.update_refunded([refund])
        assert (payment.next_check_at is None) is settled


def test_payment_is_checked_while_a_dispute_is_open() -> None:
    payment = paid_payment(accepted_at=timezone.now())
    dispute = Dispute(payment=payment)
    for status, settled in (("needs_response", False), ("won", True)):
        dispute.apply(snap_dispute(status=status))
        payment.update_disputed([dispute])
        assert (payment.next_check_at is None) is settled


def test_payment_is_checked_while_the_host_has_not_accepted_it() -> None:
    payment = paid_payment()
    assert payment.next_check_at
    payment.accept()
    assert payment.next_check_at is None


def test_payment_is_checked_while_it_is_rejected_with_money_held() -> None:
    payment = paid_payment()
    payment.reject("The tour is full.")
    assert payment.next_check_at
    payment.update_refunded([known_refund(payment, amount=2000)])
    assert payment.next_check_at is None


def test_creation_that_stripe_refused_is_settled() -> None:
    payment = make_payment(stripe_payment_intent_id=None)
    payment.record_stripe_error(code="amount_too_small", message="Too small.")
    assert (payment.status, payment.next_check_at) == ("failed", None)


@pytest.mark.django_db
def test_due_for_check_are_the_unsettled_whose_pause_is_over() -> None:
    now = timezone.now()
    due = PaymentFactory.create(next_check_at=now - HOUR)
    later = PaymentFactory.create(next_check_at=now + HOUR)
    PaymentFactory.create(paid=True)
    assert set(Payment.objects.unsettled()) == {due, later}
    assert set(Payment.objects.due_for_check(now=now)) == {due}


@pytest.mark.django_db
def test_rejected_with_money_held_are_neither_the_accepted_nor_the_refunded() -> None:
    held = PaymentFactory.create(paid=True, rejection_reason="full")
    PaymentFactory.create(paid=True)
    PaymentFactory.create(refunded=True, rejection_reason="full")
    PaymentFactory.create(rejection_reason="full")
    assert set(Payment.objects.rejected_with_money_held()) == {held}


@pytest.mark.django_db
def test_payment_is_found_by_integer_and_uuid_only() -> None:
    payment = PaymentFactory.create()
    found = Payment.objects.get_by_public_id
    assert found(str(payment.pk)) == found(str(payment.uuid)) == found(str(payment.uuid).upper()) == payment
    for wrong in ("", "0", "-1", "1e3", "٣", "9" * 30, payment.uuid.hex, "\0", "pi_1"):
        with pytest.raises(PaymentNotFoundError):
            found(wrong)


@pytest.mark.django_db
@pytest.mark.parametrize("update_fields", [None, ["status", "amount_refunded", "metadata"]])
def test_host_s_save_keeps_its_own_columns_and_undoes_none_of_the_ledgers(update_fields: Any) -> None:
    payment = PaymentFactory.create(paid=True)
    stale = Payment.objects.get(pk=payment.pk)
    Payment.objects.filter(pk=payment.pk).update(status="refunded", amount_refunded=2000)
    stale.metadata, stale.status = {"seat": "12A"}, "failed"
    stale.save(update_fields=update_fields)
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded) == ("refunded", 2000)
    assert payment.metadata == {"seat": "12A"}
    assert payment.updated_at == stale.updated_at


@pytest.mark.django_db
def test_host_s_save_of_the_ledgers_columns_only_writes_nothing(django_assert_num_queries: Any) -> None:
    payment = PaymentFactory.create()
    payment.status = "paid"
    with django_assert_num_queries(0):
        payment.save(update_fields=["status"])


@pytest.mark.django_db
def test_payment_is_shown_by_its_uuid() -> None:
    payment = PaymentFactory.create()
    assert str(payment) == str(payment.uuid)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("narrow", "included", "statements"),
    [
        (lambda payments: payments, True, 0),
        (lambda payments: payments.order_by("-pk"), True, 0),
        (lambda payments: payments.owned_by("key:viator"), True, 1),
        (lambda payments: payments.owned_by("key:klook"), False, 1),
        (lambda payments: payments.none(), False, 0),
        (lambda payments: payments.exclude(owner="key:viator"), False, 1),
        (lambda payments: payments.filter(refunds__amount=1), False, 1),
    ],
)
def test_payments_include_one_without_a_statement_where_they_are_all(
    narrow: Any, included: bool, statements: int, django_assert_num_queries: Any
) -> None:
    payment = PaymentFactory.create(owner="key:viator")
    with django_assert_num_queries(statements):
        assert narrow(Payment.objects.all()).includes(payment) is included
