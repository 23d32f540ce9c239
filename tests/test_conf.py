"""How the configuration is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway import conf
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi

Configure = Callable[..., None]

TEXTS = [
    ("STRIPE_API_KEY", "STRIPE_API_KEY", lambda: gateway_settings.stripe_api_key),
    ("STRIPE_PUBLISHABLE_KEY", "STRIPE_PUBLISHABLE_KEY", lambda: gateway_settings.stripe_publishable_key),
    ("STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET", lambda: gateway_settings.stripe_webhook_secrets),
    ("API_GATEWAY_KEY", "OSG_API_GATEWAY_KEY", lambda: gateway_settings.api_gateway_keys),
]


def as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and value else tuple(value)


@pytest.mark.parametrize(("name", "variable", "read"), TEXTS)
@pytest.mark.parametrize(
    ("configured", "outside", "expected"),
    [
        (None, None, ()),
        (None, "", ()),
        (None, "  ", ()),
        (None, "outside", ("outside",)),
        ("", "outside", ()),
        ("inside", "outside", ("inside",)),
        (" inside\n", None, ("inside",)),
        (["first", "second"], None, ("first", "second")),
        (("", "second"), None, ("second",)),
        ([], "outside", ()),
    ],
)
def test_text_is_taken_from_the_setting_and_else_from_outside(
    configured: Any,
    outside: str | None,
    expected: tuple[str, ...],
    name: str,
    variable: str,
    read: Callable[[], Any],
    configure: Configure,
    environment: pytest.MonkeyPatch,
) -> None:
    configure(**{name: configured})
    if outside is not None:
        environment.setenv(variable, outside)
    value = read()
    assert as_tuple(value) == (expected[:1] if isinstance(value, str) else expected)


def test_settings_are_read_anew_each_time(settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = {"CURRENCY": "EUR"}
    assert gateway_settings.currency == "eur"
    settings.OCTO_STRIPE_GATEWAY = {"CURRENCY": "gbp"}
    assert gateway_settings.currency == "gbp"
    del settings.OCTO_STRIPE_GATEWAY
    assert gateway_settings.currency == "usd"


@pytest.mark.parametrize("configured", [{}, dict.fromkeys(conf.DEFAULTS)])
def test_what_is_left_out_or_none_has_a_default(configured: dict[str, Any], settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = configured
    assert gateway_settings.stripe_api_base == "https://api.stripe.com"
    assert gateway_settings.stripe_timeout == (3.0, 10.0)
    assert gateway_settings.stripe_max_network_retries == 2
    assert gateway_settings.authenticate is None
    assert gateway_settings.currency == "usd"
    assert gateway_settings.payables == {}
    assert gateway_settings.require_payable is False
    assert gateway_settings.webhook_tolerance == 300


BUILT_IN = (conf.BUILT_IN_API_KEY, conf.BUILT_IN_PUBLISHABLE_KEY, (conf.BUILT_IN_WEBHOOK_SECRET,))
NOTHING = ("", "", ())


@pytest.mark.parametrize(
    ("debug", "configured", "expected"),
    [
        (True, {}, BUILT_IN),
        (True, {"STRIPE_API_KEY": ""}, BUILT_IN),
        (False, {}, NOTHING),
        (True, {"STRIPE_API_KEY": "sk_test_own"}, ("sk_test_own", "", ())),
        (False, {"STRIPE_API_KEY": "sk_test_own"}, ("sk_test_own", "", ())),
        (True, {"STRIPE_WEBHOOK_SECRET": "whsec_own"}, (*BUILT_IN[:2], ("whsec_own",))),
    ],
)
def test_built_in_keys_stand_in_under_debug_only(
    debug: bool, configured: dict[str, Any], expected: tuple[Any, ...], settings: Any
) -> None:
    settings.DEBUG = debug
    settings.OCTO_STRIPE_GATEWAY = configured
    assert expected == (
        gateway_settings.stripe_api_key,
        gateway_settings.stripe_publishable_key,
        gateway_settings.stripe_webhook_secrets,
    )


@pytest.mark.parametrize(
    ("debug", "configured", "base"),
    [
        (True, {}, conf.EMULATOR_API_BASE),
        (True, {"STRIPE_API_KEY": "sk_test_own"}, conf.STRIPE_API_BASE),
        (False, {}, conf.STRIPE_API_BASE),
        (False, {"STRIPE_API_BASE": "http://127.0.0.1:9/"}, "http://127.0.0.1:9"),
    ],
)
def test_real_keys_go_to_stripe_and_built_in_ones_to_the_emulator(
    debug: bool, configured: dict[str, Any], base: str, settings: Any
) -> None:
    settings.DEBUG = debug
    settings.OCTO_STRIPE_GATEWAY = configured
    assert gateway_settings.stripe_api_base == base


@pytest.mark.django_db
def test_nothing_configured_answers_an_error_and_asks_nobody(
    api: GatewayApi, stripe: StripeEmulator, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(STRIPE_API_KEY=None, STRIPE_PUBLISHABLE_KEY=None)
    answer = api.create()
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "INTERNAL_SERVER_ERROR",
        "errorMessage": "The payment gateway is not configured.",
    }
    assert "[OctoStripeGateway] STRIPE_API_KEY is not configured" in caplog.text
    assert stripe.requests == []
    assert Payment.objects.count() == 0


@pytest.mark.django_db
def test_payment_is_shown_where_no_key_is_configured(api: GatewayApi, configure: Configure) -> None:
    configure(STRIPE_API_KEY=None, STRIPE_PUBLISHABLE_KEY=None)
    answer = api.retrieve(PaymentFactory.create().pk)
    assert answer.status_code == 200
    assert answer.json()["publishableKey"] is None
