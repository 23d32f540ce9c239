"""The order of the admin's lists when they are filtered."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

LIST = "admin:octo_stripe_gateway_payment_changelist"


def show(client: Client, **parameters: str) -> list[int]:
    """Return the keys of the payments that the list shows."""
    page = client.get(reverse(LIST), parameters)
    return [payment.pk for payment in page.context["cl"].result_list]


def get_column(client: Client, name: str) -> int:
    change_list: Any = client.get(reverse(LIST)).context["cl"]
    return list(change_list.list_display).index(name)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status__exact": "canceled"},
        {"currency": "eur"},
        {"status__exact": "canceled", "currency": "eur"},
        {"created_at__gte": "2020-01-01 00:00:00+00:00", "currency": "eur"},
    ],
)
def test_list_has_the_newest_first_unless_a_heading_is_clicked(
    filters: dict[str, str], admin_client: Client
) -> None:
    wanted = [each.pk for each in PaymentFactory.create_batch(3, canceled=True, currency="eur")]
    if filters:
        PaymentFactory.create(currency="usd")
    assert show(admin_client, **filters) == wanted[::-1]
    for name in ("number", "created"):
        column = get_column(admin_client, name)
        assert show(admin_client, **filters, o=str(column)) == wanted
        assert show(admin_client, **filters, o=f"-{column}") == wanted[::-1]


def test_list_filtered_by_time_is_ordered_by_time(admin_client: Client) -> None:
    old, older = PaymentFactory.create_batch(2)
    now = timezone.now()
    for payment, days in ((old, 10), (older, 20)):
        Payment.objects.filter(pk=payment.pk).update(created_at=now - dt.timedelta(days=days))
    recent = PaymentFactory.create()
    since = str(now - dt.timedelta(days=30))
    assert show(admin_client, created_at__gte=since) == [recent.pk, old.pk, older.pk]
    assert show(admin_client, created_at__gte=str(now - dt.timedelta(days=15))) == [recent.pk, old.pk]


def test_single_page_is_read_with_a_limit(admin_client: Client) -> None:
    PaymentFactory.create()
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(reverse(LIST))
    read = [query["sql"] for query in queries if '"octo_stripe_gateway_payment"."uuid"' in query["sql"]]
    assert read
    assert all(" LIMIT " in sql for sql in read)
