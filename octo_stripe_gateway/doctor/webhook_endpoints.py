"""The endpoints that Stripe should send our events to, what they lack, and the domains that show wallets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host
from django.urls import (
    NoReverseMatch,
    Resolver404,
    URLResolver,
    get_resolver,
    get_script_prefix,
    resolve,
    reverse,
)

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import INSTALLATION_METADATA_KEY, read_metadata
from octo_stripe_gateway.webhooks import handlers
from octo_stripe_gateway.webhooks.views import WebhookView

# Stripe doesn't show which endpoints are for connected accounts, so the metadata of ours says so.
METADATA_KEY = "octo_stripe_gateway"
CONNECT = "connect"
ACCOUNT = "account"
ALL_EVENTS = "*"
# How many payments back connected accounts are looked for.
LATEST = 1000

Endpoint = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedEndpoint:
    """An endpoint that an account should have: for its own events, or for its connected accounts'.

    With `marked_only`, endpoints that were made by hand don't count: they may be for either.
    """

    account: str
    url: str
    connect: bool = False
    marked_only: bool = False
    events: list[str] = field(default_factory=handlers.list_event_types)
    api_version: str = field(default_factory=stripe_client.get_api_version)
    installation: str = ""

    @property
    def kind(self) -> str:
        """Return whose events it is for, as the endpoint's metadata say."""
        return CONNECT if self.connect else ACCOUNT

    def pick(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Return those at this address and of this kind, the best first."""
        same = [
            each
            for each in endpoints
            if is_at(each, self.url) and get_kind(each) == self.kind
            if is_marked(each) or not self.marked_only
        ]
        return sorted(same, key=lambda each: (not self.has_version(each), not is_enabled(each)))

    def has_version(self, endpoint: Endpoint) -> bool:
        return bool(endpoint["api_version"] == self.api_version)

    def get_missing_events(self, endpoint: Endpoint) -> list[str]:
        told = set(endpoint["enabled_events"])
        return [] if ALL_EVENTS in told else [each for each in self.events if each not in told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done: the endpoint that stays, if any, what to change of it, and what it replaces."""

    wanted: WantedEndpoint
    endpoint: Endpoint | None
    changes: dict[str, Any]
    outdated: list[Endpoint]


def make_plan(wanted: WantedEndpoint, endpoints: Iterable[Endpoint]) -> Plan:
    """Compare what an account has with what it should have.

    An endpoint keeps its version for good, so one of another version is replaced and not changed.
    """
    same = wanted.pick(endpoints)
    kept = same[0] if same and wanted.has_version(same[0]) else None
    changes: dict[str, Any] = {}
    if kept and set(kept["enabled_events"]) != set(wanted.events):
        changes["enabled_events"] = wanted.events
    if kept and not is_enabled(kept):
        changes["disabled"] = False
    if kept and get_installation(kept) != wanted.installation:
        changes["metadata"] = {INSTALLATION_METADATA_KEY: wanted.installation}
    outdated = [each for each in same if each is not kept and is_enabled(each)]
    return Plan(wanted=wanted, endpoint=kept, changes=changes, outdated=outdated)


def has_connected_accounts(account: str, endpoints: Iterable[Endpoint]) -> bool:
    """Tell whether an account has an endpoint for connected accounts, or took a payment for one lately."""
    return any(get_kind(each) == CONNECT for each in endpoints) or len(list_origins(account)) > 1


def is_at(endpoint: Endpoint, url: str) -> bool:
    """Tell whether the endpoint has this address, with or without the slash at the end."""
    return str(endpoint["url"]).rstrip("/") == url.rstrip("/")


def is_enabled(endpoint: Endpoint) -> bool:
    return bool(endpoint["status"] == "enabled")


def is_marked(endpoint: Endpoint) -> bool:
    """Tell whether its metadata say whose events it is for, as `stripe_setup` writes there."""
    return METADATA_KEY in (endpoint.get("metadata") or {})


def get_kind(endpoint: Endpoint) -> str:
    """Return whose events an endpoint gets; one that isn't marked counts as for the account's own."""
    return str(endpoint["metadata"][METADATA_KEY]) if is_marked(endpoint) else ACCOUNT


def get_installation(endpoint: Endpoint) -> str:
    """Return the name of the installation that an endpoint is for, as `stripe_setup` wrote it."""
    return read_metadata(endpoint).get(INSTALLATION_METADATA_KEY, "")


def find_webhook_paths() -> list[str]:
    """Return the paths that events may be posted to, except those with a parameter in their route."""
    return sorted({*_find_paths(get_resolver(), namespaces=())})


def _find_paths(resolver: URLResolver, *, namespaces: tuple[str, ...]) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            inner = (*namespaces, pattern.namespace) if pattern.namespace else namespaces
            yield from _find_paths(pattern, namespaces=inner)
            continue
        if pattern.name and _takes_events(pattern.callback):
            with suppress(NoReverseMatch):
                yield reverse(":".join((*namespaces, pattern.name)))


def is_served(url: str) -> bool:
    """Tell whether a route takes events at this address; any address of another host is believed."""
    parts = urlsplit(url)
    if not validate_host(parts.hostname or "", settings.ALLOWED_HOSTS):
        return True
    try:
        return _takes_events(resolve(f"/{parts.path.removeprefix(get_script_prefix())}").func)
    except Resolver404:
        return False


def _takes_events(view: Callable[..., Any]) -> bool:
    view_class = getattr(view, "view_class", None)
    return isinstance(view_class, type) and issubclass(view_class, WebhookView)


def get_domain(url: str) -> str:
    """Return the domain that Stripe can register; empty for an IP address or a local name."""
    name = urlsplit(url).hostname or ""
    return name if "." in name and not name.rpartition(".")[2].isdigit() and ":" not in name else ""


def list_origins(account: str, *, has_ledger: bool = True) -> list[Origin]:
    """Return an account, and the connected accounts that it took payments for lately."""
    livemode = gateway_settings.get_account(account).livemode
    latest = Payment.objects.order_by("-pk").values_list("account", "stripe_account")[:LATEST]
    rows = latest if has_ledger else ()
    connected = sorted({each for name, each in rows if name == account and each})
    return [Origin(account, each, livemode) for each in ("", *connected)]


def list_inactive(domain: dict[str, Any]) -> Iterator[str]:
    """Yield the wallets that aren't shown on a domain: all of them if it is disabled."""
    for method in ("apple_pay", "google_pay"):
        if not domain["enabled"] or domain[method]["status"] != "active":
            yield method
