"""Pages of payments: whatever the filter, together they hold every match once, newest first."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from octo_stripe_gateway.api import lists
from octo_stripe_gateway.api.lists import Place, filter_by_index, index_order, read_payments
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Ticket, Voucher
from tests.support.cases import one_in

pytestmark = pytest.mark.django_db

NOW = timezone.now()
# Few moments, so that many payments have the same.
MOMENTS = [NOW - dt.timedelta(minutes=minute) for minute in range(4)]
OWNERS, STATUSES, REFERENCES = ("", "key:viator", "key:klook"), ("paid", "pending"), ("", "R", "S")


@pytest.fixture
def payments() -> list[Payment]:
    """Fifty payments with random values, many of the same moment."""
    chance = random.Random(7)
    ticket, voucher = (ContentType.objects.get_for_model(model).pk for model in (Ticket, Voucher))
    payables = [(None, None), (ticket, "1"), (ticket, "2"), (voucher, "1")]
    made = []
    for _each in range(50):
        payable_type_id, payable_id = chance.choice(payables)
        made.append(
            PaymentFactory.create(
                owner=chance.choice(OWNERS),
                status=chance.choice(STATUSES),
                reseller_reference=chance.choice(REFERENCES),
                livemode=chance.random() < 0.5,
                payable_type_id=payable_type_id,
                payable_id=payable_id,
            )
        )
        Payment.objects.filter(pk=made[-1].pk).update(created_at=chance.choice(MOMENTS))
    return list(Payment.objects.all())


def read_all(
    payments: PaymentQuerySet, *, equal: dict[str, Any], size: int = 5, **bounds: Any
) -> list[Payment]:
    """Follow the pages to the end, and check that each but the last leads on."""
    page, following = read_payments(payments, equal=equal, size=size, **bounds)
    found = page
    while following:
        assert len(page) <= size
        page, following = read_payments(payments, equal=equal, size=size, **bounds | {"below": following})
        found = [*found, *page]
    return found


def sort(payments: list[Payment]) -> list[Payment]:
    return sorted(payments, key=lambda each: (each.created_at, each.pk), reverse=True)


SEEN: dict[str, Callable[[], PaymentQuerySet]] = {
    "all": Payment.objects.all,
    "viator's": lambda: Payment.objects.all().owned_by("key:viator"),
    "nobody's": lambda: Payment.objects.all().owned_by("key:nobody"),
    "the integrator's own": lambda: Payment.objects.all().owned_by(""),
    "a host's": lambda: Payment.objects.filter(livemode=True).owned_by("key:viator"),
    "two owners'": lambda: Payment.objects.filter(Q(owner="key:viator") | Q(owner="key:klook")),
    "all but one's": lambda: Payment.objects.exclude(owner="key:viator"),
    "one in two ways": lambda: Payment.objects.all().owned_by("key:viator").owned_by("key:klook"),
}


@pytest.mark.parametrize("seen", one_in(3, SEEN))
def test_pages_together_are_what_is_asked_for(
    seen: str, payments: list[Payment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_PASSED", 6)
    ticket = ContentType.objects.get_for_model(Ticket).pk
    choices: list[list[dict[str, Any]]] = [
        [{}, {"status": "paid"}],
        [{}, {"reseller_reference": "R"}],
        [{}, {"payable_type_id": ticket, "payable_id": "1"}],
        [{}, {"livemode": False}],
    ]
    times = [{}, {"since": MOMENTS[2]}, {"until": MOMENTS[1]}, {"since": MOMENTS[2], "until": MOMENTS[1]}]
    visible = {each.pk for each in SEEN[seen]()}
    for *chosen, bounds in itertools.product(*choices, times):
        equal = {name: value for each in chosen for name, value in each.items()}
        wanted = [
            each
            for each in sort(payments)
            if each.pk in visible
            and all(getattr(each, name) == value for name, value in equal.items())
            and bounds.get("since", each.created_at) <= each.created_at
            and ("until" not in bounds or each.created_at < bounds["until"])
        ]
        assert read_all(SEEN[seen](), equal=equal, **bounds) == wanted, (equal, bounds)


@pytest.mark.parametrize("size", [1, 49, 50, 51])
def test_a_page_leads_on_only_if_more_follows(size: int, payments: list[Payment]) -> None:
    page, following = read_payments(Payment.objects.all(), equal={}, size=size)
    assert len(page) == min(size, 50)
    assert (following is None) == (size >= 50)


def test_a_page_has_no_payment_that_came_since_and_misses_none(payments: list[Payment]) -> None:
    page, following = read_payments(Payment.objects.all(), equal={}, size=25)
    PaymentFactory.create()
    Payment.objects.filter(pk=page[-1].pk).update(status="refunded")
    rest, _none = read_payments(Payment.objects.all(), equal={}, size=25, below=following)
    assert [*page, *rest] == sort(payments)


def test_a_cursor_past_the_time_filter_does_not_widen_it(payments: list[Payment]) -> None:
    page, _following = read_payments(
        Payment.objects.all(), equal={}, size=99, until=MOMENTS[2], below=Place(NOW, 10**9)
    )
    assert page
    assert {each.created_at for each in page} == {MOMENTS[2] - dt.timedelta(minutes=1)}


def test_only_so_many_rows_are_passed_over(payments: list[Payment], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_PASSED", 10)
    ordered = sort(payments)
    page, following = read_payments(Payment.objects.all(), equal={"livemode": True}, size=99)
    assert page == [each for each in ordered[:10] if each.livemode]
    assert following == Place(ordered[9].created_at, ordered[9].pk)


@pytest.mark.parametrize("seen", one_in(3, SEEN))
def test_a_page_leads_on_only_from_what_is_seen(
    seen: str, payments: list[Payment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_PASSED", 3)
    visible = {Place(each.created_at, each.pk) for each in SEEN[seen]()}
    ticket = ContentType.objects.get_for_model(Ticket).pk
    asked: list[dict[str, Any]] = [
        {"payable_type_id": ticket, "payable_id": "1"},
        {"reseller_reference": "R"},
        {"status": "paid", "livemode": True},
    ]
    for equal in asked:
        below: Place | None = None
        while True:
            _page, below = read_payments(SEEN[seen](), equal=equal, size=2, below=below)
            if not below:
                break
            assert below in visible


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL plans by what it believes")
@pytest.mark.parametrize("column", ["", "reseller_reference", "status", "payable_id"])
def test_payments_of_others_are_never_walked(column: str, payments: list[Payment]) -> None:
    equal = {"reseller_reference": "R", "status": "paid", "payable_id": "1"}
    wanted = {column: equal[column]} if column else {}
    with CaptureQueriesContext(connection) as captured:
        read_payments(Payment.objects.all().owned_by("key:viator"), equal=wanted, size=5)
    reads = [each["sql"] for each in captured if each["sql"].startswith("SELECT") and "FROM" in each["sql"]]
    assert reads
    for sql in reads:
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off; SET enable_sort = off")
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "octo_payment_owner" in plan, plan


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL plans by what it believes")
def test_sorting_is_allowed_again_after_the_list() -> None:
    def get_settings() -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('enable_sort'), current_setting('enable_incremental_sort')"
            )
            return list(cursor.fetchone())

    with transaction.atomic():
        with index_order("default"):
            assert get_settings() == ["off", "off"]
        assert get_settings() == ["on", "on"]
        with pytest.raises(ZeroDivisionError), index_order("default"):
            raise ZeroDivisionError
        assert get_settings() == ["on", "on"]


def test_finds_what_filter_finds_newest_first() -> None:
    euros = PaymentFactory.create_batch(3, currency="eur")
    for currency in ("eu", "euq", "eus", "eur"):
        PaymentFactory.create(currency=currency)
    found = filter_by_index(Payment.objects.filter(amount=2000), column="currency", value="eur")
    assert list(found) == list(Payment.objects.filter(currency="eur").order_by("-pk"))
    assert set(euros) < set(found)


def test_finds_nothing_of_what_nobody_has() -> None:
    PaymentFactory.create(currency="eur")
    assert not filter_by_index(Payment.objects.all(), column="currency", value="")
    assert not filter_by_index(Payment.objects.all(), column="currency", value="xxx")
