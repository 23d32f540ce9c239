"""Signs and posts events, and runs jobs that are due later."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import heapq
import hmac
import itertools
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import requests

from octo_stripe_gateway.testing.emulator.errors import StripeApiError

if TYPE_CHECKING:
    from collections.abc import Callable

MAXIMUM_EXCERPT = 200
USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


@dataclasses.dataclass(frozen=True)
class Delivery:
    """The outcome of one attempt to deliver an event."""

    status: int | None
    error: str | None = None
    url: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def signature(body: bytes, *, secret: str, timestamp: int) -> str:
    """Return a `Stripe-Signature` header: HMAC-SHA256 of the time and the raw body."""
    signed = f"{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def post(url: str, *, body: bytes, header: str, timeout: float) -> Delivery:
    """Send an event to an endpoint, once."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": header,
        "User-Agent": USER_AGENT,
    }
    try:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(
                url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # a redirect is a failure to Stripe
            )
    except requests.RequestException as error:
        return Delivery(None, f"{type(error).__name__}: {error}", url)
    delivery = Delivery(response.status_code, None, url)
    return (
        delivery
        if delivery.accepted
        else dataclasses.replace(delivery, error=response.text[:MAXIMUM_EXCERPT])
    )


@dataclasses.dataclass(frozen=True)
class Job:
    """A call to make later: a handler's name and its arguments."""

    name: str
    arguments: dict[str, Any]


class Worker:
    """Does jobs one after the other in a thread of its own, each when it is due."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[..., object]] = {}
        self.on_done: Callable[[str], object] | None = None
        self._jobs: list[tuple[float, int, Job]] = []
        self._current: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stripe-emulator-events")
        self._thread.start()

    def stop(self) -> None:
        """End the thread; pending jobs wait for the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def run_in(self, seconds: float, name: str, **arguments: Any) -> None:
        """Have the handler of that name called after that many seconds."""
        with self._changed:
            heapq.heappush(self._jobs, (time.monotonic() + seconds, next(self._order), Job(name, arguments)))
            self._changed.notify_all()

    def count(self, name: str) -> int:
        """Return how many jobs of that name are pending."""
        with self._changed:
            return sum(job.name == name for _, _, job in self._jobs)

    def clear(self) -> None:
        with self._changed:
            self._jobs.clear()

    def dump(self) -> str:
        """Return the pending jobs and when each is due, as JSON."""
        to_wall_clock = time.time() - time.monotonic()
        with self._changed:
            jobs = [*self._current, *sorted(self._jobs, key=lambda job: job[:2])]
        return json.dumps([[due + to_wall_clock, job.name, job.arguments] for due, _, job in jobs])

    def load(self, dumped: list[list[Any]]) -> None:
        """Take in what was dumped."""
        for due, name, arguments in dumped:
            self.run_in(due - time.time(), name, **arguments)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            # A command may have settled the object already, or a reset removed it.
            with contextlib.suppress(StripeApiError, KeyError):
                self.handlers[job.name](**job.arguments)
            self._current.clear()
            if self.on_done:
                self.on_done(job.name)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._stopping:
                wait = self._jobs[0][0] - time.monotonic() if self._jobs else None
                if wait is not None and wait <= 0:
                    # Saved as pending until it has run: better twice than never.
                    self._current.append(heapq.heappop(self._jobs))
                    return self._current[0][2]
                self._changed.wait(wait)
        return None
