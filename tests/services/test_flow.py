"""The main path, end to end: create, pay, complete, refund."""

from __future__ import annotations

import pytest

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db


def test_payment_is_created_paid_completed_and_refunded(api: GatewayApi, stripe: StripeEmulator) -> None:
    created = api.create()
    assert created.status_code == 201, created.content
    payment = created.json()
    assert payment["status"] == "PENDING"
    assert payment["stripeClientSecret"].startswith(payment["stripePaymentIntentId"])

    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa")
    completed = api.complete(payment)
    assert completed.status_code == 200, completed.content
    assert completed.json()["status"] == "CONFIRMED"
    assert "stripeClientSecret" not in completed.json()

    refunded = api.refund(payment)
    assert refunded.status_code == 200, refunded.content
    assert refunded.json()["status"] == "REFUNDED"
    assert refunded.json()["totalRefunded"] == 2000
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
