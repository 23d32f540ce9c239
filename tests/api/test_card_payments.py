"""`octo/cardPayments` in a host's own bookings and orders, in class views and in functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octo_stripe_gateway.api.card_payments import (
    CardPaymentField,
    CardPaymentMixin,
    answers_octo_errors,
    build_card_payment,
    confirm_card_payment,
)
from tests.shop.models import Booking
from tests.support.octo import find_faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from octo_stripe_gateway.testing.emulator import StripeEmulator

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class BookingSerializer(serializers.Serializer[Booking]):
    id = serializers.IntegerField()
    cardPayment = CardPaymentField()  # noqa: N815


class Line:
    """An order's line, whose payments are its order's."""

    def __init__(self, order: Booking | None) -> None:
        self.order = order


class LineSerializer(serializers.Serializer[Line]):
    cardPayment = CardPaymentField(payable="order")  # noqa: N815


class BookingView(CardPaymentMixin, APIView):
    authentication_classes = ()
    permission_classes = ()

    def get_owner(self) -> str:
        return ""

    def get(self, request: Request, pk: int) -> Response:
        return Response(BookingSerializer(Booking.objects.get(pk=pk)).data)

    def post(self, request: Request, pk: int) -> Response:
        booking = Booking.objects.get(pk=pk)
        return Response({"id": booking.pk, "cardPayment": self.build_card_payment(booking)})


class ConfirmView(BookingView):
    def post(self, request: Request, pk: int) -> Response:
        booking = Booking.objects.get(pk=pk)
        payment = self.confirm_card_payment(booking, request.data)
        return Response({"status": payment.status})


@answers_octo_errors
def plain_pay(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse({"cardPayment": build_card_payment(Booking.objects.get(pk=pk))})


@answers_octo_errors
def plain_confirm(request: HttpRequest, pk: int) -> JsonResponse:
    payment = confirm_card_payment(Booking.objects.get(pk=pk), request.body)
    return JsonResponse({"status": payment.status})


@api_view(["POST"])
@answers_octo_errors
def function_confirm(request: Request, pk: int) -> Response:
    payment = confirm_card_payment(Booking.objects.get(pk=pk), request.data)
    return Response({"status": payment.status})


urlpatterns = [
    path("class/<int:pk>", BookingView.as_view()),
    path("class/<int:pk>/confirm", ConfirmView.as_view()),
    path("plain/<int:pk>", plain_pay),
    path("plain/<int:pk>/confirm", plain_confirm),
    path("function/<int:pk>", plain_pay),
    path("function/<int:pk>/confirm", function_confirm),
]
KINDS = pytest.mark.parametrize("kind", ["class", "plain", "function"])


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    def post(url: str, /, body: Any = None) -> Any:
        text = body if isinstance(body, str) else json.dumps({} if body is None else body)
        return client.post(url, text, "application/json")

    return post


def confirmation(card_payment: dict[str, Any], **changes: Any) -> dict[str, Any]:
    intent = card_payment["stripe"]["paymentIntent"]["id"]
    return {"cardPayment": {"gateway": "stripe", "stripe": {"paymentIntent": intent}, **changes}}


@KINDS
def test_a_booking_is_paid_and_confirmed(stripe: StripeEmulator, post: Callable[..., Any], kind: str) -> None:
    booking = Booking.objects.create()
    url = f"/{kind}/{booking.pk}"
    shown = post(url).json()["cardPayment"]
    intent = shown["stripe"]["paymentIntent"]
    assert intent["clientSecret"].startswith(intent["id"])
    again = post(url).json()["cardPayment"]
    assert again["stripe"]["paymentIntent"] == intent
    stripe.confirm(intent["id"])
    answer = post(f"{url}/confirm", confirmation(shown, amount=shown["amount"], notes=None, source="ECOM"))
    assert (answer.status_code, answer.json()) == (200, {"status": "paid"})


@KINDS
def test_a_booking_that_isn_t_paid_is_not_confirmed(
    stripe: StripeEmulator, post: Callable[..., Any], kind: str
) -> None:
    url = f"/{kind}/{Booking.objects.create().pk}"
    shown = post(url).json()["cardPayment"]
    pending = post(f"{url}/confirm", confirmation(shown))
    assert (pending.status_code, pending.json()["error"]) == (400, "PAYMENT_PENDING")
    stripe.confirm(shown["stripe"]["paymentIntent"]["id"], "pm_card_visa_chargeDeclined")
    declined = post(f"{url}/confirm", confirmation(shown))
    assert (declined.status_code, declined.json()["error"]) == (400, "BAD_REQUEST")


@KINDS
@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"gateway": "adyen"}, 400, "GATEWAY_MISMATCH"),
        ({"source": "POS"}, 400, "GATEWAY_INVALID_SOURCE"),
        ({"currency": "JPY"}, 400, "GATEWAY_CURRENCY_MISMATCH"),
        ({"amount": 1}, 422, "UNPROCESSABLE_ENTITY"),
        ({"stripe": {"paymentIntent": "pi_another"}}, 422, "UNPROCESSABLE_ENTITY"),
        ({"stripe": {"setupIntent": "seti_1"}}, 400, "BAD_REQUEST"),
        ({"colour": "red"}, 400, "BAD_REQUEST"),
    ],
)
def test_a_confirmation_of_something_else_is_an_error_of_octo_s(
    stripe: StripeEmulator,
    post: Callable[..., Any],
    kind: str,
    changes: dict[str, Any],
    status: int,
    code: str,
) -> None:
    url = f"/{kind}/{Booking.objects.create().pk}"
    shown = post(url).json()["cardPayment"]
    stripe.confirm(shown["stripe"]["paymentIntent"]["id"])
    answer = post(f"{url}/confirm", confirmation(shown, **changes))
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["errorMessage"]


@KINDS
def test_nothing_to_confirm_is_an_error_of_octo_s(
    stripe: StripeEmulator, post: Callable[..., Any], kind: str
) -> None:
    url = f"/{kind}/{Booking.objects.create().pk}/confirm"
    answer = post(url)
    assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
    if kind == "plain":
        assert post(url, "{").json()["error"] == "BAD_REQUEST"
    assert post(url, "[]").json()["errorMessage"] == "The body is not a JSON object."


def test_a_fault_of_the_host_s_own_is_told_without_its_text(post: Callable[..., Any]) -> None:
    answer = post("/plain/0")
    assert answer.status_code in (404, 500)
    assert "matching query" not in answer.content.decode()


def test_an_empty_cart_has_nothing_to_pay_for(
    stripe: StripeEmulator, post: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "get_payment_amount", lambda _self: (0, "usd"))
    answer = post(f"/class/{Booking.objects.create().pk}")
    assert (answer.status_code, answer.json()["error"]) == (422, "UNPROCESSABLE_ENTITY")
    assert answer.json()["errorMessage"] == "There is nothing to pay for."
    assert not stripe.payment_intents


def test_a_field_shows_the_payment_of_another_object(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    assert LineSerializer(Line(None)).data == {"cardPayment": None}
    assert LineSerializer(Line(booking)).data == {"cardPayment": None}
    shown = build_card_payment(booking)
    shown["stripe"]["paymentIntent"]["clientSecret"] = None
    assert LineSerializer(Line(booking)).data == {"cardPayment": shown}


def test_a_read_shows_no_secret(stripe: StripeEmulator, post: Callable[..., Any], client: Client) -> None:
    booking = Booking.objects.create()
    post(f"/class/{booking.pk}")
    shown = client.get(f"/class/{booking.pk}").json()["cardPayment"]
    assert shown["stripe"]["paymentIntent"]["clientSecret"] is None


def test_no_transaction_of_the_host_s_spans_a_call(
    stripe: StripeEmulator, settings: Any, post: Callable[..., Any]
) -> None:
    for view in (BookingView.as_view(), plain_pay, plain_confirm):
        assert "default" in vars(view)["_non_atomic_requests"]


def test_the_object_has_what_the_types_of_2026_require(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    created = build_card_payment(booking)
    stripe.confirm(created["stripe"]["paymentIntent"]["id"])
    confirm_card_payment(booking, {})
    read = BookingSerializer(booking).data["cardPayment"]
    assert find_faults(created) == []
    assert find_faults(read) == ["stripe.paymentIntent.clientSecret"]
    amount = created["amount"]
    assert (created["paid"], created["outstandingBalance"]) == (0, amount)
    assert (read["paid"], read["totalPaid"], read["balance"], read["outstandingBalance"]) == (
        amount,
        amount,
        amount,
        0,
    )
    assert (read["source"], read["currency"]) == ("ECOM", read["currency"].upper())
