"""Stripe's search: https://docs.stripe.com/search. Unlike Stripe's it finds what was written just now."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

URL = "/v1/payment_intents/search"
FIELDS = ("amount", "created", "currency", "customer", "status")
_CLAUSE = re.compile(
    r"""(?P<negated>-)?(?P<field>\w+)(?:\[(?P<quote>["'])(?P<key>.+?)(?P=quote)\])?"""
    r"""\s*(?P<operator>>=|<=|[:~<>])\s*(?P<value>"[^"]*"|'[^']*'|[\w.-]+)\Z"""
)
_JOINT = re.compile(r"\s+(AND|OR)\s+(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*\Z)")
NOT_UNDERSTOOD = (
    "We were unable to parse your search query. Please try using the format `metadata[\"key\"]:\"value\"` or "
    "key:\"value\"."
)  # fmt: skip


def search_intents(store: Store, params: JsonObject, *, account: str | None) -> JsonObject:
    """Return a page of the account's intents that a query describes, the newest first."""
    matches = _parse(params["query"])
    found = [
        intent
        for intent in store.each("payment_intent")
        if store.account_of(intent) == account and matches(intent)
    ]
    limit, at = int(params.get("limit", 10)), int(params.get("page") or 0)
    more = len(found) > at + limit
    return {
        "object": "search_result",
        "data": found[at : at + limit],
        "has_more": more,
        "next_page": str(at + limit) if more else None,
        "url": URL,
    }


def _parse(query: str) -> Callable[[JsonObject], bool]:
    parts = _JOINT.split(query.strip())
    clauses, joints = [_parse_clause(text) for text in parts[::2]], set(parts[1::2])
    if len(joints) > 1:
        raise InvalidParameterError("You cannot mix AND and OR in one search query.", param="query")
    every = any if joints == {"OR"} else all
    return lambda intent: every(clause(intent) for clause in clauses)


def _parse_clause(text: str) -> Callable[[JsonObject], bool]:
    found = _CLAUSE.match(text)
    if found is None:
        raise InvalidParameterError(NOT_UNDERSTOOD, param="query")
    field, key, wanted = found["field"], found["key"], found["value"].strip("\"'")
    if field not in FIELDS and not (field == "metadata" and key):
        raise InvalidParameterError(
            f"Field `{field}` is an unsupported search field for resource `payment_intents`.", param="query"
        )
    negated = bool(found["negated"])

    def matches(intent: JsonObject) -> bool:
        value = intent["metadata"].get(key) if key else intent[field]
        return _compare(value, operator=found["operator"], wanted=wanted) is not negated

    return matches


def _compare(value: Any, *, operator: str, wanted: str) -> bool:
    if value is None or wanted == "null":
        return value is None and wanted == "null"
    if operator == ":":
        return str(value).lower() == wanted.lower()
    if operator == "~":
        return wanted.lower() in str(value).lower()
    number = float(value)
    at = float(wanted)
    return {">": number > at, "<": number < at, ">=": number >= at, "<=": number <= at}[operator]
