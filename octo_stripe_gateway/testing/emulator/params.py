"""Form-encoded parameters, checked against the SDK's own description of the API version."""

from __future__ import annotations

import functools
import re
import types
import typing
from typing import Any

from stripe._request_options import RequestOptions

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError, missing_parameter

if typing.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Any: the schemas check the values at run time.
Parameters = dict[str, Any]

# Names that the SDK's modules import for type checkers only.
_TYPING_NAMES = {"StripeContext": str, "Mapping": typing.Mapping, "Any": typing.Any}
_SEGMENT = re.compile(r"\[([^\]]*)\]")
_LIMITS = {
    "description": 1000,
    "statement_descriptor": 22,
    "statement_descriptor_suffix": 22,
    "receipt_email": 800,
}
# Texts that name something, and so can't be empty.
REFERENCES = frozenset("charge customer ending_before payment_intent payment_method starting_after".split())
BOOLEANS: dict[Any, bool] = {"true": True, "false": False}
METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH = 50, 40, 500


def decode(pairs: Iterable[tuple[str, str]]) -> Parameters:
    """Return the nested parameters of form pairs such as `metadata[a]=b` and `expand[]=c`."""
    root: Parameters = {}
    for name, value in pairs:
        head, _, _ = name.partition("[")
        _place(root, path=[head, *_SEGMENT.findall(name)], value=value)
    return {name: _with_lists(value) for name, value in root.items()}


def _place(node: dict[str, Any], *, path: list[str], value: str) -> None:
    for segment in path[:-1]:
        child = node.setdefault(segment, {})
        if not isinstance(child, dict):
            raise InvalidParameterError(f"Invalid hash: {path[0]}", param=path[0])
        node = child
    node[path[-1] or str(len(node))] = value


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    children = {name: _with_lists(child) for name, child in value.items()}
    is_list = list(children) == [str(index) for index in range(len(children))]
    return list(children.values()) if is_list else children


class Schema:
    """Checks one endpoint's parameters against one of the SDK's TypedDicts."""

    def __init__(self, description: Any, *, also: Mapping[str, Any] | None = None) -> None:
        self._description = description
        self._also = also or {}

    def check(self, raw: Parameters) -> Parameters:
        """Return the parameters converted to their types, or refuse the first that Stripe would."""
        return _checked(raw, description=self._description, also=self._also)


@functools.cache
def fields_of(description: Any) -> dict[str, Any]:
    """Return the parameters that a TypedDict of the SDK names, without its request options."""
    hints = typing.get_type_hints(description, localns=_TYPING_NAMES)
    return {name: hint for name, hint in hints.items() if name not in RequestOptions.__annotations__}


def _checked(
    raw: Parameters, *, description: Any, prefix: str = "", also: Mapping[str, Any] | None = None
) -> Parameters:
    hints = fields_of(description) | dict(also or {})
    names = {key: f"{prefix}[{key}]" if prefix else key for key in (*raw, *hints)}
    for key in description.__required_keys__:
        if key not in raw:
            raise missing_parameter(names[key])
        if raw[key] == "":
            raise _empty(names[key])
    return {key: _field(value, name=names[key], hints=hints) for key, value in raw.items()}


def _field(value: Any, *, name: str, hints: Mapping[str, Any]) -> Any:
    key = re.split(r"[\[\]]+", name.rstrip("]"))[-1]
    if key not in hints:
        raise InvalidParameterError(
            f"Received unknown parameter: {name}", param=name, code="parameter_unknown"
        )
    checked = _typed(value, name=name, hint=hints[key])
    _check_length(checked, name=name)
    _check_email(checked, name=name, key=key)
    return checked


def _typed(value: Any, *, name: str, hint: Any) -> Any:
    options = _alternatives(hint)
    literals = [one for option in options for one in _literals(option)]
    structured = [option for option in options if not _literals(option)]
    if value == "" and "" in literals:
        return ""
    if value == "" and (any(literals) or str not in structured or name in REFERENCES):
        raise _empty(name)
    if bool in structured and value in BOOLEANS:
        return BOOLEANS[value]
    if isinstance(value, dict | list):
        return _structure(value, name=name, options=structured)
    if any(literals):
        return _choice(value, name=name, choices=[one for one in literals if one])
    return _scalar(value, name=name, options=structured)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _literals(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _structure(value: Any, *, name: str, options: list[Any]) -> Any:
    for option in options:
        if isinstance(value, list) and typing.get_origin(option) is list:
            (item,) = typing.get_args(option)
            return [_typed(one, name=f"{name}[{at}]", hint=item) for at, one in enumerate(value)]
        if isinstance(value, dict) and hasattr(option, "__required_keys__"):
            return _checked(value, description=option, prefix=name)
        if typing.get_origin(option) is dict:
            return _string_map(value, name=name)
    raise InvalidParameterError(f"Invalid string: {value}", param=name)


def _string_map(value: Any, *, name: str) -> dict[str, str]:
    items = dict(enumerate(value)) if isinstance(value, list) else value
    texts = {str(key): one for key, one in items.items()}
    if any(not isinstance(one, str) for one in texts.values()):
        raise InvalidParameterError(f"Invalid {name}: values must be strings.", param=name)
    if name == "metadata":
        check_metadata(texts)
    return texts


def _choice(value: Any, *, name: str, choices: list[Any]) -> Any:
    values = {str(choice).lower(): choice for choice in choices}
    if value in values:
        return values[value]
    *others, last = sorted(map(str, choices))
    listed = f"{', '.join(others)}{',' if len(others) > 1 else ''} or {last}" if others else last
    raise InvalidParameterError(f"Invalid {name}: must be one of {listed}", param=name)


def _scalar(value: str, *, name: str, options: list[Any]) -> Any:
    if bool in options:
        raise InvalidParameterError(f"Invalid boolean: {value}", param=name)
    if int in options:
        return _integer(value, name=name)
    if float in options or str in options:
        return value
    if any(typing.get_origin(option) is list for option in options):
        raise InvalidParameterError("Invalid array", param=name)
    raise InvalidParameterError("Invalid object", param=name)


def _integer(value: str, *, name: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise InvalidParameterError(f"Invalid integer: {value}", param=name, code="parameter_invalid_integer")
    number = int(value)
    if number < 1 and name in {"amount", "limit"}:
        raise too_small(name, value=number)
    return number


def _empty(name: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
        f"parameter; however '{name}' cannot be unset. You should remove '{name}' from your request or "
        "supply a non-empty value.",
        param=name,
        code="parameter_invalid_empty",
    )


def too_small(name: str, *, value: int) -> InvalidParameterError:
    """Return the refusal of a number below 1."""
    return InvalidParameterError(
        f"This value must be greater than or equal to 1. ({name}={value})",
        param=name,
        code="parameter_invalid_integer",
    )


def _check_email(value: Any, *, name: str, key: str) -> None:
    if key in ("email", "receipt_email") and value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise InvalidParameterError(f"Invalid email address: {value}", param=name, code="email_invalid")


def _check_length(value: Any, *, name: str) -> None:
    limit = _LIMITS.get(name)
    if limit and isinstance(value, str) and len(value) > limit:
        raise InvalidParameterError(
            f"Invalid string: {value[:10]}...{value[-5:]}; must be at most {limit} characters",
            param=name,
        )


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse metadata over Stripe's limits: 50 keys of 40 characters, values of 500."""
    if len(metadata) > METADATA_KEYS:
        raise InvalidParameterError(f"You can have up to {METADATA_KEYS} metadata keys.", param="metadata")
    for key, value in metadata.items():
        if len(key) > METADATA_KEY_LENGTH:
            raise InvalidParameterError(
                f"Metadata keys can be up to {METADATA_KEY_LENGTH} characters long. Your key is "
                f"{len(key)} characters: {key}",
                param="metadata",
            )
        if len(value) > METADATA_VALUE_LENGTH:
            raise InvalidParameterError(
                f"Metadata values can have up to {METADATA_VALUE_LENGTH} characters, but you "
                f"passed in a value that is {len(value)} characters. Invalid value: {value[:20]}",
                param=f"metadata[{key}]",
            )


def merged_metadata(current: Mapping[str, str], *, change: Any) -> dict[str, str]:
    """Return metadata after an update: an empty value removes its key, an empty change removes all."""
    if change == "":
        return {}
    merged = {**current, **change}
    kept = {key: value for key, value in merged.items() if value != ""}
    check_metadata(kept)
    return kept
