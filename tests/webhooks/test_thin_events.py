"""Thin events name their object only: it is fetched, and what nobody handles is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import BadRequestError, StripeUnavailableError
from octo_stripe_gateway.ledger.rules import TIE_PAUSE
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals, later

pytestmark = pytest.mark.django_db

SUCCEEDED = "payment_intent.succeeded"


def deliver(api: GatewayApi, stripe: StripeEmulator, event_type: str) -> Any:
    api.client.raise_request_exception = False
    return api.post_event(*stripe.signed(event_type, payload="thin"))


def process_again(api: GatewayApi) -> str:
    return inbox.process_event(WebhookEvent.objects.get()).status


def test_payment_told_by_a_thin_event_is_confirmed(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.paid_at_stripe(stripe)
    answer = deliver(api, stripe, SUCCEEDED)
    assert (answer.status_code, answer.json()["status"]) == (200, "processed")
    row, event = Payment.objects.get(), WebhookEvent.objects.get()
    assert (row.status, event.type, event.payment_intent_id) == (
        "paid",
        SUCCEEDED,
        row.stripe_payment_intent_id,
    )
    assert "client_secret" not in json.dumps(event.payload)
    assert_ledger_equals(stripe)


@pytest.mark.parametrize(
    ("event_type", "column", "value"),
    [
        ("charge.refunded", "amount_refunded", 500),
        ("refund.created", "amount_refunded", 500),
        ("charge.dispute.created", "disputed", True),
    ],
)
def test_what_happens_to_the_money_is_told_by_thin_events_too(
    event_type: str, column: str, value: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    stripe.refund(payment["stripePaymentIntentId"], amount=500)
    stripe.open_dispute(payment["stripePaymentIntentId"])
    assert deliver(api, stripe, event_type).status_code == 200
    assert getattr(Payment.objects.get(), column) == value


def test_fraud_warning_told_by_a_thin_event_is_heard_of(
    api: GatewayApi, stripe: StripeEmulator, configure: Any
) -> None:
    configure(REFUND_FRAUD_WARNINGS=True)
    payment = api.paid(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    assert deliver(api, stripe, "radar.early_fraud_warning.created").status_code == 200
    assert Payment.objects.get().status == "refunded"


@pytest.mark.django_db(transaction=True)
def test_object_is_fetched_outside_of_every_transaction(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_transaction: list[bool] = []
    retrieve = stripe_client.retrieve_object

    def note(*asked: Any, **named: Any) -> Any:
        in_transaction.append(connection.in_atomic_block)
        return retrieve(*asked, **named)

    monkeypatch.setattr(stripe_client, "retrieve_object", note)
    api.paid_at_stripe(stripe)
    assert deliver(api, stripe, SUCCEEDED).status_code == 200
    assert in_transaction == [False]


def test_event_whose_object_can_not_be_fetched_is_kept_and_tried_again(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    api.paid_at_stripe(stripe)
    stripe.add_fault(Fault(method="GET"))
    assert deliver(api, stripe, SUCCEEDED).status_code == 503
    assert (WebhookEvent.objects.get().status, Payment.objects.get().status) == ("failed", "pending")
    assert process_again(api) == "processed"
    assert Payment.objects.get().status == "paid"


def test_event_that_is_done_asks_stripe_no_more(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.paid_at_stripe(stripe)
    deliver(api, stripe, SUCCEEDED)
    asked = len(stripe.requests)
    assert deliver(api, stripe, SUCCEEDED).json()["status"] == "processed"
    assert len(stripe.requests) == asked


def test_event_that_waits_for_a_worker_is_fetched_by_it(
    api: GatewayApi, stripe: StripeEmulator, configure: Any, settings: Any
) -> None:
    tasks = pytest.importorskip("octo_stripe_gateway.webhooks.tasks")
    framework = tasks.task.__module__.partition(".tasks")[0]
    name = "django.tasks" if framework == "django" else "django_tasks"
    settings.TASKS = {"default": {"BACKEND": f"{name}.backends.immediate.ImmediateBackend"}}
    configure(WEBHOOK_PROCESSING="task")
    api.paid_at_stripe(stripe)
    assert deliver(api, stripe, SUCCEEDED).status_code == 200
    assert (WebhookEvent.objects.get().status, Payment.objects.get().status) == ("processed", "paid")


def test_handler_of_the_hosts_gets_the_object_too(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})

    @handlers.register(SUCCEEDED)
    def hear(event: WebhookEvent, payment: Payment | None) -> None:
        heard.append((event.stripe_object["id"], payment and payment.status))

    payment = api.paid_at_stripe(stripe)
    deliver(api, stripe, SUCCEEDED)
    assert heard == [(payment["stripePaymentIntentId"], "paid")]


def test_connected_accounts_event_is_its_own(api: GatewayApi, stripe: StripeEmulator) -> None:
    stripe.connect_account("acct_lyon")
    payment = services.create_payment(2000, stripe_account="acct_lyon").payment
    stripe.confirm(str(payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    assert deliver(api, stripe, SUCCEEDED).status_code == 200
    assert (WebhookEvent.objects.get().stripe_account, Payment.objects.get().status) == ("acct_lyon", "paid")


def test_refund_owed_because_of_a_thin_event_is_made_at_once(api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": str(booking.pk)}})
    booking.delete()
    assert deliver(api, stripe, SUCCEEDED).status_code == 200
    assert Payment.objects.get().status == "refunded"


@pytest.mark.parametrize("event_type", ["payment_intent.created", "charge.succeeded"])
def test_thin_event_that_nobody_handles_is_refused(
    event_type: str, api: GatewayApi, stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    api.paid_at_stripe(stripe)
    answer = deliver(api, stripe, event_type)
    assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
    assert not WebhookEvent.objects.exists()
    assert "event destination that sends thin events" in caplog.text
    assert f"v1.{event_type}" in caplog.text


@pytest.mark.parametrize(
    "related", [None, {}, {"url": 1}, {"url": "/v2/core/accounts/acct_1"}, {"url": "//evil.example/v1/"}]
)
def test_thin_event_without_an_object_to_ask_for_is_refused(
    related: Any, payment: Payment, caplog: pytest.LogCaptureFixture
) -> None:
    thin = {
        "id": "evt_65",
        "object": "v2.core.event",
        "type": f"v1.{SUCCEEDED}",
        "created": "2027-01-15T08:00:00.000Z",
        "livemode": False,
        "related_object": related,
    }
    with pytest.raises(BadRequestError):
        inbox.receive_event(thin)
    assert "event destination that sends thin events" in caplog.text
    assert not WebhookEvent.objects.exists()


def test_error_of_the_call_is_the_one_that_is_raised(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.paid_at_stripe(stripe)
    body, _signature = stripe.signed(SUCCEEDED, payload="thin")
    stripe.add_fault(Fault(kind="reset", method="GET"))
    with pytest.raises(StripeUnavailableError):
        inbox.receive_event(json.loads(body))


def test_refund_that_its_charge_tells_of_first_counts_once(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    with later(stripe):
        # What is asked for is dated a second early, so that the refund seems later than its charge's total.
        stripe.refund(payment["stripePaymentIntentId"], amount=500)
        deliver(api, stripe, "charge.refunded")
        api.post_event(*stripe.signed("refund.created"))
    assert Payment.objects.get().amount_refunded == 500


def test_payment_is_synced_where_a_thin_event_may_be_later_than_it_says(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_pendingRefund")
    api.complete(payment)
    refund = stripe.refund(payment["stripePaymentIntentId"], amount=500)
    now = stripe.clock()
    stripe.clock = lambda: now + 5
    stripe.settle_refund(refund["id"], status="succeeded")
    api.post_event(*stripe.signed("refund.updated"))
    stripe.settle_refund(refund["id"], status="failed")
    deliver(api, stripe, "refund.failed")
    stripe.clock = lambda: now + 10
    services.sync_payment(Payment.objects.due_for_check(now=timezone.now() + TIE_PAUSE).get())
    assert_ledger_equals(stripe)
