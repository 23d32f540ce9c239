"""The pictures of the books: what they add up, for whom, and where their bars lead."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from octo_stripe_gateway import upkeep
from octo_stripe_gateway.models import BalanceTransaction, DaySum, PayableLock, Payment
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking
from tests.support.threads import needs_row_locks, run_together

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

NOW = timezone.now()


@pytest.fixture
def office(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def move(
    amount: int, *, days: int = 0, category: str = "charge", currency: str = "eur", **columns: Any
) -> None:
    """Book one movement of a new payment, so many days ago."""
    payment = PaymentFactory.create(paid=True, **columns)
    moment = NOW - dt.timedelta(days=days)
    BalanceTransaction.objects.create(
        payment=payment,
        stripe_balance_transaction_id=f"txn_{payment.pk}",
        source_id="ch_1",
        type=category,
        reporting_category=category,
        amount=amount,
        fee=0,
        net=amount,
        currency=currency,
        moved_at=moment,
        available_at=moment,
    )


def owe(amount: int, *, days: int) -> None:
    booking = Booking.objects.create()
    lock = PayableLock.ledger.hold(booking)
    due_at = NOW + dt.timedelta(days=days)
    PayableLock.objects.filter(pk=lock.pk).update(amount_due=amount, currency="eur", next_due_at=due_at)


def see(client: Client, **query: Any) -> str:
    response = client.get(reverse("admin:octo_stripe_gateway_payment_pictures"), query)
    assert response.status_code == 200
    return str(response.content.decode())


def read_sums(page: str) -> list[tuple[str, str]]:
    return [
        (series, text.strip()) for series, text in re.findall(r'octo-key octo-fill-(\w+)">([^<]+)<', page)
    ]


def read_charts(page: str) -> list[str]:
    return re.findall(r"<figure.*?</figure>", page, re.DOTALL)


def test_each_currency_has_its_sums_and_bars(office: Client) -> None:
    move(2000)
    move(3000, days=1)
    move(-500, days=1, category="refund")
    move(-900, category="dispute")
    move(700, currency="jpy")
    move(9999, days=31)
    page = see(office)
    assert read_sums(page) == [
        ("payment", "Takings 50.00 EUR"),
        ("refund", "Refunds -5.00 EUR"),
        ("dispute", "Disputes -9.00 EUR"),
        ("payment", "Takings 700 JPY"),
        ("refund", "Refunds 0 JPY"),
        ("dispute", "Disputes 0 JPY"),
    ]
    assert page.count("<rect") == 5
    assert "149.99 EUR" in see(office, days=90)


def test_what_came_in_is_above_the_line_and_what_went_back_below(office: Client) -> None:
    move(3000)
    move(-1000, category="refund")
    page = see(office, days=7)
    bars = re.findall(r'octo-fill-(\w+)" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', page)
    assert bars == [("payment", "61.00", "0.00", "75.00"), ("refund", "61.00", "75.00", "25.00")]
    assert 'y1="75.00"' in page


def test_a_year_has_a_bar_for_each_month(office: Client) -> None:
    move(3000, days=1)
    move(2000, days=1)
    move(1000, days=300)
    page = see(office, days=365)
    assert read_sums(page)[0] == ("payment", "Takings 60.00 EUR")
    assert page.count("<rect") <= 3


def test_what_upkeep_has_added_up_is_shown_as_before_and_once(office: Client) -> None:
    for days, category, currency in ((0, "charge", "eur"), (1, "refund", "eur"), (40, "dispute", "jpy")):
        move(700, days=days, category=category, currency=currency)
    move(90, livemode=False)
    move(10, livemode=True)
    before = [read_charts(see(office, days=days)) for days in (7, 30, 90, 365)]
    assert upkeep.work_off(upkeep.SUMS, limit=100) == {"added": 5}
    assert upkeep.work_off(upkeep.SUMS, limit=100) == {}
    assert [read_charts(see(office, days=days)) for days in (7, 30, 90, 365)] == before
    # What comes late belongs to a day that was added up before.
    move(300, days=1, livemode=True)
    late = read_charts(see(office))
    assert late not in before
    assert upkeep.work_off(upkeep.SUMS, limit=100) == {"added": 1}
    assert read_charts(see(office)) == late


@pytest.mark.parametrize("is_added_up", [False, True])
def test_a_day_is_the_host_s(is_added_up: bool, office: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    move(500)
    # Half an hour into the day before, when it is another day in UTC.
    moment = timezone.localtime(NOW, timezone.get_default_timezone()).replace(hour=0, minute=30)
    BalanceTransaction.objects.update(moved_at=moment - dt.timedelta(days=1))
    if is_added_up:
        upkeep.work_off(upkeep.SUMS, limit=100)
    (day,) = re.findall(r"moved_at__from=([\d-]+)", see(office, days=7))
    assert day == str((moment - dt.timedelta(days=1)).date())


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_several_runs_at_once_add_each_movement_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep.SUMS, "size", 3)
    for number in range(40):
        move(100 + number, days=number % 3)
    added = run_together([lambda: upkeep.work_off(upkeep.SUMS, limit=100)] * 4)
    assert sum(each["added"] for each in added) == 40
    assert sum(DaySum.ledger.values_list("total", flat=True)) == sum(range(100, 140))


def test_a_new_shop_is_told_so(office: Client) -> None:
    page = see(office)
    assert "No money has moved in this time." in page
    assert "<figure" not in page


def test_test_money_is_not_added_to_real_money(office: Client) -> None:
    move(500, livemode=False)
    assert "This is test money." in see(office)
    move(2000, livemode=True)
    page = see(office)
    assert read_sums(page)[0] == ("payment", "Takings 20.00 EUR")
    assert "This is test money." not in page


def test_what_is_owed_is_told_by_when_it_is_due(office: Client) -> None:
    owe(3000, days=-1)
    owe(1000, days=5)
    page = see(office)
    assert read_sums(page) == [("overdue", "Overdue 30.00 EUR"), ("later", "Due later 10.00 EUR")]
    assert 'x="75.00" y="0.00" width="25.00"' in page
    assert "payablelock/?attention=overdue" in page


def test_the_page_is_for_who_may_see_payments(client: Client) -> None:
    user = User.objects.create_user("clerk", is_staff=True)
    client.force_login(user)
    assert client.get(reverse("admin:octo_stripe_gateway_payment_pictures")).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_payment"))
    owe(3000, days=-1)
    assert "Overdue" not in see(client)


def test_a_strict_policy_is_kept(office: Client) -> None:
    move(2000)
    owe(3000, days=-1)
    content = see(office).partition('id="content"')[2]
    assert not re.search(r"<script|<style| style=| on\w+=", content)


def test_the_list_leads_to_it(office: Client) -> None:
    page = office.get(reverse("admin:octo_stripe_gateway_payment_changelist")).content.decode()
    assert reverse("admin:octo_stripe_gateway_payment_pictures") in page
    assert Payment.objects.count() == 0
