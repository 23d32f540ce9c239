"""Keeps secrets out of the server's log."""

import logging
import re


def hide_query(record: logging.LogRecord) -> bool:
    """Remove the query from the request line: a redirect from Stripe carries the client secret in it."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"\?\S*", "", value) if isinstance(value, str) else value for value in record.args
        )
    return True
