"""Typed, live view of the host's `OCTO_STRIPE_GATEWAY` setting; what is wrong raises ConfigurationError."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.conf import settings
from django.http import HttpRequest

from octo_stripe_gateway import setting_types as types
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.redaction import Secret

if TYPE_CHECKING:
    from rest_framework.authentication import BaseAuthentication

T = TypeVar("T")

STRIPE_API_BASE = "https://api.stripe.com"
EMULATOR_API_BASE = "http://127.0.0.1:8421"
BUILT_IN_API_KEY = "sk_test_octoStripeGatewayEmulator"
BUILT_IN_PUBLISHABLE_KEY = "pk_test_octoStripeGatewayEmulator"
# Signs test money where there is no key.
BUILT_IN_SIGNING_KEY = "octoStripeGatewayTestMoney"
BUILT_IN_WEBHOOK_SECRET = "whsec_octoStripeGatewayEmulator"  # noqa: S105 - public by design

ENVIRONMENT = {
    "STRIPE_API_KEY": "STRIPE_API_KEY",
    "STRIPE_PUBLISHABLE_KEY": "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET": "STRIPE_WEBHOOK_SECRET",
    "API_GATEWAY_KEY": "OSG_API_GATEWAY_KEY",
    "SIGNING_KEY": "OSG_SIGNING_KEY",
    "INSTALLATION_ID": "OSG_INSTALLATION_ID",
}
# What has a rate: the API's actions, and failed authentication.
RATES_OF_CHANGES = ("create", "complete", "refund", "capture", "cancel", "cancel_payable")
RATES = (*RATES_OF_CHANGES, "list", "retrieve", "authentication")


@dataclass(frozen=True, slots=True)
class Account:
    """A Stripe account by the name that the settings give it, with its keys and webhook secrets."""

    api_key: str = field(repr=False)
    publishable_key: str = field(default="", repr=False)
    name: str = field(default="", kw_only=True)
    webhook_secrets: tuple[str, ...] = field(default=(), kw_only=True, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_key", Secret(self.api_key))

    @property
    def livemode(self) -> bool:
        """Tell whether the key moves real money."""
        return is_live(self.api_key)


def is_live(key: str) -> bool:
    """Tell whether one of Stripe's keys moves real money."""
    return "_live_" in key


def read_accounts(name: str, value: Any) -> dict[str, Account]:
    """Return the accounts of `STRIPE_ACCOUNTS`; no two may have one webhook secret."""
    accounts = {}
    for key, keys in types.read_mapping(name, value).items():
        if not key:
            raise ConfigurationError(f"{name} has an empty name: that account is the top-level settings'.")
        accounts[key] = _read_account(f"{name}[{types.read_name(name, key)!r}]", keys, name=key)
    types.check_unshared(name, {each.name: each.webhook_secrets for each in accounts.values()})
    return accounts


def _read_account(path: str, keys: Any, *, name: str) -> Account:
    known = types.read_mapping(path, keys)
    if unknown := known.keys() - {"STRIPE_API_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET"}:
        raise ConfigurationError(f"{path} has no key {min(unknown)!r}.")
    key, publishable, secrets = (
        known.get(f"STRIPE_{kind}") for kind in ("API_KEY", "PUBLISHABLE_KEY", "WEBHOOK_SECRET")
    )
    return Account(
        types.read_text(f"{path}['STRIPE_API_KEY']", key),
        types.read_publishable_key(f"{path}['STRIPE_PUBLISHABLE_KEY']", publishable or ""),
        name=name,
        webhook_secrets=types.read_texts(f"{path}['STRIPE_WEBHOOK_SECRET']", secrets or ()),
    )


class Setting(Generic[T]):
    """One setting: what reads its value, its default, and what stands for no value at all."""

    def __init__(
        self,
        name: str,
        read: Callable[[str, Any], T],
        *,
        default: Any = None,
        nothing: Any = "",
        secret: bool = False,
    ) -> None:
        self.name, self.default = name, default
        self.nothing: T = nothing
        self.reader, self.secret = read, secret
        self.known: tuple[Any, T] | None = None
        SETTINGS[name] = self

    def __get__(self, instance: object, owner: object = None) -> T:
        """Return the value in its one form; raises ConfigurationError.

        It is read anew where it isn't what it was: a request asks for settings some twenty times.
        """
        # Hidden at once: what follows may raise, and error reports send every variable.
        value = self._hide(get_configured().get(self.name))
        if value is None and self.name in ENVIRONMENT:
            value = self._hide(os.environ.get(ENVIRONMENT[self.name]))
        if value is None:
            value = self.default
        if value is None:
            return self.nothing
        known = self.known
        if known and type(known[0]) is type(value) and known[0] == value:
            return known[1]
        read = self.reader(self.name, value)
        if isinstance(value, (str, int, dict, tuple)) and self.reader not in types.IMPORTING:
            # A copy, since the host may change its own in place.
            self.known = copy.deepcopy(value), read
        return read

    @property
    def _hide(self) -> Callable[[Any], Any]:
        return types.hide if self.secret else lambda value: value


SETTINGS: dict[str, Setting[Any]] = {}


class GatewaySettings:
    """Reads a setting anew at every access, so that `override_settings` works."""

    _checked: Mapping[str, Any] | None = None
    _accounts: tuple[Any, Mapping[str, Account]] | None = None

    own_api_key = Setting("STRIPE_API_KEY", types.read_text, secret=True)
    own_publishable_key = Setting("STRIPE_PUBLISHABLE_KEY", types.read_publishable_key, secret=True)
    own_webhook_secrets = Setting("STRIPE_WEBHOOK_SECRET", types.read_texts, nothing=(), secret=True)
    named_accounts = Setting("STRIPE_ACCOUNTS", read_accounts, default={}, secret=True)
    choose_account: Setting[Callable[[Any], Any] | None] = Setting(
        "CHOOSE_ACCOUNT", types.read_callable, nothing=None
    )
    installation_id = Setting("INSTALLATION_ID", types.read_name)
    # The first signs; the others are still believed.
    own_signing_keys = Setting("SIGNING_KEY", types.read_texts, nothing=(), secret=True)
    own_api_base = Setting("STRIPE_API_BASE", types.read_url)
    stripe_timeout = Setting("STRIPE_TIMEOUT", types.read_timeout, default=(3, 10))
    stripe_max_network_retries = Setting("STRIPE_MAX_NETWORK_RETRIES", types.read_count, default=2)
    # By their holder's name; the integrator's own have the empty one.
    api_gateway_keys = Setting("API_GATEWAY_KEY", types.read_named_texts, nothing={}, secret=True)
    identify_caller: Setting[Callable[[HttpRequest], Any] | None] = Setting(
        "IDENTIFY_CALLER", types.read_callable, nothing=None
    )
    authentication_classes: Setting[tuple[type[BaseAuthentication], ...]] = Setting(
        "AUTHENTICATION_CLASSES", types.read_classes, default=()
    )
    throttle_rates = Setting(
        "THROTTLE_RATES",
        types.read_rates(*RATES),
        default={
            **dict.fromkeys(RATES_OF_CHANGES, "120/minute"),
            "authentication": "60/minute",
        },
    )
    page_size = Setting("PAGE_SIZE", types.read_positive, default=100)
    max_body_size = Setting("MAX_BODY_SIZE", types.read_positive, default=65536)
    currency = Setting("CURRENCY", types.read_currency, default="usd")
    payables = Setting("PAYABLES", types.read_labels, default={})
    site_url = Setting("SITE_URL", types.read_url)
    merchant_name = Setting("MERCHANT_NAME", types.read_text)
    require_payable = Setting("REQUIRE_PAYABLE", types.read_flag, default=False)
    refund_fraud_warnings = Setting("REFUND_FRAUD_WARNINGS", types.read_flag, default=False)
    reverse_transfers = Setting("REVERSE_TRANSFERS", types.read_flag, default=True)
    refund_application_fees = Setting("REFUND_APPLICATION_FEES", types.read_flag, default=True)
    strict_octo = Setting("STRICT_OCTO", types.read_flag, default=False)
    webhook_processing = Setting("WEBHOOK_PROCESSING", types.read_choice("inline", "task"), default="inline")
    webhook_tolerance = Setting("WEBHOOK_TOLERANCE", types.read_positive, default=300)
    reconcile_days = Setting("RECONCILE_DAYS", types.read_count, default=2)
    reconcile_adopts = Setting("RECONCILE_ADOPTS", types.read_flag, default=False)
    idempotency_key_days: Setting[int | None] = Setting("IDEMPOTENCY_KEY_DAYS", types.read_days, nothing=None)

    @property
    def uses_built_in_keys(self) -> bool:
        """Tell whether the emulator's test keys stand in, as they do only under `DEBUG`."""
        return bool(settings.DEBUG) and not self.own_api_key and not self.named_accounts

    @property
    def stripe_api_key(self) -> str:
        """Return the key for Stripe's API, empty where none is configured."""
        return self.own_api_key or (Secret(BUILT_IN_API_KEY) if self.uses_built_in_keys else "")

    @property
    def stripe_publishable_key(self) -> str:
        """Return the key that browsers use, empty where none is configured."""
        return self.own_publishable_key or (BUILT_IN_PUBLISHABLE_KEY if self.uses_built_in_keys else "")

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """Return the secrets that may have signed an event, none where none is configured."""
        built_in = (Secret(BUILT_IN_WEBHOOK_SECRET),) if self.uses_built_in_keys else ()
        return self.own_webhook_secrets or built_in

    def get_signing_keys(self, *, livemode: bool) -> tuple[str, ...]:
        """Return the keys that sign our metadata at Stripe, the current one first, none for live money."""
        return self.own_signing_keys or (() if livemode else (BUILT_IN_SIGNING_KEY,))

    @property
    def stripe_api_base(self) -> str:
        """Return the address of Stripe's API, or of the emulator that stands in for it."""
        return self.own_api_base or (EMULATOR_API_BASE if self.uses_built_in_keys else STRIPE_API_BASE)

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Return the Stripe accounts by name, that of the top-level settings under an empty one."""
        keys = self.stripe_api_key, self.stripe_publishable_key, self.stripe_webhook_secrets
        told = (*keys, self.named_accounts)
        if self._accounts and self._accounts[0] == told:
            return self._accounts[1]
        accounts = {"": Account(keys[0], keys[1], webhook_secrets=keys[2]), **self.named_accounts}
        secrets = {name: account.webhook_secrets for name, account in accounts.items()}
        types.check_unshared("STRIPE_WEBHOOK_SECRET", secrets)
        self._accounts = told, accounts
        return accounts

    @property
    def moves_real_money(self) -> bool:
        """Tell whether any of the accounts has a live key."""
        return any(account.livemode for account in self.accounts.values())

    def get_account(self, name: str = "") -> Account:
        """Return the account of that name; raises ConfigurationError.

        That of the top-level settings has empty keys where none are configured.
        """
        accounts = self.accounts
        if name not in accounts:
            raise ConfigurationError(f"STRIPE_ACCOUNTS has no account {name!r}.")
        return accounts[name]

    def check(self) -> None:
        """Raise ConfigurationError unless every setting can be read; the same dict is checked only once."""
        if get_configured() is self._checked:
            return
        for setting in SETTINGS.values():
            setting.__get__(self)
        self.get_account()
        self._checked = get_configured()


DEFAULTS: dict[str, Any] = {name: setting.default for name, setting in SETTINGS.items()}


def get_configured() -> Mapping[str, Any]:
    """Return the host's dict as it is; raises ConfigurationError."""
    if not isinstance(getattr(settings, "OCTO_STRIPE_GATEWAY", {}), dict):
        raise ConfigurationError("OCTO_STRIPE_GATEWAY must be a dict.")
    return getattr(settings, "OCTO_STRIPE_GATEWAY", {})


def choose_account(payment: Any) -> tuple[str, str]:
    """Return the name of the account that takes a new payment, and the connected account, empty if none.

    Raises ConfigurationError unless `CHOOSE_ACCOUNT` returns an account's name, alone or with the id of a
    connected account.
    """
    choose = gateway_settings.choose_account
    if choose is None:
        return "", payment.stripe_account
    choice = choose(payment)
    name, connected = choice if _is_pair(choice) else (choice, payment.stripe_account)
    if not isinstance(name, str) or not isinstance(connected, str):
        wanted = "an account's name, or the name and the id of a connected account"
        raise ConfigurationError(f"CHOOSE_ACCOUNT must return {wanted}, not {type(choice).__name__}.")
    return gateway_settings.get_account(name).name, connected


def _is_pair(choice: Any) -> bool:
    return isinstance(choice, tuple) and len(choice) == 2


gateway_settings = GatewaySettings()
