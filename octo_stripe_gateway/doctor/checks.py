"""Says at start-up what is wrong with the configuration, and before a deployment what is missing."""

from __future__ import annotations

import difflib
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Info, Tags, register
from django.urls import is_valid_path

from octo_stripe_gateway import conf
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.ledger.transactions import get_connection
from octo_stripe_gateway.models import get_payable_class, is_keyed, is_priced

API_KEY_PREFIXES = ("sk_test_", "sk_live_", "rk_test_", "rk_live_")
PUBLISHABLE_KEY_PREFIXES = ("pk_test_", "pk_live_")
WEBHOOK_SECRET_PREFIXES = ("whsec_",)
BUILT_IN = {conf.BUILT_IN_API_KEY, conf.BUILT_IN_PUBLISHABLE_KEY, conf.BUILT_IN_WEBHOOK_SECRET}
# Settings whose value has a check of its own; all others share E013.
VALUES = {
    "STRIPE_PUBLISHABLE_KEY": "E002",
    "PAYABLES": "E005",
    "IDENTIFY_CALLER": "E006",
    "WEBHOOK_TOLERANCE": "E007",
    "WEBHOOK_PROCESSING": "E008",
    "AUTHENTICATION_CLASSES": "E014",
    "CURRENCY": "E015",
    "THROTTLE_RATES": "E016",
    "CHOOSE_ACCOUNT": "E017",
    "STRIPE_ACCOUNTS": "E018",
}
# What 16 random bytes are in base64.
KEY_LENGTH = 22
COPY_KEY = "Copy it from Stripe's dashboard, Developers, API keys; what needs it is refused until then."
MAKE_ENDPOINT = (
    "Run `manage.py stripe_setup --host …`, which prints a new endpoint's; events are refused until then."
)
MAKE_KEY = 'Make one with `python -c "import secrets; print(secrets.token_urlsafe(32))"`.'

TAG = "octo_stripe_gateway"
Check = Callable[[], Iterator[CheckMessage]]


def check(*, deploy: bool = False) -> Callable[[Check], Check]:
    """Register a check with Django; `check_values` reports the setting that another one can't read."""

    def wrap(part: Check) -> Check:
        def run(**_kwargs: Any) -> list[CheckMessage]:
            found: list[CheckMessage] = []
            with suppress(ConfigurationError):
                found.extend(part())
            return found

        register(run, Tags.security, TAG, deploy=deploy)
        return part

    return wrap


@check()
def check_values() -> Iterator[CheckMessage]:
    try:
        conf.get_configured()
    except ConfigurationError as error:
        hint = "The settings are listed in octo_stripe_gateway/docs/operations.md."
        yield _error("E013", str(error), hint)
        return
    for name in conf.get_configured().keys() - conf.DEFAULTS.keys():
        nearest = difflib.get_close_matches(str(name), conf.DEFAULTS, n=1, cutoff=0)
        yield _error("E001", f"OCTO_STRIPE_GATEWAY has no key {name!r}.", f"Did you mean {nearest[0]!r}?")
    for name, setting in conf.SETTINGS.items():
        try:
            setting.__get__(gateway_settings)
        except ConfigurationError as error:
            hint = "Until then everything that needs it is refused."
            yield _error(VALUES.get(name, "E013"), str(error), hint)
    if gateway_settings.own_webhook_secrets and gateway_settings.named_accounts:
        try:
            gateway_settings.accounts  # noqa: B018 - reading them is the check
        except ConfigurationError as error:
            yield _error("E018", str(error), "A secret says whose an event is: each endpoint has its own.")


@check()
def check_keys() -> Iterator[CheckMessage]:
    for name, account in gateway_settings.accounts.items():
        path = _get_path(name)
        for setting, keys, prefixes in (
            ("STRIPE_API_KEY", [account.api_key], API_KEY_PREFIXES),
            ("STRIPE_PUBLISHABLE_KEY", [account.publishable_key], PUBLISHABLE_KEY_PREFIXES),
            ("STRIPE_WEBHOOK_SECRET", account.webhook_secrets, WEBHOOK_SECRET_PREFIXES),
        ):
            for key in filter(None, keys):
                if not key.startswith(prefixes):
                    hint = f"It starts with {' or '.join(prefixes)}: see Stripe's dashboard."
                    yield _error("E002", f"{path}{setting} doesn't look like one of Stripe's.", hint)
                if key in BUILT_IN and not settings.DEBUG:
                    hint = "Anyone can read it in the source: use a key of your own."
                    yield _error("E003", f"{path}{setting} is the built-in one, and DEBUG is off.", hint)
        modes = {conf.is_live(key) for key in (account.api_key, account.publishable_key) if key}
        if len(modes) > 1:
            hint = "Take both from the same mode in Stripe's dashboard."
            mixed = f"{path}STRIPE_API_KEY and STRIPE_PUBLISHABLE_KEY mix test and live mode."
            yield _error("E004", mixed, hint, about=name)


@check()
def check_live_keys() -> Iterator[CheckMessage]:
    if not gateway_settings.moves_real_money:
        return
    if not gateway_settings.own_signing_keys:
        hint = f"No payment is created until then. {MAKE_KEY}"
        yield _error("E025", "There is a live STRIPE_API_KEY and no SIGNING_KEY.", hint)
    address = urlsplit(gateway_settings.stripe_api_base)
    is_own_machine = address.hostname == "localhost"
    with suppress(ValueError):
        is_own_machine |= ipaddress.ip_address(str(address.hostname)).is_loopback
    if address.scheme == "http" and not is_own_machine:
        hint = "Leave it out for Stripe itself, or give an address that begins with https://."
        yield _error("E022", "STRIPE_API_BASE sends a live key over the network unencrypted.", hint)


@check()
def check_emulator() -> Iterator[CheckMessage]:
    """Say that the built-in keys are in use, and how to start the emulator where it doesn't run."""
    if not gateway_settings.uses_built_in_keys:
        return
    url = gateway_settings.stripe_api_base
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=0.2).close()
        message, hint = f"the emulator answers at {url}", "For Stripe itself set STRIPE_API_KEY."
    except OSError:
        option = "" if url == conf.EMULATOR_API_BASE else f" --port {address.port}"
        message = f"nothing answers at {url}"
        hint = f"Run `manage.py stripe_emulator{option}` beside it, or set STRIPE_API_KEY."
    yield Info(f"Built-in test keys are in use, and {message}.", hint=hint, id="octo_stripe_gateway.I001")


@check()
def check_payables() -> Iterator[CheckMessage]:
    for name, label in gateway_settings.payables.items():
        try:
            apps.get_model(label)
        except (LookupError, ValueError):
            hint = "Write it as 'app_label.Model', and see that its app is installed."
            yield _error("E005", f"PAYABLES names {name!r} for a model that doesn't exist: {label!r}.", hint)
    named = {label.lower() for label in gateway_settings.payables.values()}
    payables = [each for each in apps.get_models() if is_priced(each) or each._meta.label_lower in named]
    families: dict[str, None] = {}
    for model in payables:
        try:
            get_payable_class(model)
        except ConfigurationError as error:
            families[str(error)] = None
        if not is_keyed(model):
            hint = "Give the model a primary key of one column, or let payments be for another model."
            yield _error("E024", f"A {model._meta.label} can't be found again by its key as text.", hint)
    for message in families:
        hint = "Let one class have the price and the hooks, or all of them inherit the same."
        yield _error("E023", message, hint)


@check()
def check_authentication() -> Iterator[CheckMessage]:
    if gateway_settings.identify_caller and any(gateway_settings.api_gateway_keys.values()):
        hint = "IDENTIFY_CALLER decides alone: leave out API_GATEWAY_KEY, or compare it there."
        yield _warning("W001", "Both IDENTIFY_CALLER and API_GATEWAY_KEY are set.", hint)
    if not _may_anyone_call():
        hint = "Set API_GATEWAY_KEY, or IDENTIFY_CALLER to a check of your own."
        yield _warning("W004", "Nobody may call the payment API.", hint)


def _may_anyone_call() -> bool:
    has_key = any(gateway_settings.api_gateway_keys.values())
    return bool(has_key or gateway_settings.identify_caller or gateway_settings.authentication_classes)


@check()
def check_tasks() -> Iterator[CheckMessage]:
    if gateway_settings.webhook_processing != "task":
        return
    try:
        from octo_stripe_gateway.webhooks import tasks
    except Exception as error:  # noqa: BLE001 - whatever it is, events would meet it
        hint = "Use Django 6, or `pip install 'octo-stripe-gateway[tasks]'`, and configure TASKS."
        yield _error("E019", f"WEBHOOK_PROCESSING is 'task', and there is no task framework: {error}", hint)
        return
    if not tasks.has_worker():
        hint = "Name a backend with workers in TASKS: Django's default one runs tasks while Stripe waits."
        yield _warning("W010", "WEBHOOK_PROCESSING is 'task', and events are processed inline.", hint)


@check()
def check_autocommit() -> Iterator[CheckMessage]:
    connection = get_connection()
    if not connection.settings_dict.get("AUTOCOMMIT", True):
        hint = "A payment is committed before Stripe is asked for it."
        yield _error("E020", f"The database {connection.alias!r} has AUTOCOMMIT off.", hint)


@check(deploy=True)
def check_missing() -> Iterator[CheckMessage]:
    # A host that chooses the account need not choose that of the top-level settings.
    chosen = gateway_settings.choose_account and gateway_settings.named_accounts
    for account in (gateway_settings.named_accounts if chosen else gateway_settings.accounts).values():
        needed = (
            ("E009", "STRIPE_API_KEY", account.api_key, COPY_KEY),
            ("E010", "STRIPE_PUBLISHABLE_KEY", account.publishable_key, COPY_KEY),
            ("E011", "STRIPE_WEBHOOK_SECRET", account.webhook_secrets, MAKE_ENDPOINT),
        )
        for number, name, value, hint in needed:
            if not value:
                missing = f"There is no {_get_path(account.name)}{name}."
                yield _error(number, missing, hint, about=account.name)
    if not _may_anyone_call():
        hint = "Set one in OCTO_STRIPE_GATEWAY; until then every call is denied."
        yield _error("E012", "There is no API_GATEWAY_KEY or IDENTIFY_CALLER.", hint)


@check(deploy=True)
def check_production() -> Iterator[CheckMessage]:
    accounts = [account for account in gateway_settings.accounts.values() if account.api_key]
    if accounts and not any(account.livemode for account in accounts) and not settings.DEBUG:
        yield _warning("W002", "STRIPE_API_KEY is a test key.", "No real money moves with it.")
    if get_connection().vendor == "sqlite":
        hint = "Payments wait for each other there; use PostgreSQL."
        yield _warning("W003", "SQLite has no row locks.", hint)


@check(deploy=True)
def check_lengths() -> Iterator[CheckMessage]:
    for name, keys in gateway_settings.api_gateway_keys.items():
        if any(len(key) < KEY_LENGTH for key in keys):
            owner = f" of {name!r}" if name else ""
            yield _error("E021", f"The API_GATEWAY_KEY{owner} is short enough to be guessed.", MAKE_KEY)
    if any(len(key) < KEY_LENGTH for key in gateway_settings.own_signing_keys):
        yield _error("E021", "The SIGNING_KEY is short enough to be guessed.", MAKE_KEY)


@check(deploy=True)
def check_throttling() -> Iterator[CheckMessage]:
    if not any(gateway_settings.throttle_rates.values()):
        return
    if not counts_exactly() and not settings.DEBUG:
        hint = "Use one that all processes share and that counts in one step: Redis, Memcached, the database."
        yield _warning("W005", "The cache can't count THROTTLE_RATES for several processes.", hint)
    if not gives_up():
        hint = 'Set it in CACHES: "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1} for Redis.'
        yield _warning("W011", "The cache has no time-out: if it hangs, so does every call.", hint)
    # Imported here: a command that answers no request needs no REST framework.
    from rest_framework.settings import api_settings

    if api_settings.NUM_PROXIES is None and not settings.DEBUG:
        hint = (
            "Set REST_FRAMEWORK['NUM_PROXIES'] to the number of proxies in front, 0 if there is none: behind"
            " one that it doesn't know of, all callers have one address, and one rate."
        )
        yield _warning("W007", "NUM_PROXIES isn't set.", hint)


@check(deploy=True)
def check_webhooks() -> Iterator[CheckMessage]:
    """Warn of redirects before the webhook view: Stripe follows none."""
    # Imported here: a command that answers no request needs no routes.
    from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths

    exempt = [re.compile(each) for each in settings.SECURE_REDIRECT_EXEMPT]
    redirects = "django.middleware.security.SecurityMiddleware" in settings.MIDDLEWARE
    redirects = redirects and settings.SECURE_SSL_REDIRECT and not settings.SECURE_PROXY_SSL_HEADER
    for path in find_webhook_paths():
        if redirects and not any(each.search(path.lstrip("/")) for each in exempt):
            hint = "If a proxy ends TLS, set SECURE_PROXY_SSL_HEADER: else every event is redirected."
            yield _warning("W008", f"SECURE_SSL_REDIRECT redirects what is posted to {path}.", hint)
        if path.endswith("/") and settings.APPEND_SLASH and not is_valid_path(path.rstrip("/")):
            hint = "Give Stripe the address with its slash, or make the slash optional, as get_urls() does."
            yield _warning("W009", f"APPEND_SLASH redirects what is posted to {path.rstrip('/')}.", hint)


def counts_exactly() -> bool:
    """Tell whether the cache is one that several processes can count in."""
    kind = type(caches["default"])
    return issubclass(kind, DatabaseCache) or (
        kind.incr is not BaseCache.incr and not issubclass(kind, LocMemCache)
    )


def gives_up() -> bool:
    """Tell whether a cache that is reached over a network has a time-out."""
    cache = settings.CACHES["default"]
    is_remote = any(each in cache["BACKEND"].lower() for each in ("redis", "valkey", "memcached"))
    return not is_remote or "timeout" in f"{cache.get('OPTIONS')} {cache.get('LOCATION')}".lower()


def _get_path(name: str) -> str:
    return f"STRIPE_ACCOUNTS[{name!r}] " if name else ""


def _error(number: str, message: str, hint: str, *, about: str = "") -> CheckMessage:
    return Error(message, hint=hint, obj=about or None, id=f"octo_stripe_gateway.{number}")


def _warning(number: str, message: str, hint: str) -> CheckMessage:
    return checks.Warning(message, hint=hint, id=f"octo_stripe_gateway.{number}")
