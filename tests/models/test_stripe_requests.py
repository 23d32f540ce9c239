from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.models import StripeRequest
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory


def test_idempotency_key_changes_with_its_version_only() -> None:
    request = StripeRequest(kind="create")
    first = request.idempotency_key
    assert StripeRequest(uuid=request.uuid, kind="create").idempotency_key == first
    assert StripeRequest(kind="create").idempotency_key != first
    request.key_version += 1
    assert request.idempotency_key != first


@pytest.mark.parametrize(("hours", "forgotten"), [(0, False), (22, False), (23.1, True), (24, True)])
def test_key_may_be_forgotten_before_stripe_does(hours: float, forgotten: bool) -> None:
    request = StripeRequest(created_at=timezone.now() - dt.timedelta(hours=hours))
    assert request.may_be_forgotten is forgotten


@pytest.mark.django_db
def test_open_requests_of_a_payment_are_the_oldest_first() -> None:
    payment = PaymentFactory.create()
    make = StripeRequest.objects.create
    first, second = make(payment=payment, kind="refund"), make(payment=payment, kind="refund")
    for state in ("done", "failed", "abandoned"):
        make(payment=payment, kind="refund", state=state)
    make(payment=PaymentFactory.create(), kind="refund")
    assert list(StripeRequest.ledger.open_of(payment)) == [first, second]
    assert [request.is_open for request in StripeRequest.objects.order_by("pk")] == [True] * 2 + [
        False
    ] * 3 + [True]


@pytest.mark.django_db
def test_answer_is_on_record_with_what_stripes_support_asks_for(stripe: StripeEmulator) -> None:
    services.create_payment(2000, currency="usd")
    request = StripeRequest.objects.get()
    assert (request.state, request.attempts, request.http_status, request.error_code) == ("done", 1, 200, "")
    assert request.stripe_request_id.startswith("req_")
    assert request.answered_at


@pytest.mark.django_db
def test_refusal_is_on_record(stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(path="/v1/payment_intents$", status=400))
    with pytest.raises(StripeRefusedError):
        services.create_payment(2000, currency="usd")
    request = StripeRequest.objects.get()
    assert (request.state, request.attempts, request.http_status) == ("failed", 1, 400)
    assert request.stripe_request_id.startswith("req_")
    assert request.answered_at


def test_request_is_shown_by_its_kind_and_uuid() -> None:
    request = StripeRequest(kind="refund")
    assert str(request) == f"refund {request.uuid}"
