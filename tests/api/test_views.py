"""What each endpoint answers."""

from __future__ import annotations

import gc
import re
import uuid
import weakref
from typing import Any

import pytest
from django.test import AsyncRequestFactory, RequestFactory

from octo_stripe_gateway import services
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe.times import format_utc
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

KEYS = {
    "id",
    "uuid",
    "amount",
    "currency",
    "currencyPrecision",
    "status",
    "gateway",
    "stripePaymentIntentId",
    "publishableKey",
    "stripeAccount",
    "amountReceived",
    "totalRefunded",
    "refund",
    "refundable",
    "testMode",
    "metadata",
    "resellerReference",
    "purpose",
    "payable",
    "failure",
    "utcCreatedAt",
    "utcUpdatedAt",
    "utcExpiresAt",
    "utcConfirmedAt",
    "utcFailedAt",
    "utcRefundedAt",
    "utcCancelledAt",
}
OCTO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DECLINING = "pm_card_visa_chargeDeclinedInsufficientFunds"


def test_created_payment_has_every_key_and_the_secret(api: GatewayApi, stripe: StripeEmulator) -> None:
    answer = api.create()
    body = answer.json()
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert body.keys() == KEYS | {"stripeClientSecret"}
    assert re.fullmatch(r"pi_\w+_secret_\w+", body["stripeClientSecret"])
    assert body["stripeClientSecret"].startswith(body["stripePaymentIntentId"])


def test_created_payment_is_pending_with_nulls_for_what_has_not_happened(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    body = api.create().json()
    row = Payment.objects.get()
    assert OCTO_TIME.fullmatch(body["utcCreatedAt"])
    assert OCTO_TIME.fullmatch(body["utcUpdatedAt"])
    assert (
        body
        | {
            "id": row.pk,
            "uuid": str(row.uuid),
            "amount": 2000,
            "currency": "usd",
            "currencyPrecision": 2,
            "status": "PENDING",
            "gateway": "stripe",
            "stripePaymentIntentId": row.stripe_payment_intent_id,
            "publishableKey": "pk_test_gateway",
            "stripeAccount": None,
            "amountReceived": 0,
            "totalRefunded": 0,
            "refund": "NONE",
            "refundable": False,
            "testMode": True,
            "metadata": {},
            "resellerReference": None,
            "purpose": None,
            "payable": None,
            "failure": None,
            "utcExpiresAt": None,
            "utcConfirmedAt": None,
            "utcFailedAt": None,
            "utcRefundedAt": None,
            "utcCancelledAt": None,
        }
        == body
    )


@pytest.mark.parametrize("call", ["retrieve", "complete", "refund"])
def test_secret_is_in_no_other_answer(call: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    answer = getattr(api, call)(api.paid(stripe))
    assert answer.status_code == 200
    assert answer.json().keys() == (KEYS | {"refunds", "hasMoreRefunds"} if call == "retrieve" else KEYS)
    assert b"_secret_" not in answer.content


def test_secret_is_in_no_list(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.create()
    api.paid(stripe)
    answer = api.list_payments(**{"Octo-Capabilities": "octo/cardPayments"})
    assert [payment.keys() for payment in answer.json()] == [KEYS, KEYS]
    assert b"_secret_" not in answer.content


def test_payment_is_read_with_its_refunds(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    assert api.retrieve(payment).json()["refunds"] == []
    api.refund(payment, {"amount": 500, "reason": "duplicate"})
    stripe.refund(payment["stripePaymentIntentId"], amount=300)
    services.sync_payment(Payment.objects.get())
    refunds = api.retrieve(payment).json()["refunds"]
    ours, other = Payment.objects.get().refunds.order_by("pk")
    assert refunds == [
        {
            "uuid": str(row.uuid),
            "amount": row.amount,
            "status": "succeeded",
            "amountForgiven": row.amount_forgiven,
            "reason": reason,
            "failureReason": None,
            "stripeRefundId": row.stripe_refund_id,
            "utcCreatedAt": format_utc(row.created_at),
        }
        for row, reason in ((ours, "duplicate"), (other, None))
    ]
    assert [each["amount"] for each in refunds] == [500, 300]


@pytest.mark.parametrize("reads_all_columns", [False, True])
@pytest.mark.parametrize(("made", "has_more"), [(20, False), (21, True)])
def test_newest_refunds_are_read_and_all_where_that_is_asked_for(
    made: int, has_more: bool, reads_all_columns: bool, api: GatewayApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reads_all_columns:
        monkeypatch.setattr(PaymentViewSet, "columns", ())
    payment = PaymentFactory.create(paid=True, amount_refunded=made)
    RefundFactory.create_batch(made, payment=payment, amount=1)
    uuids = [str(each.uuid) for each in payment.refunds.order_by("pk")]
    answers = [api.retrieve(each).json() for each in (payment.pk, f"{payment.pk}?refunds=all")]
    assert [[each["uuid"] for each in answer["refunds"]] for answer in answers] == [uuids[-20:], uuids]
    assert [answer["hasMoreRefunds"] for answer in answers] == [has_more, False]


@pytest.mark.parametrize("wanted", ["", "ALL", "20"])
def test_no_other_choice_of_refunds_is_taken(wanted: str, api: GatewayApi) -> None:
    answer = api.retrieve(f"{PaymentFactory.create(paid=True).pk}?refunds={wanted}")
    assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
    assert answer.json()["errorMessage"].startswith("refunds: ")


def test_refund_that_stripe_has_not_answered_is_shown_as_pending(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500})
    (refund,) = api.retrieve(payment).json()["refunds"]
    assert (refund["amount"], refund["status"], refund["stripeRefundId"]) == (500, "pending", None)


def test_refund_that_failed_is_shown_with_the_reason(api: GatewayApi) -> None:
    refund = RefundFactory.create(status="failed", failure_reason="expired_or_canceled_card")
    (shown,) = api.retrieve(refund.payment_id).json()["refunds"]
    assert (shown["status"], shown["failureReason"]) == ("failed", "expired_or_canceled_card")


@pytest.mark.parametrize("call", ["capture", "cancel"])
def test_secret_is_in_no_answer_about_an_authorized_payment(
    call: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = getattr(api, call)(api.authorized(stripe))
    assert answer.status_code == 200
    assert answer.json().keys() == KEYS
    assert b"_secret_" not in answer.content


@pytest.mark.parametrize(
    ("traits", "status", "time"),
    [
        ({}, "PENDING", None),
        ({"authorized": True}, "ON_HOLD", None),
        ({"paid": True}, "CONFIRMED", "utcConfirmedAt"),
        ({"failed": True}, "FAILED", "utcFailedAt"),
        ({"canceled": True}, "CANCELLED", "utcCancelledAt"),
        ({"refunded": True}, "REFUNDED", "utcRefundedAt"),
    ],
)
def test_status_is_octo_s_word_and_its_time_is_set(
    traits: dict[str, bool], status: str, time: str | None, api: GatewayApi
) -> None:
    body = api.retrieve(PaymentFactory.create(**traits).pk).json()
    assert body["status"] == status
    assert time is None or OCTO_TIME.fullmatch(body[time])


@pytest.mark.parametrize(
    ("currency", "precision"),
    [("usd", 2), ("EUR", 2), ("jpy", 0), ("Kwd", 3), ("isk", 2)],
)
def test_currency_is_lower_case_with_its_precision(
    currency: str, precision: int, api: GatewayApi, stripe: StripeEmulator
) -> None:
    body = api.create({"amount": 10000, "currency": currency}).json()
    assert (body["currency"], body["currencyPrecision"]) == (currency.lower(), precision)


def test_currency_defaults_to_the_configured_one(
    api: GatewayApi, stripe: StripeEmulator, configure: Any
) -> None:
    configure(CURRENCY="CHF")
    assert api.create({"amount": 2000}).json()["currency"] == "chf"


def test_optional_fields_reach_stripe_and_the_answer(api: GatewayApi, stripe: StripeEmulator) -> None:
    body = api.create(
        {
            "amount": 2000,
            "currency": "eur",
            "metadata": {"order_no": "7", "camelCase": "kept"},
            "resellerReference": "R-1",
            "description": "Tour",
            "receiptEmail": "guest@example.com",
            "statementDescriptorSuffix": "TOUR",
        }
    ).json()
    intent = stripe.payment_intents[body["stripePaymentIntentId"]]
    assert body["metadata"] == {"order_no": "7", "camelCase": "kept"}
    assert body["resellerReference"] == "R-1"
    free = {key: value for key, value in intent["metadata"].items() if not key.startswith("octo_")}
    assert free == {"order_no": "7", "camelCase": "kept"}
    assert intent["metadata"]["octo_payment"] == body["uuid"]
    assert intent["description"] == "Tour"
    assert intent["receipt_email"] == "guest@example.com"
    assert intent["statement_descriptor_suffix"] == "TOUR"


@pytest.mark.parametrize("name", ["id", "uuid", "UUID"])
def test_payment_is_found_by_id_or_uuid(name: str, api: GatewayApi) -> None:
    payment = PaymentFactory.create()
    names = {"id": payment.pk, "uuid": payment.uuid, "UUID": str(payment.uuid).upper()}
    assert api.retrieve(names[name]).json()["id"] == payment.pk


@pytest.mark.parametrize(
    ("url_id", "payment_id"),
    [
        ("0", "0"),
        ("-1", "-1"),
        ("+1", "+1"),
        ("1.0", "1.0"),
        ("1e0", "1e0"),
        ("999999999999", "999999999999"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        ("9" * 5000, "9" * 5000),
        ("%D9%A1", "\u0661"),
        ("%C2%B2", "²"),
        ("%00", "\0"),
        ("%0A", "\n"),
        ("%ED%A0%80", "%ED%A0%80"),
        ("%FF", "%FF"),
        ("nope", "nope"),
        ("x" * 3000, "x" * 3000),
        ("123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-426614174000"),
        ("123e4567e89b42d3a456426614174000", "123e4567e89b42d3a456426614174000"),
        ("%7B123e4567-e89b-42d3-a456-426614174000%7D", "{123e4567-e89b-42d3-a456-426614174000}"),
        ("'%20OR%201=1--", "' OR 1=1--"),
    ],
)
@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("GET", ""),
        ("PATCH", "/complete"),
        ("POST", "/complete"),
        ("POST", "/refund"),
        ("POST", "/capture"),
        ("POST", "/cancel"),
    ],
)
def test_unknown_payment_is_not_found(
    method: str, action: str, url_id: str, payment_id: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    PaymentFactory.create(paid=True)
    answer = api.request(method, f"/payments/{url_id}{action}")
    assert answer.status_code == 404
    assert answer.json().keys() == {"error", "errorMessage", "paymentId"}
    assert (answer.json()["error"], answer.json()["paymentId"]) == ("INVALID_PAYMENT_ID", payment_id)
    assert stripe.requests == []


def test_uuid_without_dashes_does_not_name_a_payment(api: GatewayApi) -> None:
    assert api.retrieve(PaymentFactory.create().uuid.hex).status_code == 404


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_unpaid_payment_stays_pending_when_completed(
    method: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    answer = api.request(method, f"/payments/{payment['id']}/complete")
    assert answer.status_code == 200
    assert answer.json()["status"] == "PENDING"


@pytest.mark.parametrize("method", ["PATCH", "POST"])
def test_paid_payment_is_confirmed_when_completed_however_often(
    method: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid_at_stripe(stripe)
    answers = [api.request(method, f"/payments/{payment['id']}/complete") for _ in range(2)]
    assert [answer.json()["status"] for answer in answers] == ["CONFIRMED", "CONFIRMED"]
    assert answers[0].json()["refundable"] is True
    assert answers[0].json()["utcConfirmedAt"] == answers[1].json()["utcConfirmedAt"] is not None


def test_declined_payment_fails_with_the_reason_and_can_still_be_paid(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method=DECLINING)
    declined = api.complete(payment).json()
    assert declined["status"] == "FAILED"
    assert declined["failure"] == {
        "code": "insufficient_funds",
        "message": "Your card has insufficient funds.",
    }
    stripe.confirm(payment["stripePaymentIntentId"])
    paid = api.complete(payment).json()
    assert (paid["status"], paid["failure"], paid["utcFailedAt"]) == ("CONFIRMED", None, None)


@pytest.mark.parametrize("body", [None, {}, {"reason": "requested_by_customer"}])
def test_refund_without_an_amount_gives_everything_back(
    body: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = api.refund(api.paid(stripe), body)
    assert answer.status_code == 200
    refunded = answer.json()
    assert (refunded["status"], refunded["refund"]) == ("REFUNDED", "FULL")
    assert (refunded["totalRefunded"], refunded["refundable"]) == (2000, False)
    assert OCTO_TIME.fullmatch(refunded["utcRefundedAt"])


def test_partial_refunds_add_up_to_a_full_one(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    first = api.refund(payment, {"amount": 500}).json()
    second = api.refund(payment).json()
    seen = [(each["status"], each["refund"], each["totalRefunded"]) for each in (first, second)]
    assert seen == [("CONFIRMED", "PARTIAL", 500), ("REFUNDED", "FULL", 2000)]
    assert first["refundable"] is True
    assert first["utcRefundedAt"] is None


def test_refund_s_reason_reaches_stripe(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.refund(api.paid(stripe), {"amount": 500, "reason": "duplicate"})
    assert [refund["reason"] for refund in stripe.refunds.values()] == ["duplicate"]


@pytest.mark.parametrize("amount", [2001, 99999999, 999_999_999_999])
def test_refund_of_more_than_was_paid_is_refused(
    amount: int, api: GatewayApi, stripe: StripeEmulator
) -> None:
    answer = api.refund(api.paid(stripe), {"amount": amount})
    assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
    assert stripe.refunds == {}


@pytest.mark.parametrize(
    ("traits", "call"),
    [
        ({}, "refund"),
        ({"authorized": True}, "refund"),
        ({"failed": True}, "refund"),
        ({"canceled": True}, "refund"),
        ({"refunded": True}, "refund"),
        ({}, "capture"),
        ({"paid": True, "amount_received": 1999}, "capture"),
        ({"failed": True}, "capture"),
        ({"canceled": True}, "capture"),
        ({"paid": True}, "cancel"),
        ({"refunded": True}, "cancel"),
    ],
)
def test_step_that_the_status_does_not_allow_is_refused(
    traits: dict[str, Any], call: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    body = {"amount": 2000} if call == "capture" else None
    answer = getattr(api, call)(PaymentFactory.create(**traits).pk, body)
    assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
    assert stripe.requests == []


@pytest.mark.parametrize(("body", "received"), [(None, 2000), ({"amount": 1500}, 1500)])
def test_authorized_payment_is_held_and_captured(
    body: Any, received: int, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.authorized(stripe)
    assert (payment["status"], payment["utcConfirmedAt"]) == ("ON_HOLD", None)
    assert api.capture(payment, body).json()["status"] == "CONFIRMED"
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["amount_received"] == received


def test_capture_of_more_than_is_authorized_is_refused(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    answer = api.capture(payment, {"amount": 2001})
    assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
    assert api.retrieve(payment).json()["status"] == "ON_HOLD"


def test_unpaid_payment_is_cancelled_however_often(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create().json()
    answers = [api.cancel(payment).json() for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["CANCELLED", "CANCELLED"]
    assert OCTO_TIME.fullmatch(answers[0]["utcCancelledAt"])


def test_authorized_payment_is_cancelled(api: GatewayApi, stripe: StripeEmulator) -> None:
    assert api.cancel(api.authorized(stripe)).json()["status"] == "CANCELLED"


def test_head_is_answered_as_get_is(api: GatewayApi) -> None:
    answer = api.request("HEAD", f"/payments/{PaymentFactory.create().pk}")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*;q=0", ";;;", ""])
def test_answer_is_json_whatever_is_accepted(accept: str, api: GatewayApi) -> None:
    url = f"/payments/{PaymentFactory.create().pk}?format=xml"
    answer = api.request("GET", url, Accept=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")


class TestIdempotency:
    def test_same_uuid_gives_the_same_payment_and_its_secret(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        own = str(uuid.uuid4())
        first, second = (api.create({"uuid": each, "amount": 2000}) for each in (own, own.upper()))
        assert first.status_code == second.status_code == 201
        assert first.json()["uuid"] == own
        assert second.json()["stripeClientSecret"] == first.json()["stripeClientSecret"]
        assert len(stripe.payment_intents) == Payment.objects.count() == 1

    def test_same_key_gives_the_same_payment_and_its_secret(
        self, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        first, second = (api.create(**{"Idempotency-Key": "order 1"}).json() for _ in range(2))
        assert (first["id"], first["stripeClientSecret"]) == (second["id"], second["stripeClientSecret"])
        assert len(stripe.payment_intents) == Payment.objects.count() == 1

    @pytest.mark.parametrize(
        "other",
        [{"amount": 2001}, {"currency": "eur"}, {"metadata": {"a": "b"}}, {"description": "other"}],
    )
    @pytest.mark.parametrize("by", ["uuid", "key"])
    def test_other_parameters_under_the_same_name_are_refused(
        self, by: str, other: dict[str, Any], api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        headers = {"Idempotency-Key": "order 1"} if by == "key" else {}
        body = {"amount": 2000, "currency": "usd"} | ({"uuid": str(uuid.uuid4())} if by == "uuid" else {})
        api.create(body, **headers)
        answer = api.create({**body, **other}, **headers)
        assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
        assert len(stripe.payment_intents) == Payment.objects.count() == 1
        assert b"_secret_" not in answer.content

    def test_same_key_refunds_once(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = api.paid(stripe)
        answers = [api.refund(payment, {"amount": 500}, **{"Idempotency-Key": "r1"}) for _ in range(2)]
        assert [answer.json()["totalRefunded"] for answer in answers] == [500, 500]
        assert len(stripe.refunds) == 1

    def test_key_of_a_refund_does_not_serve_another(self, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = api.paid(stripe)
        api.refund(payment, {"amount": 500}, **{"Idempotency-Key": "r1"})
        answer = api.refund(payment, {"amount": 600}, **{"Idempotency-Key": "r1"})
        assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
        assert len(stripe.refunds) == 1

    @pytest.mark.parametrize("call", ["refund", "capture", "cancel"])
    def test_key_of_a_create_does_not_serve_another_call(
        self, call: str, api: GatewayApi, stripe: StripeEmulator
    ) -> None:
        key = {"Idempotency-Key": "k"}
        payment = api.create({"amount": 2000, "captureMethod": "manual"}, **key).json()
        stripe.confirm(payment["stripePaymentIntentId"])
        payment = api.complete(payment).json()
        if call == "refund":
            api.capture(payment)
        answer = getattr(api, call)(payment, **key)
        assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")

    @pytest.mark.parametrize("key", ["x" * 256, "a\tb", "a\x00b", "a\x7fb", "a\x85b", "\ud800"])
    @pytest.mark.parametrize("call", ["create", "refund", "capture", "cancel"])
    def test_unfit_key_is_refused(self, call: str, key: str, api: GatewayApi, stripe: StripeEmulator) -> None:
        payment = PaymentFactory.create(paid=True)
        given = () if call == "create" else (payment.pk,)
        answer = getattr(api, call)(*given, **{"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_REQUEST")
        assert stripe.requests == []
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("by", ["uuid", "key"])
    def test_another_user_of_the_host_gets_neither_payment_nor_secret(
        self, by: str, api: GatewayApi, stripe: StripeEmulator, configure: Any, django_user_model: Any
    ) -> None:
        users = {name: django_user_model.objects.create(username=name) for name in ("ann", "bob")}
        configure(IDENTIFY_CALLER=lambda request: users.get(request.headers["X-User"]))
        same: dict[str, Any] = (
            {"amount": 2000, "uuid": str(uuid.uuid4())} if by == "uuid" else {"amount": 2000}
        )
        headers = {"Idempotency-Key": "k"} if by == "key" else {}
        mine = api.create(same, **headers, **{"X-User": "ann"}).json()
        answer = api.create(same, **headers, **{"X-User": "bob"})
        if by == "uuid":
            assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
            assert b"_secret_" not in answer.content
        else:
            assert answer.json()["id"] != mine["id"]
            assert answer.json()["stripeClientSecret"] != mine["stripeClientSecret"]


def test_asgi_body_without_a_length_is_refused(stripe: StripeEmulator) -> None:
    payment = PaymentFactory.create(paid=True)
    request = AsyncRequestFactory().post(
        "/",
        b'{"amount": 1}',
        content_type="application/json",
        headers={"Authorization": "Bearer gateway-key"},
    )
    del request.META["CONTENT_LENGTH"]
    answer = PaymentViewSet.as_view({"post": "refund"})(request, id=str(payment.pk))
    assert answer.status_code == 400
    assert stripe.requests == []


@pytest.mark.parametrize("call", ["list", "retrieve"])
def test_answer_is_freed_without_a_garbage_collection(call: str) -> None:
    payment = PaymentFactory.create()
    request = RequestFactory().get("/payments", headers={"Authorization": "Bearer gateway-key"})
    handle, named = PaymentViewSet.as_view({"get": call}), {"id": str(payment.pk)} if call != "list" else {}
    handle(request, **named)
    gc.disable()
    try:
        response = handle(request, **named)
        response.render()
        assert response.status_code == 200
        answer = weakref.ref(response)
        del response
        assert answer() is None
    finally:
        gc.enable()
