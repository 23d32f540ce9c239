"""Payments for a host's own objects, whatever their primary key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Model
from pytest_django import DjangoAssertNumQueries

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking, Ticket, Voucher
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Make = Callable[[], Any]

PAYABLES = [
    pytest.param("booking", lambda: Booking.objects.create(currency="usd"), id="integer"),
    pytest.param("voucher", lambda: Voucher.objects.create(), id="uuid"),
    pytest.param("ticket", lambda: Ticket.objects.create(code="T-1/ü"), id="text"),
]


def assert_refused(answer: Any, stripe: StripeEmulator, *, status: int = 400) -> None:
    assert answer.status_code == status, answer.content
    assert answer.json()["error"] == ("BAD_REQUEST" if status == 400 else "UNPROCESSABLE_ENTITY")
    assert stripe.requests == []
    assert Payment.objects.count() == 0


@pytest.mark.parametrize(("name", "make"), PAYABLES)
def test_payment_is_attached_by_type_and_id(
    name: str, make: Make, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payable = make()
    reference = {"type": name, "id": str(payable.pk)}
    answer = api.create({"amount": 2000, "currency": "usd", "payable": reference})
    assert answer.status_code == 201
    assert answer.json()["payable"] == api.retrieve(answer.json()).json()["payable"] == reference
    payment = Payment.objects.get()
    assert payment.payable == payable
    assert list(payable.payments.all()) == [payment]


def test_integer_key_may_be_sent_as_a_number(api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    answer = api.create({"payable": {"type": "booking", "id": booking.pk}})
    assert answer.json()["payable"] == {"type": "booking", "id": str(booking.pk)}


def test_uuid_key_is_found_in_upper_case(api: GatewayApi, stripe: StripeEmulator) -> None:
    voucher = Voucher.objects.create()
    reference = {"type": "voucher", "id": str(voucher.pk).upper()}
    answer = api.create({"amount": 2000, "payable": reference})
    assert answer.json()["payable"]["id"] == str(voucher.pk)
    assert list(voucher.payments.all()) == [Payment.objects.get()]


def test_payable_says_its_price(api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create(price=12300, currency="EUR")
    body = api.create({"payable": {"type": "booking", "id": booking.pk}}).json()
    assert (body["amount"], body["currency"]) == (12300, "eur")
    intent = stripe.payment_intents[body["stripePaymentIntentId"]]
    assert (intent["amount"], intent["currency"]) == (12300, "eur")


def test_client_may_repeat_the_price(api: GatewayApi, stripe: StripeEmulator) -> None:
    reference = {"type": "booking", "id": Booking.objects.create(price=12300, currency="EUR").pk}
    answer = api.create({"payable": reference, "amount": 12300, "currency": "eUr"})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "other", [{"amount": 1}, {"amount": 12301}, {"currency": "usd"}, {"amount": 1, "currency": "eur"}]
)
def test_client_cannot_change_the_price(
    other: dict[str, Any], api: GatewayApi, stripe: StripeEmulator
) -> None:
    reference = {"type": "booking", "id": Booking.objects.create(price=12300).pk}
    assert_refused(api.create({"payable": reference, **other}), stripe, status=422)


def test_payable_without_a_price_needs_an_amount(api: GatewayApi, stripe: StripeEmulator) -> None:
    answer = api.create({"payable": {"type": "voucher", "id": str(Voucher.objects.create().pk)}})
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"] == "amount: This field is required."


@pytest.mark.parametrize("name", ["Booking", "shop.Booking", "shop.booking", "auth.user", "user", "payment"])
def test_unlisted_type_cannot_be_paid_for(name: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    assert_refused(api.create({"amount": 2000, "payable": {"type": name, "id": booking.pk}}), stripe)


@pytest.mark.parametrize(
    ("name", "key"),
    [("booking", 987654), ("voucher", "123e4567-e89b-42d3-a456-426614174000"), ("ticket", "nope")],
)
def test_unknown_object_cannot_be_paid_for(
    name: str, key: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    assert_refused(api.create({"amount": 2000, "payable": {"type": name, "id": key}}), stripe)


def test_nothing_can_be_paid_for_where_nothing_is_listed(
    api: GatewayApi, stripe: StripeEmulator, configure: Configure
) -> None:
    reference = {"type": "booking", "id": Booking.objects.create().pk}
    configure(PAYABLES=None)
    assert_refused(api.create({"amount": 2000, "payable": reference}), stripe)


@pytest.mark.parametrize("payable", [{}, {"payable": None}])
def test_bare_amount_is_refused_where_a_payable_is_required(
    payable: dict[str, Any], api: GatewayApi, stripe: StripeEmulator, configure: Configure
) -> None:
    configure(REQUIRE_PAYABLE=True)
    answer = api.create({"amount": 2000, **payable})
    assert_refused(answer, stripe)
    assert answer.json()["errorMessage"] == "payable: This field is required."


def test_payable_is_taken_where_it_is_required(
    api: GatewayApi, stripe: StripeEmulator, configure: Configure
) -> None:
    configure(REQUIRE_PAYABLE=True)
    reference = {"type": "booking", "id": Booking.objects.create().pk}
    assert api.create({"payable": reference}).status_code == 201


@pytest.mark.parametrize(("name", "make"), PAYABLES)
def test_host_s_own_code_attaches_payments(name: str, make: Make, stripe: StripeEmulator) -> None:
    payable = make()
    created = services.create_payment(2000, currency="usd", payable=payable)
    assert Payment.objects.get(pk=created.payment.pk).payable == payable
    assert payable.payments.get() == created.payment


def test_payable_must_be_saved_first(stripe: StripeEmulator) -> None:
    with pytest.raises(ValueError, match="not saved"):
        services.create_payment(payable=Booking())
    assert stripe.requests == []
    assert Payment.objects.count() == 0


@pytest.mark.parametrize(("name", "make"), PAYABLES)
def test_payments_are_kept_when_the_payable_goes(name: str, make: Make, api: GatewayApi) -> None:
    payable = make()
    payment = PaymentFactory.create(payable=payable, paid=True)
    reference = {"type": name, "id": str(payable.pk)}
    payable.delete()
    assert api.retrieve(payment.pk).json()["payable"] == reference
    assert Payment.objects.get().payable is None


@pytest.mark.parametrize(("name", "make"), PAYABLES)
def test_payments_are_kept_when_a_queryset_is_deleted(name: str, make: Make) -> None:
    payable: Model = make()
    PaymentFactory.create(payable=payable)
    type(payable)._default_manager.all().delete()
    assert Payment.objects.count() == 1


@pytest.mark.parametrize("model", [Booking, Voucher, Ticket])
def test_payments_are_prefetched(model: type[Any], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    keys = {"code": "A"} if model is Ticket else {}
    others = {"code": "B"} if model is Ticket else {}
    first, second = model.objects.create(**keys), model.objects.create(**others)
    payments = {PaymentFactory.create(payable=first).pk, PaymentFactory.create(payable=first).pk}
    PaymentFactory.create(payable=second)
    with django_assert_num_queries(2):
        found = {one.pk: list(one.payments.all()) for one in model.objects.prefetch_related("payments")}
    assert {payment.pk for payment in found[first.pk]} == payments
    assert len(found[second.pk]) == 1


def test_payables_are_prefetched(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    payables = [Booking.objects.create(), Voucher.objects.create(), Ticket.objects.create(code="T")]
    for payable in payables:
        PaymentFactory.create(payable=payable)
    with django_assert_num_queries(4):
        payments = Payment.objects.order_by("pk").prefetch_related("payable")
        assert [payment.payable for payment in payments] == payables


def test_payable_is_shown_without_being_loaded(
    api: GatewayApi, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    payment = PaymentFactory.create(payable=Voucher.objects.create())
    api.retrieve(payment.pk)
    with django_assert_num_queries(1):
        assert api.retrieve(payment.pk).json()["payable"]["type"] == "voucher"


def test_payable_that_is_no_longer_listed_is_named_by_its_label(
    api: GatewayApi, configure: Configure
) -> None:
    booking = Booking.objects.create()
    payment = PaymentFactory.create(payable=booking)
    configure(PAYABLES=None)
    assert api.retrieve(payment.pk).json()["payable"] == {"type": "shop.booking", "id": str(booking.pk)}


def test_a_repeat_is_the_same_request_though_the_price_has_changed(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    booking = Booking.objects.create(price=2000)
    body = {"payable": {"type": "booking", "id": booking.pk}, "uuid": "0b6e1c3e-4b0c-4f6e-8f53-1d0a6a0a3d77"}
    first = api.create(body)
    Booking.objects.update(price=2500)
    again = api.create(body)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json()["id"], again.json()["amount"]) == (first.json()["id"], 2500)
