"""Forgetting a person while the books are kept."""

from __future__ import annotations

import uuid

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger.facts import Rejected, ReversalFailed
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.support.api import GatewayApi, When
from tests.support.ledger import settle_all
from tests.support.objects import read_rows

pytestmark = pytest.mark.django_db

PERSON = "Ada Lovelace"


@pytest.fixture
def paid(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    payment = api.paid(
        stripe,
        {
            "amount": 2000,
            "metadata": {"guest": PERSON},
            "resellerReference": PERSON,
            "description": PERSON,
            "receiptEmail": "ada@example.com",
        },
    )
    api.deliver(stripe)
    return Payment.objects.get(pk=payment["id"])


def reject_for(payment: Payment, *, words: str) -> None:
    with lock_payment(payment) as locked:
        record(locked, Rejected("host", {"words": words}))
        record(locked, ReversalFailed())


def describe() -> str:
    return str([read_rows(model) for model in apps.get_app_config("octo_stripe_gateway").get_models()])


def test_nothing_of_the_person_is_left(paid: Payment) -> None:
    reject_for(paid, words=f"{PERSON} has booked twice.")
    settle_all(paid, reason=f"{PERSON} has called.")
    PaymentChange.objects.update(delivery_errors={"shop.on": ["ValueError", PERSON]})
    assert describe().count(PERSON) > 8
    call_command("erase_payment_data", "--no-input", str(paid.uuid))
    assert PERSON not in describe()
    assert "ada@example.com" not in describe()


def test_rejected_payment_stays_rejected(paid: Payment) -> None:
    reject_for(paid, words=f"{PERSON} has booked twice.")
    services.erase_personal_data(paid)
    paid.refresh_from_db()
    assert (paid.status, paid.needs_reversal) == ("failed", True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_request_without_an_answer_has_to_be_answered_first(
    when: When, api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents$", when=when))
    payment_uuid = str(uuid.uuid4())
    body = {"uuid": payment_uuid, "amount": 2000, "description": PERSON, "metadata": {"guest": PERSON}}
    assert api.create(body).status_code == 503
    before = describe()
    with pytest.raises(CommandError, match=payment_uuid):
        call_command("erase_payment_data", "--no-input", payment_uuid)
    assert describe() == before

    # A repeat must send the same parameters, and these would be gone.
    assert api.create(body).status_code == 201
    assert len(stripe.payment_intents) == 1
    call_command("erase_payment_data", "--no-input", payment_uuid)
    assert PERSON not in describe()


def test_others_are_erased_where_one_has_to_wait(
    paid: Payment, api: GatewayApi, stripe: StripeEmulator
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents$"))
    body = {"uuid": str(uuid.uuid4()), "amount": 2000, "description": "Charles Babbage"}
    assert api.create(body).status_code == 503
    with pytest.raises(CommandError, match="1 payment erased"):
        call_command("erase_payment_data", "--no-input", str(body["uuid"]), str(paid.uuid))
    assert PERSON not in describe()
    assert "Babbage" in describe()


def test_request_still_names_its_row(paid: Payment, stripe: StripeEmulator) -> None:
    services.erase_personal_data(paid)
    (creation,) = StripeRequest.objects.filter(kind="create")
    (intent,) = stripe.payment_intents.values()
    assert creation.parameters["metadata"] | {"guest": PERSON} == intent["metadata"]
    assert creation.parameters["amount"] == 2000


def test_what_is_none_of_our_business_is_not_kept_at_all(paid: Payment) -> None:
    ignored = WebhookEvent.objects.filter(status="ignored")
    assert "charge.succeeded" in ignored.values_list("type", flat=True)
    assert PERSON not in str([*ignored.values()])


def test_the_books_stay(paid: Payment, api: GatewayApi) -> None:
    call_command("erase_payment_data", "--no-input", str(paid.pk))
    answer = api.retrieve({"id": paid.pk}).json()
    assert (answer["amount"], answer["status"]) == (2000, "CONFIRMED")
    event = WebhookEvent.objects.get(type="payment_intent.succeeded")
    assert event.stripe_object["amount_received"] == 2000
    assert api.refund({"id": paid.pk}).json()["status"] == "REFUNDED"


def test_nothing_is_changed_where_one_of_them_is_unknown(paid: Payment) -> None:
    with pytest.raises(CommandError, match="999"):
        call_command("erase_payment_data", "--no-input", str(paid.pk), "999")
    assert PERSON in describe()


def test_events_that_come_later_say_nothing_of_the_person(
    paid: Payment, api: GatewayApi, stripe: StripeEmulator
) -> None:
    services.erase_personal_data(paid)
    stripe.refund(paid.stripe_payment_intent_id or "", amount=500)
    stripe.open_dispute(paid.stripe_payment_intent_id or "")
    for event in stripe.events:
        event.payload["data"]["object"]["description"] = PERSON
    api.deliver(stripe)
    assert WebhookEvent.objects.filter(type="charge.dispute.created", status="processed").exists()
    assert PERSON not in describe()


def test_why_the_card_was_declined_does_not_come_back(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = Payment.objects.get(pk=api.create().json()["id"])
    stripe.confirm(payment.intent_id, payment_method="pm_card_chargeDeclined")
    api.deliver(stripe)
    assert "card was declined" in describe()
    services.erase_personal_data(payment)
    services.sync_payment(payment)
    assert "card was declined" not in describe()
    stripe.confirm(payment.intent_id, payment_method="pm_card_chargeDeclined")
    api.deliver(stripe)
    assert "card was declined" not in describe()
    assert Payment.objects.get().failure_code == "generic_decline"


def test_callers_keys_are_kept_by_their_hash(api: GatewayApi, stripe: StripeEmulator) -> None:
    key = {"Idempotency-Key": "ada@example.com"}
    first = api.create(**key).json()
    assert "ada@example.com" not in describe()
    assert api.create(**key).json()["id"] == first["id"]
    assert api.create({"amount": 3000}, **key).status_code == 422


def test_objects_within_an_object_are_kept_by_their_id() -> None:
    event = WebhookEvent(
        payload={
            "id": "evt_1",
            "data": {"object": {"id": "pi_1", "latest_charge": {"id": "ch_1", "billing_details": PERSON}}},
        }
    )
    event.minimize()
    assert event.payload == {"id": "evt_1", "data": {"object": {"id": "pi_1", "latest_charge": "ch_1"}}}
