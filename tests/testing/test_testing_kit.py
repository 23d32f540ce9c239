"""What hosts test with."""

# mypy: allow-untyped-calls

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db


def get_intent(payment: Payment) -> dict[str, object]:
    return {
        "id": payment.stripe_payment_intent_id,
        "object": "payment_intent",
        "status": "succeeded",
        "amount": payment.amount,
        "amount_received": payment.amount,
        "currency": payment.currency,
        "livemode": False,
    }


def test_a_signed_event_is_taken_for_stripes(api: GatewayApi) -> None:
    payment = PaymentFactory.create()
    answer = api.post_event(*signed_event("payment_intent.succeeded", get_intent(payment)))
    assert (answer.status_code, answer.json()["status"]) == (200, "processed")
    assert api.retrieve({"id": payment.pk}).json()["status"] == "CONFIRMED"


def test_an_event_signed_with_another_secret_is_not(api: GatewayApi) -> None:
    event = signed_event("payment_intent.succeeded", {}, secret="whsec_other")
    assert api.post_event(*event).status_code == 400


def test_the_emulator_is_empty_for_each_test(stripe: StripeEmulator) -> None:
    assert (stripe.requests, stripe.events) == ([], [])


def test_the_kit_is_not_imported_unless_it_is_used() -> None:
    program = (
        "import django, sys; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'octo_stripe_gateway']);"
        "django.setup(); import octo_stripe_gateway.testing;"
        "print([name for name in ('werkzeug', 'factory', 'pytest', 'stripe', 'rest_framework')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_signed_event_without_a_secret_says_what_to_do(configure: Callable[..., None]) -> None:
    configure(STRIPE_WEBHOOK_SECRET=None)
    with pytest.raises(ConfigurationError, match="fixture `stripe`"):
        signed_event("payment_intent.succeeded", {})
