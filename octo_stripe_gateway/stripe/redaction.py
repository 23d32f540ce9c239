"""Keeps secrets out of rows, logs and error reports.

Error reporters send the repr of every local variable. So a secret becomes a `Secret` where it comes in, no
variable holds it in another form, and an object that has one leaves it out of its own repr.
"""

from __future__ import annotations

import json
import logging
import math
import re
from types import ModuleType
from typing import Any

from octo_stripe_gateway.conf import Secret

CLIENT_SECRET = re.compile(r"_secret_\w+")
WHOLE_CLIENT_SECRET = re.compile(r"(?:pi|seti|cs|src)_\w+_secret_\w+")


class SecretBytes(bytes):
    """Bytes whose repr shows nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(Secret())


class Redacted(dict[str, Any]):
    """A JSON object as `redact` leaves one."""


class RedactClientSecrets(logging.Filter):
    """Removes client secrets from what the SDK logs; at DEBUG it logs whole answers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message; none is dropped."""
        record.msg, record.args = redact_text(record.getMessage()), None
        return True


class KeepLines(logging.Filter):
    """Keeps each record in one line: what follows a line break would look like a record of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape a record's arguments; its own words stay, since error reports are grouped by them."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                each if isinstance(each, (int, float)) else show_in_line(str(each)) for each in record.args
            )
        return True


def get_logger(name: str) -> logging.Logger:
    """Return a module's logger, for records that tell of what others sent."""
    logger = logging.getLogger(name)
    logger.addFilter(KeepLines())
    return logger


def redact_prints(module: ModuleType) -> None:
    """Remove client secrets from what a module prints, which no logging filter sees."""

    def print_redacted(*values: Any, **options: Any) -> None:
        print(*(redact_text(str(value)) for value in values), **options)  # noqa: T201 - in its place

    vars(module)["print"] = print_redacted


def redact_text(text: str) -> str:
    """Replace the secret part of every client secret in a text."""
    return CLIENT_SECRET.sub("_secret_[redacted]", text)


def _drop_client_secret(value: dict[str, Any]) -> dict[str, Any]:
    value.pop("client_secret", None)
    return value


REDACTING_DECODER = json.JSONDecoder(
    object_hook=_drop_client_secret,
    parse_constant=lambda _name: None,
    parse_float=lambda text: number if math.isfinite(number := float(text)) else None,
)


def read_json(body: bytes) -> Any:
    """Read JSON as `redact` leaves it; raises RecursionError and ValueError, which may carry the body."""
    text = Secret(redact_text(body.decode()))
    # An escape may stand for any character.
    value = redact(json.loads(text)) if "\\u" in text else REDACTING_DECODER.decode(text)
    return Redacted(value) if isinstance(value, dict) else value


def redact(value: Any) -> Any:
    """Copy a JSON value without client secrets and without what no database can store."""
    if isinstance(value, dict):
        return {clean_text(key): redact(each) for key, each in value.items() if key != "client_secret"}
    if isinstance(value, list):
        return [redact(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return clean_text(value) if isinstance(value, str) else value


def clean_text(text: str) -> str:
    """Return a text without client secrets and without what no database can store."""
    if text.isascii() and "_secret_" not in text and "\0" not in text:
        return text
    # PostgreSQL has no NUL, and half of a surrogate pair is no character.
    return redact_text(text).replace("\0", "\ufffd").encode(errors="replace").decode()


def hide_client_secrets(value: Any) -> None:
    """Make a Secret of every client secret in an object or list of an answer of Stripe's, in place."""
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list)):
            hide_client_secrets(child)
    if isinstance(value, dict) and isinstance(value.get("client_secret"), str):
        value["client_secret"] = Secret(value["client_secret"])


def show_in_line(text: str) -> str:
    """Return a text for a line of the log: what isn't printable is escaped, a long one cut."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 255 else f"{shown[:255]}…"
