"""With many rows, no query of the API, the admin or the commands reads a whole table.

`PLAN_ROWS=5000000 pytest tests/test_plans.py -m slow --log-cli-level=INFO` says what each statement takes.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import maintenance, services
from octo_stripe_gateway.admin import pagination
from octo_stripe_gateway.models import IdempotencyKey, Payment, Refund, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, WebhookEventFactory
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.objects import make_charge, make_dispute, make_paid_intent, make_refund

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db,
    pytest.mark.urls("tests.support.admin_urls"),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="asks PostgreSQL for its plans"),
]

ROWS = int(os.environ.get("PLAN_ROWS", "200000"))
# With fewer rows PostgreSQL rightly reads a table whole, which is a page or two of its file.
ENOUGH_ROWS = 100_000
# What a list counts, and the rows that it passes over for that where one in twenty is asked for.
COUNTED = min(pagination.MOST_COUNTED, ROWS // 100)
MOST_READ = 25 * COUNTED
YEARS = 3
LISTS = "/admin/octo_stripe_gateway/"

logger = logging.getLogger(__name__)


class Scan(NamedTuple):
    """How a plan reads a table."""

    table: str
    by: str
    rows: int
    is_limited: bool


class Plan(NamedTuple):
    """How a statement was run."""

    sql: str
    milliseconds: float
    scans: list[Scan]


@contextmanager
def planned(work: str) -> Iterator[None]:
    """Have each statement explained as it is made, and check that none reads a whole table."""
    plans: list[Plan] = []

    def explain(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        if "octo_stripe_gateway_" in sql:
            # What is there already may be found out by inserting it again.
            with suppress(psycopg.IntegrityError):
                plans.append(get_plan(sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(explain):
        yield
    assert plans
    for plan in plans:
        logger.info("%-24s %9.3f ms  %s  %s", work, plan.milliseconds, describe(plan), plan.sql)
    for plan in plans:
        assert_bounded(plan, work=work)


def get_plan(sql: str, params: Any) -> Plan:
    """Run a statement for its plan and its time, and undo it."""
    # Past Django's cursors: one of them may be the server's, which explains nothing.
    with connection.connection.cursor() as cursor:
        cursor.execute("SAVEPOINT planned")
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
            (explained,) = cursor.fetchone()[0]
        finally:
            cursor.execute("ROLLBACK TO SAVEPOINT planned")
    return Plan(sql, explained["Execution Time"], list(find_scans(explained["Plan"])))


def find_scans(node: dict[str, Any], *, is_limited: bool = False) -> Iterator[Scan]:
    """Yield how a plan reads our tables; what lies beneath a limit may end early."""
    is_limited = is_limited or node["Node Type"] == "Limit"
    if node["Node Type"].endswith("Scan") and node.get("Relation Name", "").startswith("octo_stripe_gateway"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        rows = (node["Actual Rows"] + removed) * node["Actual Loops"]
        by = node.get("Index Name") or node["Node Type"]
        yield Scan(node["Relation Name"], by, int(rows), is_limited)
    for each in node.get("Plans", []):
        yield from find_scans(each, is_limited=is_limited)


def describe(plan: Plan) -> str:
    return ", ".join(f"{scan.rows} by {scan.by}" for scan in plan.scans) or "writes"


def assert_bounded(plan: Plan, *, work: str) -> None:
    if ROWS < ENOUGH_ROWS:
        return
    for scan in plan.scans:
        assert scan.is_limited or scan.by != "Seq Scan", f"{work}: {scan}: {plan.sql}"
        assert scan.rows <= MOST_READ, f"{work}: {scan}: {plan.sql}"


@pytest.fixture(scope="module", autouse=True)
def rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Keep the rows for all of these tests: each undoes what it adds."""
    with django_db_blocker.unblock():
        fill(ROWS)
        yield
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE octo_stripe_gateway_payment CASCADE")
        connection.close()


@pytest.fixture(autouse=True)
def cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MOST_COUNTED", COUNTED)


def fill(count: int) -> None:
    """Write that many payments over some years, with an event each, and every tenth refunded."""
    payment = PaymentFactory.create(paid=True)
    at = f"now() - ({count} - n) * interval '1 second' * {YEARS * 365 * 86400 / count}"
    copy_rows(payment, count=count, own=get_payment_columns() | {"created_at": at})
    event = WebhookEventFactory.create(payment=payment, processed=True)
    own = get_event_columns() | {"received_at": at, "payment_id": f"{payment.pk} + n"}
    copy_rows(event, count=count, own=own)
    refund = RefundFactory.create(payment=payment)
    own = {"stripe_refund_id": "'re_fill' || n", "payment_id": f"{payment.pk} + n * 10"}
    copy_rows(refund, count=count // 10, own=own | {"status": choose({1000: "reserved"}, "succeeded")})
    key = IdempotencyKey.objects.create(key="fill", payment=payment, refund=refund)
    own = {"key": "'fill' || n", "payment_id": f"{payment.pk} + n * 10", "refund_id": f"{refund.pk} + n"}
    copy_rows(key, count=count // 10, own=own)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def get_payment_columns() -> dict[str, str]:
    booking, ticket = (ContentType.objects.get_for_model(model).pk for model in (Booking, Ticket))
    statuses = {10: "refunded", 9: "pending", 101: "failed", 1001: "authorized", 1003: "canceled"}
    return {
        "status": choose(statuses, "paid"),
        "currency": choose({3: "eur"}, "usd"),
        "disputed": "n % 10007 = 0",
        "livemode": "n % 10009 <> 0",
        "mismatch": choose({10037: "amount is 1, not 2000"}, ""),
        "payable_type_id": f"CASE WHEN n % 10039 = 0 THEN {ticket} WHEN n % 2 = 0 THEN {booking} END",
        "payable_id": "CASE WHEN n % 10039 = 0 OR n % 2 = 0 THEN n::text END",
        "reseller_reference": "'R-' || n",
        "stripe_payment_intent_id": "'pi_fill' || n",
        "stripe_charge_id": "'ch_fill' || n",
    }


def get_event_columns() -> dict[str, str]:
    types = {
        10: "charge.refunded",
        11: "refund.created",
        13: "refund.updated",
        17: "payment_intent.payment_failed",
        19: "payment_intent.requires_action",
        10007: "charge.dispute.created",
        10009: "payment_intent.canceled",
    }
    return {
        "stripe_event_id": "'evt_fill' || n",
        "type": choose(types, "payment_intent.succeeded"),
        "status": choose({7: "ignored", 10037: "failed", 10039: "received"}, "processed"),
        "livemode": "n % 10009 <> 0",
    }


def choose(values: dict[int, str], otherwise: str) -> str:
    """Return SQL for a value of every so manieth row, the rarest first."""
    cases = " ".join(f"WHEN n % {each} = 0 THEN '{value}'" for each, value in sorted(values.items())[::-1])
    return f"CASE {cases} ELSE '{otherwise}' END"


def copy_rows(
    row: Payment | Refund | WebhookEvent | IdempotencyKey, *, count: int, own: dict[str, str]
) -> None:
    """Write a row that many times, with what differs as SQL of the number n."""
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
def test_event(type_: str, make: Callable[[str], dict[str, Any]], api: GatewayApi) -> None:
    payment = PaymentFactory.create(paid=type_ != "payment_intent.succeeded")
    event = signed_event(type_, make(str(payment.stripe_payment_intent_id)))
    with planned(type_):
        assert api.post_event(*event).json()["status"] == "processed"
    with planned("duplicate"):
        assert api.post_event(*event).json()["status"] == "processed"
    with planned("foreign event"):
        assert api.post_event(*signed_event(type_, make("pi_foreign"))).json()["status"] == "ignored"


def test_admin_page_of_a_payment_and_an_event(admin_client: Client) -> None:
    payment = Payment.objects.latest("pk")
    with planned("admin, payment"):
        assert admin_client.get(f"{LISTS}payment/{payment.pk}/change/").status_code == 200
    event = payment.webhook_events.get()
    with planned("admin, event"):
        assert admin_client.get(f"{LISTS}webhookevent/{event.pk}/change/").status_code == 200


@pytest.mark.parametrize("name", ["payment", "webhookevent"])
def test_admin_list_and_its_filters(name: str, admin_client: Client) -> None:
    with planned(f"{name} list"):
        page = admin_client.get(f"{LISTS}{name}/")
    for query in find_filters(page.context["cl"]):
        with planned(f"{name} {query}"):
            assert admin_client.get(f"{LISTS}{name}/{query}").status_code == 200


def find_filters(change_list: Any) -> list[str]:
    """Return the addresses that the list's filters, headings and last page lead to."""
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
    "event": lambda payment: payment.webhook_events.get().stripe_event_id,
    "nothing": lambda _: "nothing",
    "any intent": lambda _: "pi_",
}


@pytest.mark.parametrize("name", ["payment", "webhookevent"])
@pytest.mark.parametrize("by", SEARCHES)
def test_admin_search(by: str, name: str, admin_client: Client) -> None:
    term = SEARCHES[by](Payment.objects.latest("pk"))
    with planned(f"{name} by {by}"):
        assert admin_client.get(f"{LISTS}{name}/", {"q": term}).status_code == 200


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


def test_reconciling_what_is_unsettled() -> None:
    now = timezone.now()
    unsettled = Payment.objects.unsettled(since=now - dt.timedelta(days=7), until=now)
    with planned("reconcile, unsettled"):
        assert sum(map(len, unsettled.in_batches(1000))) >= ROWS // 1001


@pytest.mark.parametrize("days", [2, YEARS * 365])
def test_reconciling_what_was_created_in_two_days(days: int) -> None:
    """Two days now, and two long ago."""
    since = timezone.now() - dt.timedelta(days=days)
    payments = Payment.objects.created_between(since, since + dt.timedelta(days=2))
    with planned("reconcile, two days"):
        assert next(payments.in_batches(100), None)


def test_reconciling_one(api: GatewayApi, stripe: StripeEmulator) -> None:
    now = timezone.now()
    stripe.confirm(api.create().json()["stripePaymentIntentId"])
    with planned("reconcile, one"):
        call_command("reconcile_payments", "--from", now.isoformat())
    assert Payment.objects.latest("pk").status == "paid"


def test_claiming_what_is_due() -> None:
    now = timezone.now()
    newest = list(Payment.objects.order_by("-pk").values_list("pk", flat=True)[:1000])
    Payment.objects.filter(pk__in=newest).update(next_check_at=now)
    with planned("count due"):
        assert services.count_due_payments(limit=100_000) >= 1000
    with planned("claim due"):
        assert len(services.claim_due_payments(limit=200).payments) == 200
    with planned("claim events"):
        maintenance._claim_due_events(limit=200)


def test_processing_events() -> None:
    now = timezone.now()
    with planned("process, find"):
        list(WebhookEvent.objects.unprocessed(until=now).order_by("pk").values_list("pk", flat=True))


def test_pruning_events() -> None:
    before = WebhookEvent.objects.count()
    with planned("prune"):
        call_command("prune_webhook_events", "--days", str(YEARS * 365 - 2))
    assert WebhookEvent.objects.count() < before
