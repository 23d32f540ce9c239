"""An answer counts only if it is Stripe's, and a refusal is success if what was asked for is found there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import (
    StripeAuthenticationError,
    StripeRefusedError,
    StripeUnavailableError,
)
from octo_stripe_gateway.models import Payment, Refund, StripeRequest
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi, When
from tests.support.cases import one_in
from tests.support.ledger import assert_ledger_equals, sync_unsettled

pytestmark = pytest.mark.django_db

ELSEWHERE = "/v1/payment_intents?limit=1"


def proxy(status: int, body: Any = None, *, location: str = "", **fault: Any) -> Fault:
    """Answer as a proxy: HTML, or the JSON given."""
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    content_type = "text/html" if body is None else "application/json"
    headers = {"Location": location} if location else {}
    return Fault(kind="proxy", status=status, body=text, content_type=content_type, headers=headers, **fault)


ANSWERS = {
    "HTML": proxy(404),
    "time-out": proxy(408),
    "too large": proxy(413),
    "log in": proxy(401),
    "forbidden": proxy(403),
    "conflict": proxy(409),
    "too many": proxy(429),
    "empty": proxy(404, ""),
    "null": proxy(400, "null"),
    "a number": proxy(400, "1"),
    "a list": proxy(400, []),
    "a message": proxy(404, {"message": "no Route matched with those values"}),
    "a word": proxy(404, {"error": "Not Found", "status": 404}),
    "no error": proxy(400, {"error": None}),
    "a number as error": proxy(400, {"error": 404}),
    "a list of errors": proxy(400, {"error": ["Not found."]}),
    "an error without a type": proxy(404, {"error": {"code": 404, "message": "Not found."}}),
    "an error of another kind": proxy(400, {"error": {"type": "OAuthException", "message": "No."}}),
    "an error of no kind": proxy(400, {"error": {"type": None}}),
    "an error of another service": proxy(402, {"error": "invalid_grant"}),
    "success in HTML": proxy(200),
    "success in nothing": proxy(200, ""),
    "success in other JSON": proxy(200, {"ok": True}),
    "success in a list": proxy(200, []),
    "success in a word": proxy(200, '"ok"'),
    "success without content": proxy(204, ""),
    "redirect": proxy(302, location="http://login.invalid/"),
    "redirect to Stripe": proxy(302, location=ELSEWHERE),
    "redirect that keeps the method": proxy(307, location=ELSEWHERE),
    "redirect to nowhere": proxy(302),
}


@pytest.fixture(params=one_in(4, ANSWERS))
def answer(request: Any) -> Fault:
    return ANSWERS[request.param]


def add(stripe: StripeEmulator, fault: Fault, **where: Any) -> None:
    stripe.add_fault(Fault(**{**vars(fault), **where}))


@pytest.mark.parametrize("when", ["before", "after"])
def test_refund_that_a_proxy_answers_stays_open_and_is_made_once(
    answer: Fault, when: When, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    add(stripe, answer, path="/v1/refunds", when=when)
    first = api.refund(payment, {"amount": 500})
    assert (first.status_code, Payment.objects.get().amount_reserved) == (503, 500), first.content
    assert StripeRequest.objects.open().count() == 1
    assert api.refund(payment, {"amount": 500}).status_code == 200
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500]
    assert_ledger_equals(stripe)


def test_creation_that_a_proxy_answers_is_not_failed(
    answer: Fault, api: GatewayApi, stripe: StripeEmulator
) -> None:
    add(stripe, answer, path="/v1/payment_intents", when="after")
    key = {"Idempotency-Key": "one"}
    assert api.create(**key).status_code == 503
    assert Payment.objects.get().status == "pending"
    assert api.create(**key).status_code == 201
    assert len(stripe.payment_intents) == 1


def test_question_that_a_proxy_answers_is_asked_again(
    answer: Fault, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid_at_stripe(stripe)
    add(stripe, answer, method="GET", times=2)
    assert api.complete(payment).status_code == 503
    assert Payment.objects.get().status == "pending"


@pytest.mark.parametrize("when", ["before", "after"])
def test_price_update_that_a_proxy_answers_leaves_the_booking_payable(
    answer: Fault, when: When, api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create()
    first = services.create_payment(payable=booking)
    booking.price = 3000
    booking.save()
    add(stripe, answer, path="/v1/payment_intents/.*", when=when)
    with pytest.raises(StripeUnavailableError):
        services.create_payment(payable=booking)
    again = services.create_payment(payable=booking).payment
    assert (again.pk, again.amount) == (first.payment.pk, 3000)
    stripe.confirm(str(again.stripe_payment_intent_id), payment_method="pm_card_visa")
    assert services.complete_payment(again).status == "paid"


def test_permission_that_a_proxy_denies_says_nothing_of_the_key(
    answer: Fault, stripe: StripeEmulator
) -> None:
    add(stripe, answer, method="*")
    with pytest.raises(StripeUnavailableError):
        stripe_client.is_permitted("", "get", "/v1/payment_intents/pi_none")
    add(stripe, answer, method="*")
    with pytest.raises(StripeUnavailableError):
        stripe_client.check_key("")


def test_stripes_own_refusals_still_count(stripe: StripeEmulator) -> None:
    with pytest.raises(StripeRefusedError):
        stripe_client.retrieve_payment_intent("pi_none", origin=Origin())
    stripe.add_fault(proxy(403, {"error": {"type": "invalid_request_error"}}, method="*"))
    with pytest.raises(StripeAuthenticationError):
        stripe_client.check_key("")


def refuse(stripe: StripeEmulator, path: str) -> None:
    """Do the work, and say that it can't be done."""
    refusal = {"error": {"type": "invalid_request_error", "code": "refused", "message": "No."}}
    stripe.add_fault(proxy(400, refusal, path=path, when="after"))


def test_refund_that_is_refused_because_it_is_made_is_a_success(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    refuse(stripe, "/v1/refunds")
    answer = api.refund(payment, {"amount": 500})
    assert (answer.status_code, Payment.objects.get().amount_refunded) == (200, 500)
    assert (Refund.objects.get().status, StripeRequest.objects.latest("pk").state) == ("succeeded", "done")
    assert_ledger_equals(stripe)


def test_reversal_that_is_refused_because_it_is_made_alarms_nobody(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = Booking.objects.create()
    created = services.create_payment(payable=booking)
    stripe.confirm(str(created.payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    booking.delete()
    refuse(stripe, "/v1/refunds")
    api.deliver(stripe, "payment_intent.succeeded")
    row = Payment.objects.get()
    assert (row.status, row.has_concerns) == ("refunded", False)


@pytest.mark.parametrize(("action", "status"), [("capture", "CONFIRMED"), ("cancel", "CANCELLED")])
def test_refusal_of_what_is_done_already_is_a_success(
    action: str, status: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.authorized(stripe)
    refuse(stripe, f"/v1/payment_intents/.*/{action}")
    answer = getattr(api, action)(payment)
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert StripeRequest.objects.latest("pk").state == "done"


def test_price_update_that_is_refused_because_it_is_made_is_a_success(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    first = services.create_payment(payable=booking)
    booking.price = 3000
    booking.save()
    refuse(stripe, "/v1/payment_intents/.*")
    again = services.create_payment(payable=booking).payment
    assert (again.pk, again.amount, again.has_concerns) == (first.payment.pk, 3000, False)


def test_refusal_is_not_final_before_stripe_has_said_how_it_stands(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid(stripe)
    refuse(stripe, "/v1/refunds")
    stripe.add_fault(Fault(kind="reset", method="GET"))
    assert api.refund(payment, {"amount": 500}).status_code == 503
    assert (Refund.objects.get().status, Payment.objects.get().amount_reserved) == ("pending", 500)
    sync_unsettled()
    assert Refund.objects.get().status == "succeeded"
    assert_ledger_equals(stripe)
