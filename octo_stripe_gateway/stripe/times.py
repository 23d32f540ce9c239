"""Times as OCTO writes them, and as columns hold Stripe's."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.utils import timezone


def format_utc(moment: dt.datetime | None) -> str | None:
    """Return a time in UTC with a Z and no fraction."""
    return f"{moment.astimezone(dt.UTC).isoformat()[:19]}Z" if moment else None


def get_day(moment: dt.datetime) -> dt.date:
    """Return the day of a column's moment, where the host is."""
    return timezone.localdate(moment, timezone.get_default_timezone()) if settings.USE_TZ else moment.date()


def get_moment(seconds: int) -> dt.datetime:
    """Return one of Stripe's moments as a column holds it."""
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)
