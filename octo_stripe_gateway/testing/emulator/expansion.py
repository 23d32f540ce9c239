"""Expansion: ids in an answer replaced by their objects, as a request asks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.errors import StripeApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

MAXIMUM_DEPTH = 4


def expand_object(
    store: Store, item: JsonObject, *, paths: list[str], check: Callable[[str], None]
) -> JsonObject:
    """Return a copy of an object as it is now, expanded; `check` refuses kinds that may not be read."""
    answer = copy.deepcopy(item)
    for path in paths:
        names = path.split(".")
        if len(names) > MAXIMUM_DEPTH:
            raise _cannot_expand(path)
        _expand(store, answer, names=names, path=path, check=check)
    return answer


def _expand(
    store: Store, node: JsonObject, *, names: list[str], path: str, check: Callable[[str], None]
) -> None:
    name, *rest = names
    if name == "refunds" and node.get("object") == "charge":
        node.setdefault(name, _refunds_of(store, node))
    elif name not in node:
        raise _cannot_expand(path)
    if isinstance(node[name], str):
        node[name] = _get_copy(store, node[name], path=path)
        check(node[name]["object"])
    children = node[name] if isinstance(node[name], list) else [node[name]]
    for child in children:
        if rest and isinstance(child, dict):
            _expand(store, child, names=rest, path=path, check=check)


def _get_copy(store: Store, object_id: str, *, path: str) -> JsonObject:
    try:
        return copy.deepcopy(store.get(object_id))
    except KeyError:
        raise _cannot_expand(path) from None


def _refunds_of(store: Store, charge: JsonObject) -> JsonObject:
    refunds = [copy.deepcopy(refund) for refund in store.each("refund", charge=charge["id"])]
    url = f"/v1/charges/{charge['id']}/refunds"
    return {"object": "list", "data": refunds[:10], "has_more": len(refunds) > 10, "url": url}


def _cannot_expand(path: str) -> StripeApiError:
    return StripeApiError(f"This property cannot be expanded ({path}).", param="expand")
