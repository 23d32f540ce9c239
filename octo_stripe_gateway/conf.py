"""Typed, live view of the host's `OCTO_STRIPE_GATEWAY` setting."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from octo_stripe_gateway.exceptions import ConfigurationError

if TYPE_CHECKING:
    from rest_framework.authentication import BaseAuthentication

    from octo_stripe_gateway.models import Payment

STRIPE_API_BASE = "https://api.stripe.com"
EMULATOR_API_BASE = "http://127.0.0.1:8421"
BUILT_IN_API_KEY = "sk_test_octoStripeGatewayEmulator"
BUILT_IN_PUBLISHABLE_KEY = "pk_test_octoStripeGatewayEmulator"
BUILT_IN_WEBHOOK_SECRET = "whsec_octoStripeGatewayEmulator"  # noqa: S105 - public by design

ENVIRONMENT = {
    "STRIPE_API_KEY": "STRIPE_API_KEY",
    "STRIPE_PUBLISHABLE_KEY": "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET": "STRIPE_WEBHOOK_SECRET",
    "API_GATEWAY_KEY": "OSG_API_GATEWAY_KEY",
}


DEFAULTS: dict[str, Any] = {
    "STRIPE_API_KEY": None,
    "STRIPE_PUBLISHABLE_KEY": None,
    "STRIPE_WEBHOOK_SECRET": None,
    "STRIPE_API_BASE": None,
    "STRIPE_TIMEOUT": (3, 10),
    "STRIPE_MAX_NETWORK_RETRIES": 2,
    "STRIPE_ACCOUNT": None,
    "API_GATEWAY_KEY": None,
    "AUTHENTICATE": None,
    "AUTHENTICATION_CLASSES": (),
    "THROTTLE_RATES": {"create": "120/minute", "refund": "120/minute"},
    "CURRENCY": "usd",
    "PAYABLES": {},
    "MERCHANT_NAME": None,
    "REQUIRE_PAYABLE": False,
    "STRICT_OCTO": False,
    "WEBHOOK_PROCESSING": "inline",
    "WEBHOOK_TOLERANCE": 300,
    "IDEMPOTENCY_KEY_DAYS": None,
}


class Account(NamedTuple):
    """A Stripe account: its keys, and with Connect the connected account that calls act for."""

    api_key: str
    publishable_key: str = ""
    stripe_account: str = ""

    @property
    def livemode(self) -> bool:
        """Tell whether the key moves real money."""
        return "_live_" in self.api_key


class GatewaySettings:
    """Reads a setting anew at every access, so that `override_settings` works."""

    @property
    def uses_built_in_keys(self) -> bool:
        """Tell whether the emulator's test keys stand in, as they do only under `DEBUG`."""
        return bool(settings.DEBUG) and not self.get_strings("STRIPE_API_KEY")

    @property
    def stripe_api_key(self) -> str:
        """Return the key for Stripe's API, empty where none is configured."""
        return self._first("STRIPE_API_KEY", built_in=BUILT_IN_API_KEY)

    @property
    def stripe_publishable_key(self) -> str:
        """Return the key that browsers use, empty where none is configured."""
        return self._first("STRIPE_PUBLISHABLE_KEY", built_in=BUILT_IN_PUBLISHABLE_KEY)

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """Return the secrets that may have signed an event, none where none is configured."""
        secrets = self.get_strings("STRIPE_WEBHOOK_SECRET")
        if not secrets and self.uses_built_in_keys:
            return (BUILT_IN_WEBHOOK_SECRET,)
        return secrets

    @property
    def stripe_api_base(self) -> str:
        """Return the address of Stripe's API, or of the emulator that stands in for it."""
        default = EMULATOR_API_BASE if self.uses_built_in_keys else STRIPE_API_BASE
        return str(self._value("STRIPE_API_BASE") or default).rstrip("/")

    @property
    def stripe_timeout(self) -> tuple[float, float]:
        """Return the seconds to wait for a connection, and then for an answer."""
        connect, read = self._value("STRIPE_TIMEOUT")
        return float(connect), float(read)

    @property
    def stripe_max_network_retries(self) -> int:
        """Return how often the SDK repeats a call that got no answer."""
        return int(self._value("STRIPE_MAX_NETWORK_RETRIES"))

    @property
    def stripe_account(self) -> Callable[[Payment], Account] | None:
        """Return the host's choice among several Stripe accounts."""
        return _import(self._value("STRIPE_ACCOUNT"))  # type: ignore[no-any-return]

    @property
    def api_gateway_keys(self) -> tuple[str, ...]:
        """Return the API keys that callers may send as Bearer token."""
        return self.get_strings("API_GATEWAY_KEY")

    @property
    def authenticate(self) -> Callable[[HttpRequest], Any] | None:
        """Return the host's own check of a request, which replaces the API key."""
        return _import(self._value("AUTHENTICATE"))  # type: ignore[no-any-return]

    @property
    def authentication_classes(self) -> tuple[type[BaseAuthentication], ...]:
        """Return the REST framework's or the host's own classes that replace the gateway's."""
        return tuple(_import(each) for each in self._value("AUTHENTICATION_CLASSES"))

    @property
    def throttle_rates(self) -> Mapping[str, str | None]:
        """Return the rates by action, as the REST framework writes them."""
        return self._value("THROTTLE_RATES")  # type: ignore[no-any-return]

    @property
    def currency(self) -> str:
        """Return the currency of a payment that names none, in lower case."""
        return str(self._value("CURRENCY")).lower()

    @property
    def payables(self) -> Mapping[str, str]:
        """Return the models that the API may attach payments to, by their public name."""
        return self._value("PAYABLES")  # type: ignore[no-any-return]

    @property
    def require_payable(self) -> bool:
        """Tell whether the API refuses a payment for a bare amount."""
        return bool(self._value("REQUIRE_PAYABLE"))

    @property
    def merchant_name(self) -> str:
        """Return the name that OCTO's `cardPayment` shows the customer."""
        return str(self._value("MERCHANT_NAME") or "")

    @property
    def strict_octo(self) -> bool:
        """Tell whether HTTP statuses are OCTO's few instead of the usual ones."""
        return bool(self._value("STRICT_OCTO"))

    @property
    def webhook_tolerance(self) -> int:
        """Return the age in seconds at which a signature is too old."""
        return int(self._value("WEBHOOK_TOLERANCE"))

    @property
    def webhook_processing(self) -> str:
        """Return `inline`, or `task` where a worker of Django's task framework processes events."""
        return str(self._value("WEBHOOK_PROCESSING"))

    @property
    def idempotency_key_days(self) -> int | None:
        """Return after how many days callers' keys may be deleted, None to keep them."""
        days = self._value("IDEMPOTENCY_KEY_DAYS")
        if days is not None and (not isinstance(days, int) or isinstance(days, bool) or days < 1):
            raise ConfigurationError("IDEMPOTENCY_KEY_DAYS must be a whole number from 1 on, or None.")
        return days

    def get_strings(self, name: str) -> tuple[str, ...]:
        """Return what is configured under a name that takes one text or several."""
        value = self._value(name)
        if value is None:
            value = os.environ.get(ENVIRONMENT[name])
        values = [value] if isinstance(value, str) else value or ()
        return tuple(text for text in (str(each).strip() for each in values) if text)

    def _value(self, name: str) -> Any:
        value = getattr(settings, "OCTO_STRIPE_GATEWAY", {}).get(name)
        return DEFAULTS[name] if value is None else value

    def _first(self, name: str, *, built_in: str) -> str:
        values = self.get_strings(name)
        if not values and self.uses_built_in_keys:
            return built_in
        return values[0] if values else ""


def _import(reference: Any) -> Any:
    return import_string(reference) if isinstance(reference, str) else reference


gateway_settings = GatewaySettings()
