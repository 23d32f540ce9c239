"""What the server's log may not tell."""

import logging
import re


def hide_query(record: logging.LogRecord) -> bool:
    """Take the query off the request line: a redirect from Stripe has the client secret in it."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"\?\S*", "", value) if isinstance(value, str) else value for value in record.args
        )
    return True
