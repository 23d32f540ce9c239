"""Times that commands are given."""

from __future__ import annotations

import datetime as dt

from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime


def parse_moment(text: str) -> dt.datetime:
    """Return a date's first moment, or a time, as columns hold it; raises CommandError."""
    try:
        moment = parse_datetime(text)
        day = None if moment else parse_date(text)
    except ValueError:
        moment = day = None
    if moment is None and day is None:
        raise CommandError(f"{text} is neither a date nor a time in ISO 8601.")
    return make_aware(moment or dt.datetime.combine(day or dt.date.min, dt.time()))


def make_aware(moment: dt.datetime) -> dt.datetime:
    """Return a moment of the current time zone's with that zone."""
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
