"""A host that reads from a replica: what decides is read from the primary, however old the replica is."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.utils import timezone

from octo_stripe_gateway import services, signals, upkeep
from octo_stripe_gateway.models import Payment, PaymentChange, Refund, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import WebhookEventFactory
from octo_stripe_gateway.webhooks import inbox
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.objects import make_event, make_paid_intent
from tests.support.receivers import listening
from tests.support.replica import ReadsFromReplica, Replica
from tests.support.threads import needs_row_locks

pytestmark = [pytest.mark.django_db(transaction=True), needs_row_locks]

KEY = {"Idempotency-Key": "the-client's"}


@pytest.fixture(params=["empty", "old"])
def replica(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[Replica]:
    """A replica that never catches up, with nothing in it or with a payment's first state."""
    replica = Replica()
    replica.open()
    settings.DATABASE_ROUTERS = [ReadsFromReplica()]
    yield replica
    settings.DATABASE_ROUTERS = []
    ContentType.objects.clear_cache()
    replica.close()


@pytest.fixture
def old(replica: Replica, request: pytest.FixtureRequest) -> Any:
    """Let an old replica catch up to now; an empty one stays empty."""
    is_old = "old" in request.node.callspec.params.values()
    return replica.catch_up if is_old else lambda: None


def get_payment() -> Payment:
    return Payment.objects.using("default").get()


def test_public_reads_are_the_replicas(api: GatewayApi, stripe: StripeEmulator, replica: Replica) -> None:
    payment = api.create().json()
    assert api.retrieve(payment).status_code == 404
    replica.catch_up()
    api.paid_at_stripe(stripe)
    stripe.confirm(payment["stripePaymentIntentId"])
    api.complete(payment)
    assert api.retrieve(payment).json()["status"] == "PENDING"
    assert Payment.objects.get().status == "pending"


def test_paid_intent_is_completed(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    payment = api.create().json()
    old()
    stripe.confirm(payment["stripePaymentIntentId"])
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert api.complete(payment).json()["status"] == "CONFIRMED"


@pytest.mark.parametrize("call", ["capture", "cancel"])
def test_authorized_payment_is_captured_or_canceled(
    call: str, api: GatewayApi, stripe: StripeEmulator, old: Any
) -> None:
    payment = api.create({"amount": 2000, "currency": "usd", "captureMethod": "manual"}).json()
    old()
    stripe.confirm(payment["stripePaymentIntentId"])
    assert api.complete(payment).json()["status"] == "ON_HOLD"
    for _each in range(2):
        answer = getattr(api, call)(payment).json()
        assert answer["status"] == {"capture": "CONFIRMED", "cancel": "CANCELLED"}[call]
    assert get_payment().stripe_requests.using("default").filter(kind=call).count() == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_reserved_refund_is_found(when: Any, api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    payment = api.paid(stripe)
    old()
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when=when))
    assert api.refund(payment).status_code == 503
    assert api.refund(payment).json()["status"] == "REFUNDED"
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]
    assert Refund.objects.using("default").get().status == "succeeded"
    assert api.refund(payment).status_code == 422


def test_callers_key_is_found(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    same = {"amount": 2000, "uuid": str(uuid.uuid4())}
    for body, headers in (({"amount": 2000}, KEY), (same, {})):
        first = api.create(body, **headers)
        old()
        assert api.create(body, **headers).json() == first.json()
    assert len(stripe.payment_intents) == 2
    assert api.create({"amount": 1000}, **KEY).status_code == 422
    payment = api.paid(stripe)
    for _each in range(2):
        assert api.refund(payment, {"amount": 5}, **{"Idempotency-Key": "r"}).status_code == 200
    assert [refund["amount"] for refund in stripe.refunds.values()] == [5]


def test_refused_creation_is_asked_for_anew(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    stripe.add_fault(Fault(path="/v1/payment_intents$", status=400))
    assert api.create(**KEY).status_code == 400
    old()
    assert api.create(**KEY).status_code == 201
    assert StripeRequest.objects.using("default").count() == 2


def test_event_is_processed_once(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    api.create()
    old()
    payment = get_payment()
    payload = make_event(
        "payment_intent.succeeded", make_paid_intent(id=payment.stripe_payment_intent_id, latest_charge=None)
    )
    for _each in range(3):
        assert inbox.receive_event(payload).status == "processed"
    event = WebhookEvent.objects.using("default").get()
    assert (event.attempts, get_payment().status) == (1, "paid")


def test_event_that_waits_is_found(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    api.create()
    intent_id = get_payment().stripe_payment_intent_id
    payload = make_event("payment_intent.succeeded", make_paid_intent(id=intent_id, latest_charge=None))
    old()
    WebhookEvent.objects.create(
        stripe_event_id=payload["id"], type=payload["type"], payload=payload, status="failed"
    )
    run("maintain_payments", now=True)
    assert get_payment().status == "paid"
    WebhookEventFactory.create(processed=True)
    assert "1 event deleted" in run("prune_records", event_days=0)


def test_reconcile_finds_what_is_unsettled(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    payment = api.create().json()
    old()
    stripe.confirm(payment["stripePaymentIntentId"])
    services.complete_payment(get_payment())
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when="after"))
    assert api.refund(payment).status_code == 503
    run("maintain_payments", now=True)
    assert get_payment().status == "refunded"
    assert run("reconcile_payments", since="2020-01-01") == "1 payment checked, 0 changed"


def test_changes_are_delivered(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    heard: list[str] = []

    def receive(payment: Payment, **_: Any) -> None:
        heard.append(payment.status)
        if len(heard) == 1:
            raise RuntimeError

    payment = api.create().json()
    old()
    stripe.confirm(payment["stripePaymentIntentId"])
    with listening(signals.payment_succeeded, receive):
        api.complete(payment)
        PaymentChange.objects.exclude(deliver_at=None).update(deliver_at=timezone.now())
        assert upkeep.work_off(upkeep.DELIVERIES, limit=10) == {"delivered": 1}
    assert heard == ["paid", "paid"]


def test_payment_is_erased(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    payment = api.create({"amount": 2000, "metadata": {"guest": "Ada Lovelace"}}).json()
    old()
    assert run("erase_payment_data", str(payment["id"]), asks=False) == "1 payment erased"
    assert get_payment().metadata == {}


def test_price_is_the_primarys(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    booking = Booking.objects.create(price=500)
    old()
    Booking.objects.update(price=900)
    payment = api.create({"payable": {"type": "booking", "id": booking.pk}}).json()
    assert payment["amount"] == 900
    stripe.confirm(payment["stripePaymentIntentId"])
    assert api.complete(payment).json()["status"] == "CONFIRMED"


def test_what_ends_by_itself_is_found(api: GatewayApi, stripe: StripeEmulator, old: Any) -> None:
    payment = api.authorized(stripe)
    old()
    heard: list[int] = []
    now = timezone.now()
    Payment.objects.filter(pk=payment["id"]).update(expires_at=now, capture_before=now)
    with listening(signals.payment_capture_due, lambda payment, **_: heard.append(payment.pk)):
        assert upkeep.work_off(upkeep.CAPTURES, limit=10) == {"captures": 1}
    assert heard == [payment["id"]]
    Payment.objects.using("default").update(claimed_until=None)
    assert upkeep.work_off(upkeep.EXPIRIES, limit=10) == {"expired": 1}
    assert get_payment().status == "expired"


def run(command: str, *args: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out, **options)
    return out.getvalue().strip()
