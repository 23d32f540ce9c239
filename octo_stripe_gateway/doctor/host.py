"""Diagnoses of the host: its settings, routes, database and cache."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.cache import cache
from django.core.checks import ERROR
from django.db import DatabaseError
from django.db.migrations.executor import MigrationExecutor

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor import checks
from octo_stripe_gateway.doctor.accounts import list_accounts
from octo_stripe_gateway.doctor.diagnosis import Diagnosis
from octo_stripe_gateway.doctor.mounts import find_webhook_paths
from octo_stripe_gateway.ledger.transactions import get_connection

APP = "octo_stripe_gateway"
# What checks say of one account's keys; the rest can be examined nevertheless.
OF_KEYS = {
    f"{APP}.E004": "keys_of_two_modes",
    f"{APP}.E009": "key_missing",
    f"{APP}.E010": "publishable_key_missing",
    f"{APP}.E011": "webhook_secret_missing",
}


def find_wrong_keys() -> Iterator[Diagnosis]:
    """Find what the system checks say of the keys and secrets of an account."""
    names = {each.name for each in list_accounts()}
    for message in [*checks.check_settings(), *checks.check_deployment()]:
        code = OF_KEYS.get(str(message.id))
        if code and (message.obj or "") in names:
            yield Diagnosis(
                code=code, message=message.msg, action=str(message.hint), account=message.obj or ""
            )


def find_wrong_settings() -> Iterator[Diagnosis]:
    """Find what the system checks call an error, and without which nothing else can be examined."""
    for message in checks.check_settings():
        if message.level >= ERROR and message.id not in OF_KEYS:
            found = f"{message.msg} ({str(message.id).rpartition('.')[2]})"
            yield Diagnosis(code="settings_wrong", message=found, action=str(message.hint or ""))


def find_missing_routes() -> Iterator[Diagnosis]:
    """Find that nothing takes events."""
    if not find_webhook_paths():
        yield Diagnosis(
            code="routes_missing",
            message="No route takes Stripe's events.",
            action='Add path("…", include("octo_stripe_gateway.urls")) to urls.py.',
        )


def find_lost_database() -> Iterator[Diagnosis]:
    """Find that the database doesn't answer."""
    try:
        get_connection().ensure_connection()
    except DatabaseError as error:
        yield Diagnosis(
            code="database_unreachable",
            message=f"The database doesn't answer: {str(error).strip().rstrip('.')}.",
            action="See that it runs, and that DATABASES has its address.",
        )


def find_missing_migrations() -> Iterator[Diagnosis]:
    """Find migrations that are not applied."""
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


def find_unshared_cache() -> Iterator[Diagnosis]:
    """Find that each process counts its own requests, so that the rates are a multiple of what they say."""
    if _throttles() and not settings.DEBUG and not checks.counts_exactly():
        yield Diagnosis(
            code="cache_unshared",
            message="THROTTLE_RATES are counted in a cache that the processes don't share.",
            action="Use a cache in CACHES that all of them share, such as Redis or Memcached.",
        )


def find_lost_cache() -> Iterator[Diagnosis]:
    """Find that the cache doesn't answer, so that nothing is throttled."""
    if not _throttles():
        return
    try:
        cache.get(f"{APP}:doctor")
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        yield Diagnosis(
            code="cache_unreachable",
            message=f"The cache doesn't answer, and nothing is throttled: {type(error).__name__}.",
            action="See that it runs, and that CACHES has its address.",
        )


def _throttles() -> bool:
    return any(gateway_settings.throttle_rates.values())
