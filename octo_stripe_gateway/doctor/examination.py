"""Runs all diagnoses in the order in which they depend on each other: host, Stripe accounts, ledger.

What makes others pointless comes first: no account is examined whose key is refused, and no table that isn't
migrated.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from django.core.cache import cache
from django.core.checks import ERROR, CheckMessage, run_checks
from django.db import DatabaseError
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.timesince import timesince

from octo_stripe_gateway.api.bodies import camelize
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor import Diagnosis, accounts, checks
from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths, is_served
from octo_stripe_gateway.ledger.concerns import get_action, get_kind_label
from octo_stripe_gateway.ledger.transactions import get_connection
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, StripeRequest, WebhookEvent

APP = "octo_stripe_gateway"
# What checks say that doesn't keep the rest from being examined: of one account's keys, and of the cache.
FROM_CHECKS = {
    f"{APP}.E004": "keys_of_two_modes",
    f"{APP}.E009": "key_missing",
    f"{APP}.E010": "publishable_key_missing",
    f"{APP}.E011": "webhook_secret_missing",
    f"{APP}.W005": "cache_unshared",
}
# How many payments back the latest paid one is looked for.
LATEST = 1000
# Beyond this a backlog is only said to be that long at least.
MOST_COUNTED = 1000
# How late maintenance may be, which should run every minute.
LONGEST_DELAY = dt.timedelta(hours=1)
# What Stripe has not booked after so many tries, in some days, needs a person.
MOST_BOOKINGS = 12
MAINTAIN = "Have cron run `manage.py maintain_payments` every minute"


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
            "diagnoses": [camelize(asdict(each)) for each in self.diagnoses],
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
    last_event_seconds = None if lost else get_age(get_last_event())
    if not lost:
        # Once an event has come, a proxy leads that address here.
        found += find_unserved_url(url) if last_event_seconds is None else ()
        cutoff = timezone.now() - patience
        found += [*find_missing_events(cutoff), *find_backlogs(cutoff), *find_concerns()]
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


def find_missing_events(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    patience = timezone.now() - cutoff
    latest = Payment.ledger.order_by("-pk").values_list("accepted_at", flat=True)[:LATEST]
    paid = max((moment for moment in latest if moment and moment < cutoff), default=None)
    last = get_last_event()
    if paid and (last is None or last < paid - patience):
        since = f"since the last event {timesince(last)} ago" if last else "and no event has ever come"
        yield Diagnosis(
            code="events_missing",
            message=f"Payments were made {since}.",
            action="See in Stripe's dashboard, Developers, Webhooks, what its deliveries are answered with.",
            oldest_seconds=get_age(last),
        )


def find_backlogs(cutoff: dt.datetime) -> Iterator[Diagnosis]:
    """Find what has waited for too long: for a worker, an answer of Stripe's, a receiver or upkeep."""
    uses_tasks = gateway_settings.webhook_processing == "task"
    yield from _diagnose(
        "events_waiting",
        "events were taken in and are not processed",
        f"{'See that a worker of the task backend runs' if uses_tasks else MAINTAIN}.",
        WebhookEvent.ledger.filter(status=WebhookEvent.Status.RECEIVED, received_at__lt=cutoff),
        since="received_at",
        order="received_at",
    )
    yield from _diagnose(
        "requests_open",
        "requests to Stripe have no answer",
        f"{MAINTAIN}; the log says why one fails.",
        StripeRequest.ledger.open().filter(created_at__lt=cutoff),
        order="created_at",
    )
    yield from _diagnose(
        "changes_undelivered",
        "changes have not reached every receiver",
        f"See on the payment's timeline which receiver raises, and mend it. {MAINTAIN}.",
        PaymentChange.ledger.filter(deliver_at__isnull=False, created_at__lt=cutoff),
        order="deliver_at",
    )
    late = timezone.now() - LONGEST_DELAY
    yield from _diagnose(
        "checks_overdue",
        "payments should have been checked at Stripe",
        f"{MAINTAIN}.",
        Payment.ledger.filter(next_check_at__lt=late),
        since="next_check_at",
        order="next_check_at",
    )
    yield from _diagnose(
        "books_overdue",
        "payments are not booked as Stripe's balance has them",
        f"{MAINTAIN}; in Stripe's dashboard a payment's balance transactions say what it brought.",
        Payment.ledger.filter(Q(next_booking_at__lt=late) | Q(bookings__gte=MOST_BOOKINGS)).filter(
            next_booking_at__isnull=False
        ),
        order="next_booking_at",
    )


def find_concerns() -> Iterator[Diagnosis]:
    """Find what waits for an operator, by the code of each concern."""
    rows = Concern.ledger.open()
    for code in sorted({*rows.values_list("code", flat=True)}):
        action = f"{get_action(code)} Settle each in the admin.".strip()
        message = f"concerns are open: {get_kind_label(code)}"
        yield from _diagnose(code, message, action, rows.filter(code=code), since="opened_at")


def get_last_event() -> dt.datetime | None:
    return WebhookEvent.ledger.order_by("-pk").values_list("received_at", flat=True).first()


def get_age(moment: dt.datetime | None) -> int | None:
    return int((timezone.now() - moment).total_seconds()) if moment else None


def _diagnose(
    code: str, message: str, action: str, rows: QuerySet[Any], *, since: str = "created_at", order: str = "pk"
) -> Iterator[Diagnosis]:
    """Yield a diagnosis of rows that wait, where there are any: how many, and for how long the oldest has."""
    # In the order of the index that has these rows alone, so that it is read and not the table.
    moments = list(rows.order_by(order).values_list(since, flat=True)[:MOST_COUNTED])
    if not moments:
        return
    at_least = "at least " if len(moments) == MOST_COUNTED else ""
    oldest = min(moments)
    yield Diagnosis(
        code=code,
        message=f"{at_least}{len(moments)} {message}, the oldest since {timesince(oldest)}.",
        action=action,
        count=len(moments),
        oldest_seconds=get_age(oldest),
    )
