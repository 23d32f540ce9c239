from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway.batches import iterate_keys
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory

pytestmark = pytest.mark.django_db


def test_batches_give_each_row_once_with_one_query_each(django_assert_num_queries: Any) -> None:
    payments = PaymentFactory.create_batch(5)
    with django_assert_num_queries(3):
        keys = list(iterate_keys(Payment.objects.all(), size=2))
    assert keys == [payment.pk for payment in payments]


def test_rows_that_drop_out_meanwhile_are_left_out_and_no_other() -> None:
    payments = PaymentFactory.create_batch(6)
    keys = []
    for pk in iterate_keys(Payment.objects.filter(status="pending"), size=2):
        keys.append(pk)
        # What is read before its turn comes is what a batch has read already.
        Payment.objects.filter(pk__in=[pk, payments[4].pk]).update(status="canceled")
    assert keys == [each.pk for each in payments if each != payments[4]]
