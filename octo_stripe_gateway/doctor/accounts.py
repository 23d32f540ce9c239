"""Diagnoses of the Stripe accounts: their keys, permissions, clock, webhook endpoints and wallet domains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from octo_stripe_gateway.conf import Account, gateway_settings, is_live
from octo_stripe_gateway.doctor import Diagnosis
from octo_stripe_gateway.doctor.webhook_endpoints import (
    Endpoint,
    WantedEndpoint,
    find_webhook_paths,
    get_domain,
    get_installation,
    has_connected_accounts,
    is_enabled,
    list_inactive,
    list_origins,
)
from octo_stripe_gateway.exceptions import StripeAuthenticationError, StripeError, StripeRefusedError
from octo_stripe_gateway.models import Installation
from octo_stripe_gateway.stripe import client as stripe_client

# Stripe's clock has whole seconds, and a call takes some.
LARGEST_SKEW = 30
SETUP = "Run `manage.py stripe_setup --host …`"


# What a restricted key needs, by its name in Stripe's dashboard, and a harmless call that tells. Those that
# write name objects that don't exist, so that nothing is written.
PERMISSIONS = {
    "PaymentIntents: write": ("post", f"/v1/payment_intents/{stripe_client.NO_INTENT}/cancel"),
    "Charges and Refunds: write": ("post", "/v1/refunds/re_octo_stripe_gateway/cancel"),
    "Disputes: read": ("get", "/v1/disputes"),
    "Balance Transaction Sources: read": ("get", "/v1/balance_transactions"),
    "Webhook Endpoints: read": ("get", "/v1/webhook_endpoints"),
    "Payment Method Domains: read": ("get", "/v1/payment_method_domains"),
}


@dataclass(slots=True, kw_only=True)
class Examined:
    """An account that is examined: what is known of it so far.

    `endpoints` is None until they are known, and stays so where the key may not read them.
    """

    account: Account
    url: str = ""
    has_ledger: bool = True
    clock_skew: int | None = None
    endpoints: list[Endpoint] | None = None

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def uses_connect(self) -> bool:
        """Tell whether it takes payments for connected accounts, as far as is known."""
        return self.has_ledger and has_connected_accounts(self.name, self.endpoints or [])

    def get_endpoints(self, *, connect: bool = False, marked_only: bool = False) -> list[Endpoint]:
        """Return those of its endpoints that are ours, the best first."""
        return self.get_wanted(connect=connect, marked_only=marked_only).pick(self.endpoints or [])

    def get_wanted(self, *, connect: bool = False, marked_only: bool = False) -> WantedEndpoint:
        """Return the endpoint that it should have, at the given address or any of the host's paths."""
        url = self.url
        if not url:
            paths = {path.rstrip("/") for path in find_webhook_paths()}
            ours = [each for each in self.endpoints or [] if urlsplit(each["url"]).path.rstrip("/") in paths]
            url = next((each["url"] for each in sorted(ours, key=lambda each: not is_enabled(each))), "")
        return WantedEndpoint(account=self.name, url=url, connect=connect, marked_only=marked_only)

    def diagnose(self, code: str, message: str, action: str, *, count: int | None = None) -> Diagnosis:
        return Diagnosis(code=code, message=message, action=action, account=self.name, count=count)


Finder = Callable[[Examined], Iterator[Diagnosis]]


def list_accounts() -> list[Account]:
    """Return the accounts that are used: the one without a name only where it has a key, or is alone."""
    accounts = gateway_settings.accounts
    return [each for name, each in accounts.items() if name or each.api_key or len(accounts) == 1]


def find_accounts_of_two_modes() -> Iterator[Diagnosis]:
    modes = {each.livemode for each in list_accounts() if each.api_key}
    if len(modes) > 1:
        yield Diagnosis(
            code="accounts_of_two_modes",
            message="Some accounts have live keys and some have test keys.",
            action="Give all of STRIPE_ACCOUNTS and the top-level settings keys of one mode.",
        )


def examine_account(examined: Examined) -> Iterator[Diagnosis]:
    """Yield what is wrong with an account; what its settings lack, the checks say."""
    if not examined.account.api_key:
        return
    for gate in GATES:
        found = list(gate(examined))
        yield from found
        if found:
            return
    for finder in FINDERS:
        try:
            yield from finder(examined)
        except StripeAuthenticationError:
            # What a restricted key lacks is a diagnosis of its own.
            continue
        except StripeError as error:
            yield _diagnose_outage(examined, error)


def find_refused_key(examined: Examined) -> Iterator[Diagnosis]:
    """Find that Stripe doesn't know the API key or doesn't answer, and read its clock."""
    began = int(time.time())
    try:
        examined.clock_skew = began - stripe_client.check_key(examined.name)
    except StripeAuthenticationError as error:
        # Otherwise the key is restricted, which is another diagnosis.
        if error.http_status == stripe_client.UNAUTHORIZED:
            action = "Copy the key again from Stripe's dashboard; it may have been rolled or have expired."
            yield examined.diagnose("key_refused", "Stripe doesn't accept STRIPE_API_KEY.", action)
    except StripeError as error:
        yield _diagnose_outage(examined, error)


def load_endpoints(examined: Examined) -> Iterator[Diagnosis]:
    """Ask for the account's endpoints; the built-in keys need none."""
    if gateway_settings.uses_built_in_keys:
        return
    try:
        examined.endpoints = stripe_client.list_webhook_endpoints(examined.name)
    except StripeAuthenticationError:
        return
    except StripeError as error:
        yield _diagnose_outage(examined, error)


def find_refused_publishable_key(examined: Examined) -> Iterator[Diagnosis]:
    """Find that Stripe doesn't know the publishable key; another mode's has a check of its own."""
    key = examined.account.publishable_key
    same_mode = is_live(key) == examined.account.livemode
    if key and same_mode and not stripe_client.is_publishable_key_known(examined.name):
        yield examined.diagnose(
            "publishable_key_refused",
            "Stripe doesn't accept STRIPE_PUBLISHABLE_KEY.",
            "Copy it again from where STRIPE_API_KEY is in Stripe's dashboard.",
        )


def find_missing_permissions(examined: Examined) -> Iterator[Diagnosis]:
    if not examined.account.api_key.startswith("rk_"):
        return
    missing = [
        name
        for name, (method, path) in PERMISSIONS.items()
        if not stripe_client.is_permitted(examined.name, method, path)
    ]
    if missing:
        yield examined.diagnose(
            "permissions_missing",
            f"The restricted key lacks: {', '.join(missing)}.",
            "Edit the key in Stripe's dashboard and give it these permissions.",
            count=len(missing),
        )


def find_clock_skew(examined: Examined) -> Iterator[Diagnosis]:
    skew = examined.clock_skew or 0
    if abs(skew) > LARGEST_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        yield examined.diagnose(
            "clock_skewed",
            f"This machine's clock is {abs(skew)} seconds {side} Stripe's, which dates signatures.",
            "Have the machine's clock set by NTP.",
        )


def find_missing_endpoint(examined: Examined) -> Iterator[Diagnosis]:
    where = examined.url or " or ".join(find_webhook_paths())
    if where and examined.endpoints is not None and not examined.get_endpoints():
        yield examined.diagnose(
            "endpoint_missing", f"Stripe has no webhook endpoint at {where}.", f"{SETUP}."
        )


def find_faulty_endpoint(examined: Examined) -> Iterator[Diagnosis]:
    """Find what is wrong with the account's best endpoint, and with the best one for connected accounts."""
    wanted = examined.get_wanted()
    chosen = [each for connect in (False, True) for each in examined.get_endpoints(connect=connect)[:1]]
    for endpoint in chosen:
        name = f"The webhook endpoint {endpoint['id']}"
        if not is_enabled(endpoint):
            yield examined.diagnose(
                "endpoint_disabled",
                f"{name} is disabled.",
                "See in Stripe's dashboard why its deliveries failed, then run `manage.py stripe_setup`.",
            )
        if missing := wanted.get_missing_events(endpoint):
            message = f"{name} doesn't send {', '.join(missing)}."
            yield examined.diagnose(
                "endpoint_events_missing", message, f"{SETUP}, which adds them.", count=len(missing)
            )
        if not wanted.has_version(endpoint):
            version = endpoint["api_version"] or "the account's default"
            yield examined.diagnose(
                "endpoint_version_wrong",
                f"{name} has API version {version}, not {wanted.api_version}.",
                f"{SETUP}, which creates one of the right version, and again later with --disable-old.",
            )


def find_thin_destination(examined: Examined) -> Iterator[Diagnosis]:
    """Find that events are sent without their objects, which the list of endpoints doesn't show."""
    if examined.endpoints is None:
        return
    with suppress(StripeRefusedError):
        for each in stripe_client.list_event_destinations(examined.name):
            where = urlsplit((each.get("webhook_endpoint") or {}).get("url") or "").path.rstrip("/")
            is_ours = where in {path.rstrip("/") for path in find_webhook_paths()}
            if is_ours and is_enabled(each) and each["event_payload"] == "thin":
                yield examined.diagnose(
                    "endpoint_thin",
                    f"The event destination {each['id']} sends thin events: each costs a call more, and some"
                    " types are refused.",
                    f"{SETUP} for an endpoint with whole events, and disable the destination.",
                )


def find_doubled_endpoint(examined: Examined) -> Iterator[Diagnosis]:
    """Find endpoints that send the same events."""
    # One that was made by hand may be for connected accounts.
    marked_only = examined.uses_connect
    for connect in (False, True):
        same = examined.get_endpoints(connect=connect, marked_only=marked_only)
        enabled = [each["id"] for each in same if is_enabled(each)]
        if len(enabled) > 1:
            yield examined.diagnose(
                "endpoint_doubled",
                f"Several webhook endpoints send the same events here: {', '.join(enabled)}.",
                "Once the newest one's secret is in use, run `manage.py stripe_setup --disable-old`.",
                count=len(enabled),
            )


def find_shared_installation(examined: Examined) -> Iterator[Diagnosis]:
    """Find that several sites share one installation, as after the database was copied."""
    if not examined.has_ledger:
        return
    name = Installation.ledger.get_own().name
    same = (each for each in examined.endpoints or [] if get_installation(each) == name)
    addresses = sorted({each["url"] for each in same if is_enabled(each)})
    if len(addresses) > 1:
        yield examined.diagnose(
            "installation_shared",
            f"Several sites are one installation at Stripe: {', '.join(addresses)}.",
            "Where one of them uses a copy of the database, set INSTALLATION_ID; disable unused endpoints.",
            count=len(addresses),
        )


def find_missing_connect_endpoint(examined: Examined) -> Iterator[Diagnosis]:
    if examined.endpoints is not None and examined.uses_connect and not examined.get_endpoints(connect=True):
        yield examined.diagnose(
            "connect_endpoint_missing",
            "There are payments for connected accounts, and stripe_setup has made no endpoint for these.",
            f"{SETUP}, which makes one.",
        )


def find_wallet_domains(examined: Examined) -> Iterator[Diagnosis]:
    """Find that the site's domain isn't registered for wallets, or that they aren't shown on it."""
    name = get_domain(examined.get_wanted().url) if examined.get_endpoints() else ""
    for origin in list_origins(examined.name, has_ledger=examined.has_ledger) if name else ():
        whose = f" of {origin.stripe_account}" if origin.stripe_account else ""
        known = stripe_client.list_payment_method_domains(origin, name)
        inactive = list(list_inactive(known[0])) if known else []
        if not known:
            yield examined.diagnose(
                "wallet_domain_missing",
                f"Stripe's form shows no Apple Pay at {name}{whose}: the domain isn't registered.",
                f"{SETUP}, which registers it.",
            )
        elif inactive:
            yield examined.diagnose(
                "wallet_domain_inactive",
                f"Stripe's form doesn't show {', '.join(inactive)} at {name}{whose}.",
                "See why in Stripe's dashboard, Settings, Payment method domains.",
            )


def _diagnose_outage(examined: Examined, error: StripeError) -> Diagnosis:
    action = "See status.stripe.com, and that this machine may open connections to that address."
    if gateway_settings.uses_built_in_keys:
        action = "Run `manage.py stripe_emulator`, or set STRIPE_API_KEY."
    address = gateway_settings.stripe_api_base
    return examined.diagnose("stripe_unreachable", f"No answer from {address}: {error}", action)


GATES: tuple[Finder, ...] = (find_refused_key, load_endpoints)
FINDERS: tuple[Finder, ...] = (
    find_refused_publishable_key,
    find_missing_permissions,
    find_clock_skew,
    find_missing_endpoint,
    find_faulty_endpoint,
    find_thin_destination,
    find_doubled_endpoint,
    find_shared_installation,
    find_missing_connect_endpoint,
    find_wallet_domains,
)
