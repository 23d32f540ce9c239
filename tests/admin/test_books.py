"""The list of payments as a book: sums, times, order, exports, and what a payment brought."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin import site
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import AsyncRequestFactory, Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from octo_stripe_gateway import services
from octo_stripe_gateway.admin import books, lists
from octo_stripe_gateway.admin.payments import PaymentAdmin
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.upkeep import run_upkeep
from octo_stripe_gateway.webhooks import inbox
from tests.support.ledger import read_export
from tests.support.objects import make_event, make_fraud_warning

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

LIST = "admin:octo_stripe_gateway_payment_changelist"
EXPORT = "admin:octo_stripe_gateway_payment_export_{}"
BOOKED = ("fees", "brought", "movements", "card", "receipt", "rate")

make_payment: Any = PaymentFactory


@pytest.fixture
def office() -> Client:
    return log_in(is_superuser=True)


def log_in(*codenames: str, **options: Any) -> Client:
    user = User.objects.create_user(f"staff {codenames}", is_staff=True, **options)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def get_sums(client: Client, **query: Any) -> list[list[str]]:
    page = client.get(reverse(LIST), query)
    return [[strip_tags(str(cell)) for cell in line] for line in page.context["sums"]["lines"]]


def get_rows(client: Client, **query: Any) -> list[Payment]:
    page = client.get(reverse(LIST), query)
    assert page.status_code == 200
    return list(page.context["cl"].result_list)


def find_column(client: Client, name: str) -> int:
    return list(client.get(reverse(LIST)).context["cl"].list_display).index(name)


def export(client: Client, name: str = "payments", **query: Any) -> list[dict[str, str]]:
    answer: Any = client.get(reverse(EXPORT.format(name)), query)
    assert answer.status_code == 200
    assert answer.streaming
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith(f'attachment; filename="{name}-20')
    return read_export(text.decode() for text in answer.streaming_content)


def date(payment: Payment, moment: dt.datetime) -> Payment:
    Payment.objects.filter(pk=payment.pk).update(created_at=moment)
    return payment


def pay(stripe: StripeEmulator, **options: Any) -> Payment:
    payment = services.create_payment(2000, currency="usd", **options).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    return services.complete_payment(payment)


class TestSums:
    def test_are_by_currency_over_the_filtered_list(self, office: Client) -> None:
        booked = {"settlement_currency": "usd", "fee": 88}
        make_payment(paid=True, amount=2000, amount_refunded=500, net=1412, **booked)
        make_payment(paid=True, amount=3000, net=2912, **booked)
        make_payment(paid=True, amount=20_000, currency="jpy", net=12_000, **booked)
        make_payment(paid=True, amount=700, currency="eur", next_booking_at=timezone.now())
        make_payment(failed=True, amount=9000)
        assert get_sums(office) == [
            ["EUR", "7.00 EUR", "0.00 EUR", "-", "-"],
            ["JPY", "20,000 JPY", "0 JPY", "-", "-"],
            ["USD", "50.00 USD", "5.00 USD", "2.64 USD", "163.24 USD"],
        ]
        assert get_sums(office, currency="usd") == [["USD", "50.00 USD", "5.00 USD", "1.76 USD", "43.24 USD"]]
        assert "1 payment is not booked yet" in office.get(reverse(LIST)).content.decode()

    def test_of_live_and_test_money_are_apart(self, office: Client) -> None:
        make_payment(paid=True, amount=2000, livemode=True)
        make_payment(paid=True, amount=700, livemode=False)
        assert [line[:2] for line in get_sums(office)] == [["USD", "20.00 USD"], ["USD (test)", "7.00 USD"]]
        assert [line[:2] for line in get_sums(office, mode="test")] == [["USD", "7.00 USD"]]

    def test_of_an_empty_list_are_not_shown(self, office: Client) -> None:
        assert "octo-sums" not in office.get(reverse(LIST)).content.decode()

    def test_end_where_the_count_ends(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(books, "MOST_COUNTED", 3)
        make_payment.create_batch(5, paid=True, amount=1000)
        assert get_sums(office)[0][1] == "30.00 USD"
        assert "Sums of the first 3 payments" in office.get(reverse(LIST)).content.decode()

    def test_that_take_too_long_are_left_out(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        def take_too_long(_alias: str) -> None:
            raise OperationalError("canceling statement due to statement timeout")

        make_payment(paid=True)
        monkeypatch.setattr(books, "time_limit", take_too_long)
        page = office.get(reverse(LIST))
        assert page.context["sums"] is None
        assert page.context["cl"].result_count == 1


class TestTimes:
    @pytest.fixture(autouse=True)
    def payments(self, db: None, settings: Any) -> None:
        settings.TIME_ZONE = "America/New_York"
        for hour in (4, 5, 28, 29):
            moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hour)
            date(make_payment(reseller_reference=f"hour {hour}"), moment)

    @pytest.mark.parametrize(
        ("query", "hours"),
        [
            ({"created_at__from": "2026-01-01", "created_at__until": "2026-01-01"}, [28, 5]),
            ({"created_at__from": "2026-01-02"}, [29]),
            ({"created_at__until": "2025-12-31"}, [4]),
            ({"created_at__from": "", "created_at__until": ""}, [29, 28, 5, 4]),
        ],
    )
    def test_are_from_one_day_to_another_in_the_time_zone(
        self, office: Client, query: dict[str, str], hours: list[int]
    ) -> None:
        found = [row.reseller_reference for row in get_rows(office, **query)]
        assert found == [f"hour {hour}" for hour in hours]

    def test_that_are_none_are_refused(self, office: Client) -> None:
        page = office.get(reverse(LIST), {"created_at__from": "soon"})
        assert page.status_code == 302
        assert page["Location"].endswith("?e=1")

    def test_keep_the_other_filters(self, office: Client) -> None:
        page = office.get(reverse(LIST), {"currency": "usd", "created_at__from": "2026-01-02", "p": "1"})
        content = page.content.decode()
        assert '<input type="hidden" name="currency" value="usd">' in content
        assert '<input type="date" name="created_at__from" value="2026-01-02">' in content
        assert '<input type="hidden" name="p"' not in content


class TestOrder:
    def get_amounts(self, office: Client, **query: Any) -> list[int]:
        return [row.amount for row in get_rows(office, **query)]

    def test_is_by_amount(self, office: Client) -> None:
        for amount in (300, 100, 200):
            make_payment(amount=amount)
        column = find_column(office, "amounts")
        assert self.get_amounts(office, o=str(column)) == [100, 200, 300]
        assert self.get_amounts(office, o=f"-{column}") == [300, 200, 100]
        assert self.get_amounts(office, o=f"-{column}", currency="eur") == []
        assert self.get_amounts(office, o=f"-{column}", currency="usd") == [300, 200, 100]

    def test_is_by_when_it_was_paid_with_the_unpaid_last(self, office: Client) -> None:
        day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        for amount, days in ((200, 2), (100, 1), (300, 3)):
            make_payment(paid=True, amount=amount, confirmed_at=day + dt.timedelta(days=days))
        make_payment(amount=400)
        column = find_column(office, "paid")
        assert self.get_amounts(office, o=str(column)) == [100, 200, 300, 400]
        assert self.get_amounts(office, o=f"-{column}") == [300, 200, 100, 400]

    def test_is_among_the_latest(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "MOST_COUNTED", 2)
        for amount in (900, 100, 200):
            make_payment(amount=amount)
        assert self.get_amounts(office, o=f"-{find_column(office, 'amounts')}") == [200, 100]

    def test_is_among_the_latest_by_the_filter_in_use(
        self, office: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lists, "MOST_COUNTED", 2)
        day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        for amount, days in ((900, 3), (100, 2), (200, 1)):
            payment = make_payment(amount=amount)
            Payment.objects.filter(pk=payment.pk).update(created_at=day + dt.timedelta(days=days))
        order = {"o": f"-{find_column(office, 'amounts')}", "created_at__from": "2026-01-01"}
        assert self.get_amounts(office, **order) == [900, 100]


class TestExport:
    def test_is_of_the_filtered_list(self, office: Client) -> None:
        wanted = make_payment(currency="eur")
        make_payment(currency="usd")
        (line,) = export(office, currency="eur")
        assert line["payment"] == str(wanted.uuid)
        assert len(export(office)) == 2

    def test_is_linked_with_what_the_list_is_filtered_by(self, office: Client) -> None:
        make_payment.create_batch(3, currency="eur")
        page = office.get(reverse(LIST), {"currency": "eur", "o": "-2", "p": "1"})
        urls = [url for _label, url in page.context["exports"]]
        assert [url.partition("?")[2] for url in urls] == ["currency=eur", "currency=eur"]
        assert urls[0] in page.content.decode()

    def test_of_movements_is_of_these_payments(self, office: Client, stripe: StripeEmulator) -> None:
        payment, _other = pay(stripe), pay(stripe)
        services.refund_payment(payment, amount=500)
        run_upkeep(limit=10, threads=1)
        lines = export(office, "movements", q=str(payment.uuid))
        assert [(line["kind"], line["amount"]) for line in lines] == [
            ("payment", "2000"),
            ("fee", "-88"),
            ("refund", "-500"),
        ]

    def test_is_whole_whatever_the_list_is_sorted_by(
        self, office: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_payment.create_batch(5)
        monkeypatch.setattr(lists, "MOST_COUNTED", 2)
        page = office.get(reverse(LIST), {"o": f"-{find_column(office, 'amounts')}"})
        assert page.context["cl"].result_count == 2
        ((_label, url), _movements) = page.context["exports"]
        answer: Any = office.get(url)
        assert len(read_export(text.decode() for text in answer.streaming_content)) == 5

    @pytest.mark.parametrize(("codenames", "status"), [(["view_payment"], 200), (["refund_payment"], 403)])
    @pytest.mark.parametrize("name", ["payments", "movements"])
    def test_needs_the_permission_to_view(self, codenames: list[str], status: int, name: str) -> None:
        assert log_in(*codenames).get(reverse(EXPORT.format(name))).status_code == status

    def test_is_not_for_strangers(self) -> None:
        assert Client().get(reverse(EXPORT.format("payments"))).status_code == 302

    @pytest.mark.parametrize("query", [{"created_at__from": "soon"}, {"q": "\0"}, {"unknown": "1"}])
    def test_of_what_is_no_list_goes_to_the_list(self, office: Client, query: dict[str, str]) -> None:
        answer = office.get(reverse(EXPORT.format("payments")), query)
        assert answer.status_code == 302
        assert answer["Location"].startswith(reverse(LIST))

    def test_is_streamed_by_a_server_with_an_event_loop_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(books, "LINES_AT_A_TIME", 2)
        make_payment.create_batch(4)
        request: Any = AsyncRequestFactory().get(reverse(EXPORT.format("payments")))
        request.user = User.objects.create_superuser("operator")
        answer: Any = PaymentAdmin(Payment, site).export_view(request, export="payments")

        async def read() -> list[bytes]:
            return [text async for text in answer.streaming_content]

        texts = async_to_sync(read)()
        assert [text.count(b"\r\n") for text in texts] == [2, 2, 1]

    def test_keeps_to_what_a_user_may_see(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        mine = make_payment(owner="key:viator")
        make_payment(owner="key:other")

        def narrow(self: PaymentAdmin, request: Any) -> Any:
            return Payment.objects.filter(owner="key:viator")

        monkeypatch.setattr(PaymentAdmin, "get_queryset", narrow)
        assert [line["payment"] for line in export(office)] == [str(mine.uuid)]


MOVEMENTS = "admin:octo_stripe_gateway_balancetransaction_changelist"


class TestMovements:
    @pytest.fixture
    def payments(self, stripe: StripeEmulator) -> list[Payment]:
        """A payment with a refund, and another's."""
        refunded, other = pay(stripe), pay(stripe)
        services.refund_payment(refunded, amount=500)
        run_upkeep(limit=10, threads=1)
        return [refunded, other]

    def test_are_listed_the_latest_first(self, office: Client, payments: list[Payment]) -> None:
        page = office.get(reverse(MOVEMENTS))
        moved = [row.moved_at for row in page.context["cl"].result_list]
        assert (len(moved), moved) == (3, sorted(moved, reverse=True))
        content = page.content.decode()
        for text in ("refund", "-5.00 USD", "0.88 USD", "19.12 USD", payments[0].uuid.hex[:8]):
            assert text in content

    def test_are_found_by_day_and_id(self, office: Client, payments: list[Payment]) -> None:
        row = payments[1].balance_transactions.get()
        for query, found in (
            ({"q": row.stripe_balance_transaction_id}, [row]),
            ({"moved_at__from": "2100-01-01"}, []),
        ):
            page = office.get(reverse(MOVEMENTS), query)
            assert [*page.context["cl"].result_list] == found
        page = office.get(reverse("admin:octo_stripe_gateway_balancetransaction_change", args=[row.pk]))
        assert row.source_id in page.content.decode()

    @pytest.mark.usefixtures("payments")
    def test_take_as_many_queries_for_many_as_for_one(
        self, office: Client, stripe: StripeEmulator, django_assert_max_num_queries: Any
    ) -> None:
        with django_assert_max_num_queries(9):
            office.get(reverse(MOVEMENTS))

    def test_are_for_those_who_may_see_their_payments(
        self, office: Client, payments: list[Payment], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert log_in("view_payment").get(reverse(MOVEMENTS)).status_code == 403
        others = Payment.objects.filter(pk=payments[1].pk)
        monkeypatch.setattr(PaymentAdmin, "get_queryset", lambda *_args: others)
        page = office.get(reverse(MOVEMENTS))
        assert [row.payment for row in page.context["cl"].result_list] == [payments[1]]


class TestPage:
    def test_shows_what_a_payment_brought(self, office: Client, stripe: StripeEmulator) -> None:
        payment = pay(stripe)
        services.refund_payment(payment, amount=500)
        run_upkeep(limit=10, threads=1)
        url = reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])
        content = office.get(url).content.decode()
        for text in ("0.88 USD", "14.12 USD", "Visa •••• 4242", "charge · 20.00 USD · fee 0.88 USD · txn_"):
            assert text in content
        assert "refund · -5.00 USD · txn_" in content
        assert 'href="https://pay.stripe.com/receipts/' in content
        Payment.objects.update(exchange_rate="1.25")
        content = office.get(url).content.decode()
        for name in BOOKED:
            assert f"field-{name}" in content

    def test_leaves_out_what_is_not_booked(self, office: Client) -> None:
        payment = make_payment()
        url = reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])
        content = office.get(url).content.decode()
        for name in BOOKED:
            assert f"field-{name}" not in content

    def test_links_no_receipt_that_is_elsewhere(self, office: Client) -> None:
        payment = make_payment(receipt_url="javascript:alert(1)")
        url = reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])
        assert "javascript:alert" not in office.get(url).content.decode()


def test_list_shows_a_banks_warning_of_fraud(
    office: Client, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    payment, other = pay(stripe), pay(stripe)
    warning = {"charge": payment.stripe_charge_id, "payment_intent": payment.stripe_payment_intent_id}
    inbox.receive_event(make_event("radar.early_fraud_warning.created", make_fraud_warning(**warning)))
    rows = {row.pk: [concern.code for concern in row.open_concerns] for row in get_rows(office)}
    assert rows == {payment.pk: ["fraud_warned"], other.pk: []}
    page = office.get(reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk]))
    for content in (office.get(reverse(LIST)).content, page.content):
        assert content.decode().count('title="A warning of fraud">attention</span>') == 1
