"""Faults on command: what goes wrong between a client and Stripe."""

from __future__ import annotations

import dataclasses
import http.client
import re
import threading
from typing import Any, Literal, get_args

When = Literal["before", "after"]
Kind = Literal["delay", "status", "proxy", "reset"]

PROXY_PAGE = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
    "<center><h1>{status} {reason}</h1></center>\r\n<hr><center>proxy</center>\r\n</body>\r\n</html>\r\n"
)


@dataclasses.dataclass
class Fault:
    """Spoils the next requests that match: `times` of them, or every one when that is None.

    `path` is a regular expression that the start of the path must match, so a plain prefix does.
    `when` is before the work (nothing happened) or after it (it happened, the answer is lost).
    Kinds: `delay` waits `seconds`; `status` answers with that status (429, 500, 503) instead;
    `reset` resets the connection; `proxy` answers with that status (404, 408, 413, a redirect, 200) as
    something between client and Stripe would: an HTML page, or the `body` given, and none of Stripe's
    headers, while its key remembers what Stripe did. Stripe remembers a 500 under the idempotency key
    once the work began; with `save=False` the key remembers the true answer instead. `should_retry`
    becomes the header `Stripe-Should-Retry`, which the SDK obeys; `code` is the error's code, such as
    `lock_timeout` with a 429. A GET that is delayed or held after its work answers with what it read
    before the wait, but is dated when it is sent. Raises ValueError for what it doesn't know.
    """

    kind: Kind = "status"
    method: str = "POST"
    path: str = "/v1/"
    when: When = "before"
    times: int | None = 1
    status: int = 500
    seconds: float = 0.0
    code: str | None = None
    save: bool = True
    should_retry: bool | None = None
    body: str | None = None
    content_type: str = "text/html"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice(self.kind, Kind)
        _check_choice(self.when, When)
        _check_path(self.path)

    def matches(self, method: str, path: str) -> bool:
        return self.method in (method, "*") and re.match(self.path, path) is not None

    @property
    def page(self) -> str:
        """The body that a proxy answers with."""
        if self.body is not None:
            return self.body
        return PROXY_PAGE.format(status=self.status, reason=http.client.responses.get(self.status, ""))

    @property
    def answered_headers(self) -> dict[str, str]:
        """The headers of the answer that this fault gives."""
        if self.should_retry is None:
            return self.headers
        return self.headers | {"Stripe-Should-Retry": str(self.should_retry).lower()}


class Hold:
    """Keeps the matching requests waiting until it is released."""

    def __init__(self, *, method: str, path: str, when: When) -> None:
        _check_choice(when, When)
        _check_path(path)
        self.method = method
        self.path = path
        self.when = when
        self._reached = threading.Event()
        self._released = threading.Event()

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def released(self) -> bool:
        return self._released.is_set()

    def wait_until_reached(self, timeout: float = 30.0) -> None:
        """Wait until a request is held; a TimeoutError when none comes."""
        if not self._reached.wait(timeout):
            raise TimeoutError(f"No {self.method} {self.path} came within {timeout} seconds.")

    def release(self) -> None:
        """Let the held requests go on, and hold no more."""
        self._released.set()

    def wait(self) -> None:
        self._reached.set()
        self._released.wait()

    def matches(self, method: str, path: str) -> bool:
        return self.method in (method, "*") and re.match(self.path, path) is not None


class Faults:
    """Keeps the faults and holds that are not used up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []
        self._cleared = threading.Event()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(dataclasses.replace(fault))

    def hold(self, hold: Hold) -> Hold:
        with self._lock:
            self._holds.append(hold)
        return hold

    def clear(self) -> None:
        """Forget the faults, and release every held or delayed request."""
        with self._lock:
            self._faults.clear()
            holds, self._holds = self._holds, []
            cleared, self._cleared = self._cleared, threading.Event()
        cleared.set()
        for hold in holds:
            hold.release()

    def wait(self, *, method: str, path: str, when: When) -> None:
        """Wait while a hold keeps this request."""
        with self._lock:
            self._holds = [hold for hold in self._holds if not hold.released]
            holds = [one for one in self._holds if one.when == when and one.matches(method, path)]
        for hold in holds:
            hold.wait()

    def delay(self, seconds: float) -> None:
        """Wait as long as a fault says, or until the faults are cleared."""
        if seconds:
            self._cleared.wait(seconds)

    def take(self, *, method: str, path: str, when: When) -> list[Fault]:
        """Return the faults that match this request, and count one use of each."""
        with self._lock:
            taken = [one for one in self._faults if one.when == when and one.matches(method, path)]
            for fault in taken:
                fault.times = None if fault.times is None else fault.times - 1
            self._faults = [one for one in self._faults if one.times is None or one.times > 0]
        return taken


def _check_choice(value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}.")


def _check_path(path: str) -> None:
    try:
        re.compile(path)
    except re.error as error:
        raise ValueError(f"The path {path!r} is not a regular expression: {error}.") from error
