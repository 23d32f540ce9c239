"""Several Stripe accounts behind one gateway, connected ones included."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.conf import Account
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db


def choose_account(payment: Payment) -> Account:
    """Send payments in yen to a connected account, and all with keys of their own."""
    return Account("sk_test_two", "pk_test_two", "acct_tokyo" if payment.currency == "jpy" else "")


@pytest.fixture(autouse=True)
def _several_accounts(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    configure(STRIPE_ACCOUNT="tests.test_accounts.choose_account", STRIPE_API_KEY=None)


def test_the_host_chooses_keys_and_account(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create({"amount": 500, "currency": "jpy"}).json()
    assert payment["publishableKey"] == "pk_test_two"
    assert Payment.objects.get().stripe_account == "acct_tokyo"
    assert stripe.requests[-1].stripe_account == "acct_tokyo"


def test_a_connected_accounts_payment_goes_through_all_of_its_life(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid_at_stripe(stripe, {"amount": 500, "currency": "jpy"})
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert api.refund(payment).json()["status"] == "REFUNDED"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert Payment.objects.get().mismatch == ""
    assert {request.stripe_account for request in stripe.requests} == {"acct_tokyo"}


def test_an_event_finds_its_account(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe, {"amount": 500, "currency": "jpy"})
    api.deliver(stripe, "payment_intent.succeeded")
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


def test_a_service_names_a_connected_account(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    configure(STRIPE_ACCOUNT=None, STRIPE_API_KEY="sk_test_platform")
    created = services.create_payment(900, stripe_account="acct_paris")
    assert created.payment.stripe_account == "acct_paris"
    assert stripe.requests[-1].stripe_account == "acct_paris"


def test_an_account_without_a_key_is_refused(
    api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(STRIPE_ACCOUNT=lambda _payment: Account(""))
    assert api.create().status_code == 500
    assert not Payment.objects.exists()
