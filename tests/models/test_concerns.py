from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.testing.factories import ConcernFactory, PaymentFactory

pytestmark = pytest.mark.django_db


def test_concern_is_shown_by_its_code_and_object() -> None:
    assert str(Concern(code="refund_failed", object_id="re_1")) == "refund_failed re_1"
    assert str(Concern(code="payable_unknown")) == "payable_unknown"


def test_open_and_settled_concerns_are_told_apart() -> None:
    waiting, done = ConcernFactory.create(), ConcernFactory.create(settled=True)
    assert [*Concern.objects.all().open()] == [waiting]
    assert [*Concern.objects.all().settled()] == [done]


def test_payment_without_concerns_is_not_asked_for_them(django_assert_num_queries: Any) -> None:
    payment = PaymentFactory.create()
    with django_assert_num_queries(0):
        assert Concern.ledger.list_of(payment) == []


def test_concerns_of_a_payment_are_listed_by_id_settled_ones_too(django_assert_num_queries: Any) -> None:
    payment = PaymentFactory.create(has_concerns=True)
    concerns = [ConcernFactory.create(payment=payment, settled=number == 0) for number in range(2)]
    ConcernFactory.create()
    with django_assert_num_queries(1):
        listed = Concern.ledger.list_of(payment)
        assert all(concern.payment is payment for concern in listed)
    assert listed == concerns


@pytest.mark.parametrize("payment", [True, False])
def test_one_concern_of_a_code_and_object_is_open_at_a_time(payment: bool) -> None:
    row: Payment | None = PaymentFactory.create() if payment else None
    ConcernFactory.create(payment=row, object_id="re_1", settled=True)
    ConcernFactory.create(payment=row, object_id="re_1")
    ConcernFactory.create(payment=row, object_id="re_2")
    with pytest.raises(IntegrityError), transaction.atomic():
        ConcernFactory.create(payment=row, object_id="re_1")


@pytest.mark.parametrize(
    "changes", [{"code": ""}, {"reason": "why"}, {"settled_by": "ann"}, {"amount": 5}], ids=str
)
def test_an_open_concern_has_a_code_and_nothing_of_its_settling(changes: Any) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ConcernFactory.create(**changes)
    if "code" not in changes:
        assert ConcernFactory.create(settled_at=timezone.now(), **changes).pk
