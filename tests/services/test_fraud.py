"""What follows when a card's bank warns of fraud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin

from octo_stripe_gateway.admin.timeline import get_timeline
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals, list_concerns, settle_all, sync_unsettled
from tests.support.objects import make_event, make_fraud_warning

pytestmark = pytest.mark.django_db(transaction=True)

WARNING = "radar.early_fraud_warning.created"
TOLD = "unauthorized_use_of_card"
Configure = Callable[..., None]


@pytest.fixture
def refunding(configure: Configure) -> None:
    configure(REFUND_FRAUD_WARNINGS=True)


def get_payment() -> Payment:
    return Payment.objects.get()


def get_told() -> list[str]:
    changes = PaymentChange.objects.order_by("pk").values_list("changes", flat=True)
    told = [each["fraud warning"][1] for each in changes if "fraud warning" in each]
    return [f"{each['warning']}: {each['type']}" for each in told]


def count_refunds(stripe: StripeEmulator) -> int:
    return sum((each.method, each.path) == ("POST", "/v1/refunds") for each in stripe.requests)


def test_warning_calls_an_operator_and_refunds_nothing(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    warning = stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    assert {answer.status_code for answer in api.deliver(stripe, WARNING)} == {200}
    row = get_payment()
    assert (row.status, list_concerns(row)) == ("paid", ["fraud_warned"])
    assert get_told() == [f"{warning['id']}: {TOLD}"]
    change = PaymentChange.objects.latest("pk")
    assert (change.source, change.event and change.event.type) == ("webhook", WARNING)
    assert count_refunds(stripe) == 0


def test_warning_is_on_the_timeline(payment: Payment) -> None:
    inbox.receive_event(make_event(WARNING, make_fraud_warning()))
    entry = get_timeline(payment, site=admin.site, with_events=False)[-1]
    assert "bank warns of fraud: unauthorized use of card (issfr_1)" in entry.title
    assert entry.kind == "alert"


@pytest.mark.usefixtures("refunding")
@pytest.mark.parametrize("refunded", [0, 500])
def test_setting_refunds_what_is_left_at_once(api: GatewayApi, stripe: StripeEmulator, refunded: int) -> None:
    payment = api.paid(stripe)
    if refunded:
        api.refund(payment, {"amount": refunded})
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    for _each in range(2):
        assert {answer.status_code for answer in api.deliver(stripe, WARNING)} == {200}
    row = get_payment()
    assert (row.status, row.amount_refunded, list_concerns(row)) == ("refunded", 2000, [])
    refund = row.refunds.latest("pk")
    assert (refund.amount, refund.reason) == (2000 - refunded, "fraudulent")
    assert len(stripe.refunds) == 1 + bool(refunded)
    assert_ledger_equals(stripe)


@pytest.mark.usefixtures("refunding")
def test_setting_voids_what_is_only_authorized(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    api.deliver(stripe, WARNING)
    intent = stripe.payment_intents[payment["stripePaymentIntentId"]]
    assert (intent["status"], intent["cancellation_reason"]) == ("canceled", "fraudulent")
    assert get_payment().status == "canceled"


@pytest.mark.usefixtures("refunding")
def test_refund_that_gets_no_answer_is_made_up_for(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when="after"))
    assert {answer.status_code for answer in api.deliver(stripe, WARNING)} == {200}
    assert get_payment().amount_reserved == 2000
    sync_unsettled()
    assert get_payment().status == "refunded"
    assert len(stripe.refunds) == 1
    assert_ledger_equals(stripe)


@pytest.mark.usefixtures("refunding")
def test_process_that_dies_after_the_commit_leaves_the_refund_on_record(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.paid(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])

    def die(payment: Payment) -> Payment:
        # The event is committed, and so is the refund's request.
        assert WebhookEvent.objects.get(type=WARNING).status == "processed"
        assert StripeRequest.objects.open().get().kind == "refund"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "resume_requests", die)
        with pytest.raises(KeyboardInterrupt):
            api.deliver(stripe, WARNING)
    sync_unsettled()
    assert get_payment().status == "refunded"


@pytest.mark.usefixtures("refunding")
def test_operator_is_called_where_stripe_refuses_the_refund(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    stripe.drain_balance()
    assert {answer.status_code for answer in api.deliver(stripe, WARNING)} == {200}
    row = get_payment()
    assert (row.status, row.amount_reserved) == ("paid", 0)
    assert list_concerns(row) == ["fraud_refund_refused"]


def refund_it(api: GatewayApi, stripe: StripeEmulator, payment: Any) -> None:
    api.refund(payment)


def dispute_it(api: GatewayApi, stripe: StripeEmulator, payment: Any) -> None:
    stripe.open_dispute(payment["stripePaymentIntentId"])
    api.deliver(stripe, "charge.dispute.created")


@pytest.mark.parametrize("refunds", [True, False])
@pytest.mark.parametrize("settle", [refund_it, dispute_it])
def test_nothing_is_done_about_what_is_settled_already(
    api: GatewayApi, stripe: StripeEmulator, configure: Configure, settle: Any, refunds: bool
) -> None:
    configure(REFUND_FRAUD_WARNINGS=refunds)
    payment = api.paid(stripe)
    stripe.warn_of_fraud(payment["stripePaymentIntentId"])
    settle(api, stripe, payment)
    asked = count_refunds(stripe)
    # The event was made earlier, when the charge could still be refunded.
    api.deliver(stripe, WARNING)
    assert (count_refunds(stripe), list_concerns(get_payment())) == (asked, [])
    assert len(get_told()) == 1


@pytest.mark.usefixtures("refunding")
def test_warning_that_stripe_has_dealt_with_already_refunds_nothing(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    intent_id = api.paid(stripe)["stripePaymentIntentId"]
    warning = make_fraud_warning(actionable=False, payment_intent=intent_id)
    assert inbox.receive_event(make_event(WARNING, warning)).status == "processed"
    assert (count_refunds(stripe), list_concerns(get_payment())) == (0, [])
    assert len(get_told()) == 1


@pytest.mark.parametrize("refunds", [True, False])
def test_warning_that_comes_before_the_payment_is_known_to_be_paid_calls_an_operator(
    payment: Payment, configure: Configure, refunds: bool
) -> None:
    configure(REFUND_FRAUD_WARNINGS=refunds)
    inbox.receive_event(make_event(WARNING, make_fraud_warning()))
    assert list_concerns(get_payment()) == ["fraud_warned"]


def test_same_warning_in_another_event_is_on_record_once(payment: Payment) -> None:
    for second in (0, 1):
        event = make_event(WARNING, make_fraud_warning(), created=1_800_000_000 + second)
        assert inbox.receive_event(event).status == "processed"
        settle_all(get_payment(), reason="looked at")
    assert len(get_told()) == 1
    assert list_concerns(get_payment()) == []
    inbox.receive_event(make_event(WARNING, make_fraud_warning(id="issfr_2")))
    assert len(get_told()) == 2


def test_warning_of_an_old_api_version_is_taken_at_once(payment: Payment) -> None:
    event = inbox.receive_event(make_event(WARNING, make_fraud_warning(), api_version="2024-06-20"))
    assert event.status == "processed"
    assert len(get_told()) == 1


def test_warning_that_contradicts_its_payment_is_not_applied(payment: Payment) -> None:
    event = inbox.receive_event(make_event(WARNING, make_fraud_warning(livemode=True)))
    assert event.error_code
    assert list_concerns(get_payment()) == ["fraud_warning_differs"]
    assert get_told() == []


def test_warning_of_somebody_else_s_charge_is_ignored(payment: Payment, stripe: StripeEmulator) -> None:
    event = inbox.receive_event(make_event(WARNING, make_fraud_warning(payment_intent="pi_other")))
    event.refresh_from_db()
    assert event.status == "ignored"
