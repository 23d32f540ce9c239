"""Runs all diagnoses, in the order in which they depend on each other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from octo_stripe_gateway.doctor import accounts, host, ledger
from octo_stripe_gateway.doctor.diagnosis import Diagnosis


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found. The skew of this machine's clock is in seconds, by the account that told it."""

    diagnoses: list[Diagnosis] = field(default_factory=list)
    last_event_seconds: int | None = None
    clock_skew: dict[str, int | None] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        """Tell whether nothing needs doing."""
        return not self.diagnoses

    def to_json(self) -> dict[str, Any]:
        """Return it for monitoring."""
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
    report = Report()
    for found in _examine(report, url=url, cutoff=timezone.now() - patience):
        # If Stripe is unreachable, several diagnoses find the same.
        if found not in report.diagnoses:
            report.diagnoses.append(found)
    return report


def _examine(report: Report, *, url: str, cutoff: dt.datetime) -> Iterator[Diagnosis]:
    yield from (wrong := list(host.find_wrong_settings()))
    if wrong:
        return
    yield from host.find_wrong_keys()
    yield from host.find_missing_routes()
    yield from host.find_unshared_cache()
    yield from host.find_lost_cache()
    lost = list(_find_first(host.find_lost_database, host.find_missing_migrations))
    yield from lost
    yield from _examine_accounts(report, url=url, has_ledger=not lost)
    if not lost:
        report.last_event_seconds = ledger.get_age(ledger.get_last_event())
        for finder in ledger.FINDERS:
            yield from finder(cutoff)


def _find_first(*finders: Callable[[], Iterator[Diagnosis]]) -> list[Diagnosis]:
    """Return the findings of the first of these that finds anything."""
    return next((found for finder in finders if (found := list(finder()))), [])


def _examine_accounts(report: Report, *, url: str, has_ledger: bool) -> Iterator[Diagnosis]:
    yield from accounts.find_accounts_of_two_modes()
    for account in accounts.list_accounts():
        examined = accounts.Examined(account=account, url=url, has_ledger=has_ledger)
        yield from accounts.examine_account(examined)
        report.clock_skew[account.name] = examined.clock_skew
