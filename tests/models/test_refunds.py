from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway.models import Refund
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory


@pytest.mark.django_db
def test_refunds_of_a_payment_are_listed_by_id_and_know_it(django_assert_num_queries: Any) -> None:
    payment = PaymentFactory.create(paid=True)
    refunds = RefundFactory.create_batch(3, payment=payment)
    RefundFactory.create()
    with django_assert_num_queries(1):
        listed = Refund.ledger.list_of(payment)
        assert all(refund.payment is payment for refund in listed)
    assert listed == refunds


@pytest.mark.django_db
def test_refund_is_shown_by_its_uuid() -> None:
    refund = RefundFactory.create()
    assert str(refund) == str(refund.uuid)
