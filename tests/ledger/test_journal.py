"""Who changed a payment, why, and from what to what."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger import journal
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.callers import KEYS, CallerApi, authenticate, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]


@pytest.fixture
def callers(configure: Callable[..., None]) -> None:
    configure(API_GATEWAY_KEY=KEYS, IDENTIFY_CALLER=authenticate)


def get_story(payment: Any) -> list[PaymentChange]:
    """Return all that happened to a payment, and because of what."""
    changes = PaymentChange.objects.filter(payment_id=payment["id"])
    return list(changes.select_related("event", "request").order_by("pk"))


def describe(change: PaymentChange) -> tuple[Any, ...]:
    event, request = change.event, change.request
    status = change.changes.get("status", [None, None])[1]
    return change.source, status, event and event.type, request and request.kind


def test_whole_story_of_a_payment_is_one_query(
    api: GatewayApi, stripe: StripeEmulator, django_assert_num_queries: Any
) -> None:
    payment = api.create().json()
    intent_id = payment["stripePaymentIntentId"]
    stripe.confirm(intent_id, payment_method="pm_card_chargeDeclined")
    api.deliver(stripe, "payment_intent.payment_failed")
    stripe.confirm(intent_id)
    api.complete(payment)
    api.deliver(stripe, "payment_intent.succeeded")
    api.refund(payment, {"amount": 500})
    dispute = stripe.open_dispute(intent_id, amount=300)
    stripe.close_dispute(dispute["id"], won=False)
    api.deliver(stripe, "charge.dispute.created", "charge.dispute.closed")
    with django_assert_num_queries(1):
        story = [describe(change) for change in get_story(payment)]
    assert story == [
        ("api", None, None, "create"),
        ("webhook", "failed", "payment_intent.payment_failed", None),
        ("api", "paid", None, None),
        ("api", None, None, None),
        ("api", None, None, "refund"),
        ("webhook", None, "charge.dispute.created", None),
        ("webhook", None, "charge.dispute.closed", None),
    ]


def test_change_says_what_it_was_and_what_it_became(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.refund(payment, {"amount": 500})
    created, paid, reserved, refunded = (change.changes for change in get_story(payment))
    assert created["stripe_payment_intent_id"] == [None, payment["stripePaymentIntentId"]]
    assert paid["status"] == ["pending", "paid"]
    assert paid["amount_received"] == [0, 2000]
    assert paid["accepted_at"][0] is None
    assert reserved == {"amount_reserved": [0, 500]}
    refund = Payment.objects.get().refunds.get()
    assert refunded == {
        "amount_reserved": [500, 0],
        "amount_refunded": [0, 500],
        f"refund {refund.uuid}": ["pending", "succeeded"],
    }


def test_disputes_are_in_the_story(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    dispute = stripe.open_dispute(payment["stripePaymentIntentId"], amount=300)
    stripe.close_dispute(dispute["id"], won=False)
    api.deliver(stripe, "charge.dispute.created", "charge.dispute.closed")
    opened, closed = (change.changes for change in get_story(payment)[-2:])
    assert opened == {f"dispute {dispute['id']}": ["", "needs_response"], "disputed": [False, True]}
    assert closed == {
        f"dispute {dispute['id']}": ["needs_response", "lost"],
        "disputed": [True, False],
        "amount_lost": [0, 300],
    }


def test_what_changes_nothing_is_not_in_the_story(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    before = len(get_story(payment))
    for _each in range(2):
        api.complete(payment)
        api.deliver(stripe)
        services.sync_payment(Payment.objects.get())
    assert len(get_story(payment)) == before


CALLERS = {
    "key:gateway-key": "",
    "key:viator-key": "key:viator",
    "key:klook-key-old": "key:klook",
    "user:ann": "auth.user:{ann}",
    "name:guest": "name:guest",
}


@pytest.mark.usefixtures("callers")
@pytest.mark.parametrize("caller", CALLERS)
def test_api_puts_changes_down_to_its_caller(caller: str, stripe: StripeEmulator) -> None:
    ann = make_user("ann", "refund_payment")
    api = CallerApi(caller)
    payment = api.paid(stripe)
    assert api.cancel(api.create().json()).status_code == 200
    actors = {(change.source, change.actor) for change in PaymentChange.objects.all()}
    assert actors == {("api", CALLERS[caller].format(ann=ann.pk))}
    assert len(get_story(payment)) == 2


@pytest.mark.usefixtures("callers")
def test_whoever_acts_on_another_s_payment_is_named(stripe: StripeEmulator) -> None:
    ann = make_user("ann", "refund_payment", "view_payment")
    payment = CallerApi("key:viator-key").paid(stripe)
    assert CallerApi("user:ann").refund(payment).status_code == 200
    actors = [change.actor for change in get_story(payment)]
    assert actors == ["key:viator"] * 2 + [f"auth.user:{ann.pk}"] * 2


def test_admin_puts_changes_down_to_its_user(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    url = reverse("admin:octo_stripe_gateway_payment_sync", args=[payment["id"]])
    client.post(url, {"key": "1ad5a3cb-5d3a-4a4b-9a52-1b5d4c0d8a55"})
    change = get_story(payment)[-1]
    assert (change.source, change.actor) == ("admin", "operator")
    assert change.changes["status"] == ["pending", "paid"]


def test_command_and_code_of_the_hosts_are_told_apart(api: GatewayApi, stripe: StripeEmulator) -> None:
    first, second = api.paid_at_stripe(stripe), api.paid_at_stripe(stripe)
    services.complete_payment(Payment.objects.get(pk=first["id"]))
    call_command("maintain_payments", "--now")
    assert get_story(first)[-1].source == "python"
    assert get_story(second)[-1].source == "command"


def test_host_names_who_acts(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    with acting(actor="night batch"):
        services.complete_payment(Payment.objects.get())
    change = get_story(payment)[-1]
    assert (change.source, change.actor) == ("python", "night batch")
    assert journal.get_cause() == journal.UNKNOWN_CAUSE


def test_inner_cause_keeps_what_it_does_not_name() -> None:
    with acting(source="admin", actor="operator"):
        with suppress(ZeroDivisionError), acting(request_id=5):
            assert journal.get_cause() == ("admin", "operator", None, 5)
            raise ZeroDivisionError
        assert journal.get_cause() == ("admin", "operator", None, None)


def test_story_stays_when_events_and_requests_are_pruned(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe)
    api.deliver(stripe, "payment_intent.succeeded")
    event, request = WebhookEvent.objects.get(), StripeRequest.objects.get()
    WebhookEvent.objects.all().delete()
    StripeRequest.objects.all().delete()
    created, paid = get_story(payment)
    assert (created.request_id, created.request) == (request.pk, None)
    assert (paid.event_id, paid.event) == (event.pk, None)
