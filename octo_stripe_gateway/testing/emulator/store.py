"""The objects of one emulated Stripe: ids, ownership by account, lists and expansion."""

from __future__ import annotations

import copy
import secrets
import string
import threading
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator.errors import StripeApiError, no_such

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octo_stripe_gateway.testing.emulator.cards import Card

JsonObject = dict[str, Any]

PREFIXES = {
    "payment_intent": "pi_3",
    "charge": "ch_3",
    "refund": "re_3",
    "payment_method": "pm_1",
    "balance_transaction": "txn_3",
    "dispute": "dp_1",
    "event": "evt_3",
}
WITHOUT_MODE = frozenset({"refund", "balance_transaction"})
DEFAULT_LIMIT, MAXIMUM_LIMIT, MAXIMUM_DEPTH = 10, 100, 4
_ALPHABET = string.ascii_letters + string.digits


def new_id(kind: str) -> str:
    """Return an id of Stripe's shape for an object of that kind."""
    return f"{PREFIXES[kind]}{random_text(23)}"


def random_text(length: int) -> str:
    """Return letters and digits, as Stripe's ids and secrets have them."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Store:
    """Keeps every object, whose account it belongs to, and how its payment method behaves."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.cards: dict[str, Card] = {}
        # What endpoints of older API versions are told as refunds: by charge, the amounts never captured.
        self.released: dict[str, list[JsonObject]] = {}
        self._objects: dict[str, dict[str, JsonObject]] = {kind: {} for kind in PREFIXES}
        self._accounts: dict[str, str | None] = {}
        self._by_charge: dict[str, list[JsonObject]] = {}

    def now(self) -> int:
        return int(self.clock())

    def new(self, kind: str, *, account: str | None, **fields: Any) -> JsonObject:
        """Add an object of that kind, with an id of Stripe's shape, and return it."""
        object_id = new_id(kind)
        head: JsonObject = {"id": object_id, "object": kind, "created": self.now()}
        if kind not in WITHOUT_MODE:
            head["livemode"] = False
        made = self._objects[kind][object_id] = head | fields
        self._accounts[object_id] = account
        if "charge" in made:
            self._by_charge.setdefault(str(made["charge"]), []).append(made)
        return made

    def clear(self) -> None:
        """Forget every object."""
        for objects in self._objects.values():
            objects.clear()
        self._accounts.clear()
        self._by_charge.clear()
        self.cards.clear()
        self.released.clear()

    def get(self, object_id: str) -> JsonObject:
        """Return the stored object itself; a KeyError when there is none."""
        for objects in self._objects.values():
            if object_id in objects:
                return objects[object_id]
        raise KeyError(object_id)

    def find(
        self, kind: str, object_id: str, *, account: str | None, param: str, status: int = 400
    ) -> JsonObject:
        """Return the account's object, or refuse as Stripe does: `resource_missing`."""
        found = self._objects[kind].get(object_id)
        if found is None or self._accounts[object_id] != account:
            raise no_such(kind, object_id, param=param, status=status)
        return found

    def assign(self, item: JsonObject, *, account: str | None) -> JsonObject:
        """Say whose an object is that nobody can retrieve, and return it."""
        self._accounts[item["id"]] = account
        return item

    def account_of(self, item: JsonObject) -> str | None:
        return self._accounts[str(item["id"])]

    def each(self, kind: str, **matching: Any) -> Iterator[JsonObject]:
        """Yield the objects of that kind with those field values, the newest first."""
        for item in reversed(list(self._objects[kind].values())):
            if all(item.get(field) == value for field, value in matching.items()):
                yield item

    def each_of_charge(self, kind: str, charge_id: str) -> Iterator[JsonObject]:
        """Yield the charge's refunds or disputes, the newest first."""
        made = reversed(self._by_charge.get(charge_id, []))
        return (item for item in made if item["object"] == kind)

    def copies(self, kind: str) -> dict[str, JsonObject]:
        with self.lock:
            return copy.deepcopy(self._objects[kind])

    def page(
        self,
        kind: str,
        *,
        account: str | None,
        params: JsonObject,
        url: str,
        filters: tuple[str, ...],
    ) -> JsonObject:
        """Return one page of Stripe's list, the newest first."""
        matching = {name: params[name] for name in filters if name in params}
        found = [
            item
            for item in self.each(kind, **matching)
            if self.account_of(item) == account
            and _created_within(item, params.get("created"))
            and item.get("type") in params.get("types", [item.get("type")])
        ]
        limit = int(params.get("limit", DEFAULT_LIMIT))
        if limit > MAXIMUM_LIMIT:
            raise StripeApiError(
                f"This value must be less than or equal to {MAXIMUM_LIMIT} (it currently is '{limit}').",
                code="parameter_invalid_integer",
                param="limit",
            )
        rest = self._after_cursor(kind, found, account=account, params=params, limit=limit)
        data = rest[:limit]
        return {"object": "list", "data": data, "has_more": len(rest) > limit, "url": url}

    def _after_cursor(
        self,
        kind: str,
        found: list[JsonObject],
        *,
        account: str | None,
        params: JsonObject,
        limit: int,
    ) -> list[JsonObject]:
        ids = [item["id"] for item in found]
        for cursor in ("starting_after", "ending_before"):
            if cursor in params:
                self.find(kind, params[cursor], account=account, param=cursor)
        if params.get("starting_after") in ids:
            return found[ids.index(params["starting_after"]) + 1 :]
        if params.get("ending_before") in ids:
            before = found[: ids.index(params["ending_before"])]
            return before[-limit:] + before[:-limit]
        return found

    def rendered(self, item: JsonObject, *, expand: list[str]) -> JsonObject:
        """Return a copy of an object as it is now, with the named ids replaced by objects."""
        answer = copy.deepcopy(item)
        for path in expand:
            names = path.split(".")
            if len(names) > MAXIMUM_DEPTH:
                raise _cannot_expand(path)
            self._expand(answer, names=names, path=path)
        return answer

    def _expand(self, node: JsonObject, *, names: list[str], path: str) -> None:
        name, *rest = names
        if name == "refunds" and node.get("object") == "charge":
            node.setdefault(name, self._refunds_of(node))
        elif name not in node:
            raise _cannot_expand(path)
        if isinstance(node[name], str):
            node[name] = self._expanded(node[name], path=path)
        children = node[name] if isinstance(node[name], list) else [node[name]]
        for child in children:
            if rest and isinstance(child, dict):
                self._expand(child, names=rest, path=path)

    def _expanded(self, object_id: str, *, path: str) -> JsonObject:
        try:
            return copy.deepcopy(self.get(object_id))
        except KeyError:
            raise _cannot_expand(path) from None

    def _refunds_of(self, charge: JsonObject) -> JsonObject:
        refunds = [copy.deepcopy(refund) for refund in self.each_of_charge("refund", charge["id"])]
        url = f"/v1/charges/{charge['id']}/refunds"
        return {"object": "list", "data": refunds[:10], "has_more": len(refunds) > 10, "url": url}


def _created_within(item: JsonObject, bounds: Any) -> bool:
    created = item["created"]
    if not isinstance(bounds, dict):
        return bounds is None or int(bounds) == created
    return all(
        {"gt": created > at, "gte": created >= at, "lt": created < at, "lte": created <= at}[bound]
        for bound, at in bounds.items()
    )


def _cannot_expand(path: str) -> StripeApiError:
    return StripeApiError(f"This property cannot be expanded ({path}).", param="expand")
