"""What a setting's value may be: each function returns it in one form, or raises ConfigurationError.

Nothing is converted to text: `b"key"`, `7` or `None` would become a key that somebody can send. Secrets are
hidden before they come here, so that no message and no variable of an error report has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.redaction import Secret

CURRENCY = re.compile(r"[A-Za-z]{3}")
RATE = re.compile(r"[1-9][0-9]{0,8}/(s|sec|second|m|min|minute|h|hour|d|day)")
URL = re.compile(r"https?://[^\s/]+\S*")
# Beyond this something overflows that uses the number: a date, a socket's time-out, a size.
LARGEST_NUMBER = 2**31 - 1
LONGEST_TIMEOUT = 24 * 60 * 60
MOST_DAYS = 36_500


def hide(value: Any) -> Any:
    """Copy a setting: each text becomes a stripped Secret, and what should have been text only its type."""
    if isinstance(value, dict):
        return {key: hide(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(hide(each) for each in value)
    if isinstance(value, str):
        return Secret(value.strip())
    return None if value is None else type(value)


def read_text(name: str, value: Any) -> str:
    """Return a text without blanks around it; bytes of the environment that aren't UTF-8 are refused."""
    if not isinstance(value, str) or any("\ud800" <= each <= "\udfff" for each in value):
        raise _get_error(name, value, wanted="text")
    return value if isinstance(value, Secret) else value.strip()


def read_publishable_key(name: str, value: Any) -> str:
    """Return a key that browsers may have; raises for one that must not leave the server."""
    if read_text(name, value).startswith(("sk_", "rk_", "whsec_")):
        raise ConfigurationError(f"{name} must be a publishable key, and is a secret one.")
    return str(read_text(name, value))


def read_texts(name: str, value: Any) -> tuple[str, ...]:
    """Return the texts that aren't blank, given as one or as a list."""
    if isinstance(value, (list, tuple)):
        texts = [read_text(f"{name}[{place}]", each) for place, each in enumerate(value)]
    else:
        texts = [read_text(name, value)]
    return tuple(text for text in texts if text)


def read_named_texts(name: str, value: Any) -> dict[str, tuple[str, ...]]:
    """Return the texts by name, the empty one if they have none; no two names may share a text."""
    if not isinstance(value, dict):
        return {"": read_texts(name, value)}
    named = {read_name(name, key): read_texts(f"{name}[{key!r}]", each) for key, each in value.items()}
    check_unshared(name, named)
    return named


def read_name(name: str, value: Any) -> str:
    """Return a name in a mapping: text that fits into a column and into a line of the log."""
    if not isinstance(value, str) or len(value) > 100 or not value.isprintable() or value != value.strip():
        raise ConfigurationError(f"{name} has a name that isn't text of up to 100 printable characters.")
    return value


def read_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return a dict whose keys are text."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _get_error(name, value, wanted="a dict with text as its keys")
    return value


def read_flag(name: str, value: Any) -> bool:
    """Return a boolean; no text is one, not even "False"."""
    if not isinstance(value, bool):
        raise _get_error(name, value, wanted="True or False")
    return value


def read_count(name: str, value: Any) -> int:
    """Return an integer from 0."""
    if type(value) is not int or not 0 <= value <= LARGEST_NUMBER:
        raise _get_error(name, value, wanted=f"an integer from 0 to {LARGEST_NUMBER}")
    return value


def read_positive(name: str, value: Any) -> int:
    """Return an integer from 1."""
    if type(value) is not int or not 1 <= value <= LARGEST_NUMBER:
        raise _get_error(name, value, wanted=f"an integer from 1 to {LARGEST_NUMBER}")
    return value


def read_days(name: str, value: Any) -> int:
    """Return a number of days."""
    if type(value) is not int or not 1 <= value <= MOST_DAYS:
        raise _get_error(name, value, wanted=f"an integer from 1 to {MOST_DAYS}")
    return value


def read_timeout(name: str, value: Any) -> tuple[float, float]:
    """Return two numbers of seconds."""
    seconds = value if isinstance(value, (list, tuple)) else ()
    if len(seconds) != 2 or not all(_is_timeout(each) for each in seconds):
        raise _get_error(name, value, wanted="two positive numbers of seconds, a day's at most")
    return float(seconds[0]), float(seconds[1])


def read_url(name: str, value: Any) -> str:
    """Return an address without the slash at its end."""
    if not URL.fullmatch(read_text(name, value)) or not _has_host(read_text(name, value)):
        raise _get_error(name, value, wanted="an address that begins with http:// or https://")
    return read_text(name, value).rstrip("/")


def read_currency(name: str, value: Any) -> str:
    """Return a currency's code in lower case."""
    if not CURRENCY.fullmatch(read_text(name, value)):
        raise _get_error(name, value, wanted="a currency's three letters")
    return read_text(name, value).lower()


def read_choice(*choices: str) -> Callable[[str, Any], str]:
    """Return a reader that accepts one of these texts."""

    def read(name: str, value: Any) -> str:
        if read_text(name, value) not in choices:
            raise _get_error(name, value, wanted=" or ".join(map(repr, choices)))
        return read_text(name, value)

    return read


def read_labels(name: str, value: Any) -> dict[str, str]:
    """Return the labels of models by their public name."""
    return {key: read_text(f"{name}[{key!r}]", label) for key, label in read_mapping(name, value).items()}


def read_rates(*actions: str) -> Callable[[str, Any], dict[str, str | None]]:
    """Return a reader for the rates of these actions."""

    def read(name: str, value: Any) -> dict[str, str | None]:
        rates = read_mapping(name, value)
        for action, rate in rates.items():
            if action not in actions:
                raise ConfigurationError(f"{name} names {action!r}, which is none of {', '.join(actions)}.")
            if rate is not None and not RATE.fullmatch(read_text(f"{name}[{action!r}]", rate)):
                raise _get_error(f"{name}[{action!r}]", rate, wanted="like '120/minute'")
        return dict(rates)

    return read


def read_callable(name: str, value: Any) -> Callable[..., Any]:
    """Return a function that is given, or named by its dotted path."""
    function = import_named(name, value)
    if not callable(function):
        raise _get_error(name, value, wanted="a function, or a function's dotted path")
    return function  # type: ignore[no-any-return] # whatever was imported


def read_classes(name: str, value: Any) -> tuple[type[Any], ...]:
    """Return classes that authenticate, given or named by their dotted paths."""
    if not isinstance(value, (list, tuple)):
        raise _get_error(name, value, wanted="a list")
    classes = tuple(import_named(f"{name}[{place}]", each) for place, each in enumerate(value))
    for place, each in enumerate(classes):
        if not isinstance(each, type) or not callable(getattr(each, "authenticate", None)):
            raise _get_error(f"{name}[{place}]", value[place], wanted="an authentication class")
    return classes


# What a dotted path names may be replaced while the path stays the same.
IMPORTING = (read_callable, read_classes)


def import_named(name: str, value: Any) -> Any:
    """Return what a dotted path names, and anything but text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except Exception as error:
        raise ConfigurationError(f"{name} can't be imported: {error}") from error


def check_unshared(name: str, texts: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ConfigurationError where two names have the same text: it would not tell them apart."""
    owners: dict[str, str] = {}
    for owner, own in texts.items():
        for text in own:
            if owners.setdefault(text, owner) != owner:
                shared = f"{owners[text]!r} and {owner!r}"
                raise ConfigurationError(f"{name} gives {shared} the same secret.")


def _is_timeout(value: Any) -> bool:
    return type(value) in {int, float} and 0 < value <= LONGEST_TIMEOUT


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _get_error(name: str, value: Any, *, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {wanted}, and is {_show(value)}.")


def _show(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (dict, list, tuple)) or (type(value) is int and abs(value) > LARGEST_NUMBER):
        return f"a {type(value).__name__}"
    return ascii(value)
