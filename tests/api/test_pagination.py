"""The number of rows that a list claims to have."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from octo_stripe_gateway.admin import lists
from octo_stripe_gateway.admin.lists import CappedPaginator, time_limit
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory

pytestmark = pytest.mark.django_db

on_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="PostgreSQL has the time limit"
)


def count(payments: Any = None) -> int:
    return int(CappedPaginator(Payment.objects.order_by("-pk") if payments is None else payments, 2).count)


def test_counts_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    PaymentFactory.create_batch(3)
    assert count() == 3
    monkeypatch.setattr(lists, "MOST_COUNTED", 2)
    assert count() == 2


@on_postgresql
def test_gives_up_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    PaymentFactory.create()
    monkeypatch.setattr(lists, "MOST_MILLISECONDS", 50)
    slow = Payment.objects.order_by("-pk").extra(where=["pg_sleep(60) IS NOT NULL"])
    assert count(slow) == lists.MOST_COUNTED
    # The transaction around it is still usable.
    assert count() == 1


@on_postgresql
def test_time_limit_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_MILLISECONDS", 50)
    with transaction.atomic():
        with time_limit("default"):
            assert get_statement_timeout() == "50ms"
        assert get_statement_timeout() == "0"
        with pytest.raises(OperationalError), time_limit("default"), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        assert get_statement_timeout() == "0"


def get_statement_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])
