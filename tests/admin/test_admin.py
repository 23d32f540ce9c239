"""The admin: what it shows, what an operator can do there, and who may."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import strip_tags

from octo_stripe_gateway.admin import PaymentAdmin, concerns, lists, search
from octo_stripe_gateway.models import (
    Dispute,
    IdempotencyKey,
    Payment,
    PaymentChange,
    Refund,
    StripeRequest,
    WebhookEvent,
)
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import (
    ConcernFactory,
    PaymentFactory,
    RefundFactory,
    StripeRequestFactory,
    WebhookEventFactory,
)
from octo_stripe_gateway.webhooks import handlers
from tests.shop.models import Booking, Ticket, Voucher
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.ledger import later

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

LIST = "admin:octo_stripe_gateway_payment_changelist"
EVENTS = "admin:octo_stripe_gateway_webhookevent_changelist"
OPERATIONS = ("refund", "capture", "cancel", "sync")

make_payment: Any = PaymentFactory
make_refund: Any = RefundFactory
make_concern: Any = ConcernFactory
make_event: Any = WebhookEventFactory
make_request: Any = StripeRequestFactory

UUID = "1ad5a3cb-5d3a-4a4b-9a52-1b5d4c0d8a55"


@pytest.fixture
def office(make_staff: Callable[..., Client]) -> Client:
    return make_staff()


def get_page(row: Any, operation: str = "change") -> str:
    return reverse(f"admin:octo_stripe_gateway_{row._meta.model_name}_{operation}", args=[row.pk])


def find_payment(made: Any) -> Payment:
    return Payment.objects.get(pk=made["id"])


def get_key(page: Any) -> str:
    return str(re.findall(r'name="key" value="([^"]+)"', page.content.decode())[0])


def operate(client: Client, row: Any, operation: str, **values: Any) -> Any:
    """Open the operation's confirmation page, and submit it."""
    url = get_page(row, operation)
    asked = client.get(url)
    assert asked.status_code == 200, asked
    return client.post(url, {"key": get_key(asked), **values}, follow=True)


def make_dispute(payment: Payment, **columns: Any) -> Dispute:
    """Make a dispute of a payment, with evidence due on 1 June 2026 at noon."""
    values = {"amount": 1500, "currency": "usd", "status": "needs_response", "evidence_due_by": 1_780_315_200}
    return Dispute.objects.create(payment=payment, **values | columns)


def get_story(page: Any) -> list[str]:
    """Return the timeline's main entries, each with the balance after it."""
    told = [entry for entry in page.context["timeline"] if not entry.is_detail]
    return [f"{entry.title} = {entry.held}" if entry.held else entry.title for entry in told]


def get_details(page: Any) -> list[str]:
    return [entry.title for entry in page.context["timeline"] if entry.is_detail]


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


def get_messages(page: Any) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def get_results(client: Client, name: str = LIST, **query: str) -> list[Any]:
    return list(get_change_list(client, name, **query).result_list)


def get_change_list(client: Client, name: str = LIST, **query: str) -> Any:
    page = client.get(reverse(name), query)
    assert page.status_code == 200, page
    return page.context["cl"]


@pytest.fixture
def real_stripe(configure: Callable[..., None]) -> None:
    """Have Stripe itself behind the ledger."""
    configure(STRIPE_API_BASE=None, STRIPE_API_KEY="sk_test_1")


class TestDashboardLink:
    @pytest.mark.parametrize(
        ("livemode", "account", "url"),
        [
            (False, "", "https://dashboard.stripe.com/test/payments/pi_1"),
            (True, "", "https://dashboard.stripe.com/payments/pi_1"),
            (False, "acct_1", "https://dashboard.stripe.com/acct_1/test/payments/pi_1"),
            (True, "acct_1", "https://dashboard.stripe.com/acct_1/payments/pi_1"),
        ],
    )
    @pytest.mark.usefixtures("real_stripe")
    def test_leads_to_mode_and_account(self, office: Client, livemode: bool, account: str, url: str) -> None:
        payment = make_payment(stripe_payment_intent_id="pi_1", livemode=livemode, stripe_account=account)
        for page in (reverse(LIST), get_page(payment)):
            assert f'href="{url}"' in office.get(page).content.decode()

    def test_is_missing_before_the_intent_is_known(self, office: Client) -> None:
        payment = make_payment(stripe_payment_intent_id=None)
        assert "dashboard.stripe.com" not in office.get(get_page(payment)).content.decode()

    @pytest.mark.usefixtures("real_stripe")
    def test_of_a_dispute(self, office: Client) -> None:
        dispute = make_dispute(make_payment(paid=True), stripe_dispute_id="du_1")
        url = "https://dashboard.stripe.com/test/disputes/du_1"
        assert office.get(get_page(dispute.payment)).content.decode().count(f'href="{url}"') == 2

    def test_leads_nowhere_where_an_emulator_stands_in_for_stripe(self, office: Client) -> None:
        payment = make_dispute(make_payment(paid=True)).payment
        for page in (reverse(LIST), get_page(payment), get_page(make_event())):
            content = office.get(page).content.decode()
            assert "dashboard.stripe.com" not in content
        assert payment.intent_id in office.get(get_page(payment)).content.decode()

    @pytest.mark.usefixtures("real_stripe")
    def test_of_an_event(self, office: Client) -> None:
        event = make_event(stripe_event_id="evt_1", stripe_account="acct_1")
        url = "https://dashboard.stripe.com/acct_1/test/events/evt_1"
        assert f'href="{url}"' in office.get(get_page(event)).content.decode()


class TestList:
    def test_shows_each_payment(self, office: Client) -> None:
        booking = Booking.objects.create()
        make_payment(paid=True, amount_refunded=500, payable=booking, reseller_reference="AB-12")
        content = office.get(reverse(LIST)).content.decode()
        for text in ("20.00 USD", "5.00 USD", "paid", "AB-12", ">test<"):
            assert text in content
        assert f'<a href="/admin/shop/booking/{booking.pk}/change/">Booking {booking.pk}</a>' in content

    def test_shows_a_payable_without_a_page_as_text(self, office: Client) -> None:
        ticket = Ticket.objects.create(code="T/1")
        make_payment(payable=ticket)
        assert '<td class="field-paid_for">Ticket T/1</td>' in office.get(reverse(LIST)).content.decode()

    @pytest.mark.parametrize(
        ("columns", "badge"),
        [
            ({"disputed": True}, "disputed"),
            (
                {
                    "status": "failed",
                    "rejection_code": "host",
                },
                "money held",
            ),
            (
                {
                    "status": "refunded",
                    "rejection_code": "host",
                    "amount_refunded": 2000,
                },
                "",
            ),
        ],
    )
    def test_shows_in_red_what_must_not_be_overlooked(
        self, office: Client, columns: dict[str, Any], badge: str
    ) -> None:
        make_payment(paid=True, **columns)
        content = office.get(reverse(LIST)).content.decode()
        assert re.findall(r'octo-alert">([^<]*)<', content) == [badge][: len(badge)]

    def test_shows_owner_number_and_account(self, office: Client) -> None:
        payment = make_payment(owner="key:viator", account="emea", uuid=UUID)
        content = office.get(reverse(LIST)).content.decode()
        assert f'href="{get_page(payment)}">1ad5a3cb</a>' in content
        assert '<td class="field-owner_name"><span title="key:viator">key:viator</span></td>' in content
        assert "emea" in content

    @pytest.mark.parametrize(
        ("owner", "name"),
        [
            ("auth.user:42", "auth.user:42"),
            ("tourshop.auth.visitor:e65c21f49d3b4d0c", "visitor e65c21f4…"),
            ("name:somebody.with.a.long.name@example.com", "name somebody…"),
            ("a-host-s-own-names-without-a-colon", "a-host-s…"),
        ],
    )
    def test_shows_long_owners_in_short(self, office: Client, owner: str, name: str) -> None:
        make_payment(owner=owner)
        content = office.get(reverse(LIST)).content.decode()
        assert f'<span title="{owner}">{name}</span>' in content
        assert f"{name}</a>" in content, "the filter says it in the same way"

    def test_shows_owners_as_a_host_names_them(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PaymentAdmin, "get_owner_name", lambda _self, owner: f"Ann ({owner})")
        make_payment(owner="auth.user:42")
        assert ">Ann (auth.user:42)</span>" in office.get(reverse(LIST)).content.decode()

    def test_takes_as_many_queries_for_many_as_for_one(self, office: Client) -> None:
        def fill(times: int) -> None:
            for _ in range(times):
                for payable in (Booking.objects.create(), Ticket.objects.create(code=uuid.uuid4().hex[:20])):
                    make_event(payment=make_payment(paid=True, payable=payable))

        def count(name: str) -> int:
            office.get(reverse(name))
            with CaptureQueriesContext(
                connection,
            ) as queries:
                assert office.get(reverse(name)).status_code == 200
            return len(queries)

        fill(1)
        few = count(LIST), count(EVENTS)
        fill(30)
        assert (count(LIST), count(EVENTS)) == few
        # A time limit takes four statements, and there is one for the count and one for the sums.
        assert max(few) <= 17

    def test_counts_up_to_a_cap(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "MOST_COUNTED", 150)
        make_payment.create_batch(149)
        for count in (149, 150, 150):
            assert get_change_list(office).result_count == count
            make_payment()

    def test_pages_end_at_the_cap(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "MOST_COUNTED", 150)
        latest = make_payment.create_batch(160)[:9:-1]
        assert get_results(office) == latest[:100]
        assert get_results(office, p="2") == latest[100:150]
        assert get_change_list(office).paginator.num_pages == 2
        beyond = office.get(reverse(LIST), {"p": "3"})
        assert beyond.status_code == 302

    def test_counts_what_is_found(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "MOST_COUNTED", 5)
        make_payment.create_batch(8)
        make_payment.create_batch(3, reseller_reference="AB")
        assert get_change_list(office, q="AB").result_count == 3

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"status__exact": "paid"}, {"paid"}),
            ({"currency": "jpy"}, {"yen"}),
            ({"currency": "JPY"}, {"yen"}),
            ({"mode": "live"}, {"live"}),
            ({"mode": "test", "status__exact": "paid"}, {"paid"}),
            ({"attention": "disputed"}, {"disputed"}),
            ({"attention": "concerned"}, {"concerned"}),
            ({"attention": "x", "status__exact": "paid"}, {"paid"}),
            ({"owner": "key:viator"}, {"viator"}),
            ({"payable_type": "none", "currency": "jpy"}, {"yen"}),
            ({"payable_type": "x"}, set()),
            ({"created_at__gte": "2000-01-01 00:00:00+00:00", "status__exact": "paid"}, {"paid"}),
            ({"created_at__lt": "2000-01-01 00:00:00+00:00"}, set()),
        ],
    )
    def test_filters(self, office: Client, query: dict[str, str], expected: set[str]) -> None:
        make_payment(paid=True, reseller_reference="paid")
        make_payment(currency="jpy", reseller_reference="yen")
        make_payment(livemode=True, reseller_reference="live")
        make_payment(disputed=True, reseller_reference="disputed")
        make_concern(payment=make_payment(reseller_reference="concerned"))
        make_concern(payment=make_payment(reseller_reference="settled"), settled=True)
        make_payment(owner="key:viator", reseller_reference="viator")
        assert {payment.reseller_reference for payment in get_results(office, **query)} == expected

    def test_filters_by_payable(self, office: Client) -> None:
        payment = make_payment(payable=Booking.objects.create())
        make_payment(payable=Ticket.objects.create(code="1"))
        content = office.get(reverse(LIST)).content.decode()
        assert f"payable_type={payment.payable_type_id}" in content
        assert get_results(office, payable_type=str(payment.payable_type_id)) == [payment]

    def test_offers_the_most_frequent_owners(self, office: Client) -> None:
        owners = [f"auth.user:{number}" for number in range(25)]
        for owner in ["", *owners, *owners[20:]]:
            make_payment(owner=owner)
        (offered,) = [
            spec.lookup_choices
            for spec in get_change_list(office).filter_specs
            if getattr(spec, "parameter_name", "") == "owner"
        ]
        assert len(offered) == 20
        assert {*owners[20:]} <= {owner for owner, _label in offered}

    def test_offers_only_what_is_there(self, office: Client) -> None:
        make_payment(currency="jpy")
        content = office.get(reverse(LIST)).content.decode()
        assert "?currency=jpy" in content
        assert "?currency=usd" not in content
        assert "?payable_type=none" in content
        assert not re.search(r"\?payable_type=\d", content)


@pytest.mark.parametrize(
    "value", one_in(4, ["%00", "a%00b", "%ED%A0%80", "%FF", "9" * 30, "-1", "%27;--", "x" * 2000])
)
@pytest.mark.parametrize(
    ("page", "name"),
    [
        *(
            (LIST, name)
            for name in ("currency", "payable_type", "attention", "disputed__exact", "q", "p", "o")
        ),
        *((LIST, name) for name in ("status__exact", "livemode__exact", "created_at__gte", "nonsense")),
        *((EVENTS, name) for name in ("type", "q", "p", "status__exact", "received_at__lt")),
    ],
)
def test_no_query_string_makes_a_list_fail(page: str, name: str, value: str, office: Client) -> None:
    make_event(payment__currency="jpy")
    assert office.get(f"{reverse(page)}?{name}={value}").status_code in {200, 302, 400}


class TestSearch:
    @pytest.mark.parametrize(
        "find",
        [
            lambda payment: str(payment.pk),
            lambda payment: str(payment.uuid),
            lambda payment: f"  {payment.uuid.hex.upper()} ",
            lambda payment: payment.stripe_payment_intent_id,
            lambda payment: payment.stripe_payment_intent_id[:20],
            lambda payment: payment.stripe_charge_id,
            lambda payment: payment.refunds.get().stripe_refund_id,
            lambda _payment: "AB 12",
            lambda _payment: "AB",
        ],
    )
    def test_finds_by(self, office: Client, find: Callable[[Payment], str]) -> None:
        payment = make_refund(payment__reseller_reference="AB 12").payment
        make_payment.create_batch(3, paid=True, reseller_reference="other")
        assert get_results(office, q=find(payment)) == [payment]

    @pytest.mark.parametrize(
        "term", ["nothing", "9" * 30, "²", "9223372036854775808", "pi_", "re_x", "%", "\\", "'", '"']
    )
    def test_finds_nothing_without_failing(self, office: Client, term: str) -> None:
        make_payment(reseller_reference="AB", stripe_payment_intent_id=None)
        WebhookEvent.objects.create(stripe_event_id="evt_1", payload={})
        for name in (LIST, EVENTS):
            assert office.get(reverse(name), {"q": term}).context["cl"].result_count == 0

    @pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL explains so")
    @pytest.mark.parametrize(
        ("term", "index"),
        [
            # Many indexes contain the id, and in a small table any will do.
            ("12", ""),
            ("1ad5a3cb-5d3a-4a4b-9a52-1b5d4c0d8a55", "payment_uuid_key"),
            ("1ad5a3cb", "payment_uuid_key"),
            ("pi_12", "octo_payment_intent"),
            ("ch_12", "octo_payment_charge"),
            ("AB-12", "octo_payment_reference"),
            ("key:viator", "octo_payment_owner"),
            ("T-1", "octo_payment_payable"),
        ],
    )
    def test_reads_indexes_only(self, office: Client, term: str, index: str) -> None:
        make_payment(payable=Ticket.objects.create(code="T-1"))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        with CaptureQueriesContext(connection) as queries:
            get_results(office, q=term)
        searches = [q["sql"] for q in queries if q["sql"].endswith(f"LIMIT {search.MOST_FOUND + 1}")]
        plans = [explain(sql) for sql in searches]
        assert not [plan for plan in plans if "Seq Scan" in plan]
        assert [plan for plan in plans if index in plan]

    def test_reads_the_index_of_beginnings_even_where_all_rows_match(self, office: Client) -> None:
        """Statistics can't change the plan: only this index yields the rows without a sort."""
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL explains so")
        make_payment.create_batch(3, reseller_reference="AB-12")
        searched = search.begins("AB-", among=Payment.objects.all(), column="reseller_reference").exclude(
            reseller_reference=""
        )
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            plan = searched.explain()
        assert "Sort" not in plan
        assert "octo_payment_reference" in plan

    @pytest.mark.parametrize(
        ("make_payable", "find"),
        [
            (lambda: Booking.objects.create(), lambda booking: booking.pk),
            (lambda: Booking.objects.create(), lambda booking: f"booking {booking.pk}"),
            (lambda: Booking.objects.create(price=4711), lambda _booking: "4711"),
            (lambda: Ticket.objects.create(code="HU77YU7T"), lambda _ticket: "HU77YU7T"),
            (lambda: Ticket.objects.create(code="HU77YU7T"), lambda _ticket: "Ticket HU77YU7T"),
            (lambda: Voucher.objects.create(), lambda voucher: str(voucher.pk).upper()),
        ],
    )
    def test_finds_by_what_is_paid_for(
        self, office: Client, make_payable: Callable[[], Any], find: Callable[[Any], Any]
    ) -> None:
        payable = make_payable()
        payment = make_payment(payable=payable)
        event = make_event(payment=payment)
        make_payment(payable=Ticket.objects.create(code="other"))
        make_payment(payable=Booking.objects.create())
        assert get_results(office, q=str(find(payable))) == [payment]
        assert get_results(office, EVENTS, q=str(find(payable))) == [event]

    def test_finds_what_was_paid_for_and_is_gone(self, office: Client) -> None:
        ticket = Ticket.objects.create(code="HU77YU7T")
        payment = make_payment(payable=ticket)
        ticket.delete()
        assert get_results(office, q="HU77YU7T") == [payment]

    def test_asks_the_host_s_search_only_for_users_who_may_view_there(
        self, make_staff: Callable[..., Client]
    ) -> None:
        payment = make_payment(payable=Booking.objects.create(price=4711))
        assert get_results(make_staff("view_payment"), q="4711") == []
        assert get_results(make_staff("view_payment", "view_booking"), q="4711") == [payment]

    @pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL has the time limit")
    def test_does_not_wait_for_a_slow_search_of_the_host_s(
        self, office: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def search_slowly(*_arguments: Any) -> Any:
            return Booking.objects.extra(where=["pg_sleep(60) IS NOT NULL"]), False

        monkeypatch.setattr("octo_stripe_gateway.admin.lists.MOST_MILLISECONDS", 50)
        booking = Booking.objects.create()
        payment = make_payment(payable=booking)
        monkeypatch.setattr(admin.site.get_model_admin(Booking), "get_search_results", search_slowly)
        assert get_results(office, q=str(booking.pk)) == [payment]

    @pytest.mark.parametrize("term", ["key:viator", "viator"])
    def test_finds_by_owner(self, office: Client, term: str) -> None:
        payment = make_payment(owner="key:viator")
        make_payment(owner="key:other")
        make_payment()
        assert get_results(office, q=term) == [payment]

    def test_finds_by_a_dispute(self, office: Client) -> None:
        payment = make_dispute(make_payment(paid=True), stripe_dispute_id="du_1").payment
        make_payment()
        assert get_results(office, q="du_1") == [payment]

    def test_of_very_many_says_so(self, office: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("search", "payments"):
            monkeypatch.setattr(f"octo_stripe_gateway.admin.{module}.MOST_FOUND", 3)
        make_payment.create_batch(3, reseller_reference="AB")
        page = office.get(reverse(LIST), {"q": "AB"})
        assert (page.context["cl"].result_count, get_messages(page)) == (3, [])
        make_payment(reseller_reference="AB")
        page = office.get(reverse(LIST), {"q": "AB"})
        assert page.context["cl"].result_count == 3
        assert "More than 3 payments match" in get_messages(page)[0]

    def test_takes_as_many_queries_for_many_as_for_one(self, office: Client) -> None:
        def count(name: str) -> int:
            with CaptureQueriesContext(connection) as queries:
                assert get_results(office, name, q="AB")
            return len(queries)

        make_event(payment=make_payment(reseller_reference="AB-0", payable=Booking.objects.create()))
        few = count(LIST), count(EVENTS)
        for number in range(1, 30):
            booking = Booking.objects.create()
            make_event(payment=make_payment(reseller_reference=f"AB-{number}", payable=booking))
        assert (count(LIST), count(EVENTS)) == few

    def test_finds_ignored_and_failed_events_of_an_intent_that_is_not_on_record(self, office: Client) -> None:
        events = [
            WebhookEvent.objects.create(
                stripe_event_id=f"evt_{status}", payment_intent_id="pi_lost", status=status, payload={}
            )
            for status in ("ignored", "failed")
        ]
        make_event()
        assert get_results(office, EVENTS, q="pi_lost") == events[::-1]

    def test_sorts_events_by_when_they_came(self, office: Client) -> None:
        events = make_event.create_batch(3)
        columns = get_change_list(office, EVENTS).list_display
        assert get_results(office, EVENTS, o=f"{columns.index('received')}") == events
        assert get_results(office, EVENTS, o=f"-{columns.index('received')}") == events[::-1]

    def test_finds_events_by_their_payment(self, office: Client) -> None:
        payment = make_payment(paid=True)
        event = make_event(payment=payment)
        make_event.create_batch(2)
        for term in (
            event.stripe_event_id,
            str(payment.pk),
            str(payment.uuid),
            payment.stripe_payment_intent_id,
        ):
            assert get_results(office, EVENTS, q=term) == [event]


class TestPage:
    def test_shows_all_and_changes_nothing(self, office: Client) -> None:
        payment = make_payment(paid=True, metadata={"tour": "<b>"}, reseller_reference="AB-12")
        page = office.get(get_page(payment))
        content = page.content.decode()
        assert f"<title>{payment.uuid.hex[:8]} · 20.00 USD |" in content
        assert "Why the host rejected" not in content
        for text in ("20.00 USD", "AB-12", "&lt;b&gt;", str(payment.uuid), payment.stripe_charge_id):
            assert text in content
        assert 'name="_save"' not in content
        assert office.post(get_page(payment), {"amount": "1"}).status_code == 403
        assert office.get(get_page(payment, "delete")).status_code == 403
        assert office.get(reverse("admin:octo_stripe_gateway_payment_add")).status_code == 403
        assert "delete_selected" not in office.get(reverse(LIST)).content.decode()

    def test_takes_as_many_queries_for_many_as_for_one(self, office: Client) -> None:
        def count(payment: Payment) -> int:
            office.get(get_page(payment))
            with CaptureQueriesContext(connection) as queries:
                assert office.get(get_page(payment)).status_code == 200
            return len(queries)

        few, many = make_payment.create_batch(2, paid=True, payable=Booking.objects.create())
        for payment, times in ((few, 1), (many, 250)):
            events = make_event.create_batch(times, payment=payment)
            requests = make_request.create_batch(times, payment=payment)
            PaymentChange.objects.bulk_create(
                PaymentChange(
                    payment=payment,
                    changes={"concern fraud_warned": [None, {"fraud_type": "stolen"}]},
                    source="webhook",
                    event=event,
                    request=request,
                )
                for event, request in zip(events, requests, strict=True)
            )
        assert count(many) == count(few)
        # Its creation, what the journal lacks, and the latest of each kind.
        assert len(office.get(get_page(many)).context["timeline"]) == 2 + 3 * 200

    def test_shows_what_is_wrong_first(self, office: Client, settings: Any) -> None:
        settings.TIME_ZONE = "UTC"
        payment = make_payment(paid=True, disputed=True, amount_reserved=500, has_concerns=True)
        make_concern(
            payment=payment, code="intent_differs", parameters={"differences": {"amount": [2000, 1]}}
        )
        make_concern(payment=payment, code="refund_failed", settled=True)
        make_dispute(payment, stripe_dispute_id="du_1", reason="fraudulent")
        make_dispute(payment, stripe_dispute_id="du_2", status="won")
        content = office.get(get_page(payment)).content.decode()
        first = content.index("<fieldset")
        for text in ("amount is 0.01 USD, not 20.00 USD", "Compare the payment with", "5.00 USD"):
            assert content.index(text) < first
        assert "A refund failed" not in content
        dispute = (
            "15.00 USD · needs response · fraudulent · evidence is due by 06/01/2026 12:00:00 UTC · du_1"
        )
        assert content.index(dispute) < first
        assert first < content.index("15.00 USD · won · du_2")

    def test_says_in_red_that_money_of_a_rejected_payment_is_held(self, office: Client) -> None:
        payment = make_payment(
            paid=True,
            status="failed",
            rejection_code="host",
            amount_refunded=500,
        )
        page = office.get(get_page(payment))
        (alert,) = page.context["alerts"]
        assert alert[:2] == (
            "The payment was rejected, and 15.00 USD is still held.",
            "The payment was rejected.",
        )
        assert "refund" in [operation["name"] for operation in page.context["operations"]]

    @pytest.mark.parametrize(
        ("status", "words"), [("warning_needs_response", "asks about"), ("needs_response", "disputes")]
    )
    def test_tells_an_inquiry_from_a_dispute(self, office: Client, status: str, words: str) -> None:
        payment = make_payment(paid=True, disputed=True)
        make_dispute(payment, status=status)
        (alert,) = office.get(get_page(payment)).context["alerts"]
        assert alert.title.startswith(f"The customer's bank {words} this payment")

    def test_names_the_account_and_the_time_zone(self, office: Client, settings: Any) -> None:
        settings.TIME_ZONE = "Europe/Berlin"
        payment = make_payment(account="emea", stripe_account="acct_1", owner="key:viator")
        Payment.objects.update(created_at="2026-06-01T12:00:00Z")
        content = office.get(get_page(payment)).content.decode()
        for text in (
            "emea · acct_1",
            "key:viator",
            "06/01/2026 14:00:00 CEST",
            "In the time zone Europe/Berlin.",
        ):
            assert text in content

    def test_shows_times_where_the_host_has_no_time_zones(self, office: Client, settings: Any) -> None:
        payment = make_payment()
        settings.USE_TZ, settings.TIME_ZONE = False, "UTC"
        assert re.search(r"\d\d:\d\d:\d\d UTC<", office.get(get_page(payment)).content.decode())
        assert office.get(reverse(LIST)).status_code == 200

    def test_hides_the_events_of_users_who_may_not_view_them(self, make_staff: Callable[..., Client]) -> None:
        payment = make_payment(paid=True)
        event = make_event(payment=payment)
        PaymentChange.objects.create(
            payment=payment, changes={"status": ["pending", "paid"]}, source="webhook", event=event
        )
        client = make_staff("view_payment")
        page = client.get(get_page(payment))
        content = page.content.decode()
        assert event.stripe_event_id not in content
        assert event.type not in content
        assert client.get(get_page(event)).status_code == 403

    def test_shows_no_client_secret(self, office: Client, api: GatewayApi, stripe: StripeEmulator) -> None:
        created = api.create().json()
        stripe.confirm(created["stripePaymentIntentId"])
        api.deliver(stripe)
        event = WebhookEvent.objects.about(find_payment(created)).first()
        assert event is not None
        event.payload["data"]["object"]["client_secret"] = created["stripeClientSecret"]
        event.save()
        for url in (get_page(event), get_page(find_payment(created)), reverse(LIST), reverse(EVENTS)):
            content = office.get(url).content.decode()
            assert "_secret_" not in content
            assert "client_secret" not in content

    def test_of_a_payment_that_is_not_there(self, office: Client) -> None:
        for path in ("0/change/", "x/change/", "0/refund/", "x/refund/", "9999999999999999999999/sync/"):
            page = office.get(f"/admin/octo_stripe_gateway/payment/{path}", follow=True)
            assert page.status_code == 200
            assert "exist" in get_messages(page)[0]


class TestTimeline:
    def test_says_each_movement_once_with_what_is_held(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        api.deliver(stripe)
        operate(office, payment, "refund", amount="5", reason="duplicate")
        api.deliver(stripe)
        page = office.get(get_page(payment))
        assert get_story(page) == [
            "Created",
            "Received 20.00 USD = 20.00 USD",
            "Refunded 5.00 USD = 15.00 USD",
        ]
        assert {
            "payment_intent.succeeded",
            "charge.refunded",
            "Asked of Stripe: create 20.00 USD",
            "Asked of Stripe: refund 5.00 USD",
            "A refund of 5.00 USD is reserved",
        } <= {*get_details(page)}
        event = WebhookEvent.objects.get(type="payment_intent.succeeded")
        assert f'href="{get_page(event)}"' in page.content.decode()

    def test_names_source_and_actor(self, office: Client, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = find_payment(api.paid(stripe))
        operate(office, payment, "refund", amount="5")
        refunded = office.get(get_page(payment)).context["timeline"][-1]
        user = User.objects.get()
        assert refunded.causes == ["admin", user.username, "refund"]

    def test_links_a_change_to_its_event(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid_at_stripe(stripe))
        api.deliver(stripe, "payment_intent.succeeded")
        (received,) = [entry for entry in office.get(get_page(payment)).context["timeline"] if entry.held]
        assert received.url == get_page(WebhookEvent.objects.get())
        assert received.causes == ["webhook", "payment_intent.succeeded"]

    def test_of_a_hold(self, office: Client, api: GatewayApi, stripe: StripeEmulator) -> None:
        captured, canceled = find_payment(api.authorized(stripe)), find_payment(api.authorized(stripe))
        operate(office, captured, "capture", amount="12.50")
        operate(office, canceled, "cancel")
        authorized = ["Created", "Authorized 20.00 USD"]
        received = [*authorized, "Received 12.50 USD = 12.50 USD"]
        assert get_story(office.get(get_page(captured))) == received
        assert get_story(office.get(get_page(canceled))) == [
            *authorized,
            "Released 20.00 USD; Status: canceled",
        ]

    def test_of_a_refund_that_fails_later(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        operate(office, payment, "refund", amount="5")
        (refund,) = stripe.refunds
        with later(stripe):
            stripe.settle_refund(refund, status="failed", reason="expired_or_canceled_card")
            operate(office, payment, "sync")
        story = get_story(office.get(get_page(payment)))
        assert story[2] == "Refunded 5.00 USD = 15.00 USD"
        assert story[3].startswith("A refund of 5.00 USD failed: the money is held again")
        assert story[3].endswith("= 20.00 USD")

    def test_of_a_dispute(self, office: Client, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = find_payment(api.paid(stripe))
        dispute = stripe.open_dispute(payment.stripe_payment_intent_id or "", amount=2000)["id"]
        api.deliver(stripe, "charge.dispute.created")
        page = office.get(get_page(payment))
        assert get_story(page)[2:] == [f"Dispute {dispute}: needs response"]
        assert "evidence is due by" in page.context["alerts"][0][1]
        assert "refund" not in [operation["name"] for operation in page.context["operations"]]
        stripe.close_dispute(dispute, won=False)
        api.deliver(stripe, "charge.dispute.closed")
        lost = get_story(office.get(get_page(payment)))[-1]
        assert lost == f"Lost 20.00 USD in a dispute; Dispute {dispute}: lost = 0.00 USD"

    def test_shows_events_that_failed_or_wait_and_hides_those_that_went_well(self, office: Client) -> None:
        payment = make_payment()
        for status in ("failed", "received", "processed", "ignored"):
            make_event(payment=payment, type=f"event.{status}", status=status)
        page = office.get(get_page(payment))
        assert get_story(page) == ["Created", "event.failed", "event.received"]
        assert get_details(page) == ["event.processed", "event.ignored"]

    def test_shows_requests_as_stripe_s_support_asks_for_them(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.refund(payment.stripe_payment_intent_id or "")
        operate(office, payment, "refund", amount="5")
        page = office.get(get_page(payment))
        (refused,) = [entry for entry in page.context["timeline"] if entry.state == "failed"]
        request = StripeRequest.objects.get(state="failed")
        assert request.stripe_request_id.startswith("req_")
        assert refused.title == "Asked of Stripe: refund 5.00 USD"
        assert refused.causes == [request.stripe_request_id, "HTTP 400", request.error_code]
        assert not refused.is_detail
        (created,) = [entry for entry in page.context["timeline"] if entry.title.endswith("create 20.00 USD")]
        assert created.is_detail
        assert created.causes[1] == "HTTP 200"

    def test_reckons_back_from_now_where_the_journal_begins_late(self, office: Client) -> None:
        payment = make_payment(paid=True, amount_refunded=500)
        PaymentChange.objects.create(
            payment=payment,
            changes={"amount_refunded": [0, 500]},
            source="python",
            created_at=payment.created_at,
        )
        assert get_story(office.get(get_page(payment))) == [
            "Created",
            "What happened before is not on the journal = 20.00 USD",
            "Refunded 5.00 USD = 15.00 USD",
        ]

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"status": ["pending", "failed"], "failure_code": ["", "card_declined"]},
                ["Failed: card declined"],
            ),
            (
                {"status": ["paid", "failed"], "rejection_code": ["", "price_changed"]},
                ["Rejected: The price has changed."],
            ),
            ({"status": ["pending", "expired"]}, ["Status: expired"]),
            (
                {"concern refund_failed": [None, {"amount": 500, "failure_reason": "declined"}]},
                ["A refund of 5.00 USD failed (declined): the customer does not have the money."],
            ),
            ({"concern refund_failed": [{"amount": 500}, None]}, ["No longer: A refund failed"]),
            ({"concern gone": [None, {}]}, ["gone"]),
            (
                {"concern refund_failed": [{"amount": 500}, None], "settled": ["", "By phone."]},
                ["Settled: By phone."],
            ),
            ({"settled": ["", "Lost."], "concern gone": [None, {}]}, ["Settled: Lost.; gone"]),
            ({"amount_lost": [500, 0]}, ["5.00 USD came back from a dispute"]),
            ({"accepted_at": [None, "2026-06-01T12:00:00+00:00"]}, []),
            ({"refund 1ad5a3cb-5d3a-4a4b-9a52-1b5d4c0d8a55": ["pending", "succeeded"]}, []),
            ({"intent_status": ["requires_action", "processing"]}, []),
            ({"stripe_payment_intent_id": [None, "pi_1_a"]}, []),
            ({"a_column_that_is_gone": ["", "x"]}, []),
            ({"adopted": ["", "pi_1"]}, ["Adopted from Stripe: pi_1"]),
            (
                {"fraud warning": [None, {"warning": "issfr_1", "type": "x"}]},
                ["The card's bank warns of fraud: x (issfr_1)"],
            ),
            ({"payable paid": [None, 2000]}, []),
            ({"status": ["pending", "gone"]}, ["Status: gone"]),
            ({}, []),
        ],
    )
    def test_has_words_for(self, office: Client, changes: dict[str, Any], told: list[str]) -> None:
        payment = make_payment(rejection_code="price_changed")
        PaymentChange.objects.create(payment=payment, changes=changes, source="python")
        page = office.get(get_page(payment))
        assert [entry.title for entry in page.context["timeline"] if not entry.is_detail][1:][-1:] == told
        details = [] if told or not changes else [1]
        assert len(get_details(page)) == len(details)

    def test_tells_that_a_listener_was_not_reached(self, office: Client) -> None:
        payment = make_payment()
        PaymentChange.objects.create(
            payment=payment,
            changes={"status": ["pending", "canceled"]},
            source="api",
            delivery_errors={"shop.on": ["KeyError", "x"]},
        )
        assert "Not delivered: shop.on: KeyError: x" in office.get(get_page(payment)).content.decode()

    def test_has_no_switch_where_it_would_show_nothing(self, office: Client) -> None:
        payment = make_payment()
        assert "octo-switch" not in office.get(get_page(payment)).content.decode()
        make_event(payment=payment, processed=True)
        assert "octo-switch" in office.get(get_page(payment)).content.decode()


class TestIndex:
    PAGES = ("admin:index", "admin:app_list")

    def get_alerts(self, client: Client, name: str = "admin:index") -> dict[str, str]:
        """Return a page's alerts, and check that each links to as many rows as it says."""
        arguments = ["octo_stripe_gateway"] if name == "admin:app_list" else []
        content = client.get(reverse(name, args=arguments)).content.decode()
        found = re.findall(r'octo-alert">(\d+)</span> <a href="([^"]+)">([^<]+)</a>', content)
        for count, url, _text in found:
            assert client.get(url).context["cl"].result_count == int(count)
        return {html.unescape(text): count for count, _url, text in found}

    @pytest.mark.parametrize("name", PAGES)
    def test_says_nothing_while_all_is_well(self, office: Client, name: str) -> None:
        make_payment.create_batch(2, paid=True)
        make_event(processed=True)
        make_event()
        assert self.get_alerts(office, name) == {}

    @pytest.mark.parametrize("name", PAGES)
    def test_counts_what_needs_an_operator(self, office: Client, name: str) -> None:
        make_concern.create_batch(2)
        make_concern(code="event_failed", payment=None, object_id="evt_1")
        make_concern(settled=True)
        make_payment(disputed=True)
        assert self.get_alerts(office, name) == {
            "Concerns: A refund failed": "2",
            "Concerns: An event failed": "1",
            "Payments: Disputed": "1",
        }

    def test_names_an_endpoint_of_an_old_api_version(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.refund(payment.stripe_payment_intent_id or "", amount=500)
        payment.refresh_from_db()
        charge = stripe.charges[payment.stripe_charge_id]
        old: Any = {"api_version": "2024-06-20", "created": payment.charge_as_of}
        assert api.post_event(*signed_event("charge.refunded", charge, **old)).status_code == 200
        assert self.get_alerts(office) == {"Concerns: The endpoint's API version is too old": "1"}

    def test_counts_no_further_than_it_has_time_for(
        self, office: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(concerns, "MOST_COUNTED", 2)
        make_concern.create_batch(3)
        make_payment.create_batch(3, disputed=True)
        content = office.get(reverse("admin:index")).content.decode()
        assert content.count('octo-alert">2+</span>') == 2

    def test_shows_only_what_the_user_may_view(self, make_staff: Callable[..., Client]) -> None:
        make_concern()
        make_payment(disputed=True)
        assert self.get_alerts(make_staff("view_concern")) == {"Concerns: A refund failed": "1"}
        assert self.get_alerts(make_staff("view_payment")) == {"Payments: Disputed": "1"}
        assert self.get_alerts(make_staff("view_booking")) == {}

    def test_shows_the_same_in_a_template_of_the_host(self, rf: RequestFactory) -> None:
        make_concern()
        tag = Template("{% load octo_stripe_gateway %}{% gateway_alerts %}")
        request = rf.get("/")
        request.user = User.objects.create_superuser("root")
        assert "A refund failed" in tag.render(Context({"request": request}))
        assert "A refund failed" not in tag.render(Context({}))

    def test_stays_the_host_s_own(self) -> None:
        class HostSite(admin.AdminSite):
            index_template = "shop/index.html"

        site = HostSite(name="host")
        site.register(Payment, PaymentAdmin)
        assert site.index_template == "shop/index.html"


class TestRefund:
    def test_refunds_all_that_is_left_by_default(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        api.refund({"id": payment.pk}, {"amount": 500})
        asked = office.get(get_page(payment, "refund"))
        assert asked.context["form"]["amount"].value() == 15
        summary = {str(label): strip_tags(str(value)) for label, value in asked.context["summary"]}
        assert (summary["refunded"], summary["reseller reference"]) == ("5.00 USD", "-")
        assert "can&#x27;t be undone" in asked.content.decode()
        page = operate(office, payment, "refund", amount="15.00", reason="requested_by_customer")
        assert get_messages(page) == ["Refunded 15.00 USD."]
        payment.refresh_from_db()
        assert (payment.status, payment.amount_refunded) == ("refunded", 2000)
        assert payment.refunds.order_by("pk").last().reason == "requested_by_customer"  # type: ignore[union-attr]
        assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [500, 1500]

    def test_in_a_currency_without_decimals(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe, {"amount": 2000, "currency": "jpy"}))
        page = operate(office, payment, "refund", amount="1.5")
        assert "amount" in page.context["form"].errors
        page = operate(office, payment, "refund", amount="1500")
        assert get_messages(page) == ["Refunded 1,500 JPY."]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [1500]

    def test_of_a_page_sent_twice_happens_once(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        url = get_page(payment, "refund")
        for amount in ("5", "15"):
            values = {"key": get_key(office.get(url)), "amount": amount}
            for _ in range(3):
                page = office.post(url, values, follow=True)
                assert get_messages(page) == [f"Refunded {amount}.00 USD."]
        assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [500, 1500]
        assert IdempotencyKey.objects.filter(owner="admin").count() == 2

    def test_of_a_page_sent_again_with_another_amount_is_refused(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        url = get_page(payment, "refund")
        key = get_key(office.get(url))
        office.post(url, {"key": key, "amount": "5"}, follow=True)
        page = office.post(url, {"key": key, "amount": "6"}, follow=True)
        assert get_messages(page) == ["This key or uuid was used with other parameters."]
        assert len(stripe.refunds) == 1

    @pytest.mark.parametrize(
        "values",
        [
            {"amount": ""},
            {"amount": "0"},
            {"amount": "-5"},
            {"amount": "1.234"},
            {"amount": "NaN"},
            {"amount": "1e400"},
            {"amount": "five"},
            {"amount": "9" * 40},
            {"amount": "5", "reason": "because"},
            {"amount": "5", "key": ""},
            {"amount": "5", "key": "me"},
        ],
    )
    def test_of_what_makes_no_sense_asks_again(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, values: dict[str, str]
    ) -> None:
        payment = find_payment(api.paid(stripe))
        page = operate(office, payment, "refund", **values)
        assert page.status_code == 200
        assert page.context["form"].errors
        assert "errorlist" in page.content.decode()
        assert not stripe.refunds

    def test_of_more_than_is_left_keeps_the_form_and_says_so_beside_the_field(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        page = operate(office, payment, "refund", amount="20.01", reason="duplicate")
        assert page.status_code == 200
        assert page.context["form"].errors == {"amount": ["The amount is more than is left to refund."]}
        assert page.context["form"]["reason"].value() == "duplicate"
        assert get_messages(page) == []
        assert not stripe.refunds
        again = {"key": get_key(page), "amount": "20"}
        page = office.post(get_page(payment, "refund"), again, follow=True)
        assert get_messages(page) == ["Refunded 20.00 USD."]

    def test_of_an_amount_that_the_currency_does_not_have_says_so_beside_the_field(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe, {"amount": 2000, "currency": "bhd"}))
        page = operate(office, payment, "refund", amount="1.234")
        assert "divisible by 10" in page.context["form"].errors["amount"][0]

    def test_is_possible_whenever_money_is_held(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        Payment.objects.update(status="failed", rejection_code="host")
        page = operate(office, payment, "refund", amount="20")
        assert get_messages(page) == ["Refunded 20.00 USD."]
        payment.refresh_from_db()
        assert payment.amount_refunded == 2000

    def test_of_a_disputed_payment_is_not_offered(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.open_dispute(payment.stripe_payment_intent_id or "")
        api.deliver(stripe, "charge.dispute.created")
        (message,) = get_messages(office.get(get_page(payment, "refund"), follow=True))
        assert "the payment is disputed" in message

    @pytest.mark.parametrize("fault", [Fault(), Fault(when="after"), Fault(kind="reset"), Fault(status=429)])
    def test_with_stripe_down_is_finished_by_the_same_page(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, fault: Fault
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.add_fault(fault)
        page = operate(office, payment, "refund", amount="5")
        assert page.status_code == 200
        (message,) = get_messages(page)
        assert "try again" in message
        again = {"key": get_key(page), "amount": "5"}
        page = office.post(get_page(payment, "refund"), again, follow=True)
        assert get_messages(page) == ["Refunded 5.00 USD."]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [500]
        assert Refund.objects.count() == 1

    def test_left_without_an_answer_is_finished_by_a_sync(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.add_fault(Fault(when="after"))
        operate(office, payment, "refund", amount="20")
        assert "no answer from Stripe" in office.get(get_page(payment)).content.decode()
        (message,) = get_messages(operate(office, payment, "sync"))
        assert "status: paid → refunded" in message
        assert len(stripe.refunds) == 1

    def test_that_stripe_refuses_is_told(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        stripe.refund(payment.stripe_payment_intent_id or "")
        (message,) = get_messages(operate(office, payment, "refund", amount="5"))
        assert "refunded" in message
        payment.refresh_from_db()
        assert payment.amount_reserved == 0

    def test_without_configuration_is_told(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
    ) -> None:
        payment = find_payment(api.paid(stripe))
        configure(STRIPE_API_KEY=None)
        for operation, values in (("refund", {"amount": "5"}), ("sync", {})):
            page = operate(office, payment, operation, **values)
            assert page.status_code == 200
            assert get_messages(page) == ["The payment gateway is not configured."]

    def test_that_is_not_possible_is_not_asked_for(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.create().json())
        page = office.get(get_page(payment, "refund"), follow=True)
        assert "none of the money is held" in get_messages(page)[0]
        sent = {"key": str(uuid.uuid4()), "amount": "5"}
        page = office.post(get_page(payment, "refund"), sent, follow=True)
        assert get_messages(page) == ["The payment is not paid, so there is nothing to refund."]

    def test_is_on_record(self, office: Client, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = find_payment(api.paid(stripe))
        operate(office, payment, "refund", amount="5")
        operate(office, payment, "refund", amount="50")
        texts = [entry.change_message for entry in LogEntry.objects.order_by("pk")]
        assert texts == ["Refunded 5.00 USD.", "Refund: The amount is more than is left to refund."]


class TestCapture:
    def test_takes_part_of_what_is_authorized(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.authorized(stripe))
        assert office.get(get_page(payment, "capture")).context["form"]["amount"].value() == 20
        page = operate(office, payment, "capture", amount="12.50")
        assert get_messages(page) == ["Captured 12.50 USD."]
        payment.refresh_from_db()
        assert (payment.status, payment.amount_received) == ("paid", 1250)

    def test_of_a_page_sent_twice_happens_once(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.authorized(stripe))
        url = get_page(payment, "capture")
        values = {"key": get_key(office.get(url)), "amount": "20"}
        for _ in range(2):
            assert get_messages(office.post(url, values, follow=True)) == ["Captured 20.00 USD."]

    def test_of_too_much_or_too_late_is_refused(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.authorized(stripe))
        page = operate(office, payment, "capture", amount="21")
        assert page.context["form"].errors == {"amount": ["The amount is more than was authorized."]}
        values = {"key": str(uuid.uuid4()), "amount": "20"}
        operate(office, payment, "cancel")
        page = office.post(get_page(payment, "capture"), values, follow=True)
        assert get_messages(page) == ["Only an authorized payment can be captured."]


class TestCancel:
    def test_gives_an_unpaid_or_authorized_payment_up(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        for made in (api.create().json(), api.authorized(stripe)):
            payment = find_payment(made)
            assert get_messages(operate(office, payment, "cancel")) == ["Canceled."]
            payment.refresh_from_db()
            assert payment.status == "canceled"

    def test_of_what_was_paid_meanwhile_is_refused(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.create().json())
        stripe.confirm(payment.stripe_payment_intent_id or "")
        page = operate(office, payment, "cancel")
        assert page.status_code == 200
        assert len(get_messages(page)) == 1
        payment.refresh_from_db()
        assert payment.status == "paid"


class TestSync:
    def test_takes_over_what_was_missed(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.create().json())
        stripe.confirm(payment.stripe_payment_intent_id or "")
        (message,) = get_messages(operate(office, payment, "sync"))
        assert message == "Synced: status: pending → paid; amount received: 0.00 USD → 20.00 USD."
        assert get_messages(operate(office, payment, "sync")) == ["Synced: nothing had changed."]

    @pytest.mark.parametrize(
        "fault", [Fault(method="GET"), Fault(method="GET", kind="reset"), Fault(method="GET", status=401)]
    )
    def test_tells_that_stripe_is_down(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, fault: Fault
    ) -> None:
        payment = find_payment(api.create().json())
        stripe.add_fault(fault)
        page = operate(office, payment, "sync")
        assert page.status_code == 200
        assert len(get_messages(page)) == 1


class TestPermissions:
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_are_one_for_each_operation(
        self,
        make_staff: Callable[..., Client],
        api: GatewayApi,
        stripe: StripeEmulator,
        operation: str,
    ) -> None:
        made = api.paid(stripe) if operation in {"refund", "sync"} else api.authorized(stripe)
        payment = find_payment(made)
        allowed = make_staff("view_payment", f"{operation}_payment")
        others = make_staff("view_payment", *(f"{each}_payment" for each in OPERATIONS if each != operation))
        button = f'href="{get_page(payment, operation)}"'
        assert button in allowed.get(get_page(payment)).content.decode()
        assert button not in others.get(get_page(payment)).content.decode()
        assert others.get(get_page(payment, operation)).status_code == 403
        values = {"key": str(uuid.uuid4()), "amount": "5", "reason": ""}
        assert others.post(get_page(payment, operation), values).status_code == 403
        assert allowed.post(get_page(payment, operation), values).status_code == 302

    def test_to_view_allow_nothing_else(self, make_staff: Callable[..., Client]) -> None:
        client = make_staff("view_payment", "view_webhookevent")
        payment = make_payment(paid=True)
        event = make_event(failed=True, payment=payment)
        for row, operations in ((payment, OPERATIONS), (event, ("reprocess",))):
            page = client.get(get_page(row))
            assert page.context["operations"] == []
            for operation in operations:
                assert client.get(get_page(row, operation)).status_code == 403
                assert client.post(get_page(row, operation)).status_code == 403
        assert "reprocess" not in client.get(reverse(EVENTS)).content.decode()
        assert client.post("/admin/octo_stripe_gateway/webhookevent/reprocess/").status_code == 403

    def test_to_operate_need_the_one_to_view(self, make_staff: Callable[..., Client]) -> None:
        client = make_staff("refund_payment")
        payment = make_payment(paid=True)
        assert client.get(get_page(payment, "refund")).status_code == 403

    def test_are_asked_of_staff_only(self, client: Client) -> None:
        payment = make_payment(paid=True)
        page = client.post(get_page(payment, "refund"), {"amount": "5"})
        assert page.status_code == 302
        assert "/login/" in page.headers["Location"]

    def test_forged_requests_are_refused(self, office: Client) -> None:
        payment = make_payment(paid=True)
        forged = Client(enforce_csrf_checks=True)
        forged.cookies = office.cookies
        for url in (get_page(payment, "refund"), "/admin/octo_stripe_gateway/webhookevent/reprocess/"):
            assert forged.post(url, {"key": str(uuid.uuid4()), "amount": "5"}).status_code == 403


class TestButtons:
    @pytest.mark.parametrize(
        ("trait", "operations"),
        [
            ({}, ["cancel", "sync"]),
            ({"authorized": True}, ["capture", "cancel", "sync"]),
            ({"paid": True}, ["refund", "sync"]),
            ({"paid": True, "amount_reserved": 2000}, ["sync"]),
            ({"failed": True}, ["cancel", "sync"]),
            ({"failed": True, "stripe_payment_intent_id": None}, ["sync"]),
            ({"canceled": True}, ["sync"]),
            ({"refunded": True}, ["sync"]),
            ({"paid": True, "disputed": True}, ["sync"]),
            ({"paid": True, "disputed": True, "refunds_blocked": False}, ["refund", "sync"]),
            (
                {
                    "paid": True,
                    "status": "failed",
                    "rejection_code": "host",
                },
                ["refund", "sync"],
            ),
            (
                {
                    "authorized": True,
                    "status": "failed",
                    "rejection_code": "host",
                },
                ["cancel", "sync"],
            ),
        ],
    )
    def test_are_those_that_the_state_allows(
        self, office: Client, trait: dict[str, Any], operations: list[str]
    ) -> None:
        page = office.get(get_page(make_payment(**trait)))
        assert [operation["name"] for operation in page.context["operations"]] == operations

    def test_lead_back_to_the_filtered_list(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        payment = find_payment(api.paid(stripe))
        filters = "?_changelist_filters=status__exact%3Dpaid"
        button = office.get(get_page(payment) + filters).content.decode()
        url = get_page(payment, "refund") + filters
        assert f'href="{url}"' in button
        page = office.post(url, {"key": str(uuid.uuid4()), "amount": "5"})
        assert page.headers["Location"] == get_page(payment) + filters


class TestReprocess:
    def fail(self, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> WebhookEvent:
        """Let an event fail whose payment Stripe has by now."""
        created = api.create().json()
        stripe.confirm(created["stripePaymentIntentId"])

        def fail(event: WebhookEvent, payment: Payment) -> None:
            raise ValueError("of pi_1_secret_abc")

        with monkeypatch.context() as patch:
            patch.setattr(handlers, "apply", fail)
            api.deliver(stripe, "payment_intent.succeeded")
        return WebhookEvent.objects.get(status="failed")

    def test_applies_a_failed_event(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = self.fail(api, stripe, monkeypatch)
        assert get_messages(operate(office, event, "reprocess")) == ["The event is processed now."]
        event.refresh_from_db()
        assert (event.status, Payment.objects.get().status) == ("processed", "paid")
        assert office.get(get_page(event)).context["operations"] == []
        again = office.post(get_page(event, "reprocess"), {"key": str(uuid.uuid4())}, follow=True)
        assert get_messages(again) == ["The event is processed now."]

    def test_tells_why_it_failed_again(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = self.fail(api, stripe, monkeypatch)

        def fail(event: WebhookEvent, payment: Payment) -> None:
            raise ValueError("of pi_1_secret_abc")

        monkeypatch.setattr(handlers, "apply", fail)
        page = operate(office, event, "reprocess")
        assert get_messages(page) == ["The event failed again: ValueError: of pi_1_secret_[redacted]"]

    def test_of_several_asks_first(
        self, office: Client, api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event = self.fail(api, stripe, monkeypatch)
        done = make_event(processed=True)
        broken = make_event(failed=True, payload={})
        chosen = {"action": "reprocess_selected", "_selected_action": [event.pk, done.pk, broken.pk]}
        asked = office.post(reverse(EVENTS), chosen)
        assert asked.context["chosen"] == [event, broken]
        sent = {"_selected_action": re.findall(r'_selected_action" value="(\d+)"', asked.content.decode())}
        page = office.post(asked.context["action_url"], sent, follow=True)
        assert get_messages(page) == [
            "1 event was processed.",
            "1 event failed again; its page says why.",
        ]
        event.refresh_from_db()
        assert event.status == "processed"

    def test_of_finished_ones_has_nothing_to_do(self, office: Client) -> None:
        done = make_event(processed=True)
        chosen = {"action": "reprocess_selected", "_selected_action": [done.pk]}
        page = office.post(reverse(EVENTS), chosen, follow=True)
        assert get_messages(page) == ["The selected events need no processing."]

    def test_of_very_many_takes_the_first(self, office: Client) -> None:
        make_event.create_batch(201, payment=make_payment(paid=True))
        chosen = {"action": "reprocess_selected", "select_across": "1", "_selected_action": ["1"]}
        asked = office.post(reverse(EVENTS), chosen)
        assert len(asked.context["chosen"]) == 200
        assert "Only the first 200" in asked.content.decode()
        nonsense = ["x", "9" * 30]
        page = office.post(asked.context["action_url"], {"_selected_action": nonsense}, follow=True)
        assert get_messages(page) == []

    def test_of_many_takes_rows_in_one_query(self, office: Client) -> None:
        make_event.create_batch(20, failed=True)
        chosen = {"action": "reprocess_selected", "select_across": "1", "_selected_action": ["1"]}
        with CaptureQueriesContext(connection) as queries:
            office.post(reverse(EVENTS), chosen)
        # The count's time limit takes four statements.
        assert len(queries) <= 10


class TestTransactions:
    @pytest.mark.django_db(transaction=True)
    def test_of_a_host_with_atomic_requests_span_no_operation(
        self,
        office: Client,
        api: GatewayApi,
        stripe: StripeEmulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        made = api.paid(stripe)
        event = make_event(failed=True, payment=find_payment(made))
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        payment = find_payment(made)
        assert get_messages(operate(office, payment, "refund", amount="5")) == ["Refunded 5.00 USD."]
        assert get_messages(operate(office, payment, "sync")) == ["Synced: nothing had changed."]
        page = operate(office, event, "reprocess")
        assert get_messages(page) == ["The event is processed now."]
        chosen = {"_selected_action": [make_event(failed=True, payment=payment).pk]}
        url = "/admin/octo_stripe_gateway/webhookevent/reprocess/"
        assert get_messages(office.post(url, chosen, follow=True)) == ["1 event was processed."]


def test_checks_find_nothing() -> None:
    call_command("check", "--tag", "admin", "--tag", "models", "--tag", "urls", "--fail-level", "WARNING")


def test_app_works_without_the_admin() -> None:
    code = """
import django, sys
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "octo_stripe_gateway"],
    ROOT_URLCONF="octo_stripe_gateway.urls", SECRET_KEY="x",
)
django.setup()
from django.core.management import call_command
call_command("check")
assert "octo_stripe_gateway.api.views" in sys.modules, "not imported"
assert "octo_stripe_gateway.admin" not in sys.modules, "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
