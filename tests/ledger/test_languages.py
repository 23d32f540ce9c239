"""What is stored has no language: each reader gets the words in their own."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as sdk
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.translation import gettext, override

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import Concern, Payment, PaymentChange
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import WebhookEventFactory
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.objects import read_rows

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.support.admin_urls")]

JAPANESE = {"Accept-Language": "ja"}
WORDLESS: Any = sdk.InvalidRequestError(  # type: ignore[no-untyped-call] # as the SDK has it
    None, None, http_status=400, json_body={"error": {"type": "invalid_request_error"}}
)


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def pay_after_a_price_change(api: GatewayApi, stripe: StripeEmulator) -> Payment:
    """Have a customer who reads Japanese pay for a booking whose price has changed meanwhile."""
    booking: Any = Booking.objects.create()
    payment = services.create_payment(payable=booking).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    Booking.objects.update(price=2500)
    answer = api.request("PATCH", f"/payments/{payment.pk}/complete", **JAPANESE)
    assert answer.status_code == 422
    assert not answer.json()["errorMessage"].isascii()
    return payment


def read_texts() -> str:
    """Return every text at rest in the ledger."""
    return str([read_rows(model) for model in (Payment, PaymentChange, Concern)])


def test_rejection_is_told_in_each_readers_language(
    api: GatewayApi, stripe: StripeEmulator, operator: Client
) -> None:
    payment = pay_after_a_price_change(api, stripe)
    answer = api.request("GET", f"/payments/{payment.pk}", **{"Accept-Language": "en"})
    assert answer["Content-Language"] == "en"
    assert answer.json()["failure"]["message"] == "The price has changed."
    german = api.request("GET", f"/payments/{payment.pk}", **{"Accept-Language": "de"})
    assert german.json()["failure"]["message"] == "Der Preis hat sich geändert."
    page = operator.get(reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk]))
    assert "Rejected: The price has changed." in page.content.decode()
    assert read_texts().isascii()


def test_refusal_without_stripes_own_words_is_stored_without_ours(
    api: GatewayApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise stripe_client._translate_error(WORDLESS)

    monkeypatch.setattr(stripe_client, "post", refuse)
    refused = api.create(**JAPANESE)
    assert refused.status_code == 400
    assert not refused.json()["errorMessage"].isascii()
    assert read_texts().isascii()
    told = [api.list_payments(**{"Accept-Language": each}).json() for each in ("en", "de")]
    assert [each[0]["failure"]["message"] for each in told] == [
        "The payment failed.",
        "Die Zahlung ist fehlgeschlagen.",
    ]


def test_concern_is_told_in_each_operators_language(
    api: GatewayApi, stripe: StripeEmulator, operator: Client
) -> None:
    payment = Payment.objects.get(pk=api.paid(stripe)["id"])
    with override("ja"):
        refund = services.refund_payment(payment, amount=500).refunds.get()
        stripe.settle_refund(refund.stripe_refund_id or "", status="failed", reason="declined")
        api.deliver(stripe)
    url = reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])
    assert "A refund of 5.00 USD failed (declined)" in operator.get(url).content.decode()
    assert read_texts().isascii()


def test_event_reprocessed_by_an_operator_is_recorded_in_the_sites_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: Any) -> None:
        raise UnprocessableError(gettext("It is paid already."))

    monkeypatch.setattr(handlers, "apply", fail)
    event = WebhookEventFactory.create()
    with override("ja"), pytest.raises(UnprocessableError):
        inbox.process_event(event)
    event.refresh_from_db()
    assert event.error_parameters["message"] == "It is paid already."
    assert Concern.objects.get().parameters == event.error_parameters
