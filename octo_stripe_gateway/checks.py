"""Says at start-up what is wrong with the configuration, and before a deployment what is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Info, Tags, register

from octo_stripe_gateway import conf
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.transactions import get_connection

PREFIXES = {
    "STRIPE_API_KEY": ("sk_test_", "sk_live_", "rk_test_", "rk_live_"),
    "STRIPE_PUBLISHABLE_KEY": ("pk_test_", "pk_live_"),
    "STRIPE_WEBHOOK_SECRET": ("whsec_",),
}
BUILT_IN = {conf.BUILT_IN_API_KEY, conf.BUILT_IN_PUBLISHABLE_KEY, conf.BUILT_IN_WEBHOOK_SECRET}


@register(Tags.security)
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Check what is configured."""
    return [
        *_check_names(),
        *_check_keys(),
        *_check_modes(),
        *_check_payables(),
        *_check_authentication(),
        *_check_webhooks(),
    ]


@register(Tags.security, deploy=True)
def check_deployment(**_kwargs: Any) -> list[CheckMessage]:
    """Check what production needs, as `check --deploy` asks."""
    return [*_check_missing(), *_check_production()]


def _check_names() -> Iterator[CheckMessage]:
    for name in getattr(settings, "OCTO_STRIPE_GATEWAY", {}).keys() - conf.DEFAULTS.keys():
        nearest = difflib.get_close_matches(name, conf.DEFAULTS, n=1, cutoff=0)
        yield _error("E001", f"OCTO_STRIPE_GATEWAY has no key {name!r}.", f"Did you mean {nearest[0]!r}?")


def _check_keys() -> Iterator[CheckMessage]:
    for name, prefixes in PREFIXES.items():
        for key in gateway_settings.get_strings(name):
            if not key.startswith(prefixes):
                hint = f"It starts with {' or '.join(prefixes)}: see Stripe's dashboard."
                yield _error("E002", f"{name} doesn't look like one of Stripe's.", hint)
            if key in BUILT_IN and not settings.DEBUG:
                hint = "Anyone can read it in the source: use a key of your own."
                yield _error("E003", f"{name} is the built-in one, and DEBUG is off.", hint)


def _check_modes() -> Iterator[CheckMessage]:
    modes = {"_live_" in gateway_settings.stripe_api_key, "_live_" in gateway_settings.stripe_publishable_key}
    if gateway_settings.stripe_publishable_key and len(modes) > 1:
        hint = "Take both from the same mode in Stripe's dashboard."
        yield _error("E004", "STRIPE_API_KEY and STRIPE_PUBLISHABLE_KEY mix test and live mode.", hint)
    if gateway_settings.uses_built_in_keys:
        hint = "Run `manage.py stripe_emulator` beside it, or set STRIPE_API_KEY."
        yield Info("Built-in test keys are in use.", hint=hint, id="octo_stripe_gateway.I001")


def _check_payables() -> Iterator[CheckMessage]:
    for name, label in gateway_settings.payables.items():
        try:
            apps.get_model(label)
        except (LookupError, ValueError):
            hint = "Write it as 'app_label.Model', and see that its app is installed."
            yield _error("E005", f"PAYABLES names {name!r} a model that isn't there: {label!r}.", hint)


def _check_authentication() -> Iterator[CheckMessage]:
    try:
        check = gateway_settings.authenticate
    except ImportError as error:
        yield _error("E006", f"AUTHENTICATE can't be imported: {error}", "Give its dotted path.")
        return
    if check is not None and not callable(check):
        yield _error("E006", "AUTHENTICATE isn't callable.", "Give a function that takes the request.")
    if check is not None and gateway_settings.api_gateway_keys:
        hint = "AUTHENTICATE decides alone: leave out API_GATEWAY_KEY, or compare it there."
        yield _warning("W001", "Both AUTHENTICATE and API_GATEWAY_KEY are set.", hint)
    if not _may_anyone_call():
        hint = "Set API_GATEWAY_KEY, or AUTHENTICATE to a check of your own."
        yield _warning("W004", "Nobody may call the payment API.", hint)


def _may_anyone_call() -> bool:
    ways = (
        gateway_settings.authenticate,
        gateway_settings.api_gateway_keys,
        gateway_settings.authentication_classes,
    )
    return any(ways)


def _check_webhooks() -> Iterator[CheckMessage]:
    if gateway_settings.webhook_tolerance <= 0:
        hint = "0 would let a recorded event be replayed for ever; Stripe's default is 300."
        yield _error("E007", "WEBHOOK_TOLERANCE isn't positive, so every event is refused.", hint)
    if gateway_settings.webhook_processing not in {"inline", "task"}:
        yield _error("E008", "WEBHOOK_PROCESSING is unknown.", "It is 'inline' or 'task'.")


def _check_missing() -> Iterator[CheckMessage]:
    needed = {
        "STRIPE_API_KEY": gateway_settings.stripe_api_key,
        "STRIPE_PUBLISHABLE_KEY": gateway_settings.stripe_publishable_key,
        "STRIPE_WEBHOOK_SECRET": gateway_settings.stripe_webhook_secrets,
        "API_GATEWAY_KEY or AUTHENTICATE": _may_anyone_call(),
    }
    for number, (name, value) in enumerate(needed.items(), start=9):
        if not value:
            hint = "Set it in OCTO_STRIPE_GATEWAY or the environment; what needs it is refused until then."
            yield _error(f"E{number:03}", f"There is no {name}.", hint)


def _check_production() -> Iterator[CheckMessage]:
    if "_test_" in gateway_settings.stripe_api_key and not settings.DEBUG:
        yield _warning("W002", "STRIPE_API_KEY is a test key.", "No real money moves with it.")
    if get_connection().vendor == "sqlite":
        hint = "Payments wait for each other there; use PostgreSQL."
        yield _warning("W003", "SQLite has no row locks.", hint)


def _error(number: str, message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"octo_stripe_gateway.{number}")


def _warning(number: str, message: str, hint: str) -> CheckMessage:
    return checks.Warning(message, hint=hint, id=f"octo_stripe_gateway.{number}")
