from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway.models import Refund
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory
from tests.support.objects import SECOND, make_payment
from tests.support.snapshots import snap_refund


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
    assert Refund(payment=make_payment(), amount=500).compare(snap_refund(**changes)) == said


def test_refund_of_more_than_the_payment_is_a_mismatch() -> None:
    refund = Refund(payment=make_payment(), amount=2001)
    assert "more than 2000" in refund.compare(snap_refund(amount=2001))


def test_refund_that_was_given_up_counts_again_when_stripe_made_it_after_all() -> None:
    refund = Refund(payment=make_payment(), amount=500, status="failed", failure_reason="abandoned")
    refund.apply(snap_refund())
    assert (refund.status, refund.failure_reason, refund.is_live) == ("succeeded", "", True)


def test_earlier_snapshot_changes_nothing() -> None:
    refund = Refund(payment=make_payment(), amount=500)
    refund.apply(snap_refund(status="failed", failure_reason="expired_or_canceled_card", second=5))
    refund.apply(snap_refund(second=9))
    assert (refund.status, refund.failure_reason) == ("failed", "expired_or_canceled_card")
    assert refund.status_as_of == SECOND + 5


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
