"""Matches requests to names such as `POST /v1/refunds/<target>`."""

from __future__ import annotations

import functools

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule


def match(names: tuple[str, ...], *, method: str, path: str) -> tuple[str, str | None] | None:
    """Return the name that a request matches, with the id in its path; None when there is none."""
    try:
        name, values = _url_map(names).bind("stripe").match(path, method=method)
    except HTTPException:
        return None
    return str(name), values.get("target")


@functools.cache
def _url_map(names: tuple[str, ...]) -> Map:
    # Cached: compiling is slow enough to notice in tests that start their own emulator.
    return Map([_rule(name) for name in names])


def _rule(name: str) -> Rule:
    methods, path = name.split(" ")
    return Rule(path, methods=methods.split("|"), endpoint=name)
