"""Times as OCTO writes them."""

from __future__ import annotations

import datetime as dt


def format_utc(moment: dt.datetime | None) -> str | None:
    """Return a time in UTC with a Z and no fraction."""
    if moment is None:
        return None
    return f"{moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
