"""What several commands are given: periods, and the address that Stripe posts events to."""

from __future__ import annotations

import datetime as dt

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths


def add_period(parser: CommandParser, *, what: str) -> None:
    parser.add_argument("--from", dest="since", help=f"{what} from this date or time on")
    parser.add_argument("--to", dest="until", help=f"{what} before this date or time")


def parse_period(since: str | None, until: str | None) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Return a period's begin and end, None where open; raises CommandError if the end isn't later."""
    start, end = (parse_moment(text) if text else None for text in (since, until))
    if start and end and start >= end:
        raise CommandError(f"--from {since} isn't before --to {until}.")
    return start, end


def parse_moment(text: str) -> dt.datetime:
    """Return a date's first moment, or a time, as columns hold it; raises CommandError."""
    try:
        return make_aware(dt.datetime.fromisoformat(text))
    except ValueError as error:
        raise CommandError(f"{text} is neither a date nor a time in ISO 8601.") from error


def make_aware(moment: dt.datetime) -> dt.datetime:
    """Return a moment with a time zone, by default the current one."""
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)


def get_webhook_url(*, url: str | None, host: str | None) -> str:
    """Return the endpoint's address; raises CommandError if the host's routes don't give exactly one."""
    if not url:
        paths = find_webhook_paths()
        if not paths:
            raise CommandError("urls.py doesn't include octo_stripe_gateway.urls: do so, or give --url.")
        if not host:
            choices = " or ".join(paths)
            raise CommandError(f"Give --host, such as --host shop.example.com: the path is {choices}.")
        origin = host.rstrip("/") if "://" in host else f"https://{host.rstrip('/')}"
        url = f"{origin}{paths[0]}"
        if len(paths) > 1:
            choices = " or ".join(f"{origin}{path}" for path in paths)
            raise CommandError(f"The routes are mounted more than once: give --url {choices}.")
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"{url} is no address: it begins with https://.")
    return url
