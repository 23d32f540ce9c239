"""With many rows, no query of the API, the admin or the commands reads many of them.

That also holds if what is asked for is rare, was common once or never occurred, and if PostgreSQL's
statistics are wrong or missing: a good plan must not depend on luck.

`PLAN_ROWS=5000000 pytest tests/models/test_plans.py -m slow --log-cli-level=INFO` says how long each takes.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

import psycopg
import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import upkeep
from octo_stripe_gateway.admin import books, concerns, lists, pictures, search
from octo_stripe_gateway.api.fields import CursorField
from octo_stripe_gateway.api.lists import Place
from octo_stripe_gateway.books.exports import export_movements, export_payments
from octo_stripe_gateway.doctor import Diagnosis
from octo_stripe_gateway.doctor.examination import (
    examine,
    find_backlogs,
    find_concerns,
    find_missing_events,
)
from octo_stripe_gateway.ledger import claims as due_work
from octo_stripe_gateway.ledger.claims import Step, Work
from octo_stripe_gateway.models import (
    BalanceTransaction,
    DaySum,
    IdempotencyKey,
    Payment,
    PaymentChange,
    WebhookEvent,
)
from octo_stripe_gateway.models.batches import BATCH_SIZE, iterate_batches
from octo_stripe_gateway.stripe.times import format_utc
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import (
    ConcernFactory,
    PaymentFactory,
    RefundFactory,
    StripeRequestFactory,
    WebhookEventFactory,
)
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, CallerApi, authenticate
from tests.support.objects import make_charge, make_dispute, make_paid_intent, make_refund

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db,
    pytest.mark.urls("tests.support.admin_urls"),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="asks PostgreSQL for its plans"),
]

ROWS = int(os.environ.get("PLAN_ROWS", "200000"))
# The most that a list counts: less than PostgreSQL's estimate for a condition that it knows nothing of.
COUNTED = min(lists.MOST_COUNTED, ROWS // 400)
# The most rows that a statement may read: nearly all must be what was asked for.
MOST_READ = 2 * max(COUNTED, BATCH_SIZE)
YEARS = 3
LISTS = "/admin/octo_stripe_gateway/"

logger = logging.getLogger(__name__)


class Scan(NamedTuple):
    """How a plan reads a table."""

    table: str
    by: str
    rows: int


class Plan(NamedTuple):
    """How a statement was run."""

    sql: str
    milliseconds: float
    scans: list[Scan]


@contextmanager
def planned(work: str, *, most: int = MOST_READ) -> Iterator[None]:
    """Explain each statement as it runs, and check that none reads more rows than it has to."""
    plans: list[Plan] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        if "octo_stripe_gateway_" in sql:
            # Some statements insert what may exist already, and expect the error.
            with suppress(psycopg.IntegrityError):
                plans.append(get_plan(sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(explain):
        yield
    assert plans
    for plan in plans:
        logger.info("%-24s %9.3f ms  %s  %s", work, plan.milliseconds, describe(plan), plan.sql)
    for plan in plans:
        assert_bounded(plan, work=work, most=most)


def get_plan(sql: str, params: Any) -> Plan:
    """Run a statement for its plan and its time, and undo it."""
    # Bypass Django's cursors, which would explain this statement too.
    with connection.connection.cursor() as cursor:
        cursor.execute("SAVEPOINT planned")
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            (explained,) = cursor.fetchone()[0]
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT planned")
    return Plan(sql, explained["Execution Time"], list(find_scans(explained["Plan"])))


def find_scans(node: dict[str, Any]) -> Iterator[Scan]:
    """Yield how a plan reads our tables."""
    if node["Node Type"].endswith("Scan") and node.get("Relation Name", "").startswith("octo_stripe_gateway"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        rows = (node["Actual Rows"] + removed) * node["Actual Loops"]
        by = node.get("Index Name") or node["Node Type"]
        yield Scan(node["Relation Name"], by, int(rows))
    for each in node.get("Plans", []):
        yield from find_scans(each)


def describe(plan: Plan) -> str:
    return ", ".join(f"{scan.rows} by {scan.by}" for scan in plan.scans) or "writes"


def assert_bounded(plan: Plan, *, work: str, most: int) -> None:
    for scan in plan.scans:
        assert scan.rows <= most, f"{work}: {scan}: {plan.sql}"


@pytest.fixture(scope="module", autouse=True)
def rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Make the rows once for all these tests; each test undoes what it adds."""
    with django_db_blocker.unblock():
        fill(ROWS)
        yield
        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE octo_stripe_gateway_payment, octo_stripe_gateway_webhookevent,"
                " octo_stripe_gateway_daysum CASCADE"
            )
        connection.close()


@pytest.fixture(scope="module", params=["sampled", "hardly sampled", "unknown"], autouse=True)
def statistics(rows: None, request: pytest.FixtureRequest, django_db_blocker: Any) -> str:
    """Give PostgreSQL good statistics, ones from a tiny sample, or none."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SET default_statistics_target = %s", [1 if request.param == "hardly sampled" else 100]
        )
        cursor.execute("ANALYZE")
        cursor.execute("RESET default_statistics_target")
        if request.param == "unknown":
            cursor.execute("DELETE FROM pg_statistic")
    return str(request.param)


@pytest.fixture(autouse=True)
def cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_COUNTED", COUNTED)
    monkeypatch.setattr(concerns, "MOST_COUNTED", COUNTED)
    monkeypatch.setattr(books, "MOST_COUNTED", COUNTED)
    monkeypatch.setattr(search, "MOST_FOUND", COUNTED)


def fill(count: int) -> None:
    """Write that many payments over some years, with their events, changes and requests.

    They are as uneven as real trade: what was common in the older half, or in one month, may be gone.
    """
    payment = PaymentFactory.create(paid=True)
    at = f"now() - ({count} - n) * interval '1 second' * {YEARS * 365 * 86400 / count}"
    copy_rows(payment, count=count, own=get_payment_columns(count) | {"created_at": at})
    # One in ten of them is open; all are of the older half.
    concern = ConcernFactory.create(payment=payment, settled=True)
    own = {"payment_id": f"{payment.pk} + n * 103", "opened_at": at.replace("- n", "- n * 103")}
    settled = "CASE WHEN n % 10 > 0 THEN now() END"
    own |= {"settled_at": settled, "settled_by": "''", "reason": "''"}
    own |= {"code": choose({"n % 4 = 0": "intent_differs"}, "refund_failed")}
    copy_rows(concern, count=count // 206, own=own)
    event = WebhookEventFactory.create(payment=payment, processed=True)
    copy_rows(event, count=count, own=get_event_columns(count) | {"received_at": at})
    own = {"payment_id": f"{payment.pk} + n", "created_at": at}
    copy_rows(
        StripeRequestFactory.create(payment=payment, done=True),
        count=count,
        own=own | {"state": choose({f"n > {count - 50}": "open"}, "done")},
    )
    change = PaymentChange.objects.create(payment=payment, source="webhook", changes={"status": ["", "paid"]})
    due = f"CASE WHEN n > {count // 3} AND n < {count // 3 + 50} THEN now() END"
    copy_rows(change, count=count, own=own | {"deliver_at": due})
    movement = BalanceTransaction.objects.create(
        payment=payment,
        stripe_balance_transaction_id="txn_fill",
        source_id="ch_fill",
        reporting_category="charge",
        amount=2000,
        fee=88,
        net=1912,
        currency="usd",
        moved_at=timezone.now(),
        available_at=timezone.now(),
    )
    names = {"stripe_balance_transaction_id": "'txn_fill' || n", "source_id": "'ch_fill' || n"}
    own = {"payment_id": f"{payment.pk} + n", "moved_at": at}
    # All but the latest are in the sums by day.
    own |= {"summed_at": f"CASE WHEN n < {count - 100} THEN now() END"}
    copy_rows(movement, count=count, own=own | names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {DaySum._meta.db_table} (day, livemode, currency,"
            " reporting_category, total) SELECT moved_at::date, true,"
            f" currency, reporting_category, sum(amount) FROM {movement._meta.db_table}"
            " WHERE summed_at IS NOT NULL GROUP BY moved_at::date, currency, reporting_category"
        )
    refund = RefundFactory.create(payment=payment)
    own = {"stripe_refund_id": "'re_fill' || n", "payment_id": f"{payment.pk} + n * 10"}
    copy_rows(refund, count=count // 10, own=own)
    key = IdempotencyKey.objects.create(key="fill", payment=payment, refund=refund)
    own = {"key": "'fill' || n", "payment_id": f"{payment.pk} + n * 10", "refund_id": f"{refund.pk} + n"}
    copy_rows(key, count=count // 10, own=own | {"created_at": at.replace("- n", "- n * 10")})
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")


def get_payment_columns(count: int) -> dict[str, str]:
    booking, ticket = (ContentType.objects.get_for_model(model).pk for model in (Booking, Ticket))
    older, month = f"n < {count // 2}", f"n > {count // 3} AND n < {count // 3 + count // 36}"
    return {
        "status": choose(
            {
                f"{older} AND n % 4 = 0": "canceled",
                month: "expired",
                "n % 1001 = 0": "authorized",
                "n % 101 = 0": "failed",
                f"n > {count - count // 100}": "pending",
                "n % 10 = 0": "refunded",
            },
            "paid",
        ),
        "next_check_at": f"CASE WHEN n > {count - count // 100} THEN now() - n % 2 * interval '1 day' END",
        "next_booking_at": f"CASE WHEN n > {count - count // 100} THEN now() END",
        "currency": choose({f"{older} AND n % 3 = 0": "eur", month: "jpy"}, "usd"),
        "expires_at": f"CASE WHEN n % 50 = 0 OR n > {count - 20} THEN now() - interval '1 day' END",
        "capture_before": "CASE WHEN n % 1001 = 0 THEN now() END",
        "owner": choose({f"{older} AND n % 5 = 0": "key:viator"}, ""),
        "disputed": f"{older} AND n % 1007 = 0",
        "livemode": f"NOT ({older} AND n % 1009 = 0)",
        "has_concerns": f"{older} AND n % 103 = 0",
        "payable_type_id": f"CASE WHEN {older} AND n % 4 = 1 THEN {ticket} WHEN n % 2 = 0 THEN {booking} END",
        "payable_id": f"CASE WHEN {older} AND n % 8 = 1 THEN 'all' WHEN ({older} AND n % 4 = 1) OR n % 2 = 0"
        " THEN n::text END",
        "reseller_reference": f"CASE WHEN {older} AND n % 3 = 1 THEN 'SUMMER' ELSE 'R-' || n END",
        "stripe_payment_intent_id": "'pi_fill' || n",
        "stripe_charge_id": "'ch_fill' || n",
    }


def get_event_columns(count: int) -> dict[str, str]:
    older = f"n < {count // 2}"
    return {
        "stripe_event_id": "'evt_fill' || n",
        "payment_intent_id": "'pi_fill' || n",
        "type": choose(
            {
                f"{older} AND n % 4 = 0": "payment_intent.canceled",
                "n % 10 = 0": "charge.refunded",
                "n % 11 = 0": "refund.created",
                "n % 10007 = 0": "charge.dispute.closed",
            },
            "payment_intent.succeeded",
        ),
        "status": choose(
            {
                f"{older} AND n % 503 = 0": "failed",
                f"{older} AND n % 509 = 0": "received",
                f"{older} AND n % 7 = 0": "ignored",
            },
            "processed",
        ),
        "retry_at": f"CASE WHEN {older} AND (n % 503 = 0 OR n % 509 = 0) THEN now() END",
        "livemode": f"NOT ({older} AND n % 1009 = 0)",
    }


def choose(values: dict[str, str], otherwise: str) -> str:
    """Return SQL for the value of the first condition that holds."""
    cases = " ".join(f"WHEN {condition} THEN '{value}'" for condition, value in values.items())
    return f"CASE {cases} ELSE '{otherwise}' END"


def copy_rows(row: Model, *, count: int, own: dict[str, str]) -> None:
    """Write a row that many times; `own` gives columns that differ, as SQL of the number n."""
    table = row._meta.db_table
    own = {"id": f"{row.pk} + n", "uuid": "gen_random_uuid()"} | own
    names = [str(field.column) for field in row._meta.concrete_fields]
    values = ", ".join(own.get(name, name) for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(names)}) SELECT {values}"
            f" FROM {table}, generate_series(1, {count}) AS n WHERE id = {row.pk}"
        )
        cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {row.pk + count})")


KEY = {"Idempotency-Key": "mine"}


def test_create(api: GatewayApi, stripe: StripeEmulator) -> None:
    with planned("create"):
        assert api.create().status_code == 201
    with planned("create, by a key"):
        assert api.create({"amount": 900, "currency": "usd"}, **KEY).status_code == 201
    with planned("create, repeated"):
        assert api.create({"amount": 900, "currency": "usd"}, **KEY).status_code == 201


def test_read(api: GatewayApi) -> None:
    payment = PaymentFactory.create()
    with planned("read, by id"):
        assert api.retrieve(payment.pk).status_code == 200
    with planned("read, by uuid"):
        assert api.retrieve(payment.uuid).status_code == 200


# One month of three years, in the middle of them and long over.
MONTH_START = timezone.now() - dt.timedelta(days=YEARS * 365 // 2)
MONTH_END = MONTH_START + dt.timedelta(days=30)
MONTH = {"utcCreatedAtFrom": format_utc(MONTH_START), "utcCreatedAtTo": format_utc(MONTH_END)}
# What a list may be asked for: something common, something rare or once common, and something that never was.
ASKED: dict[str, list[dict[str, Any]]] = {
    "reference": [{}, *({"resellerReference": each} for each in ("SUMMER", "R-7", "R-none"))],
    "payable": [{}, *({"payableType": "ticket", "payableId": each} for each in ("all", "5", "none"))],
    "status": [{}, *({"status": each} for each in ("CONFIRMED", "CANCELLED", "PENDING", "ON_HOLD"))],
    "time": [{}, MONTH, {"utcCreatedAtFrom": format_utc(MONTH_START)}],
    "page": [{}, {"cursor": CursorField().to_representation(Place(MONTH_END, 1))}],
}
CALLERS = {"all": "key:gateway-key", "viator's": "key:viator-key", "nobody's": "key:klook-key"}


@pytest.mark.parametrize("environment", ["", "test"])
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("payable", range(len(ASKED["payable"])))
def test_list_of_payments(
    payable: int,
    caller: str,
    environment: str,
    configure: Callable[..., None],
    subtests: pytest.Subtests,
) -> None:
    configure(IDENTIFY_CALLER=authenticate, API_GATEWAY_KEY=KEYS, PAYABLES={"ticket": "shop.Ticket"})
    api = CallerApi(CALLERS[caller])
    for asked in itertools.product(*(ASKED | {"payable": [ASKED["payable"][payable]]}).values()):
        query = urlencode({name: value for each in asked for name, value in each.items()})
        with subtests.test(query), planned(f"{caller} payments, {query}"):
            assert api.list_payments(f"?{query}", **{"Octo-Env": environment}).status_code == 200


def test_complete(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"])
    with planned("complete"):
        assert api.complete(payment).json()["status"] == "CONFIRMED"


def test_refund(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    with planned("refund"):
        assert api.refund(payment, {"amount": 5}).status_code == 200
    with planned("refund, by a key"):
        assert api.refund(payment, {"amount": 5}, **KEY).status_code == 200
    with planned("refund, repeated"):
        assert api.refund(payment, {"amount": 5}, **KEY).status_code == 200


def test_capture_and_cancel(api: GatewayApi, stripe: StripeEmulator) -> None:
    captured, canceled = api.authorized(stripe), api.authorized(stripe)
    with planned("capture"):
        assert api.capture(captured).status_code == 200
    with planned("cancel"):
        assert api.cancel(canceled).status_code == 200


@pytest.mark.parametrize(
    ("type_", "make"),
    [
        ("payment_intent.succeeded", lambda intent_id: make_paid_intent(id=intent_id)),
        ("charge.refunded", lambda intent_id: make_charge(payment_intent=intent_id)),
        ("refund.created", lambda intent_id: make_refund(payment_intent=intent_id)),
        ("charge.dispute.created", lambda intent_id: make_dispute(payment_intent=intent_id)),
    ],
)
def test_event(
    type_: str, make: Callable[[str], dict[str, Any]], api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = PaymentFactory.create(paid=type_ != "payment_intent.succeeded")
    event = signed_event(type_, make(str(payment.stripe_payment_intent_id)))
    with planned(type_):
        assert api.post_event(*event).json()["status"] == "processed"
    with planned("duplicate"):
        assert api.post_event(*event).json()["status"] == "processed"
    # What only its intent could tell of, and Stripe knows no such intent, waits for a while.
    foreign = "ignored" if type_ == "payment_intent.succeeded" else "received"
    with planned("foreign event"):
        assert api.post_event(*signed_event(type_, make("pi_foreign"))).json()["status"] == foreign


def test_admin_page_of_a_payment_and_an_event(admin_client: Client) -> None:
    payment = Payment.objects.latest("pk")
    with planned("admin, payment"):
        assert admin_client.get(f"{LISTS}payment/{payment.pk}/change/").status_code == 200
    event = WebhookEvent.objects.about(payment).get()
    with planned("admin, event"):
        assert admin_client.get(f"{LISTS}webhookevent/{event.pk}/change/").status_code == 200


TYPED_IN: dict[str, list[dict[str, Any]]] = {
    "payment": [{"currency": "xxx"}, {"created_at__gte": MONTH_START, "created_at__lt": MONTH_END}],
    "concern": [{"code": "gone"}, {"state": "all", "code": "refund_failed"}],
    "balancetransaction": [{"moved_at__gte": MONTH_START, "moved_at__lt": MONTH_END}, {"q": "txn_fill7"}],
    "webhookevent": [{"type": "x.y"}, {"received_at__gte": MONTH_START, "received_at__lt": MONTH_END}],
}


@pytest.mark.parametrize("name", ["payment", "webhookevent", "concern", "balancetransaction"])
def test_admin_list_and_its_filters(name: str, admin_client: Client, subtests: pytest.Subtests) -> None:
    with planned(f"{name} list"):
        page = admin_client.get(f"{LISTS}{name}/")
    typed_in = [f"?{urlencode(parameters)}" for parameters in TYPED_IN[name]]
    for query in [*find_filters(page.context["cl"]), *typed_in]:
        with subtests.test(query), planned(f"{name} {query}"):
            assert admin_client.get(f"{LISTS}{name}/{query}").status_code == 200


def find_filters(change_list: Any) -> list[str]:
    """Return the addresses that the list's filters, headings and last page link to."""
    filters = [
        choice["query_string"] for spec in change_list.filter_specs for choice in spec.choices(change_list)
    ]
    columns = [list(change_list.list_display).index(name) for name in change_list.sortable_by]
    headings = [f"?o={sign}{column}" for column in columns for sign in ("", "-")]
    return [*dict.fromkeys(filters), *headings, f"?p={change_list.paginator.num_pages}"]


SEARCHES: dict[str, Callable[[Payment], Any]] = {
    "id": lambda payment: payment.pk,
    "uuid": lambda payment: payment.uuid,
    "reference": lambda payment: payment.reseller_reference,
    "beginning of references": lambda payment: payment.reseller_reference[:-3],
    "intent": lambda payment: payment.stripe_payment_intent_id,
    "beginning of intents": lambda payment: str(payment.stripe_payment_intent_id)[:-3],
    "charge": lambda payment: payment.stripe_charge_id,
    "refund": lambda _: "re_fill7",
    "event": lambda payment: WebhookEvent.objects.about(payment).get().stripe_event_id,
    "nothing": lambda _: "nothing",
    "any intent": lambda _: "pi_",
}


@pytest.mark.parametrize("name", ["payment", "webhookevent"])
@pytest.mark.parametrize("by", SEARCHES)
def test_admin_search(by: str, name: str, admin_client: Client) -> None:
    term = SEARCHES[by](Payment.objects.latest("pk"))
    with planned(f"{name} by {by}"):
        assert admin_client.get(f"{LISTS}{name}/", {"q": term}).status_code == 200


def test_admin_index(admin_client: Client) -> None:
    with planned("admin, index"):
        assert admin_client.get("/admin/").status_code == 200


def test_admin_reprocesses_all_events(admin_client: Client) -> None:
    WebhookEventFactory.create(failed=True)
    body = {"action": "reprocess_selected", "_selected_action": "1", "select_across": "1"}
    with planned("reprocess all"):
        assert admin_client.post(f"{LISTS}webhookevent/", body).status_code == 200


def test_payments_of_a_payable(admin_client: Client) -> None:
    payment = Payment.objects.filter(payable_type=ContentType.objects.get_for_model(Booking)).latest("pk")
    booking = Booking.objects.create(pk=payment.payable_id)
    with planned("payable's payments"):
        assert list(booking.payments.all()) == [payment]
    with planned("payable's page"):
        assert admin_client.get(f"/admin/shop/booking/{booking.pk}/change/").status_code == 200


def test_making_due() -> None:
    with planned("make due", most=ROWS // 20):
        upkeep.make_due()


@pytest.mark.parametrize("days", [2, YEARS * 365])
def test_reconciling_what_was_created_in_two_days(days: int) -> None:
    """Two days now, and two long ago."""
    since = timezone.now() - dt.timedelta(days=days)
    payments = Payment.objects.created_between(since, since + dt.timedelta(days=2))
    with planned("reconcile, two days"):
        assert sum(map(len, iterate_batches(payments, by="created_at"))) >= ROWS // 1000


def test_reconciling_one(api: GatewayApi, stripe: StripeEmulator) -> None:
    now = timezone.now()
    stripe.confirm(api.create().json()["stripePaymentIntentId"])
    with planned("reconcile, one"):
        call_command("reconcile_payments", "--from", now.isoformat())
    assert Payment.objects.latest("pk").status == "paid"


@pytest.mark.parametrize("days", pictures.PERIODS)
def test_pictures(days: int, admin_client: Client) -> None:
    with planned(f"pictures, {days} days"):
        page = admin_client.get(f"{LISTS}payment/pictures/", {"days": days})
    assert b"<rect" in page.content


@pytest.mark.parametrize("days", [2, YEARS * 365])
def test_exporting_two_days(days: int) -> None:
    """Two days now, and two long ago."""
    since = timezone.now() - dt.timedelta(days=days)
    until = since + dt.timedelta(days=2)
    with planned("export"):
        lines = list(export_payments(Payment.objects.created_between(since, until)))
    assert len(lines) >= ROWS // 1000
    with planned("export movements"):
        list(export_movements(BalanceTransaction.objects.moved_between(since, until)))


def test_claiming_what_is_due() -> None:
    now = timezone.now()
    newest = list(Payment.objects.order_by("-pk").values_list("pk", flat=True)[:1000])
    Payment.objects.filter(pk__in=newest).update(next_check_at=now)
    # A claim sorts all that is due, and reads nothing else.
    due = Payment.objects.filter(next_check_at__lte=now).count()
    with planned("count due", most=due):
        assert Work(upkeep.SYNCS, limit=100_000).count() >= 1000
    with planned("claim due", most=due):
        assert len(due_work._claim(upkeep.SYNCS, limit=200)[0]) == 200
    Payment.objects.filter(pk__in=newest).update(next_booking_at=now)
    unbooked = Payment.objects.filter(next_booking_at__lte=now).count()
    with planned("count unbooked", most=unbooked):
        assert Work(upkeep.BOOKS, limit=100_000).count() >= 1000
    with planned("claim unbooked", most=unbooked):
        assert len(due_work._claim(upkeep.BOOKS, limit=200)[0]) == 200
    steps: tuple[Step[Any], ...] = (
        upkeep.SUMS,
        upkeep.EVENTS,
        upkeep.EXPIRIES,
        upkeep.CAPTURES,
        upkeep.INSTALLMENTS,
    )
    for step in steps:
        with planned(f"claim, {type(step).__name__}"):
            due_work._claim(step, limit=200)


def skip_unless_sampled(statistics: str) -> None:
    if statistics != "sampled":
        pytest.skip("It counts what is rare, which PostgreSQL has to know.")


@pytest.mark.parametrize("finder", [find_missing_events, find_backlogs, find_concerns])
def test_diagnosing(finder: Callable[..., Iterator[Diagnosis]], statistics: str) -> None:
    skip_unless_sampled(statistics)
    cutoff = () if finder is find_concerns else (timezone.now() - dt.timedelta(minutes=15),)
    with planned(f"diagnosing: {finder.__name__}"):
        list(finder(*cutoff))


def test_pruning() -> None:
    # A key means its first request for as long as that can be asked for.
    before = [model.objects.count() for model in (WebhookEvent, PaymentChange)]
    days = str(YEARS * 365 - 2)
    with planned("prune"):
        call_command("prune_records", "--event-days", days, "--key-days", days, "--change-days", days)
    after = [model.objects.count() for model in (WebhookEvent, PaymentChange)]
    assert all(few < many for few, many in zip(after, before, strict=True))


def test_maintenance(stripe: StripeEmulator) -> None:
    with planned("maintain"):
        done = run_upkeep(limit=20, threads=1)
    idle = {kind for kind, counts in done.items() if not counts}
    # What has moved since payables were last asked, and a night: the rows have neither.
    assert idle <= {"deadlines", "dues", "reconciliation"}


def test_doctor(statistics: str, stripe: StripeEmulator) -> None:
    skip_unless_sampled(statistics)
    with planned("doctor"):
        examine(patience=dt.timedelta(minutes=15))


def test_delivering_what_listeners_have_to_hear_again() -> None:
    with planned("deliver"):
        assert upkeep.work_off(upkeep.DELIVERIES, limit=20) == {"delivered": 20}
