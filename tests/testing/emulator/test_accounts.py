"""Accounts: whose objects a key sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as sdk

from tests.testing.emulator.conftest import PAID

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator import StripeEmulator

# Shaped as Stripe's own: the account comes first.
LYON = f"51LyonLyonLyonLy{'a' * 30}"
PARIS = f"51ParisParisPari{'b' * 30}"


def assert_missing(client: Any, intent: Any) -> None:
    for step, object_id in (
        (client.payment_intents.retrieve, intent.id),
        (client.payment_intents.cancel, intent.id),
        (client.charges.retrieve, intent.latest_charge),
    ):
        with pytest.raises(sdk.InvalidRequestError, match="No such") as caught:
            step(object_id)
        assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(sdk.InvalidRequestError, match="No such payment_intent") as caught:
        client.refunds.create(params={"payment_intent": intent.id})
    assert caught.value.http_status == 400
    assert client.payment_intents.list().data == []


def test_another_account_s_key_finds_nothing(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account("sk_test_paris", "pk_test_paris")
    assert (paris.secret_key, paris.publishable_key) == ("sk_test_paris", "pk_test_paris")
    intent = connect(tokyo.secret_key).v1.payment_intents.create(params=PAID)
    for key in (paris.secret_key, "sk_test_x"):
        assert_missing(connect(key).v1, intent)
    assert "account" not in stripe.events[0].payload
    connect(tokyo.secret_key).v1.refunds.create(params={"payment_intent": intent.id})


def test_keys_as_stripe_makes_them_name_their_account(connect: Callable[..., Any]) -> None:
    intent = connect(f"sk_test_{LYON}").v1.payment_intents.create(params=PAID)
    assert connect(f"rk_test_{LYON[:20]}{'c' * 30}").v1.payment_intents.retrieve(intent.id)
    assert_missing(connect(f"sk_test_{PARIS}").v1, intent)
    assert_missing(connect("sk_test_x").v1, intent)


def test_all_other_keys_share_an_account(connect: Callable[..., Any]) -> None:
    intent = connect("sk_test_x").v1.payment_intents.create(params=PAID)
    assert connect("sk_test_new").v1.payment_intents.retrieve(intent.id).id == intent.id


def test_a_browser_finds_its_own_account_s_intents_only(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account()
    intent = connect(tokyo.secret_key).v1.payment_intents.create(params=PAID)
    url = f"{stripe.url}/v1/payment_intents/{intent.id}"
    params = {"client_secret": intent.client_secret}
    answers = [
        requests.get(url, params=params, headers={"Authorization": f"Bearer {key}"}, timeout=60).status_code
        for key in (tokyo.publishable_key, paris.publishable_key)
    ]
    assert answers == [200, 404]


def test_a_connected_account_belongs_to_one_platform(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account()
    stripe.connect_account("acct_1Osaka", platform=tokyo.id)
    options: Any = {"stripe_account": "acct_1Osaka"}
    intents = connect(tokyo.secret_key).v1.payment_intents
    intent = intents.create(params=PAID, options=options)
    assert intents.retrieve(intent.id, options=options).id == intent.id
    assert_missing(connect(tokyo.secret_key).v1, intent)
    with pytest.raises(sdk.PermissionError, match="does not have access to account 'acct_1Osaka'") as caught:
        connect(paris.secret_key).v1.payment_intents.retrieve(intent.id, options=options)
    body: Any = caught.value.json_body
    assert (caught.value.http_status, body["error"]["code"]) == (403, "account_invalid")
    assert {event.payload["account"] for event in stripe.events} == {"acct_1Osaka"}


def test_an_account_with_keys_of_its_own_is_not_connected(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account()
    own: Any = {"stripe_account": paris.id}
    connect(paris.secret_key).v1.payment_intents.create(params=PAID, options=own)
    assert "account" not in stripe.events[0].payload
    with pytest.raises(sdk.PermissionError, match="Application access may have been revoked"):
        connect(tokyo.secret_key).v1.payment_intents.list(options=own)


def test_reset_forgets_accounts(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    stripe.add_account("sk_test_tokyo")
    stripe.reset()
    intent = connect("sk_test_tokyo").v1.payment_intents.create(params=PAID)
    assert connect("sk_test_x").v1.payment_intents.retrieve(intent.id).id == intent.id


PERMISSIONS = [
    ("rak_payment_intent_write", lambda api: api.payment_intents.create(params=PAID)),
    ("rak_payment_intent_read", lambda api: api.payment_intents.list()),
    ("rak_charge_write", lambda api: api.refunds.create(params={"payment_intent": "pi_x"})),
    ("rak_charge_read", lambda api: api.refunds.list()),
    ("rak_charge_read", lambda api: api.charges.list()),
    ("rak_dispute_read", lambda api: api.disputes.list()),
    ("rak_event_read", lambda api: api.events.list()),
    ("rak_balance_transaction_source_read", lambda api: api.balance_transactions.list()),
    ("rak_webhook_read", lambda api: api.webhook_endpoints.list()),
    ("rak_webhook_write", lambda api: api.webhook_endpoints.delete("we_x")),
    ("rak_accounts_kyc_basic_read", lambda api: api.accounts.retrieve_current()),
]


@pytest.mark.parametrize(("permission", "call"), PERMISSIONS)
def test_a_restricted_key_does_what_its_permissions_name(
    connect: Callable[..., Any], stripe: StripeEmulator, permission: str, call: Callable[[Any], Any]
) -> None:
    others = {name for name, _ in PERMISSIONS} - {permission, permission.replace("read", "write")}
    stripe.restrict("rk_test_gateway_0123456789", *others)
    api = connect("rk_test_gateway_0123456789").v1
    with pytest.raises(sdk.PermissionError) as caught:
        call(api)
    assert caught.value.http_status == 403
    assert caught.value.user_message == (
        "The provided key 'rk_test_**************6789' does not have the required permissions for this "
        f"endpoint on account 'acct_1EmulatedStripe0'. Having the '{permission}' permission would allow "
        "this request to continue."
    )
    stripe.restrict("rk_test_gateway_0123456789", permission.replace("read", "write"))
    try:
        call(api)
    except sdk.InvalidRequestError as error:
        assert "No such" in str(error)  # noqa: PT017


def test_what_a_restricted_key_expands_it_must_be_allowed_to_read(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    stripe.restrict("rk_test_x", "rak_payment_intent_write")
    intents = connect("rk_test_x").v1.payment_intents
    intent = intents.create(params=PAID)
    params: Any = {"expand": ["latest_charge.balance_transaction"]}
    with pytest.raises(sdk.PermissionError, match="Having the 'rak_charge_read' permission"):
        intents.retrieve(intent.id, params=params)
    stripe.restrict("rk_test_x", "rak_payment_intent_write", "rak_charge_read")
    with pytest.raises(sdk.PermissionError, match="'rak_balance_transaction_source_read'"):
        intents.retrieve(intent.id, params=params)


def test_a_restricted_key_may_do_everything_until_it_is_restricted(
    connect: Callable[..., Any], stripe: StripeEmulator
) -> None:
    assert connect("rk_test_x").v1.charges.list().data == []
    stripe.restrict("rk_test_x")
    with pytest.raises(sdk.PermissionError):
        connect("rk_test_x").v1.charges.list()
    stripe.reset()
    assert connect("rk_test_x").v1.charges.list().data == []
    with pytest.raises(ValueError, match="is no restricted key"):
        stripe.restrict("sk_test_x")


def test_a_key_tells_its_account(connect: Callable[..., Any], stripe: StripeEmulator) -> None:
    tokyo = stripe.add_account()
    account = connect(tokyo.secret_key).v1.accounts.retrieve_current()
    assert (account.id, account.charges_enabled) == (tokyo.id, True)
    assert connect("sk_test_x").v1.accounts.retrieve_current().id == "acct_1EmulatedStripe0"
