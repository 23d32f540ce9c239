"""Idempotency keys: one execution each, and the same answer ever after."""

from __future__ import annotations

import dataclasses
import json
import threading
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.errors import StripeApiError

if TYPE_CHECKING:
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

    def release(self, key: Key) -> None:
        """Forget a key whose request was refused before it was executed."""
        with self._lock:
            self._saved.pop(key, None)

    def dump(self) -> str:
        """Return the answered keys with their answers, as JSON."""
        with self._lock:
            saved = dict(self._saved)
        answered = [
            {"key": key, "path": one.path, "params": one.params, "answer": vars(one.answer)}
            for key, one in saved.items()
            if one.answer
        ]
        return json.dumps(answered)

    def load(self, dumped: list[JsonObject]) -> None:
        """Take in what was dumped."""
        for one in dumped:
            account, key = one["key"]
            self._saved[account, key] = _Saved(one["path"], one["params"], Answer(**one["answer"]))

    def clear(self) -> None:
        """Forget every key, as Stripe does after a day or more."""
        with self._lock:
            self._saved.clear()


def _check_same_request(saved: _Saved, *, key: str, path: str, params: Parameters) -> None:
    if saved.path != path:
        same = f"for the same endpoint they were first used for ('{saved.path}')"
        raise _error(OTHER_REQUEST.format(same, key))
    if saved.params != params:
        same = "with the same parameters they were first used with"
        raise _error(OTHER_REQUEST.format(same, key))


def _error(message: str, *, status: int = 400, code: str | None = None) -> StripeApiError:
    return StripeApiError(message, status=status, kind="idempotency_error", code=code, saved=False)
