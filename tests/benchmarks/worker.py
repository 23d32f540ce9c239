"""Serves requests in one process and measures the processor time that each takes.

`python -m tests.benchmarks.worker` reads orders from its input, a JSON object a line: whose code (`ours`,
`hand`, `orm` or `peer`) does what work how many times. It answers with the microseconds that one request
took in this process and in PostgreSQL, or, where the work is `memory`, with the MiB that it has afterwards.
What the requests need is made before, by requests too, so that a worker can run another version of the app.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import django
from django.conf import settings

from tests.benchmarks.events import make_event, sign

PREFIXES = {"ours": "/bookings", "hand": "/hand", "orm": "/hand", "peer": "/stripe"}
BODY = b'{"amount": 2000, "currency": "usd", "metadata": {"hotel": "Ritz"}}'
LISTED = 120
# These are asked for with the named key: rates are counted, and only its own payments are found.
NAMED = {"create", "complete", "refund"}
# What a worker does, so many at once, before its memory is looked at.
EACH_WORK = ("create", "read", "event", "complete", "refund")
AT_ONCE = 20


class Sent(NamedTuple):
    """A request to the handler, and the status that it must be answered with."""

    environ: dict[str, Any]
    status: int = 200


class Site:
    """The host project, asked without a server."""

    def __init__(self) -> None:
        from django.core.handlers.wsgi import WSGIHandler
        from django.test import RequestFactory

        self.handler = WSGIHandler()
        self.factory = RequestFactory(SERVER_NAME="127.0.0.1")
        self.integrator: str = getattr(settings, "API_KEY", "")
        self.named: str = getattr(settings, "NAMED_KEY", "")
        self.key = self.integrator
        self.secret: str = getattr(settings, "WEBHOOK_SECRET", "")
        self.events: str = getattr(settings, "EVENTS_PATH", "")

    def make(
        self, method: str, path: str, *, status: int = 200, body: bytes = b"", signature: str = ""
    ) -> Sent:
        wanted = {"Authorization": f"Bearer {self.key}", "Stripe-Signature": signature}
        request = self.factory.generic(method, path, body, content_type="application/json", headers=wanted)
        return Sent(request.environ, status)

    def deliver(self, intent: str, *, who: str, uuid: str = "", age: int = 0) -> Sent:
        body = make_event(intent, payment_uuid=uuid, age=age)
        path = {"orm": "/hand/orm-webhooks", "peer": self.events}.get(who, f"{PREFIXES[who]}/webhooks")
        return self.make("POST", path, body=body, signature=sign(body, secret=self.secret))

    def ask(self, sent: Sent) -> bytes:
        seen: list[str] = []
        # The body can be read only once.
        environ = sent.environ | {"wsgi.input": _rewind(sent.environ["wsgi.input"])}
        handle: Any = self.handler
        answer = handle(environ, lambda status, _headers: seen.append(status))
        content = b"".join(answer)
        answer.close()
        if int(seen[0][:3]) != sent.status:
            raise RuntimeError(f"{environ['PATH_INFO']} was answered {seen[0]}: {content[:500]!r}")
        return content

    def create(self, count: int, *, who: str) -> list[dict[str, Any]]:
        sent = self.make("POST", f"{PREFIXES[who]}/payments", body=BODY, status=201)
        return [json.loads(self.ask(sent)) for _number in range(count)]

    def prepare(self, work: str, *, who: str, count: int) -> list[Sent]:
        """Return the requests of some work; raises RuntimeError if what they need can't be made."""
        payments = f"{PREFIXES[who]}/payments"
        self.key = self.named if work in NAMED else self.integrator
        if who == "peer":
            return [self.deliver(f"pi_{time.time_ns()}", who=who) for _number in range(count)]
        if work == "create":
            return [self.make("POST", payments, body=BODY, status=201)] * count
        if work == "list":
            self.create(LISTED, who=who)
            return [self.make("GET", payments)] * count
        made = self.create(count, who=who)
        if work == "read":
            return [self.make("GET", f"{payments}/{each['id']}") for each in made]
        if work == "complete":
            return [self.make("PATCH", f"{payments}/{each['id']}/complete") for each in made]
        age = 3600 if work == "duplicate" else 0
        intents = ((each["stripePaymentIntentId"], each["uuid"]) for each in made)
        events = [self.deliver(intent, who=who, uuid=uuid, age=age) for intent, uuid in intents]
        if work == "event":
            return events
        for each in events:
            self.ask(each)
        if work in {"duplicate", "duplicate at once"}:
            return events
        return [self.make("POST", f"{payments}/{each['id']}/refund") for each in made]

    def measure(self, work: str, *, who: str, count: int) -> dict[str, float]:
        """Return the microseconds of processor time that one request takes."""
        sent = self.prepare(work, who=who, count=count)
        for each in _warm_up(self, work=work, who=who):
            self.ask(each)
        return self.time(sent)

    def fill_memory(self, *, who: str, count: int) -> dict[str, float]:
        """Return the MiB that this process has after so many requests, a few at a time and of each kind."""
        for work in EACH_WORK * (count // len(EACH_WORK) // AT_ONCE):
            for each in self.prepare(work, who=who, count=AT_ONCE):
                self.ask(each)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"mebibytes": pages * resource.getpagesize() / 2**20}

    def time(self, sent: list[Sent]) -> dict[str, float]:
        """Return the microseconds of processor time that one of these requests takes."""
        count = len(sent)
        read_database = _get_database_clock()
        gc.collect()
        database, app = read_database(), time.process_time_ns()
        for each in sent:
            self.ask(each)
        app, database = time.process_time_ns() - app, read_database() - database
        return {"app": app / count / 1000, "database": database / count / 1000}


def _warm_up(site: Site, *, work: str, who: str) -> Iterator[Sent]:
    yield from site.prepare(work, who=who, count=3)


def _rewind(body: Any) -> Any:
    # Django's FakePayload wraps a BytesIO.
    content = getattr(body, "_FakePayload__content", body)
    content.seek(0)
    return content


def _get_database_clock() -> Callable[[], int]:
    """Return a function that tells the nanoseconds that PostgreSQL's process for us has used."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        path = Path(f"/proc/{cursor.fetchone()[0]}/schedstat")
    return lambda: int(path.read_text().split()[0])


def main() -> None:
    django.setup()
    site = Site()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            measure = site.fill_memory if order["work"] == "memory" else partial(site.measure, order["work"])
            answer = measure(who=order["who"], count=order["count"])
        except RuntimeError as error:
            answer = {"error": str(error)}  # type: ignore[dict-item]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
