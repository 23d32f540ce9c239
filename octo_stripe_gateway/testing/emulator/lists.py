"""Stripe's lists: the newest first, page by page."""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator.errors import StripeApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octo_stripe_gateway.testing.emulator.store import JsonObject, Store

DEFAULT_LIMIT, MAXIMUM_LIMIT = 10, 100
CURSORS = ("starting_after", "ending_before")


def list_page(
    store: Store,
    kind: str,
    *,
    account: str | None,
    params: JsonObject,
    url: str,
    filters: tuple[str, ...],
    keep: Callable[[JsonObject], bool],
) -> JsonObject:
    """Return the page that the parameters ask for."""
    limit = _limit(params)
    matching = {name: params[name] for name in filters if name in params}
    found = (
        item
        for item in _walk(store, kind, account=account, params=params, matching=matching)
        if store.account_of(item) == account
        and _matches(item, params=params, matching=matching)
        and keep(item)
    )
    data = list(itertools.islice(found, limit + 1))
    page = data[:limit][::-1] if "ending_before" in params else data[:limit]
    return {"object": "list", "data": page, "has_more": len(data) > limit, "url": url}


def _limit(params: JsonObject) -> int:
    limit = int(params.get("limit", DEFAULT_LIMIT))
    if limit > MAXIMUM_LIMIT:
        raise StripeApiError(
            f"This value must be less than or equal to {MAXIMUM_LIMIT} (it currently is '{limit}').",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def _walk(
    store: Store, kind: str, *, account: str | None, params: JsonObject, matching: JsonObject
) -> Iterator[JsonObject]:
    items = store.ordered(kind, **matching)
    given = [cursor for cursor in CURSORS if cursor in params]
    if len(given) > 1:
        raise StripeApiError("You may only specify one of these parameters: ending_before, starting_after.")
    if not given:
        return reversed(items)
    cursor = store.find(kind, params[given[0]], account=account, param=given[0])
    at = bisect.bisect_left(items, store.position(cursor), key=store.position)
    if given == ["starting_after"]:
        return (items[index] for index in range(at - 1, -1, -1))
    return (item for item in itertools.islice(items, at, None) if item is not cursor)


def _matches(item: JsonObject, *, params: JsonObject, matching: JsonObject) -> bool:
    return (
        all(item.get(field) == value for field, value in matching.items())
        and _created_within(item, params.get("created"))
        and item.get("type") in params.get("types", [item.get("type")])
    )


def _created_within(item: JsonObject, bounds: Any) -> bool:
    created = item["created"]
    if not isinstance(bounds, dict):
        return bounds is None or int(bounds) == created
    return all(
        {"gt": created > at, "gte": created >= at, "lt": created < at, "lte": created <= at}[bound]
        for bound, at in bounds.items()
    )
