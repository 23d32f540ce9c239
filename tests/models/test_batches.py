from __future__ import annotations

import datetime as dt
from itertools import chain

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.models.batches import iterate_batches
from octo_stripe_gateway.testing.factories import PaymentFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def make_payments(*minutes: int) -> list[int]:
    """Make a payment for each number, created that many minutes from now, and return their keys."""
    keys = [PaymentFactory.create().pk for _each in minutes]
    for pk, minute in zip(keys, minutes, strict=True):
        Payment.objects.filter(pk=pk).update(created_at=NOW + dt.timedelta(minutes=minute))
    return keys


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("by", ["pk", "created_at"])
def test_yields_each_row_once_in_order(by: str, size: int) -> None:
    make_payments(3, 1, 1, 1, 2)
    batches = list(iterate_batches(Payment.objects.all(), by=by, size=size))
    assert [pk for batch in batches for pk in batch] == [
        *Payment.objects.order_by(by, "pk").values_list("pk", flat=True)
    ]
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert 0 < len(batches[-1]) <= size


def test_yields_nothing_of_nothing() -> None:
    assert list(iterate_batches(Payment.objects.none(), by="pk")) == []
    assert list(iterate_batches(Payment.objects.all(), by="pk")) == []


def test_goes_on_where_it_was_whatever_happens_to_the_rows() -> None:
    keys = make_payments(1, 2, 3, 4)
    batches = iterate_batches(Payment.objects.all(), by="created_at", size=2)
    assert next(batches) == keys[:2]
    Payment.objects.filter(pk__in=[*keys[:2], keys[2]]).delete()
    later = make_payments(0, 5)
    assert [*batches] == [[keys[3], later[1]]]


def test_a_row_that_moves_on_comes_again() -> None:
    keys = make_payments(1, 2)
    seen = []
    for (pk,) in iterate_batches(Payment.objects.all(), by="created_at", size=1):
        seen.append(pk)
        if len(seen) == 1:
            Payment.objects.filter(pk=pk).update(created_at=F("created_at") + dt.timedelta(minutes=5))
    assert seen == [*keys, keys[0]]


def test_a_batch_is_one_statement_that_begins_where_the_last_one_ended() -> None:
    make_payments(1, 2, 3)
    with CaptureQueriesContext(connection) as queries:
        list(iterate_batches(Payment.objects.all(), by="created_at", size=2))
    first, second = (query["sql"] for query in queries)
    assert ("WHERE" in first, " >= " in second) == (False, True)


def test_rows_that_drop_out_meanwhile_are_left_out_and_no_other() -> None:
    payments = PaymentFactory.create_batch(6)
    keys = []
    batches = iterate_batches(Payment.objects.filter(status="pending"), by="pk", size=2)
    for pk in chain.from_iterable(batches):
        keys.append(pk)
        # With batches of two, this one drops out before its batch is read.
        Payment.objects.filter(pk__in=[pk, payments[4].pk]).update(status="canceled")
    assert keys == [each.pk for each in payments if each != payments[4]]
