"""Where events go: the endpoint in the emulator's settings, and those registered through the API."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Literal

import stripe

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError, missing_parameter
from octo_stripe_gateway.testing.emulator.params import merged_metadata
from octo_stripe_gateway.testing.emulator.store import random_text
from octo_stripe_gateway.testing.emulator.thin import timestamp

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.accounts import Accounts
    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

KIND = "webhook_endpoint"
DESTINATION = "v2.core.event_destination"
Payload = Literal["snapshot", "thin"]
# The endpoint in the settings: it belongs to no account and gets every account's events.
OWN = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Destination:
    """Where events go, and how they are rendered and signed for it."""

    id: str
    url: str | None
    secret: str
    api_version: str
    names_account: bool = True
    payload: Payload = "snapshot"


class WebhookEndpoints:
    """Registers endpoints and finds those that an event goes to."""

    def __init__(self, store: Store, *, accounts: Accounts, url: str | None, secret: str) -> None:
        self.url = url
        self.secret = secret
        self.api_version = stripe.api_version
        self.payload: Payload = "snapshot"
        self.secrets: dict[str, str] = {}
        self.connect: set[str] = set()
        self._store = store
        self._accounts = accounts

    @property
    def own(self) -> Destination:
        return Destination(
            id=OWN, url=self.url, secret=self.secret, api_version=self.api_version, payload=self.payload
        )

    def clear(self) -> None:
        """Forget what was registered."""
        self.secrets.clear()
        self.connect.clear()

    def dump(self) -> str:
        """Return what the endpoints' API objects don't hold, as JSON."""
        return json.dumps({"secrets": self.secrets, "connect": sorted(self.connect)})

    def load(self, dumped: JsonObject) -> None:
        """Take in what was dumped."""
        self.secrets |= dumped["secrets"]
        self.connect |= set(dumped["connect"])

    def create(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Register an endpoint; its secret is in this answer only."""
        _check_url(params["url"])
        made = self._store.new(
            KIND,
            account=account,
            api_version=params.get("api_version"),
            application=None,
            description=params.get("description") or None,
            enabled_events=params["enabled_events"],
            metadata=merged_metadata({}, change=params.get("metadata") or {}),
            status="enabled",
            url=params["url"],
        )
        self.secrets[made["id"]] = f"whsec_{random_text(32)}"
        if params.get("connect"):
            self.connect.add(made["id"])
        return made | {"secret": self.secrets[made["id"]]}

    def update(self, endpoint: JsonObject, params: Parameters) -> JsonObject:
        """Change an endpoint's URL or event types, or disable it."""
        if "url" in params:
            _check_url(params["url"])
        endpoint |= {name: params[name] for name in ("url", "enabled_events") if name in params}
        if "description" in params:
            endpoint["description"] = params["description"] or None
        if "disabled" in params:
            endpoint["status"] = "disabled" if params["disabled"] else "enabled"
        if "metadata" in params:
            endpoint["metadata"] = merged_metadata(endpoint["metadata"], change=params["metadata"])
        return endpoint

    def delete(self, endpoint: JsonObject) -> JsonObject:
        """Forget the endpoint."""
        self._store.delete(endpoint)
        del self.secrets[endpoint["id"]]
        return {"id": endpoint["id"], "object": endpoint["object"], "deleted": True}

    def create_destination(self, params: Parameters, *, account: str | None) -> JsonObject:
        """Register an event destination of v2, which may take thin events."""
        url = (params.get("webhook_endpoint") or {}).get("url")
        if not url:
            raise missing_parameter("webhook_endpoint[url]")
        _check_url(url)
        since = timestamp(self._store.now())
        sources = params.get("events_from") or ["@self"]
        made = self._store.new(
            DESTINATION,
            account=account,
            amazon_eventbridge=None,
            azure_event_grid=None,
            description=params.get("description", ""),
            enabled_events=params["enabled_events"],
            event_payload=params["event_payload"],
            events_from=sources,
            metadata=params.get("metadata") or {},
            name=params["name"],
            snapshot_api_version=_snapshot_version(params),
            status="enabled",
            status_details=None,
            type=params["type"],
            updated=since,
            webhook_endpoint={"url": url},
        )
        made["created"] = since
        self.secrets[made["id"]] = f"whsec_{random_text(32)}"
        if "@accounts" in sources:
            self.connect.add(made["id"])
        return self.show_destination(made, include=params.get("include", []))

    def show_destination(self, destination: JsonObject, *, include: list[str]) -> JsonObject:
        """Return an event destination as v2 shows it: URL and secret only where they are asked for."""
        secret, url = self.secrets[destination["id"]], destination["webhook_endpoint"]["url"]
        shown = {
            "url": url if "webhook_endpoint.url" in include else None,
            "signing_secret": secret if "webhook_endpoint.signing_secret" in include else None,
        }
        return destination | {"webhook_endpoint": shown}

    def find(self, endpoint_id: str) -> Destination | None:
        """Return the endpoint, None where it is gone or disabled."""
        if endpoint_id == OWN:
            return self.own
        item = self._store.look_up(KIND, endpoint_id) or self._store.look_up(DESTINATION, endpoint_id)
        if item is None or item["status"] != "enabled":
            return None
        if item["object"] == DESTINATION:
            url, version, payload = (
                item["webhook_endpoint"]["url"],
                item["snapshot_api_version"],
                item["event_payload"],
            )
        else:
            url, version, payload = item["url"], item["api_version"], "snapshot"
        return Destination(
            id=endpoint_id,
            url=url,
            secret=self.secrets.get(endpoint_id, ""),
            api_version=version or stripe.api_version,
            names_account=endpoint_id in self.connect,
            payload=payload,
        )

    def list_for(self, event_type: str, *, account: str | None) -> list[Destination]:
        """Return the endpoints that get events of this type and account, the one in the settings first."""
        registered = (
            self.find(item["id"])
            for item in (*self._store.ordered(KIND), *self._store.ordered(DESTINATION))
            if {"*", event_type, f"v1.{event_type}"} & set(item["enabled_events"])
            and self._is_about(item, account=account)
        )
        return [self.own, *(endpoint for endpoint in registered if endpoint)]

    def _is_about(self, item: JsonObject, *, account: str | None) -> bool:
        owner = self._store.account_of(item)
        if item["id"] not in self.connect:
            return owner == account
        return self._accounts.is_connected(account) and self._accounts.platform_of(account) == owner


def _snapshot_version(params: Parameters) -> str | None:
    if params["event_payload"] == "thin":
        return None
    return params.get("snapshot_api_version") or stripe.api_version


def _check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise InvalidParameterError(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            param="url",
            code="url_invalid",
        )
