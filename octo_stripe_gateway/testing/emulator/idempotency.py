"""Idempotency keys: one execution each, and the same answer ever after."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING, Any

from octo_stripe_gateway.testing.emulator.errors import StripeApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octo_stripe_gateway.testing.emulator.params import Parameters
    from octo_stripe_gateway.testing.emulator.store import JsonObject

MAXIMUM_LENGTH = 255
IN_USE = (
    "There is currently another in-progress request using this Idempotent Key (that probably means "
    "you submitted twice, and the other request is still going through): {}. Please try again "
    "later."
)
OTHER_REQUEST = (
    "Keys for idempotent requests can only be used {}. Try using a key other than '{}' if you "
    "meant to execute a different request."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The status and body of a response, and the request that it first answered."""

    status: int
    body: JsonObject
    request_id: str
    replayed: bool = False
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Saved:
    path: str
    params: Parameters
    answer: Answer | None = None


Key = tuple[str | None, str]


class IdempotencyKeys:
    """Remembers what each account's keys were used for, and what came of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._saved: dict[Key, _Saved] = {}
        self._changed: list[Key] = []

    def claim(self, key: Key, *, path: str, params: Parameters) -> Answer | None:
        """Return the answer saved under the key, or None if the caller is to execute the request."""
        if len(key[1]) > MAXIMUM_LENGTH:
            raise _error(f"Idempotency keys can be at most {MAXIMUM_LENGTH} characters long.")
        with self._lock:
            saved = self._saved.get(key)
            if saved is None:
                self._saved[key] = _Saved(path, params)
                return None
        _check_same_request(saved, key=key[1], path=path, params=params)
        if saved.answer is None:
            raise _error(IN_USE.format(key[1]), status=409, code="idempotency_key_in_use")
        return dataclasses.replace(saved.answer, replayed=True)

    def save(self, key: Key, answer: Answer) -> None:
        """Have the key remember the answer of an executed request."""
        with self._lock:
            if key in self._saved:
                self._saved[key].answer = answer
                self._changed.append(key)

    def release(self, key: Key) -> None:
        """Forget a key whose request was refused before it was executed."""
        with self._lock:
            self._saved.pop(key, None)

    def dump(self) -> dict[str, str | None]:
        """Return the answered keys with their answers, as JSON."""
        with self._lock:
            return {_name(key): _text(one) for key, one in self._saved.items() if one.answer}

    def dump_changes(self) -> dict[str, str | None]:
        """Return the keys that were answered since the last dump."""
        with self._lock:
            changed, self._changed = self._changed, []
            return {_name(key): _text(self._saved[key]) for key in changed if key in self._saved}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take in what was dumped."""
        for name, one in dumped.items():
            account, key = json.loads(name)
            self._saved[account, key] = _Saved(one["path"], one["params"], Answer(**one["answer"]))

    def clear(self) -> None:
        """Forget every key, as Stripe does after a day or more."""
        with self._lock:
            self._saved.clear()
            self._changed.clear()


def _name(key: Key) -> str:
    return json.dumps(key)


def _text(saved: _Saved) -> str:
    return json.dumps({"path": saved.path, "params": saved.params, "answer": vars(saved.answer)})


def _check_same_request(saved: _Saved, *, key: str, path: str, params: Parameters) -> None:
    if saved.path != path:
        same = f"for the same endpoint they were first used for ('{saved.path}')"
        raise _error(OTHER_REQUEST.format(same, key))
    if saved.params != params:
        same = "with the same parameters they were first used with"
        raise _error(OTHER_REQUEST.format(same, key))


def _error(message: str, *, status: int = 400, code: str | None = None) -> StripeApiError:
    return StripeApiError(message, status=status, kind="idempotency_error", code=code, saved=False)
