"""The factories make rows that the ledger itself could have written."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from octo_stripe_gateway.ledger.facts import ExpiryDropped
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, WebhookEventFactory
from octo_stripe_gateway.webhooks import inbox

pytestmark = pytest.mark.django_db

TRAITS = ["authorized", "paid", "failed", "canceled", "expired", "refunded"]


def get_columns(payment: Payment) -> dict[str, Any]:
    return {field.attname: getattr(payment, field.attname) for field in payment._meta.concrete_fields}


@pytest.mark.parametrize("trait", ["pending", *TRAITS])
def test_payment_has_the_status_that_its_columns_derive(trait: str) -> None:
    payment = PaymentFactory.create(**({trait: True} if trait in TRAITS else {}))
    before = get_columns(payment)
    record(payment, ExpiryDropped())
    assert get_columns(payment) == before
    assert payment.status == trait


def test_refunded_payment_has_its_refund() -> None:
    payment = PaymentFactory.create(refunded=True, amount=700)
    assert [refund.amount for refund in payment.refunds.all()] == [700]
    assert payment.amount_refundable == 0


def test_refund_belongs_to_a_paid_payment() -> None:
    refund = RefundFactory.create(payment__amount=900)
    assert refund.payment.status == "paid"
    assert refund.amount == 900


def test_waiting_event_can_be_processed() -> None:
    payment = PaymentFactory.create()
    event = WebhookEventFactory.create(payment=payment)
    event.payload["data"]["object"] |= {"status": "succeeded", "amount_received": payment.amount}
    event.payload["created"] += 1
    event.save()
    assert inbox.process_event(event).status == "processed"
    assert Payment.objects.get().status == "paid"


@pytest.mark.parametrize("trait", ["processed", "failed"])
def test_event_has_the_trait_s_status(trait: str) -> None:
    assert WebhookEventFactory.create(**{trait: True}).status == trait


def test_testing_package_imports_neither_factory_boy_nor_the_emulator() -> None:
    check = "import sys, octo_stripe_gateway.testing; print({'factory', 'werkzeug'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
