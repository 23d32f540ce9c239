"""The objects of one emulated Stripe: ids, ownership by account, lists and expansion."""

from __future__ import annotations

import copy
import itertools
import json
import secrets
import string
import threading
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator.cards import card_for_number
from octo_stripe_gateway.testing.emulator.errors import no_such

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
    "payment_method_domain": "pmd_1",
    "webhook_endpoint": "we_1",
    "radar.early_fraud_warning": "issfr_1",
    "v2.core.event_destination": "ed_test_61",
    "application_fee": "fee_1",
    "customer": "cus_",
    "fee_refund": "fr_1",
    "transfer": "tr_3",
    "transfer_reversal": "trr_1",
}
WITHOUT_MODE = frozenset({"refund", "balance_transaction", "fee_refund", "transfer_reversal"})
# Indexed: objects are often looked up by these fields.
RELATIONS = ("charge", "payment_intent")
_ALPHABET = string.ascii_letters + string.digits


def new_id(kind: str, *, prefix: str = "") -> str:
    """Return an id of Stripe's shape for an object of that kind."""
    return f"{prefix or PREFIXES[kind]}{random_text(23)}"


def random_text(length: int) -> str:
    """Return letters and digits, as Stripe's ids and secrets have them."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Store:
    """Keeps every object with its account, and how each payment method behaves."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.given_clock = self.clock = clock
        self.lock = threading.RLock()
        self.cards: dict[str, Card] = {}
        # By charge: amounts released without capture, which older API versions report as refunds.
        self.released: dict[str, list[JsonObject]] = {}
        self._objects: dict[str, dict[str, JsonObject]] = {kind: {} for kind in PREFIXES}
        self._accounts: dict[str, str | None] = {}
        self._ordered: dict[str, list[JsonObject]] = {kind: [] for kind in PREFIXES}
        self._positions: dict[str, int] = {}
        # For the file: the objects as it has them, and those that were handed out since, in order.
        self._saved: dict[str, str] = {}
        self._saved_cards = 0
        self._touched: dict[str, None] = {}
        self._related: dict[tuple[str, str, str], list[JsonObject]] = {}

    def now(self) -> int:
        return int(self.clock())

    def new(self, kind: str, /, *, account: str | None, prefix: str = "", **fields: Any) -> JsonObject:
        """Add an object of that kind, with an id of Stripe's shape, and return it."""
        object_id = new_id(kind, prefix=prefix)
        head: JsonObject = {"id": object_id, "object": kind, "created": self.now()}
        if kind not in WITHOUT_MODE:
            head["livemode"] = False
        return self._add(head | fields, account=account)

    def _add(self, item: JsonObject, *, account: str | None) -> JsonObject:
        kind, object_id = item["object"], item["id"]
        self._objects[kind][object_id] = item
        self._accounts[object_id] = account
        self._positions[object_id] = len(self._positions)
        self._touched[object_id] = None
        self._ordered[kind].append(item)
        for field in RELATIONS:
            if field in item:
                self._related.setdefault((kind, field, str(item[field])), []).append(item)
        return item

    def dump(self) -> dict[str, str | None]:
        """Return all objects in order of creation, how methods behave, and what was released, as JSON."""
        items = sorted((item for items in self._ordered.values() for item in items), key=self.position)
        cards = {f"card/{method}": json.dumps(card.number) for method, card in self.cards.items()}
        released = {f"released/{charge}": json.dumps(made) for charge, made in self.released.items()}
        self._saved = {item["id"]: self._text(item) for item in items}
        self._saved_cards = len(self.cards)
        self._touched.clear()
        objects = {f"object/{object_id}": text for object_id, text in self._saved.items()}
        return {**objects, **cards, **released}

    def dump_changes(self) -> dict[str, str | None]:
        """Return what changed since the last dump; None for an object that is gone."""
        changes: dict[str, str | None] = {}
        for object_id in self._touched:
            item = self._find_anywhere(object_id)
            text = self._text(item) if item else None
            if self._saved.get(object_id) != text:
                changes[f"object/{object_id}"] = text
                self._saved[object_id] = text or ""
            if object_id in self.released:
                changes[f"released/{object_id}"] = json.dumps(self.released[object_id])
        for method in itertools.islice(self.cards, self._saved_cards, None):
            changes[f"card/{method}"] = json.dumps(self.cards[method].number)
        self._saved_cards = len(self.cards)
        self._touched.clear()
        return changes

    def _text(self, item: JsonObject) -> str:
        return json.dumps([self.account_of(item), item])

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take in what was dumped."""
        for name, value in dumped.items():
            kind, _, key = name.partition("/")
            if kind == "object":
                account, item = value
                self._add(item, account=account)
            elif kind == "card":
                self.cards[key] = card_for_number(value)
            else:
                self.released[key] = value

    def clear(self) -> None:
        """Forget every object."""
        for kind in PREFIXES:
            self._objects[kind].clear()
            self._ordered[kind].clear()
        self._accounts.clear()
        self._positions.clear()
        self._saved.clear()
        self._touched.clear()
        self._related.clear()
        self.cards.clear()
        self.released.clear()

    def get(self, object_id: str) -> JsonObject:
        """Return the stored object itself; raises KeyError if there is none."""
        found = self._find_anywhere(object_id)
        if found is None:
            raise KeyError(object_id)
        return self._touch(found)

    def _find_anywhere(self, object_id: str) -> JsonObject | None:
        return next((kind[object_id] for kind in self._objects.values() if object_id in kind), None)

    def _touch(self, item: JsonObject) -> JsonObject:
        """Remember that whoever gets this object may change it."""
        self._touched[item["id"]] = None
        return item

    def look_up(self, kind: str, object_id: str) -> JsonObject | None:
        """Return the stored object itself, None when there is none of that kind."""
        found = self._objects[kind].get(object_id)
        return self._touch(found) if found else None

    def delete(self, item: JsonObject) -> None:
        """Forget an object that nothing refers to."""
        self._touch(item)
        del self._objects[item["object"]][item["id"]]
        self._ordered[item["object"]].remove(item)

    def find(
        self, kind: str, object_id: str, *, account: str | None, param: str, status: int = 400
    ) -> JsonObject:
        """Return the account's object, or refuse as Stripe does: `resource_missing`."""
        found = self._objects[kind].get(object_id)
        if found is None or self._accounts[object_id] != account:
            raise no_such(kind, object_id, param=param, status=status)
        return self._touch(found)

    def assign(self, item: JsonObject, *, account: str | None) -> JsonObject:
        """Assign an account to an object that nobody can retrieve, and return it."""
        self._accounts[item["id"]] = account
        return item

    def account_of(self, item: JsonObject) -> str | None:
        return self._accounts[str(item["id"])]

    def ordered(self, kind: str, **matching: Any) -> list[JsonObject]:
        """Return the objects of that kind that may match, in order of creation; only to be read."""
        for field in RELATIONS:
            if field in matching:
                return self._related.get((kind, field, str(matching[field])), [])
        return self._ordered[kind]

    def position(self, item: JsonObject) -> int:
        """Return the object's position in order of creation."""
        return self._positions[item["id"]]

    def each(self, kind: str, **matching: Any) -> Iterator[JsonObject]:
        """Yield the objects of that kind with those field values, the newest first."""
        for item in reversed(self.ordered(kind, **matching)):
            if all(item.get(field) == value for field, value in matching.items()):
                yield self._touch(item)

    def older_fields(self, item: JsonObject) -> JsonObject:
        """Return copies of what only older API versions show of an intent or a charge."""
        if item["object"] == "payment_intent":
            return {"charges": copy.deepcopy(list(self.each("charge", payment_intent=item["id"])))}
        if item["object"] != "charge":
            return {}
        refunds = list(self.each("refund", charge=item["id"]))
        found = {"refunds": refunds, "released": self.released.get(item["id"])}
        return copy.deepcopy({name: value for name, value in found.items() if value})

    def copies(self, kind: str) -> dict[str, JsonObject]:
        with self.lock:
            return copy.deepcopy(self._objects[kind])
