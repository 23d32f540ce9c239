"""Several Stripe accounts behind one gateway, connected ones included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.conf import Account, gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.stripe.origin import choose_account
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.api import GatewayApi
from tests.support.ledger import list_concerns
from tests.support.objects import make_payment

pytestmark = pytest.mark.django_db


PLATFORM = {"STRIPE_API_KEY": "sk_test_two", "STRIPE_PUBLISHABLE_KEY": "pk_test_two"}


def choose(payment: Payment) -> tuple[str, str]:
    """Send payments in yen to a connected account."""
    return "platform", "acct_tokyo" if payment.currency == "jpy" else ""


@pytest.fixture(autouse=True)
def _several_accounts(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    for account in ("acct_tokyo", "acct_paris"):
        stripe.connect_account(account)
    secret = {"STRIPE_WEBHOOK_SECRET": stripe.webhook_secret}
    configure(
        STRIPE_ACCOUNTS={"platform": PLATFORM | secret},
        CHOOSE_ACCOUNT="tests.services.test_accounts.choose",
        STRIPE_API_KEY=None,
        STRIPE_WEBHOOK_SECRET=None,
    )


def test_the_host_chooses_keys_and_account(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.create({"amount": 500, "currency": "jpy"}).json()
    assert (payment["publishableKey"], payment["stripeAccount"]) == ("pk_test_two", "acct_tokyo")
    row = Payment.objects.get()
    assert (row.account, row.stripe_account) == ("platform", "acct_tokyo")
    assert stripe.requests[-1].stripe_account == "acct_tokyo"


def test_card_payment_names_the_connected_account(api: GatewayApi, stripe: StripeEmulator) -> None:
    asked = {"Octo-Capabilities": "octo/cardPayments"}
    yen = api.create({"amount": 500, "currency": "jpy"}, **asked).json()["cardPayment"]
    euro = api.create({"amount": 500, "currency": "eur"}, **asked).json()["cardPayment"]
    assert yen["stripe"]["paymentIntent"]["stripeAccount"] == "acct_tokyo"
    assert "stripeAccount" not in euro["stripe"]["paymentIntent"]


def test_a_connected_accounts_payment_goes_through_all_of_its_life(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.paid_at_stripe(stripe, {"amount": 500, "currency": "jpy"})
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert api.refund(payment).json()["status"] == "REFUNDED"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert not Payment.objects.get().has_concerns
    assert {request.stripe_account for request in stripe.requests} == {"acct_tokyo"}


def test_an_event_finds_its_account(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid_at_stripe(stripe, {"amount": 500, "currency": "jpy"})
    api.deliver(stripe, "payment_intent.succeeded")
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


def test_another_accounts_secret_confirms_nothing(
    api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    paris = PLATFORM | {"STRIPE_WEBHOOK_SECRET": "whsec_paris"}
    tokyo = PLATFORM | {"STRIPE_WEBHOOK_SECRET": "whsec_tokyo"}
    configure(STRIPE_ACCOUNTS={"paris": paris, "tokyo": tokyo}, CHOOSE_ACCOUNT=lambda _payment: "paris")
    payment = api.paid_at_stripe(stripe)
    forged = stripe.signed("payment_intent.succeeded", secret="whsec_tokyo")
    assert api.post_event(*forged).status_code == 200
    row = Payment.objects.get()
    assert (row.status, row.confirmed_at) == ("pending", None)
    assert list_concerns(row) == ["event_of_another"]
    assert WebhookEvent.objects.get().account == "tokyo"
    assert api.post_event(*stripe.signed("payment_intent.succeeded", secret="whsec_paris")).status_code == 200
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"


def test_the_choice_is_made_once(
    api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    other = {"STRIPE_API_KEY": "sk_test_three", "STRIPE_WEBHOOK_SECRET": "whsec_three"}
    secret = {"STRIPE_WEBHOOK_SECRET": stripe.webhook_secret}
    configure(STRIPE_ACCOUNTS={"platform": PLATFORM | secret, "other": other})
    key = {"Idempotency-Key": "the-client's"}
    first = api.create({"amount": 500}, **key).json()
    configure(CHOOSE_ACCOUNT=lambda _payment: "other")
    again = api.create({"amount": 500}, **key).json()
    assert again["stripePaymentIntentId"] == first["stripePaymentIntentId"]
    assert api.complete(first).json()["publishableKey"] == "pk_test_two"
    assert len(stripe.payment_intents) == 1


def test_a_service_names_a_connected_account(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    configure(CHOOSE_ACCOUNT=None, STRIPE_API_KEY="sk_test_platform")
    created = services.create_payment(900, stripe_account="acct_paris")
    assert created.payment.stripe_account == "acct_paris"
    assert stripe.requests[-1].stripe_account == "acct_paris"


def test_an_account_without_a_key_is_refused(
    api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(CHOOSE_ACCOUNT=lambda _payment: "")
    assert api.create().status_code == 500
    assert not Payment.objects.exists()


TOKYO = {
    "STRIPE_API_KEY": "sk_live_tokyo",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_tokyo",
    "STRIPE_WEBHOOK_SECRET": ["whsec_new", "", "whsec_old"],
}


class TestNamedAccounts:
    @pytest.fixture(autouse=True)
    def _tokyo(self, configure: Callable[..., None]) -> None:
        configure(
            STRIPE_ACCOUNTS={"tokyo": TOKYO},
            CHOOSE_ACCOUNT=None,
            STRIPE_API_KEY="sk_test_own",
            STRIPE_WEBHOOK_SECRET="whsec_gateway",
        )

    def test_an_account_has_the_keys_of_its_name(self) -> None:
        account = gateway_settings.get_account("tokyo")
        assert (account.name, account.api_key, account.publishable_key) == (
            "tokyo",
            "sk_live_tokyo",
            "pk_live_tokyo",
        )
        assert account.webhook_secrets == ("whsec_new", "whsec_old")
        assert account.livemode

    def test_the_top_level_settings_are_the_account_without_a_name(self) -> None:
        account = gateway_settings.get_account()
        assert (account.name, account.api_key, account.webhook_secrets) == (
            "",
            "sk_test_own",
            ("whsec_gateway",),
        )
        assert not account.livemode
        assert gateway_settings.accounts.keys() == {"", "tokyo"}

    def test_an_unknown_account_is_an_error(self) -> None:
        with pytest.raises(ConfigurationError, match="no account 'osaka'"):
            gateway_settings.get_account("osaka")

    def test_no_repr_of_an_account_has_a_key(self) -> None:
        shown = repr([*gateway_settings.accounts.values(), Account("sk_live_1", "pk_live_1", name="acct_1")])
        assert [word for word in ("sk_", "pk_", "whsec") if word in shown] == []
        assert "'tokyo'" in shown

    @pytest.mark.parametrize(
        ("choice", "chosen"),
        [
            ("tokyo", ("tokyo", "")),
            ("", ("", "")),
            (("tokyo", "acct_1"), ("tokyo", "acct_1")),
            (("", "acct_1"), ("", "acct_1")),
            (("tokyo", ""), ("tokyo", "")),
        ],
    )
    def test_the_host_chooses_by_name(
        self, choice: Any, chosen: tuple[str, str], configure: Callable[..., None]
    ) -> None:
        configure(CHOOSE_ACCOUNT=lambda _payment: choice)
        assert choose_account(make_payment()) == chosen

    def test_the_account_without_a_name_takes_what_nobody_chooses_for(self) -> None:
        assert choose_account(make_payment(stripe_account="acct_1")) == ("", "acct_1")

    def test_a_connected_account_that_is_asked_for_is_kept(self, configure: Callable[..., None]) -> None:
        configure(CHOOSE_ACCOUNT=lambda _payment: "tokyo")
        assert choose_account(make_payment(stripe_account="acct_1")) == ("tokyo", "acct_1")

    @pytest.mark.parametrize(
        "choice",
        [
            *[None, 7, True, b"tokyo", "osaka", Account("sk_test_1"), ["tokyo", "acct_1"]],
            *[
                (),
                ("tokyo",),
                ("tokyo", None),
                (None, "acct_1"),
                ("osaka", "acct_1"),
                ("tokyo", "acct_1", ""),
            ],
        ],
    )
    def test_a_choice_that_is_no_account_is_an_error(
        self, choice: Any, configure: Callable[..., None]
    ) -> None:
        configure(CHOOSE_ACCOUNT=lambda _payment: choice)
        with pytest.raises(ConfigurationError) as caught:
            choose_account(make_payment())
        assert "sk_test" not in str(caught.value)

    def test_a_secret_of_two_accounts_speaks_for_neither(self, configure: Callable[..., None]) -> None:
        configure(STRIPE_WEBHOOK_SECRET="whsec_new")
        with pytest.raises(ConfigurationError, match="the same"):
            gateway_settings.get_account("tokyo")
