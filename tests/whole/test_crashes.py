"""A process is killed at each step of each operation, and a repeat or reconciliation alone heals it.

The killed process is a real one (`crash_child.py`), the signal is SIGKILL, and its request goes through
the API, as a client's would, to the tests' own PostgreSQL and to the emulator.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.models import Concern, PayableLock, Payment, StripeRequest
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.cases import one_in
from tests.support.crash_child import POINTS, call_service, send
from tests.support.ledger import assert_ledger_equals, later, sync_unsettled

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "connection.vendor == 'sqlite'", reason="another process cannot open SQLite's in-memory database"
    ),
]

HEALERS = ("retry", "reconcile")
KILLED = -9


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation: the payment it starts from, the request, and the status if done and if never begun."""

    start: str
    path: str
    done: str
    undone: str
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    method: str = "POST"
    call: str = "post"
    keyed: bool = False
    refunds: tuple[int, ...] = ()
    points: tuple[str, ...] = POINTS
    resumes_from: str = "reserved"
    """The first point after which reconciliation ends what the client began."""

    reconcile: Callable[[], object] = sync_unsettled
    repeated_status: int = 200
    """What a repeat is answered after the operation was done, and only its answer was lost."""


PAYMENT = {"amount": 2000, "currency": "usd", "uuid": str(uuid.uuid4())}
OPERATIONS = {
    "create": Operation(
        start="nothing",
        path="/payments",
        body=PAYMENT,
        undone="",
        done="pending",
        repeated_status=201,
    ),
    "create, by key": Operation(
        start="nothing",
        path="/payments",
        body={"amount": 2000, "currency": "usd"},
        keyed=True,
        undone="",
        done="pending",
        repeated_status=201,
    ),
    "complete": Operation(
        start="paid at Stripe",
        method="PATCH",
        path="/payments/{id}/complete",
        call="get",
        undone="paid",
        done="paid",
        points=POINTS[1:],
    ),
    "refund": Operation(
        start="paid",
        path="/payments/{id}/refund",
        refunds=(2000,),
        undone="paid",
        done="refunded",
        repeated_status=422,
    ),
    "refund, by key": Operation(
        start="paid",
        path="/payments/{id}/refund",
        keyed=True,
        refunds=(2000,),
        undone="paid",
        done="refunded",
    ),
    # Not "applied": without a key, a repeat of a partial refund that was answered is a new refund.
    "partial refund": Operation(
        start="paid",
        path="/payments/{id}/refund",
        body={"amount": 500},
        refunds=(500,),
        undone="paid",
        done="paid",
        points=POINTS[:-1],
    ),
    "partial refund, by key": Operation(
        start="paid",
        path="/payments/{id}/refund",
        body={"amount": 500},
        keyed=True,
        refunds=(500,),
        undone="paid",
        done="paid",
    ),
    "capture": Operation(start="authorized", path="/payments/{id}/capture", undone="authorized", done="paid"),
    "partial capture": Operation(
        start="authorized",
        path="/payments/{id}/capture",
        body={"amount": 700},
        keyed=True,
        undone="authorized",
        done="paid",
    ),
    "cancel": Operation(
        start="authorized",
        path="/payments/{id}/cancel",
        keyed=True,
        undone="authorized",
        done="canceled",
    ),
    "cancel unpaid": Operation(
        start="unpaid", path="/payments/{id}/cancel", undone="pending", done="canceled"
    ),
    "event of a success": Operation(
        start="paid at Stripe",
        path="/webhooks",
        call="",
        undone="paid",
        done="paid",
        points=POINTS[3:],
    ),
    # A paid payment is settled: only a check of everything since a date asks about it.
    "event of a refund": Operation(
        start="refunded at Stripe",
        reconcile=lambda: call_command("reconcile_payments", "--from", "2026-01-01"),
        path="/webhooks",
        call="",
        refunds=(800,),
        undone="paid",
        done="paid",
        points=POINTS[3:],
    ),
}
CELLS = [
    pytest.param(name, point, healer, id=f"{name}-{point}-{healer}".replace(" ", "_"))
    for name, operation in OPERATIONS.items()
    for point in operation.points
    for healer in HEALERS
]


class Crasher:
    """Talks to the process that forks a victim for each request."""

    def __init__(self, *, database: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crash_child", database],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def crash(self, **job: Any) -> int:
        """Return how the process ended, a signal as a negative number."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def crasher(django_db_setup: None) -> Iterator[Crasher]:
    crasher = Crasher(database=str(connection.settings_dict["NAME"]))
    yield crasher
    crasher.close()


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], list[str]]]:
    """Collects what healed which crash, and prints it at the end."""
    healed: dict[tuple[str, str], list[str]] = {}
    yield healed
    lines = [
        "",
        "",
        "Killed at (column), healed by:",
        f"{'':24}" + "".join(f"{point:18}" for point in POINTS),
    ]
    for name, operation in OPERATIONS.items():
        cells = [
            ", ".join(healed.get((name, point), ["?"])) if point in operation.points else "-"
            for point in POINTS
        ]
        lines.append(f"{name:24}" + "".join(f"{cell:18}" for cell in cells).rstrip())
    lines.append("* left undone: nothing had been reserved, and the client was not answered")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize(("name", "point", "healer"), one_in(8, CELLS))
def test_crash_is_healed(
    name: str,
    point: str,
    healer: str,
    api: GatewayApi,
    stripe: StripeEmulator,
    crasher: Crasher,
    table: dict[tuple[str, str], list[str]],
) -> None:
    operation = OPERATIONS[name]
    request = prepare(operation, api=api, stripe=stripe)
    ended = crasher.crash(**request, point=point, call=operation.call, stripe=stripe.url)
    assert ended == KILLED, "the operation never came to this point"

    if healer == "retry":
        assert_retry_ends(operation, request=request, point=point, api=api)
    else:
        operation.reconcile()
    done = healer == "retry" or POINTS.index(point) >= POINTS.index(operation.resumes_from)
    assert_ended(operation, done=done, stripe=stripe)

    assert {response.status_code for response in api.deliver(stripe)} <= {200}
    assert_ended(operation, done=done, stripe=stripe)
    table.setdefault((name, point), []).append(healer if done else f"{healer}*")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["reserved", "called"])
@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.keyed])
def test_client_may_repeat_by_key_after_reconciliation(
    name: str, point: str, api: GatewayApi, stripe: StripeEmulator, crasher: Crasher
) -> None:
    operation = OPERATIONS[name]
    request = prepare(operation, api=api, stripe=stripe)
    crasher.crash(**request, point=point, call=operation.call, stripe=stripe.url)
    operation.reconcile()
    assert_retry_ends(operation, request=request, point=point, api=api)
    assert_ended(operation, done=True, stripe=stripe)


def prepare(operation: Operation, *, api: GatewayApi, stripe: StripeEmulator) -> dict[str, Any]:
    """Bring a payment to where the operation starts, and return the request for it."""
    starts: dict[str, Callable[[], dict[str, Any]]] = {
        "nothing": dict,
        "unpaid": lambda: api.create().json(),
        "authorized": lambda: api.authorized(stripe),
        "paid at Stripe": lambda: api.paid_at_stripe(stripe),
        "paid": lambda: api.paid(stripe),
        "refunded at Stripe": lambda: api.paid(stripe),
    }
    payment = starts[operation.start]()
    if operation.start == "refunded at Stripe":
        stripe.refund(payment["stripePaymentIntentId"], amount=800)
    return get_request(operation, payment=payment, stripe=stripe)


def get_request(operation: Operation, *, payment: dict[str, Any], stripe: StripeEmulator) -> dict[str, Any]:
    body = json.dumps(operation.body) if operation.body else ""
    headers = {"Authorization": "Bearer gateway-key"}
    if operation.keyed:
        headers["Idempotency-Key"] = "the-client's"
    if operation.path == "/webhooks":
        event_type = "refund.created" if operation.refunds else "payment_intent.succeeded"
        signed, signature = stripe.signed(event_type)
        body, headers = signed.decode(), {"Stripe-Signature": signature}
    path = "/bookings" + operation.path.format_map(payment)
    return {"method": operation.method, "path": path, "body": body, "headers": headers}


def assert_retry_ends(operation: Operation, *, request: dict[str, Any], point: str, api: GatewayApi) -> None:
    response = send(request, client=api.client)
    usual = 201 if operation.start == "nothing" else 200
    expected = operation.repeated_status if point == "applied" else usual
    assert response.status_code == expected, response.content
    if operation.start == "nothing":
        assert response.json()["stripeClientSecret"]


def assert_ended(operation: Operation, *, done: bool, stripe: StripeEmulator) -> None:
    """Check that everything was done exactly once, and that the ledger says so."""
    status = operation.done if done else operation.undone
    assert list(Payment.objects.values_list("status", flat=True)) == ([status] if status else [])
    assert len(stripe.payment_intents) == bool(status)
    refunds = operation.refunds if done or operation.start == "refunded at Stripe" else ()
    assert [refund["amount"] for refund in stripe.refunds.values()] == list(refunds)
    assert len(stripe.charges) == (operation.start not in {"nothing", "unpaid"})
    assert_ledger_equals(stripe)


# A booking's money as a whole.

PRICE = 9000
DEPOSIT = 3000
RISE = 1000


@dataclasses.dataclass(frozen=True)
class Deed:
    """What is done with a booking, and the intents and refunds at Stripe afterwards.

    Each intent is a pair of status and amount.
    """

    start: str
    intents: tuple[tuple[str, int], ...]
    status: str
    refunds: tuple[int, ...] = ()
    service: str = ""
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    keyed: bool = False
    has_uuid: bool = False


UNPAID = "requires_payment_method"
DEEDS = {
    "create": Deed(start="nothing", intents=((UNPAID, PRICE),), status="pending"),
    "create by key": Deed(start="nothing", intents=((UNPAID, PRICE),), status="pending", keyed=True),
    "create after a rise": Deed(start="old price", intents=((UNPAID, PRICE),), status="pending"),
    "create by key after a rise": Deed(
        start="old price", intents=((UNPAID, PRICE),), status="pending", keyed=True
    ),
    "replace": Deed(
        start="open", intents=(("canceled", PRICE), (UNPAID, PRICE)), status="pending", has_uuid=True
    ),
    "replace after a rise": Deed(
        start="old price",
        intents=(("canceled", PRICE - 500), (UNPAID, PRICE)),
        status="pending",
        has_uuid=True,
    ),
    "expire": Deed(
        start="late",
        intents=(("canceled", PRICE),),
        status="expired",
        service="expire_payment",
    ),
    "refund all": Deed(
        start="paid in parts",
        intents=(("succeeded", DEPOSIT), ("succeeded", PRICE - DEPOSIT)),
        status="refunded",
        refunds=(PRICE - DEPOSIT, DEPOSIT),
        service="refund_payable",
    ),
    "refund some by key": Deed(
        start="paid in parts",
        intents=(("succeeded", DEPOSIT), ("succeeded", PRICE - DEPOSIT)),
        status="refunded",
        refunds=(PRICE - DEPOSIT, 1000),
        service="refund_payable",
        arguments={"amount": PRICE - DEPOSIT + 1000},
        keyed=True,
    ),
    # Four fifths go back, of both payments, and one that is open is canceled.
    "cancel": Deed(
        start="paid in parts and open",
        intents=(("succeeded", DEPOSIT), ("succeeded", PRICE - DEPOSIT), ("canceled", RISE)),
        status="canceled",
        refunds=(PRICE - DEPOSIT, 1200),
        service="cancel_payable",
    ),
    "create by link": Deed(start="link", intents=((UNPAID, PRICE),), status="pending"),
}


@pytest.mark.slow
@pytest.mark.parametrize("healer", HEALERS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", DEEDS)
def test_crash_with_a_booking_is_healed(
    name: str, point: str, healer: str, api: GatewayApi, stripe: StripeEmulator, crasher: Crasher
) -> None:
    deed = DEEDS[name]
    for passes in itertools.count():
        booking = Booking.objects.create(price=PRICE, currency="usd")
        job = prepare_deed(deed, booking=booking, api=api, stripe=stripe)
        ended = crasher.crash(**job, point=point, passes=passes, call="post", stripe=stripe.url)
        if ended != KILLED:
            break
        if healer == "reconcile":
            sync_unsettled()
            assert_settled(booking, stripe=stripe)
        change_terms(booking)
        do_deed(job, api=api)
        assert_done(deed, booking=booking, stripe=stripe)
    assert (ended, passes > 0) == (0, True)
    assert {response.status_code for response in api.deliver(stripe)} <= {200}
    assert_settled(booking, stripe=stripe)
    assert_done(deed, booking=booking, stripe=stripe)


@pytest.mark.slow
@pytest.mark.parametrize("healer", HEALERS)
@pytest.mark.parametrize("point", POINTS[1:])
def test_crash_after_paying_by_link_is_healed(
    point: str, healer: str, api: GatewayApi, stripe: StripeEmulator, crasher: Crasher
) -> None:
    booking = Booking.objects.create(price=PRICE, currency="usd")
    link = services.create_payment_link(booking)
    path, complete = f"{link}/payments", {"method": "PATCH", "body": "", "headers": {}}
    created = send({**complete, "method": "POST", "path": path}, client=api.client).json()
    stripe.confirm(created["stripeClientSecret"].partition("_secret")[0])
    complete["path"] = f"{path}/{created['uuid']}/complete"
    assert crasher.crash(**complete, point=point, call="get", stripe=stripe.url) == KILLED
    if healer == "reconcile":
        sync_unsettled()
    else:
        assert send(complete, client=api.client).json()["status"] == "CONFIRMED"
    assert send({**complete, "method": "POST", "path": path}, client=api.client).status_code == 422
    assert {response.status_code for response in api.deliver(stripe)} <= {200}
    paid = Deed(start="link", intents=(("succeeded", PRICE),), status="paid")
    assert_done(paid, booking=booking, stripe=stripe)
    assert len(stripe.charges) == 1


@pytest.mark.slow
def test_cancellation_that_is_never_repeated_calls_an_operator(
    api: GatewayApi, stripe: StripeEmulator, crasher: Crasher
) -> None:
    booking = Booking.objects.create(price=PRICE, currency="usd")
    job = prepare_deed(DEEDS["cancel"], booking=booking, api=api, stripe=stripe)
    # It dies once the open payment is canceled, before a refund is on record.
    assert crasher.crash(**job, point="applied", call="post", stripe=stripe.url) == KILLED
    assert not StripeRequest.objects.filter(kind="refund").exists()
    assert PayableLock.objects.filter(next_update_at__gt=timezone.now()).update(next_update_at=timezone.now())
    run_upkeep(limit=100)
    concern = Concern.objects.open().get()
    assert (concern.code, concern.parameters["amount"]) == ("payable_overpaid", PRICE - 1800)
    call_service(job)
    run_upkeep(limit=100)
    assert not Concern.objects.open().exists()
    assert_done(DEEDS["cancel"], booking=booking, stripe=stripe)


@pytest.mark.slow
@pytest.mark.parametrize("is_won", [True, False])
@pytest.mark.parametrize("point", POINTS)
def test_what_is_disputed_after_a_crash_of_its_cancellation_is_not_refunded(
    point: str, is_won: bool, api: GatewayApi, stripe: StripeEmulator, crasher: Crasher
) -> None:
    for passes in itertools.count():
        booking = Booking.objects.create(price=PRICE, currency="usd")
        job = prepare_deed(DEEDS["cancel"], booking=booking, api=api, stripe=stripe)
        ended = crasher.crash(**job, point=point, passes=passes, call="post", stripe=stripe.url)
        if ended != KILLED:
            break
        intent_id = booking.payments.order_by("pk")[0].intent_id
        before = list_refunds(intent_id, stripe=stripe)
        dispute = stripe.open_dispute(intent_id)
        assert {response.status_code for response in api.deliver(stripe)} <= {200}
        change_terms(booking)
        for _each in range(2):
            with pytest.raises(GatewayError):
                call_service(job)
            sync_unsettled()
            run_upkeep(limit=100)
        assert list_refunds(intent_id, stripe=stripe) == before
        others = [each.intent_id for each in booking.payments.filter(status__in=["paid", "refunded"])]
        given = sum(sum(list_refunds(each, stripe=stripe)) for each in others)
        with later(stripe):
            stripe.close_dispute(dispute["id"], won=is_won)
        assert {response.status_code for response in api.deliver(stripe)} <= {200}
        change_terms(booking)
        call_service(job)
        lost = 0 if is_won else DEPOSIT - sum(before)
        # What the terms give, unless that and the loss have gone already.
        dues = services.get_dues(booking)
        assert (dues.refunded, dues.surplus) == (max(PRICE - 1800, given + lost), 0)
        assert_settled(booking, stripe=stripe)
    assert (ended, passes > 0) == (0, True)


def list_refunds(intent_id: str, *, stripe: StripeEmulator) -> list[int]:
    """Return the amounts of an intent's refunds that went through."""
    refunds = (each for each in stripe.refunds.values() if each["payment_intent"] == intent_id)
    return [each["amount"] for each in refunds if each["status"] == "succeeded"]


def prepare_deed(deed: Deed, *, booking: Booking, api: GatewayApi, stripe: StripeEmulator) -> dict[str, Any]:
    """Bring a booking to where the deed starts, and return the request or the call for it."""
    body: dict[str, Any] = {"payable": {"type": "booking", "id": booking.pk}}
    if deed.start == "old price":
        Booking.objects.filter(pk=booking.pk).update(price=PRICE - 500)
    if deed.start in {"open", "old price", "late"}:
        api.create(body)
    Booking.objects.filter(pk=booking.pk).update(price=PRICE)
    if deed.start == "late":
        Payment.objects.filter(payable_id=str(booking.pk)).update(expires_at=timezone.now())
    if deed.start.startswith("paid in parts"):
        pay_in_parts(booking, api=api, stripe=stripe)
    if deed.start.endswith("and open"):
        Booking.objects.filter(pk=booking.pk).update(price=PRICE + RISE)
        api.create(body)
        sold = {"price": PRICE, "terms": [["2099-01-01T00:00:00+00:00", "0.8"]]}
        booking.payments.filter(status="paid").update(refund_terms=sold)
    key = f"the client's for {booking.pk}"
    if deed.service:
        about = {"booking": booking.pk}
        if deed.service == "expire_payment":
            about = {"payment": Payment.objects.get(payable_id=str(booking.pk)).pk}
        keyed = {"key": key} if deed.keyed else {}
        return {"service": deed.service, "arguments": dict(deed.arguments), **about, **keyed}
    headers = {"Authorization": "Bearer gateway-key"} | ({"Idempotency-Key": key} if deed.keyed else {})
    if deed.has_uuid:
        body["uuid"] = str(uuid.uuid4())
    path = "/bookings/payments"
    if deed.start == "link":
        path, headers = f"{services.create_payment_link(booking)}/payments", {}
    return {"method": "POST", "path": path, "body": json.dumps(body), "headers": headers}


def pay_in_parts(booking: Booking, *, api: GatewayApi, stripe: StripeEmulator) -> None:
    """Pay a deposit and then the rest, by raising the price in between."""
    body = {"payable": {"type": "booking", "id": booking.pk}}
    for price in (DEPOSIT, PRICE):
        Booking.objects.filter(pk=booking.pk).update(price=price)
        assert api.paid(stripe, body)["status"] == "CONFIRMED"


def change_terms(booking: Booking) -> None:
    """Have what the terms give change, once it was decided."""
    if PayableLock.ledger.get_kept(booking) is not None:
        booking.payments.update(refund_terms={"price": PRICE, "terms": []})


def do_deed(job: dict[str, Any], *, api: GatewayApi) -> None:
    """Repeat the killed process's job; a create must be answered with its secret."""
    if "service" in job:
        call_service(job)
        return
    response = send(job, client=api.client)
    assert response.status_code == 201, response.content
    assert response.json()["stripeClientSecret"]


def assert_settled(booking: Booking, *, stripe: StripeEmulator) -> None:
    """Check that no request is still open, and that at most one intent can still be paid."""
    assert not StripeRequest.objects.open().exists()
    payable = [status for status, _amount in list_intents(booking, stripe=stripe) if status == UNPAID]
    assert len(payable) <= 1
    assert_ledger_equals(stripe)


def assert_done(deed: Deed, *, booking: Booking, stripe: StripeEmulator) -> None:
    """Check that Stripe did everything exactly once, and that the ledger says so."""
    assert list_intents(booking, stripe=stripe) == list(deed.intents)
    payments = list(booking.payments.order_by("pk"))
    assert len(payments) == len(deed.intents)
    assert (payments[-1].status, payments[-1].amount) == (deed.status, deed.intents[-1][1])
    ids = {payment.stripe_payment_intent_id for payment in payments}
    refunds = [refund for refund in stripe.refunds.values() if refund["payment_intent"] in ids]
    assert [refund["amount"] for refund in refunds] == list(deed.refunds)
    assert_settled(booking, stripe=stripe)


def list_intents(booking: Booking, *, stripe: StripeEmulator) -> list[tuple[str, int]]:
    """Return status and amount of the booking's intents at Stripe, those without a row included."""
    uuids = {str(payment.uuid) for payment in booking.payments.all()}
    intents = stripe.payment_intents.values()
    assert all(Payment.objects.filter(stripe_payment_intent_id=each["id"]).exists() for each in intents)
    return [
        (each["status"], each["amount"]) for each in intents if uuids.intersection(each["metadata"].values())
    ]
