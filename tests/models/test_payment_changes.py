from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from octo_stripe_gateway.models import IdempotencyKey, PaymentChange
from octo_stripe_gateway.testing.factories import PaymentFactory


@pytest.mark.django_db
def test_due_for_delivery_are_those_whose_pause_is_over() -> None:
    now, payment = timezone.now(), PaymentFactory.create()
    second = dt.timedelta(seconds=1)
    late, due, early, done = (
        PaymentChange.objects.create(payment=payment, changes={}, source="api", deliver_at=moment)
        for moment in (now - second, now, now + second, None)
    )
    assert set(PaymentChange.objects.due_for_delivery(now=now)) == {late, due}
    assert early.deliver_at
    assert done.deliver_at is None


@pytest.mark.django_db
def test_changes_go_with_their_payment() -> None:
    payment = PaymentFactory.create()
    PaymentChange.objects.create(payment=payment, changes={}, source="api")
    payment.delete()
    assert not PaymentChange.objects.exists()


def test_change_is_shown_by_what_changed() -> None:
    change = PaymentChange(changes={"status": ["pending", "paid"], "amount_received": [0, 2000]})
    assert str(change) == "status, amount_received"


def test_key_is_shown_as_it_was_sent() -> None:
    assert str(IdempotencyKey(key="the-client's")) == "the-client's"
