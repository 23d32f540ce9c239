from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.exceptions import PaymentNotFoundError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory

HOUR = dt.timedelta(hours=1)


@pytest.mark.django_db
def test_due_for_check_are_the_unsettled_whose_pause_is_over() -> None:
    now = timezone.now()
    due = PaymentFactory.create(next_check_at=now - HOUR)
    later = PaymentFactory.create(next_check_at=now + HOUR)
    PaymentFactory.create(paid=True)
    assert set(Payment.objects.unsettled()) == {due, later}
    assert set(Payment.objects.due_for_check(now=now)) == {due}


@pytest.mark.django_db
def test_rejected_with_money_held_leaves_out_accepted_and_refunded_payments() -> None:
    held = PaymentFactory.create(paid=True, rejection_code="host")
    PaymentFactory.create(paid=True)
    PaymentFactory.create(refunded=True, rejection_code="host")
    PaymentFactory.create(rejection_code="host")
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
def test_save_by_the_host_writes_only_the_hosts_columns(update_fields: Any) -> None:
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
