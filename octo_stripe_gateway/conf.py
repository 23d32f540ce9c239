"""Typed, live view of the host's `OCTO_STRIPE_GATEWAY` setting; what is wrong raises ConfigurationError.

A reader returns a setting's value in one form. Nothing is converted to text: `b"key"`, `7` or `None` would
become a key that somebody can send.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from octo_stripe_gateway.exceptions import ConfigurationError

T = TypeVar("T")
Hook = Callable[..., Any] | None

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

RATE = re.compile(r"[1-9][0-9]{0,8}/(s|sec|second|m|min|minute|h|hour|d|day)")
URL = re.compile(r"https?://[^\s/]+\S*")
# Beyond this something overflows that uses the number: a date, a socket's time-out, a size.
LARGEST_NUMBER = 2**31 - 1


class Secret(str):
    """A text whose repr shows nothing: error reporters send the repr of every local variable.

    Otherwise it is plain text, and so is whatever is made of it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


def hide(value: Any) -> Any:
    """Copy a setting: each text becomes a stripped Secret, and what should have been text only its type."""
    if isinstance(value, dict):
        return {key: hide(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(hide(each) for each in value)
    if isinstance(value, str):
        return Secret(value.strip())
    return None if value is None else type(value)


def read_text(name: str, value: Any) -> str:
    """Return a text without blanks around it; bytes of the environment that aren't UTF-8 are refused."""
    if not isinstance(value, str) or any("\ud800" <= each <= "\udfff" for each in value):
        raise _get_error(name, value, wanted="text")
    return value if isinstance(value, Secret) else value.strip()


def read_publishable_key(name: str, value: Any) -> str:
    """Return a key that browsers may have; raises for one that must not leave the server."""
    if read_text(name, value).startswith(("sk_", "rk_", "whsec_")):
        raise ConfigurationError(f"{name} must be a publishable key, and is a secret one.")
    return str(read_text(name, value))


def read_texts(name: str, value: Any) -> tuple[str, ...]:
    """Return the texts that aren't blank, given as one or as a list."""
    if isinstance(value, (list, tuple)):
        texts = [read_text(f"{name}[{place}]", each) for place, each in enumerate(value)]
    else:
        texts = [read_text(name, value)]
    return tuple(text for text in texts if text)


def read_named_texts(name: str, value: Any) -> dict[str, tuple[str, ...]]:
    """Return the texts by name, the empty one if they have none; no two names may share a text."""
    if not isinstance(value, dict):
        return {"": read_texts(name, value)}
    named = {read_name(name, key): read_texts(f"{name}[{key!r}]", each) for key, each in value.items()}
    check_unshared(name, named)
    return named


def read_name(name: str, value: Any) -> str:
    """Return a name in a mapping: text that fits into a column and into a line of the log."""
    if not isinstance(value, str) or len(value) > 100 or not value.isprintable() or value != value.strip():
        raise ConfigurationError(f"{name} has a name that isn't text of up to 100 printable characters.")
    return value


def read_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return a dict whose keys are text."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _get_error(name, value, wanted="a dict with text as its keys")
    return value


def read_flag(name: str, value: Any) -> bool:
    """Return a boolean; no text is one, not even "False"."""
    if not isinstance(value, bool):
        raise _get_error(name, value, wanted="True or False")
    return value


def read_integer(least: int, *, most: int = LARGEST_NUMBER) -> Callable[[str, Any], int]:
    """Return a reader that accepts the integers between two."""

    def read(name: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _get_error(name, value, wanted=f"an integer from {least} to {most}")
        return value

    return read


def read_timeout(name: str, value: Any) -> tuple[float, float]:
    """Return two numbers of seconds."""
    seconds = value if isinstance(value, (list, tuple)) else ()
    are_right = all(type(each) in {int, float} and 0 < each <= 24 * 60 * 60 for each in seconds)
    if len(seconds) != 2 or not are_right:
        raise _get_error(name, value, wanted="two positive numbers of seconds, a day's at most")
    return float(seconds[0]), float(seconds[1])


def read_url(name: str, value: Any) -> str:
    """Return an address without the slash at its end."""
    url = read_text(name, value)
    try:
        parts = urlsplit(url)
        is_right = bool(URL.fullmatch(url) and parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise _get_error(name, value, wanted="an address that begins with http:// or https://")
    return url.rstrip("/")


def read_currency(name: str, value: Any) -> str:
    """Return a currency's code in lower case."""
    code = read_text(name, value)
    if not re.fullmatch("[A-Za-z]{3}", code):
        raise _get_error(name, value, wanted="a currency's three letters")
    return code.lower()


def read_processing(name: str, value: Any) -> str:
    """Return where events are processed: `inline`, or in a `task`."""
    if read_text(name, value) not in {"inline", "task"}:
        raise _get_error(name, value, wanted="'inline' or 'task'")
    return read_text(name, value)


def read_labels(name: str, value: Any) -> dict[str, str]:
    """Return the labels of models by their public name."""
    return {key: read_text(f"{name}[{key!r}]", label) for key, label in read_mapping(name, value).items()}


def read_rates(name: str, value: Any) -> dict[str, str | None]:
    """Return the rates by what has one, None for no limit."""
    rates = read_mapping(name, value)
    for action, rate in rates.items():
        if action not in RATES:
            raise ConfigurationError(f"{name} names {action!r}, which is none of {', '.join(RATES)}.")
        if rate is not None and not RATE.fullmatch(read_text(f"{name}[{action!r}]", rate)):
            raise _get_error(f"{name}[{action!r}]", rate, wanted="like '120/minute'")
    return dict(rates)


def read_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a function that is given, or named by its dotted path."""
    function = import_named(name, value)
    if not callable(function):
        raise _get_error(name, value, wanted="a function, or a function's dotted path")
    return function  # type: ignore[no-any-return] # whatever was imported


def read_classes(name: str, value: Any) -> tuple[type[Any], ...]:
    """Return classes that authenticate, given or named by their dotted paths."""
    if not isinstance(value, (list, tuple)):
        raise _get_error(name, value, wanted="a list")
    classes = tuple(import_named(f"{name}[{place}]", each) for place, each in enumerate(value))
    for place, each in enumerate(classes):
        if not isinstance(each, type) or not callable(getattr(each, "authenticate", None)):
            raise _get_error(f"{name}[{place}]", value[place], wanted="an authentication class")
    return classes


def import_named(name: str, value: Any) -> Any:
    """Return what a dotted path names, and anything but text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except Exception as error:
        raise ConfigurationError(f"{name} can't be imported: {error}") from error


def check_unshared(name: str, texts: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ConfigurationError where two names have the same text: it would not tell them apart."""
    owners: dict[str, str] = {}
    for owner, own in texts.items():
        for text in own:
            if owners.setdefault(text, owner) != owner:
                raise ConfigurationError(f"{name} gives {owners[text]!r} and {owner!r} the same secret.")


def _get_error(name: str, value: Any, *, wanted: str) -> ConfigurationError:
    if isinstance(value, type):
        shown = value.__name__
    elif isinstance(value, (dict, list, tuple)) or (type(value) is int and abs(value) > LARGEST_NUMBER):
        shown = f"a {type(value).__name__}"
    else:
        shown = ascii(value)
    return ConfigurationError(f"{name} must be {wanted}, and is {shown}.")


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
    for key, keys in read_mapping(name, value).items():
        if not key:
            raise ConfigurationError(f"{name} has an empty name: that account is the top-level settings'.")
        path = f"{name}[{read_name(name, key)!r}]"
        known = read_mapping(path, keys)
        if unknown := known.keys() - {"STRIPE_API_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET"}:
            raise ConfigurationError(f"{path} has no key {min(unknown)!r}.")
        publishable, secrets = known.get("STRIPE_PUBLISHABLE_KEY"), known.get("STRIPE_WEBHOOK_SECRET")
        accounts[key] = Account(
            read_text(f"{path}['STRIPE_API_KEY']", known.get("STRIPE_API_KEY")),
            read_publishable_key(f"{path}['STRIPE_PUBLISHABLE_KEY']", publishable or ""),
            name=key,
            webhook_secrets=read_texts(f"{path}['STRIPE_WEBHOOK_SECRET']", secrets or ()),
        )
    check_unshared(name, {each.name: each.webhook_secrets for each in accounts.values()})
    return accounts


@dataclass(eq=False)
class Setting(Generic[T]):
    """One setting: what reads its value, its default, and what stands for no value at all."""

    name: str
    reader: Callable[[str, Any], T]
    _: KW_ONLY
    default: Any = None
    nothing: Any = ""
    secret: bool = False
    known: tuple[Any, T] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        SETTINGS[self.name] = self

    def __get__(self, instance: object, owner: object = None) -> T:
        """Return the value in its one form; raises ConfigurationError.

        It is read anew where it isn't what it was: a request asks for settings some twenty times.
        """
        # Hidden at once: what follows may raise, and error reports send every variable.
        show: Callable[[Any], Any] = hide if self.secret else lambda value: value
        value = show(get_configured().get(self.name))
        if value is None and self.name in ENVIRONMENT:
            value = show(os.environ.get(ENVIRONMENT[self.name]))
        if value is None:
            value = self.default
        if value is None:
            return self.nothing  # type: ignore[no-any-return]
        known = self.known
        if known and type(known[0]) is type(value) and known[0] == value:
            return known[1]
        read = self.reader(self.name, value)
        # What a dotted path names may be replaced while the path stays the same.
        if isinstance(value, (str, int, dict, tuple)) and self.reader not in (read_callable, read_classes):
            # A copy, since the host may change its own in place.
            self.known = copy.deepcopy(value), read
        return read


SETTINGS: dict[str, Setting[Any]] = {}


class GatewaySettings:
    """Reads a setting anew at every access, so that `override_settings` works."""

    _checked: Mapping[str, Any] | None = None
    _accounts: tuple[Any, Mapping[str, Account]] | None = None

    own_api_key = Setting("STRIPE_API_KEY", read_text, secret=True)
    own_publishable_key = Setting("STRIPE_PUBLISHABLE_KEY", read_publishable_key, secret=True)
    own_webhook_secrets = Setting("STRIPE_WEBHOOK_SECRET", read_texts, nothing=(), secret=True)
    named_accounts = Setting("STRIPE_ACCOUNTS", read_accounts, default={}, secret=True)
    choose_account: Setting[Hook] = Setting("CHOOSE_ACCOUNT", read_callable, nothing=None)
    installation_id = Setting("INSTALLATION_ID", read_name)
    # The first one signs; what the others signed still counts.
    own_signing_keys = Setting("SIGNING_KEY", read_texts, nothing=(), secret=True)
    own_api_base = Setting("STRIPE_API_BASE", read_url)
    stripe_timeout = Setting("STRIPE_TIMEOUT", read_timeout, default=(3, 10))
    stripe_max_network_retries = Setting("STRIPE_MAX_NETWORK_RETRIES", read_integer(0), default=2)
    # By their holder's name, which is empty for the integrator.
    api_gateway_keys = Setting("API_GATEWAY_KEY", read_named_texts, nothing={}, secret=True)
    identify_caller: Setting[Hook] = Setting("IDENTIFY_CALLER", read_callable, nothing=None)
    authentication_classes = Setting("AUTHENTICATION_CLASSES", read_classes, default=())
    throttle_rates = Setting(
        "THROTTLE_RATES",
        read_rates,
        default=dict.fromkeys(RATES_OF_CHANGES, "120/minute") | {"authentication": "60/minute"},
    )
    page_size = Setting("PAGE_SIZE", read_integer(1), default=100)
    max_body_size = Setting("MAX_BODY_SIZE", read_integer(1), default=65536)
    currency = Setting("CURRENCY", read_currency, default="usd")
    payables = Setting("PAYABLES", read_labels, default={})
    site_url = Setting("SITE_URL", read_url)
    merchant_name = Setting("MERCHANT_NAME", read_text)
    require_payable = Setting("REQUIRE_PAYABLE", read_flag, default=False)
    refund_fraud_warnings = Setting("REFUND_FRAUD_WARNINGS", read_flag, default=False)
    reverse_transfers = Setting("REVERSE_TRANSFERS", read_flag, default=True)
    refund_application_fees = Setting("REFUND_APPLICATION_FEES", read_flag, default=True)
    strict_octo = Setting("STRICT_OCTO", read_flag, default=False)
    webhook_processing = Setting("WEBHOOK_PROCESSING", read_processing, default="inline")
    webhook_tolerance = Setting("WEBHOOK_TOLERANCE", read_integer(1), default=300)
    reconcile_days = Setting("RECONCILE_DAYS", read_integer(0), default=2)
    reconcile_adopts = Setting("RECONCILE_ADOPTS", read_flag, default=False)
    idempotency_key_days: Setting[int | None] = Setting(
        "IDEMPOTENCY_KEY_DAYS", read_integer(1, most=36_500), nothing=None
    )

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
        check_unshared("STRIPE_WEBHOOK_SECRET", secrets)
        self._accounts = told, accounts
        return accounts

    @property
    def moves_real_money(self) -> bool:
        """Tell whether any of the accounts has a live key."""
        return any(account.livemode for account in self.accounts.values())

    def get_account(self, name: str = "") -> Account:
        """Return the account of that name, with empty keys where it has none; raises ConfigurationError."""
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
    # Looked up twice, since error reports would show a variable that holds it.
    if not isinstance(getattr(settings, "OCTO_STRIPE_GATEWAY", {}), dict):
        raise ConfigurationError("OCTO_STRIPE_GATEWAY must be a dict.")
    return getattr(settings, "OCTO_STRIPE_GATEWAY", {})


gateway_settings = GatewaySettings()
