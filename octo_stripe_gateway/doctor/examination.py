"""Runs all diagnoses in the order in which they depend on each other, those of the host itself first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.cache import cache
from django.core.checks import ERROR, CheckMessage, run_checks
from django.db import DatabaseError
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor import accounts, checks, ledger
from octo_stripe_gateway.doctor.diagnosis import Diagnosis
from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths, is_served
from octo_stripe_gateway.ledger.transactions import get_connection

APP = "octo_stripe_gateway"
# What checks say that doesn't keep the rest from being examined: of one account's keys, and of the cache.
FROM_CHECKS = {
    f"{APP}.E004": "keys_of_two_modes",
    f"{APP}.E009": "key_missing",
    f"{APP}.E010": "publishable_key_missing",
    f"{APP}.E011": "webhook_secret_missing",
    f"{APP}.W005": "cache_unshared",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. The skew of this machine's clock is in seconds, by the account that told it."""

    diagnoses: list[Diagnosis] = field(default_factory=list)
    last_event_seconds: int | None = None
    clock_skew: dict[str, int | None] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        return not self.diagnoses

    def to_json(self) -> dict[str, Any]:
        return {
            "healthy": self.is_healthy,
            "diagnoses": [each.to_json() for each in self.diagnoses],
            "lastEventSeconds": self.last_event_seconds,
            "clockSkewSeconds": self.clock_skew,
            "utcExaminedAt": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        }


def examine(*, url: str = "", patience: dt.timedelta) -> Report:
    """Look at everything, and report what needs doing.

    `url` is where events should go, by default to any of the host's routes. What waits for less long than
    `patience` is not reported.
    """
    if wrong := list(find_wrong_settings()):
        return Report(wrong)
    lost = list(find_lost_database()) or list(find_missing_migrations())
    found = [*find_what_checks_say(), *find_missing_routes(), *find_lost_cache(), *lost]
    found += accounts.find_accounts_of_two_modes()
    clock_skew = {}
    for account in accounts.list_accounts():
        examined = accounts.Examined(account=account, url=url, has_ledger=not lost)
        found += accounts.examine_account(examined)
        clock_skew[account.name] = examined.clock_skew
    last_event_seconds = None if lost else ledger.get_age(ledger.get_last_event())
    if not lost:
        # Once an event has come, a proxy leads that address here.
        found += find_unserved_url(url) if last_event_seconds is None else ()
        found += (each for finder in ledger.FINDERS for each in finder(timezone.now() - patience))
    # If Stripe is unreachable, several diagnoses find the same.
    return Report(list(dict.fromkeys(found)), last_event_seconds, clock_skew)


def list_messages(*, deploy: bool) -> list[CheckMessage]:
    """Return what our system checks say, by their ids: Django runs checks in no certain order."""
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=deploy)
    return sorted(messages, key=lambda message: str(message.id))


def find_wrong_settings() -> Iterator[Diagnosis]:
    """Find what the system checks call an error, and without which nothing else can be examined."""
    for message in list_messages(deploy=False):
        if message.level >= ERROR and message.id not in FROM_CHECKS:
            found = f"{message.msg} ({str(message.id).rpartition('.')[2]})"
            yield Diagnosis(code="settings_wrong", message=found, action=str(message.hint or ""))


def find_what_checks_say() -> Iterator[Diagnosis]:
    """Find what else the system checks say, of the accounts that are used."""
    names = {each.name for each in accounts.list_accounts()}
    for message in list_messages(deploy=True):
        code, account = FROM_CHECKS.get(str(message.id)), message.obj or ""
        if code and (account in names or code == "cache_unshared"):
            yield Diagnosis(code=code, message=message.msg, action=str(message.hint), account=account)


def find_missing_routes() -> Iterator[Diagnosis]:
    if not find_webhook_paths():
        yield Diagnosis(
            code="routes_missing",
            message="No route takes Stripe's events.",
            action='Add path("…", include("octo_stripe_gateway.urls")) to urls.py.',
        )


def find_unserved_url(url: str) -> Iterator[Diagnosis]:
    paths = find_webhook_paths()
    if url and paths and not is_served(url):
        yield Diagnosis(
            code="url_unserved",
            message=f"urls.py has no route for events at {url}.",
            action=f"Its path is {' or '.join(paths)}: run `manage.py stripe_setup` with that address.",
        )


def find_lost_database() -> Iterator[Diagnosis]:
    try:
        get_connection().ensure_connection()
    except DatabaseError as error:
        yield Diagnosis(
            code="database_unreachable",
            message=f"The database doesn't answer: {str(error).strip().rstrip('.')}.",
            action="See that it runs, and that DATABASES has its address.",
        )


def find_missing_migrations() -> Iterator[Diagnosis]:
    executor = MigrationExecutor(get_connection())
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == APP]
    missing = [migration.name for migration, _back in executor.migration_plan(targets)]
    if missing:
        yield Diagnosis(
            code="migrations_missing",
            message=f"Migrations are not applied: {', '.join(missing)}.",
            action="Run `manage.py migrate`.",
            count=len(missing),
        )


def find_lost_cache() -> Iterator[Diagnosis]:
    if not any(gateway_settings.throttle_rates.values()):
        return
    try:
        cache.get(f"{APP}:doctor")
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        yield Diagnosis(
            code="cache_unreachable",
            message=f"The cache doesn't answer, and nothing is throttled: {type(error).__name__}.",
            action="See that it runs, and that CACHES has its address.",
        )
