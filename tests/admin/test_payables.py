"""The admin of a booking's money as a whole: its balance, what is overdue, and refunds of all of it."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import PayableLock, Payment, PaymentChange, PaymentLink
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

PAYABLES = "admin:octo_stripe_gateway_payablelock_changelist"
LAST_YEAR = dt.datetime(2025, 5, 1, 12, tzinfo=dt.UTC)
IN_2099 = dt.datetime(2099, 5, 1, 12, tzinfo=dt.UTC)

make_payment: Any = PaymentFactory


@pytest.fixture
def office(make_staff: Callable[..., Client]) -> Client:
    return make_staff()


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split a booking into deposit and balance, the balance overdue since last year."""

    def get_installments(self: Booking) -> list[tuple[str, int, dt.datetime | None]]:
        deposit = self.price // 4
        return [("deposit", deposit, None), ("balance", self.price - deposit, LAST_YEAR)]

    monkeypatch.setattr(Booking, "get_installments", get_installments, raising=False)


def get_balance(page: Any) -> dict[str, str]:
    """Return what a page says of a balance."""
    lines = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.content.decode())
    return {label: re.sub(r"<[^>]*>", "", value) for label, value in lines}


def get_url(payable: Any, page: str = "change") -> str:
    return reverse(f"admin:shop_{payable._meta.model_name}_{page}", args=[payable.pk])


def get_key(page: Any) -> str:
    return str(re.findall(r'name="key" value="([^"]+)"', page.content.decode())[0])


def get_messages(page: Any) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def pay(api: GatewayApi, stripe: StripeEmulator, booking: Booking, **fields: Any) -> Any:
    return api.paid(stripe, {"payable": {"type": "booking", "id": booking.pk}, **fields})


def get_payment_page(payment: Payment) -> str:
    return reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])


class TestInline:
    def test_shows_the_payments_of_the_host_s_object(self, office: Client) -> None:
        booking, other = Booking.objects.create(), Booking.objects.create()
        payment = make_payment(paid=True, payable=booking, amount_refunded=500)
        make_payment(payable=other, currency="jpy")
        content = office.get(f"/admin/shop/booking/{booking.pk}/change/").content.decode()
        assert f'<a href="{get_payment_page(payment)}">{payment.uuid.hex[:8]}</a>' in content
        assert "20.00 USD" in content
        assert "JPY" not in content

    def test_lets_the_host_s_object_be_saved_and_the_payments_alone(self, office: Client) -> None:
        booking = Booking.objects.create()
        payment = make_payment(paid=True, payable=booking)
        url = f"/admin/shop/booking/{booking.pk}/change/"
        prefix = "octo_stripe_gateway-payment-payable_type-payable_id"
        assert f"{prefix}-TOTAL_FORMS" in office.get(url).content.decode()
        values = {
            "price": "3000",
            "currency": "eur",
            f"{prefix}-TOTAL_FORMS": "1",
            f"{prefix}-INITIAL_FORMS": "1",
            f"{prefix}-0-id": str(payment.pk),
            f"{prefix}-0-amount": "1",
            f"{prefix}-0-DELETE": "on",
        }
        assert office.post(url, values).status_code == 302
        booking.refresh_from_db()
        payment.refresh_from_db()
        assert (booking.price, payment.amount) == (3000, 2000)

    def test_is_hidden_from_users_who_may_not_view_payments(self, make_staff: Callable[..., Client]) -> None:
        booking = Booking.objects.create()
        make_payment(payable=booking)
        answer = make_staff("change_booking").get(f"/admin/shop/booking/{booking.pk}/change/")
        assert answer.status_code == 200
        assert b"20.00 USD" not in answer.content

    def test_deleting_the_host_s_object_keeps_its_payments(self, office: Client) -> None:
        booking = Booking.objects.create()
        payment = make_payment(payable=booking)
        office.post(f"/admin/shop/booking/{booking.pk}/delete/", {"post": "yes"})
        assert not Booking.objects.exists()
        assert "Booking" in office.get(get_payment_page(payment)).content.decode()

    def test_shows_the_balance(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, in_parts: None
    ) -> None:
        booking = Booking.objects.create(price=8000)
        payment = pay(api, stripe, booking)
        api.refund(payment, {"amount": 500})
        assert get_balance(office.get(get_url(booking))) == {
            "Price": "80.00 EUR",
            "Received": "20.00 EUR",
            "Refunded": "5.00 EUR",
            "Forgiven": "5.00 EUR",
            "Due": "60.00 EUR",
            "Next due": "05/01/2025 7 a.m.",
        }
        pay(api, stripe, booking)
        shown = get_balance(office.get(get_url(booking)))
        assert (shown["Due"], shown["Next due"]) == ("0.00 EUR", "-")

    def test_of_many_payments_takes_one_query_and_one_for_the_operations(self, office: Client) -> None:
        booking = Booking.objects.create(price=60000)
        make_payment.create_batch(30, paid=True, payable=booking, currency="eur")
        with CaptureQueriesContext(connection) as queries:
            assert get_balance(office.get(get_url(booking)))["Received"] == "600.00 EUR"
        assert len([q for q in queries if 'FROM "octo_stripe_gateway_payment"' in q["sql"]]) == 2

    def test_says_what_is_wrong_with_the_installments(
        self, office: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Booking, "get_installments", lambda _self: [("deposit", 1, None)], raising=False)
        shown = get_balance(office.get(get_url(Booking.objects.create())))
        assert "add up to the price" in shown["Due"]

    def test_of_a_new_booking_shows_no_balance(self, office: Client) -> None:
        page = office.get(reverse("admin:shop_booking_add"))
        assert page.status_code == 200
        assert get_balance(page) == {}


class TestRefund:
    @pytest.fixture
    def booking(self, api: GatewayApi, stripe: StripeEmulator, in_parts: None) -> Booking:
        """A booking whose deposit of 20 and balance of 60 are paid."""
        booking = Booking.objects.create(price=8000)
        for _part in range(2):
            pay(api, stripe, booking)
        return booking

    def test_of_everything_asks_first_and_is_journaled(
        self, office: Client, stripe: StripeEmulator, booking: Booking
    ) -> None:
        url = get_url(booking, "refund_payments")
        assert f'href="{url}"' in office.get(get_url(booking)).content.decode()
        asked = office.get(url)
        assert get_balance(asked)["Received"] == "80.00 EUR"
        assert stripe.refunds == {}
        page = office.post(url, {"key": get_key(asked), "amount": "80.00", "reason": ""}, follow=True)
        assert get_messages(page) == ["Refunded 80.00 EUR."]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [6000, 2000]
        assert url not in page.content.decode()
        actor = User.objects.get().get_username()
        changes = PaymentChange.objects.filter(source="admin", changes__has_key="amount_refunded")
        assert {(each.payment.purpose, each.actor) for each in changes} == {
            ("deposit", actor),
            ("balance", actor),
        }
        assert LogEntry.objects.get().object_id == str(booking.pk)

    def test_of_an_amount_is_done_once_however_often_it_is_sent(
        self, office: Client, stripe: StripeEmulator, booking: Booking
    ) -> None:
        url = get_url(booking, "refund_payments")
        values = {"key": get_key(office.get(url)), "amount": "70.00", "reason": "requested_by_customer"}
        for _each in range(3):
            assert get_messages(office.post(url, values, follow=True)) == ["Refunded 70.00 EUR."]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [6000, 1000]
        assert get_balance(office.get(url))["Due"] == "0.00 EUR"

    def test_that_got_no_answer_goes_on_from_the_same_page(
        self, office: Client, stripe: StripeEmulator, booking: Booking
    ) -> None:
        url = get_url(booking, "refund_payments")
        values = {"key": get_key(office.get(url)), "amount": "80.00", "reason": ""}
        stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when="after"))
        broken = office.post(url, values)
        assert get_key(broken) == values["key"]
        office.post(url, values)
        assert [refund["amount"] for refund in stripe.refunds.values()] == [6000, 2000]

    def test_of_more_than_is_held_is_refused_beside_the_field(
        self, office: Client, stripe: StripeEmulator, booking: Booking
    ) -> None:
        url = get_url(booking, "refund_payments")
        page = office.post(url, {"key": get_key(office.get(url)), "amount": "80.01", "reason": ""})
        assert page.context["form"].errors["amount"] == ["The amount is more than is left to refund."]
        assert stripe.refunds == {}

    def test_in_several_currencies_is_of_everything(self, office: Client, stripe: StripeEmulator) -> None:
        booking = Booking.objects.create()
        for currency in ("eur", "jpy"):
            make_payment(paid=True, payable=booking, currency=currency)
        asked = office.get(get_url(booking, "refund_payments"))
        assert "amount" not in asked.context["form"].fields

    def test_is_not_offered_where_nothing_is_held(self, office: Client) -> None:
        booking = Booking.objects.create()
        make_payment(payable=booking)
        url = get_url(booking, "refund_payments")
        assert url not in office.get(get_url(booking)).content.decode()
        page = office.get(url, follow=True)
        assert page.redirect_chain == [(get_url(booking), 302)]
        page = office.post(url, {"key": str(uuid.uuid4()), "reason": ""}, follow=True)
        assert get_messages(page)[0].startswith("Nothing can be refunded now")

    def test_is_reached_from_the_list_one_at_a_time(self, office: Client) -> None:
        one, other = (Booking.objects.create() for _each in range(2))
        url = reverse("admin:shop_booking_changelist")
        chosen = {"action": "refund_payments", "_selected_action": [one.pk]}
        assert office.post(url, chosen)["Location"] == get_url(one, "refund_payments")
        page = office.post(url, chosen | {"_selected_action": [one.pk, other.pk]}, follow=True)
        assert get_messages(page) == ["Choose one: each refund is asked for by itself."]

    @pytest.mark.parametrize(
        ("codenames", "allowed"),
        [
            (["view_booking", "view_payment", "refund_payment"], True),
            (["view_booking", "view_payment"], False),
            (["view_payment", "refund_payment"], False),
        ],
    )
    def test_takes_the_permission_and_seeing_the_payable(
        self, make_staff: Callable[..., Client], codenames: list[str], allowed: bool
    ) -> None:
        booking = Booking.objects.create()
        make_payment(paid=True, payable=booking)
        staff = make_staff(*codenames)
        url = get_url(booking, "refund_payments")
        assert staff.get(url).status_code == (200 if allowed else 403)
        assert (url in staff.get(get_url(booking)).content.decode()) is allowed
        listed = staff.get(reverse("admin:shop_booking_changelist"))
        assert ("refund_payments" in listed.content.decode()) is allowed


class TestCancellation:
    @pytest.fixture
    def booking(self, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> Booking:
        """A paid booking of 80, of which a quarter goes back."""
        terms = [(IN_2099, Decimal("0.25"))]
        monkeypatch.setattr(Booking, "get_refund_terms", lambda _self: terms, raising=False)
        booking = Booking.objects.create(price=8000)
        pay(api, stripe, booking)
        return booking

    def test_says_first_what_goes_back(
        self, office: Client, stripe: StripeEmulator, booking: Booking
    ) -> None:
        url = get_url(booking, "cancel_payable")
        assert f'href="{url}"' in office.get(get_url(booking)).content.decode()
        asked, outcome = office.get(url), "20.00 EUR goes back, 60.00 EUR is kept."
        assert outcome in asked.content.decode()
        assert (stripe.refunds, PayableLock.objects.get().canceled_at) == ({}, None)
        page = office.post(url, {"key": get_key(asked)}, follow=True)
        assert get_messages(page) == [outcome]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]
        assert {"Kept": "60.00 EUR", "Due": "0.00 EUR"}.items() <= get_balance(page).items()
        page = office.post(url, {"key": get_key(office.get(url)), "waive": "on"}, follow=True)
        assert get_messages(page) == ["60.00 EUR goes back, 0.00 EUR is kept."]
        assert url not in page.content.decode()

    @pytest.mark.parametrize(
        ("codenames", "allowed"),
        [
            (["view_booking", "view_payment", "cancel_payable"], True),
            (["view_booking", "view_payment", "refund_payment"], False),
            (["view_payment", "cancel_payable"], False),
        ],
    )
    def test_takes_a_permission_of_its_own(
        self, make_staff: Callable[..., Client], booking: Booking, codenames: list[str], allowed: bool
    ) -> None:
        staff, url = make_staff(*codenames), get_url(booking, "cancel_payable")
        assert staff.get(url).status_code == (200 if allowed else 403)
        assert (url in staff.get(get_url(booking)).content.decode()) is allowed


class TestLink:
    def test_is_made_for_what_is_due(self, office: Client, configure: Any) -> None:
        configure(SITE_URL="https://shop.example.com")
        booking = Booking.objects.create()
        url = get_url(booking, "make_link")
        assert f'href="{url}"' in office.get(get_url(booking)).content.decode()
        asked = office.get(url)
        assert not PaymentLink.objects.exists()
        assert "purpose" not in asked.context["form"].fields
        page = office.post(url, {"key": get_key(asked)}, follow=True)
        link = services.create_payment_link(booking)
        assert link.startswith("https://shop.example.com/")
        assert f'readonly size="60" aria-label="pay link" value="{link}"' in page.content.decode()
        # Whoever has it can pay: it is kept nowhere.
        assert [entry.change_message for entry in LogEntry.objects.all()] == ["Make a pay link"]

    def test_is_for_a_part_and_a_time(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        parts = [("deposit", 2000, None), ("balance", 6000, None)]
        monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
        url = get_url(Booking.objects.create(price=8000), "make_link")
        asked = office.get(url)
        assert asked.context["form"].fields["purpose"].choices == [
            ("deposit", "deposit: 20.00 EUR"),
            ("balance", "balance: 60.00 EUR"),
            ("full", "full: 80.00 EUR"),
        ]
        values = {"key": get_key(asked), "purpose": "balance"}
        late = office.post(url, {**values, "expires_at": "2020-01-01T12:00"})
        assert "has run out" in str(late.context["form"].errors["expires_at"])
        office.post(url, {**values, "expires_at": "2099-01-01T12:00"})
        link = PaymentLink.objects.get()
        wanted = timezone.make_aware(dt.datetime(2099, 1, 1, 12))  # noqa: DTZ001 - the site's own time
        assert (link.purpose, link.expires_at) == ("balance", wanted)


@pytest.mark.parametrize(
    ("operation", "own", "other"),
    [
        ("refund_payments", "refund_payment", "cancel_payable"),
        ("cancel_payable", "cancel_payable", "add_paymentlink"),
        ("make_link", "add_paymentlink", "refund_payment"),
    ],
)
def test_operation_takes_its_own_permission_and_to_view_payments(
    operation: str, own: str, other: str, make_staff: Callable[..., Client]
) -> None:
    booking = Booking.objects.create()
    make_payment(paid=True, payable=booking)
    url = get_url(booking, operation)
    assert make_staff("view_booking", "view_payment", own).get(url).status_code == 200
    for lacking in (("view_payment", other), (own,)):
        assert make_staff("view_booking", *lacking).get(url).status_code == 403


class TestList:
    def test_shows_what_is_due_and_filters_what_is_overdue(self, office: Client) -> None:
        late, early, undated = (Booking.objects.create(price=6000) for _each in range(3))
        for booking, due_at in ((late, LAST_YEAR), (early, IN_2099), (undated, None)):
            lock = PayableLock.objects.create(
                payable_type=make_payment(payable=booking).payable_type,
                payable_id=booking.pk,
                amount_due=6000,
                currency="eur",
                next_due_at=due_at,
            )
        assert str(lock.payable_id) == str(undated.pk)
        content = office.get(reverse(PAYABLES)).content.decode()
        for booking in (late, early, undated):
            assert f'<a href="{get_url(booking)}">Booking {booking.pk}</a>' in content
        assert "60.00 EUR" in content
        overdue = office.get(reverse(PAYABLES), {"attention": "overdue"}).context["cl"].result_list
        assert [each.payable_id for each in overdue] == [str(late.pk)]
        index = office.get("/admin/").content.decode()
        assert re.search(r'octo-alert">1</span> <a href="[^"]+">Payables: Overdue<', index)

    def test_of_many_takes_as_many_queries_as_of_one(self, office: Client) -> None:
        def fill(times: int) -> None:
            for booking in (Booking.objects.create() for _each in range(times)):
                payable_type = make_payment(payable=booking).payable_type
                PayableLock.objects.create(payable_type=payable_type, payable_id=booking.pk)

        def count() -> int:
            office.get(reverse(PAYABLES))
            with CaptureQueriesContext(connection) as queries:
                assert office.get(reverse(PAYABLES)).status_code == 200
            return len(queries)

        fill(1)
        few = count()
        fill(20)
        assert count() == few

    def test_is_read_only(self, office: Client) -> None:
        booking = Booking.objects.create()
        lock = PayableLock.objects.create(
            payable_type=make_payment(payable=booking).payable_type, payable_id=booking.pk
        )
        page = reverse("admin:octo_stripe_gateway_payablelock_change", args=[lock.pk])
        assert office.get(page).status_code == 200
        assert office.post(page, {"amount_due": 1}).status_code == 403
        assert office.get(reverse("admin:octo_stripe_gateway_payablelock_add")).status_code == 403
