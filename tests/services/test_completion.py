"""A host's last word on a payment, before it counts as paid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.signals import payment_succeeded
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import sync_unsettled

pytestmark = pytest.mark.django_db(transaction=True)

Hook = Callable[[Booking, Payment], None]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hook], None]:
    """Give bookings the hook for one test."""

    def install(hook: Hook) -> None:
        monkeypatch.setattr(Booking, "on_payment_completed", hook, raising=False)

    return install


def reject(booking: Booking, payment: Payment) -> None:
    Booking.objects.filter(pk=booking.pk).update(price=1)
    raise PaymentRejectedError("The tour is full.")


def create(api: GatewayApi, stripe: StripeEmulator, **body: Any) -> Any:
    booking = Booking.objects.create()
    return api.paid_at_stripe(stripe, {"payable": {"type": "booking", "id": booking.pk}, **body})


def test_a_willing_host_is_asked_once_under_the_lock(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    asked: list[tuple[str, bool]] = []
    hook(lambda _booking, payment: asked.append((payment.status, connection.in_atomic_block)))
    payment = create(api, stripe)
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    api.deliver(stripe)
    api.complete(payment)
    assert asked == [("paid", True)]


def test_a_rejected_payment_is_refunded_once_and_the_client_told(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    hook(reject)
    confirmed: list[Any] = []
    payment_succeeded.connect(lambda **sent: confirmed.append(sent), weak=False, dispatch_uid="test")
    payment = create(api, stripe)
    for answer in (api.complete(payment), api.complete(payment)):
        assert (answer.status_code, answer.json()["errorMessage"]) == (422, "The tour is full.")
    api.deliver(stripe)
    assert payment_succeeded.disconnect(dispatch_uid="test")
    assert confirmed == []
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]
    answer = api.retrieve(payment).json()
    assert (answer["status"], answer["failure"]) == (
        "REFUNDED",
        {"code": "rejected", "message": "The tour is full."},
    )
    assert answer["utcConfirmedAt"] is None
    assert Booking.objects.get().price == 2000


def test_a_rejection_through_an_event_refunds_as_well(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    hook(reject)
    payment = create(api, stripe)
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert api.retrieve(payment).json()["status"] == "REFUNDED"
    assert len(stripe.refunds) == 1


def test_a_rejected_hold_is_voided(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    monkeypatch.setattr(Booking, "on_payment_authorized", reject, raising=False)
    payment = create(api, stripe, captureMethod="manual")
    assert api.complete(payment).status_code == 422
    assert api.retrieve(payment).json()["status"] == "CANCELLED"
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"


def test_reconciliation_returns_what_stripe_could_not_take_back_at_once(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    hook(reject)
    payment = create(api, stripe)
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds"))
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert api.retrieve(payment).json()["status"] == "FAILED"
    sync_unsettled()
    assert api.retrieve(payment).json()["status"] == "REFUNDED"
    assert len(stripe.refunds) == 1


def test_a_dry_run_asks_no_host(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    hook(reject)
    payment = Payment.objects.get(pk=create(api, stripe)["id"])
    assert services.sync_payment(payment, dry_run=True)["status"] == ("pending", "paid")
    assert stripe.refunds == {}


def test_a_hook_that_breaks_leaves_the_payment_to_be_completed_again(
    api: GatewayApi, stripe: StripeEmulator, hook: Callable[[Hook], None]
) -> None:
    hook(lambda _booking, _payment: 1 / 0)  # type: ignore[arg-type]
    payment = create(api, stripe)
    assert api.complete(payment).status_code == 500
    assert api.retrieve(payment).json()["status"] == "PENDING"
    hook(lambda _booking, _payment: None)
    assert api.complete(payment).json()["status"] == "CONFIRMED"


def test_settled_payment_is_answered_as_it_is_now(api: GatewayApi, stripe: StripeEmulator) -> None:
    known = Payment.objects.get(pk=api.paid(stripe)["id"])
    services.refund_payment(known)
    assert (known.status, services.complete_payment(known).status) == ("paid", "refunded")
