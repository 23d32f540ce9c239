"""Times that commands are given."""

from __future__ import annotations

import datetime as dt

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime


def add_period(parser: CommandParser, *, what: str) -> None:
    """Add `--from` and `--to`."""
    parser.add_argument("--from", dest="since", help=f"{what} from this date or time on")
    parser.add_argument("--to", dest="until", help=f"{what} before this date or time")


def parse_period(since: str | None, until: str | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return a period's begin and end, None where it is open; raises CommandError unless in that order."""
    start, end = (parse_moment(text) if text else None for text in (since, until))
    if start and end and start >= end:
        raise CommandError(f"--from {since} isn't before --to {until}.")
    return start, end


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
