"""How the configuration is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import ERROR

from octo_stripe_gateway import conf
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.api import GatewayApi
from tests.support.checks import list_messages

Configure = Callable[..., None]

TEXTS = [
    ("STRIPE_API_KEY", "STRIPE_API_KEY", lambda: gateway_settings.stripe_api_key),
    ("STRIPE_PUBLISHABLE_KEY", "STRIPE_PUBLISHABLE_KEY", lambda: gateway_settings.stripe_publishable_key),
    ("STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET", lambda: gateway_settings.stripe_webhook_secrets),
    ("API_GATEWAY_KEY", "OSG_API_GATEWAY_KEY", lambda: gateway_settings.api_gateway_keys.get("", ())),
]


def as_tuple(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, [value] if isinstance(value, str) else value))


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
    assert as_tuple(read()) == expected


@pytest.mark.parametrize(("name", "variable", "read"), TEXTS[2:])
@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (["first", "second"], ("first", "second")),
        (("", "second"), ("second",)),
        ([" ", " third\n"], ("third",)),
        ([], ()),
    ],
)
def test_several_texts_are_a_list(
    configured: Any,
    expected: tuple[str, ...],
    name: str,
    variable: str,
    read: Callable[[], Any],
    configure: Configure,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv(variable, "outside")
    configure(**{name: configured})
    assert read() == expected


def fail() -> None:
    raise ZeroDivisionError


NOT_TEXTS: list[Any] = [7, True, 1.5, b"key", object(), "sk_\udcff"]
NOT_KEYS: list[Any] = [*NOT_TEXTS, {"a"}, [b"97"], ["key", None], [None, None], ["key", 7], [["key"]]]
NOT_NUMBERS: list[Any] = ["3", True, -1, 1.5, [], {}, 2**31, 10**400]
NOT_FLAGS: list[Any] = ["False", "yes", "", 0, 1, []]
NOT_FUNCTIONS: list[Any] = [7, "", "nowhere", "tests.nowhere.choose", "tests.test_conf.nowhere", [fail]]
NOT_ADDRESSES: list[Any] = [
    *NOT_TEXTS,
    "stripe",
    "ftp://stripe",
    "http://",
    "http:///v1",
    "http://a b",
    "http://[::1",
    "http://a:b",
    "http://:80",
    "http://a:0",
]
WRONG: dict[str, list[Any]] = {
    "STRIPE_API_KEY": [*NOT_TEXTS, ["sk_test_1"], {}],
    "STRIPE_PUBLISHABLE_KEY": [*NOT_TEXTS, ["pk_test_1"], {}, "sk_test_1"],
    "STRIPE_WEBHOOK_SECRET": [*NOT_KEYS, {}],
    "STRIPE_ACCOUNTS": [
        *NOT_TEXTS,
        "tokyo",
        ["tokyo"],
        {"": {"STRIPE_API_KEY": "sk_test_1"}},
        {7: {"STRIPE_API_KEY": "sk_test_1"}},
        {"a\nb": {"STRIPE_API_KEY": "sk_test_1"}},
        {"tokyo": "sk_test_1"},
        {"tokyo": {}},
        {"tokyo": {"STRIPE_API_KEY": None}},
        {"tokyo": {"STRIPE_API_KEY": b"sk_test_1"}},
        {"tokyo": {"STRIPE_API_KEY": "sk_test_1", "STRIPE_KEY": "sk_test_1"}},
        {"tokyo": {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": ["whsec_1", None]}},
        {name: {"STRIPE_API_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"} for name in "ab"},
    ],
    "CHOOSE_ACCOUNT": NOT_FUNCTIONS,
    "INSTALLATION_ID": [*NOT_TEXTS, ["staging"], "a\nb", "x" * 101],
    "SIGNING_KEY": [*NOT_KEYS, {}],
    "STRIPE_API_BASE": NOT_ADDRESSES,
    "SITE_URL": NOT_ADDRESSES,
    "STRIPE_TIMEOUT": [
        7,
        "3, 10",
        "ab",
        (3,),
        (3, 10, 10),
        ("3", "10"),
        (0, 10),
        (True, 10),
        (3, None),
        (3, float("inf")),
        (float("nan"), 3),
        (3, 10**400),
    ],
    "STRIPE_MAX_NETWORK_RETRIES": NOT_NUMBERS,
    "API_GATEWAY_KEY": [
        *NOT_KEYS,
        {"viator": None},
        {"viator": b"key"},
        {"viator": ["key", None]},
        {"viator": {"key": "key"}},
        {None: "key"},
        {7: "key"},
        {" viator": "key"},
        {"a\nb": "key"},
        {"x" * 101: "key"},
        {"viator": "key", "klook": ["klook-key", "key"]},
    ],
    "IDENTIFY_CALLER": NOT_FUNCTIONS,
    "AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        7,
        ["rest_framework.authentication.SesionAuthentication"],
        ["nowhere"],
        [""],
        [None],
        [fail],
        [object],
    ],
    "THROTTLE_RATES": [
        "120/minute",
        ["120/minute"],
        {"creat": "120/minute"},
        {7: "120/minute"},
        *(
            {"create": rate}
            for rate in [
                "120",
                "/minute",
                "x/minute",
                "0/minute",
                "-1/minute",
                "1/fortnight",
                "1234567890/day",
            ]
        ),
        *({"create": rate} for rate in ["120/minit", "120 / minute", 120, True, ("120/minute",)]),
    ],
    "PAGE_SIZE": [*NOT_NUMBERS, 0],
    "MAX_BODY_SIZE": [*NOT_NUMBERS, 0],
    "CURRENCY": [*NOT_TEXTS, "", "us", "usdd", "us1", "u\u017fd", ["usd"]],
    "PAYABLES": [
        ["shop.Booking"],
        "shop.Booking",
        {"booking": None},
        {"booking": object},
        {7: "shop.Booking"},
    ],
    "MERCHANT_NAME": [*NOT_TEXTS, ["Tours"]],
    "REQUIRE_PAYABLE": NOT_FLAGS,
    "REFUND_FRAUD_WARNINGS": NOT_FLAGS,
    "REFUND_APPLICATION_FEES": NOT_FLAGS,
    "REVERSE_TRANSFERS": NOT_FLAGS,
    "STRICT_OCTO": NOT_FLAGS,
    "WEBHOOK_PROCESSING": ["later", "", "Task", 7, True],
    "WEBHOOK_TOLERANCE": [*NOT_NUMBERS, 0],
    "RECONCILE_DAYS": [*NOT_NUMBERS],
    "RECONCILE_ADOPTS": NOT_FLAGS,
    "IDEMPOTENCY_KEY_DAYS": [*NOT_NUMBERS, 0, 36_501],
}
EACH_WRONG = [(name, wrong) for name, values in WRONG.items() for wrong in values]
SECRETS = ("sk_test_1", "pk_test_1", "whsec_1", "'key'", "klook-key")


def test_every_setting_has_wrong_values_here() -> None:
    assert WRONG.keys() == conf.DEFAULTS.keys()


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "wrong"), EACH_WRONG)
def test_what_a_setting_cannot_be_is_said_and_nothing_is_let_through(
    name: str,
    wrong: Any,
    api: GatewayApi,
    stripe: StripeEmulator,
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    payment = PaymentFactory.create(paid=True)
    configure(**{name: wrong})
    (message,) = [each for each in list_messages() if each.level >= ERROR]
    assert name in message.msg
    for answer in (api.create(), api.refund(payment.pk), api.request("GET", "/capabilities")):
        assert answer.status_code == 500
        assert answer.json() == {
            "error": "INTERNAL_SERVER_ERROR",
            "errorMessage": "The payment gateway is not configured.",
        }
    assert message.msg in caplog.text
    assert stripe.requests == []


@pytest.mark.django_db
def test_a_number_longer_than_python_writes_is_said(configure: Configure) -> None:
    configure(MAX_BODY_SIZE=10**5000)
    (message,) = [each for each in list_messages() if each.level >= ERROR]
    assert "MAX_BODY_SIZE must be" in message.msg


@pytest.mark.parametrize("wrong", ["sk_test_1", [("CURRENCY", "usd")], 7])
def test_a_setting_that_is_no_dict_is_said(wrong: Any, api: GatewayApi, settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = wrong
    assert [message.id for message in list_messages()] == ["octo_stripe_gateway.E013"]
    assert api.create().status_code == 500
    assert api.post_event(b"{}", "t=1,v1=x").status_code == 500


@pytest.mark.django_db
@pytest.mark.parametrize("token", ["None", "97", "key", "b'key'", "False", "True", "7"])
@pytest.mark.parametrize("keys", [["key", None], [None], b"key", [b"key"], 7, [False], {"a": None}, {"a": 7}])
def test_nothing_but_text_is_a_key(keys: Any, token: str, api: GatewayApi, configure: Configure) -> None:
    configure(API_GATEWAY_KEY=keys, STRIPE_WEBHOOK_SECRET=keys)
    api.key = token
    assert api.create().status_code == 500
    event = signed_event("invoice.paid", {"id": "in_1"}, secret=token)
    assert api.post_event(*event).status_code == 500
    assert not WebhookEvent.objects.exists()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (name, wrong)
        for name, wrong in EACH_WRONG
        if conf.SETTINGS[name].secret and any(secret in repr(wrong) for secret in SECRETS)
    ],
)
def test_no_message_about_a_secret_has_it(name: str, wrong: Any, configure: Configure) -> None:
    configure(**{name: wrong})
    said = str(list_messages(deploy=True))
    assert name in said
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1", "whsec_1"])
def test_a_secret_key_is_never_sent_as_the_publishable_one(
    key: str, api: GatewayApi, configure: Configure
) -> None:
    payment = PaymentFactory.create()
    configure(STRIPE_PUBLISHABLE_KEY=key)
    answer = api.retrieve(payment.pk)
    assert answer.status_code == 500
    assert key.encode() not in answer.content


def test_settings_are_read_anew_each_time(settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = {"CURRENCY": "EUR"}
    assert gateway_settings.currency == "eur"
    settings.OCTO_STRIPE_GATEWAY = {"CURRENCY": "gbp"}
    assert gateway_settings.currency == "gbp"
    del settings.OCTO_STRIPE_GATEWAY
    assert gateway_settings.currency == "usd"


def test_setting_that_the_host_changes_in_place_is_read_anew(settings: Any) -> None:
    keys: Any = {"viator": ["one"]}
    rates: dict[str, Any] = {"create": "1/minute"}
    settings.OCTO_STRIPE_GATEWAY = {"API_GATEWAY_KEY": keys, "THROTTLE_RATES": rates, "PAGE_SIZE": 1}
    assert gateway_settings.api_gateway_keys == {"viator": ("one",)}
    assert gateway_settings.throttle_rates == {"create": "1/minute"}
    assert gateway_settings.page_size == 1
    keys["viator"].append("two")
    rates["create"] = "2/minute"
    assert gateway_settings.api_gateway_keys == {"viator": ("one", "two")}
    assert gateway_settings.throttle_rates == {"create": "2/minute"}
    rates["create"] = 2
    # Equal to 1, and no number.
    settings.OCTO_STRIPE_GATEWAY["PAGE_SIZE"] = True
    for name in ("throttle_rates", "page_size"):
        with pytest.raises(ConfigurationError):
            getattr(gateway_settings, name)


def test_function_that_a_path_names_is_looked_up_anew(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OCTO_STRIPE_GATEWAY = {"IDENTIFY_CALLER": f"{__name__}.make_account"}
    found: Any = gateway_settings.identify_caller
    assert found is make_account
    monkeypatch.setitem(globals(), "make_account", len)
    found = gateway_settings.identify_caller
    assert found is len


def make_account() -> dict[str, str]:
    return {"STRIPE_API_KEY": "sk_test_one", "STRIPE_WEBHOOK_SECRET": "whsec_one"}


def test_accounts_are_those_of_this_moment(settings: Any) -> None:
    accounts = {"tokyo": make_account()}
    settings.OCTO_STRIPE_GATEWAY = {"STRIPE_ACCOUNTS": accounts, "STRIPE_API_KEY": "sk_test_own"}
    assert gateway_settings.accounts["tokyo"].api_key == "sk_test_one"
    assert gateway_settings.accounts is gateway_settings.accounts
    accounts["tokyo"]["STRIPE_API_KEY"] = "sk_test_two"
    assert gateway_settings.accounts["tokyo"].api_key == "sk_test_two"
    settings.OCTO_STRIPE_GATEWAY["STRIPE_API_KEY"] = "sk_live_own"
    assert gateway_settings.accounts[""].livemode
    accounts["oslo"] = make_account()
    with pytest.raises(ConfigurationError):
        assert gateway_settings.accounts


@pytest.mark.parametrize("configured", [{}, dict.fromkeys(conf.DEFAULTS)])
def test_what_is_left_out_or_none_has_a_default(configured: dict[str, Any], settings: Any) -> None:
    settings.OCTO_STRIPE_GATEWAY = configured
    assert gateway_settings.stripe_api_base == "https://api.stripe.com"
    assert gateway_settings.stripe_timeout == (3.0, 10.0)
    assert gateway_settings.stripe_max_network_retries == 2
    assert gateway_settings.identify_caller is None
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
