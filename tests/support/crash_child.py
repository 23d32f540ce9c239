"""A child process that performs operations and kills itself with SIGKILL at the point it is told.

Each line of its input is a request, or a call of a service, as JSON; it forks to perform it and prints how
the fork ended. Python and Django start once, not once per crash: only that makes a matrix of crashes
affordable.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import django
from django.conf import settings

# The points of an operation at which the process can die.
POINTS = ("reserving", "reserved", "called", "applying", "applied")

# Joined writes begin with WITH.
WRITES = ("INSERT", "UPDATE", "DELETE", "WITH")


class Assassin:
    """Watches an operation's commits and calls, and kills the process at a given point.

    Some operations ask Stripe more than once: `passes` is how often the point is passed unharmed first.
    """

    def __init__(self, point: str, *, call: str, passes: int = 0) -> None:
        self.point = point
        self.call = call
        self.passes = passes
        self.called = False
        self.wrote = False

    def reach(self, point: str) -> None:
        """Die here, if this is the place: nothing is flushed, closed or rolled back."""
        if point == self.point:
            self.passes -= 1
            if self.passes < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def note_query(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        """Note that the transaction has something to commit."""
        self.wrote = self.wrote or sql.startswith(WRITES)
        return execute(sql, *rest)

    def watch_commits(self, connection: Any) -> None:
        """Reach a point before and after each commit that has written something."""
        commit = connection.commit

        def watched() -> None:
            wrote, self.wrote = self.wrote, False
            if wrote:
                self.reach("applying" if self.called else "reserving")
            commit()
            if wrote and self.called:
                self.called = False
                self.reach("applied")

        connection.commit = watched
        connection.execute_wrappers.append(self.note_query)

    def watch_calls(self, client_class: Any) -> None:
        """Reach a point before and after the call that does the operation's work at Stripe."""
        request = client_class.request

        def watched(client: Any, method: str, url: str, *rest: Any) -> Any:
            is_the_call = method == self.call
            if is_the_call:
                self.reach("reserved")
            answer = request(client, method, url, *rest)
            if is_the_call:
                self.called = True
                self.reach("called")
            return answer

        client_class.request = watched


def run(job: dict[str, Any]) -> None:
    """Do the job, and die at its point unless the operation never reaches it."""
    import stripe
    from django.db import connection
    from django.test import Client

    settings.OCTO_STRIPE_GATEWAY["STRIPE_API_BASE"] = job["stripe"]
    assassin = Assassin(job["point"], call=job["call"], passes=job.get("passes", 0))
    # Processing an event makes no call, so all its writes count as those after one.
    assassin.called = not job["call"]
    assassin.watch_calls(stripe.RequestsClient)
    assassin.watch_commits(connection)
    if "service" in job:
        call_service(job)
        return
    response = send(job, client=Client())
    sys.stderr.write(f"{response.status_code} {response.content.decode()}\n")


def send(request: Mapping[str, Any], *, client: Any) -> Any:
    """Send the request that the JSON describes, and return the response."""
    return client.generic(
        request["method"],
        request["path"],
        request["body"],
        content_type="application/json",
        headers=request["headers"],
    )


def call_service(job: Mapping[str, Any]) -> Any:
    """Call a service as the host's own code or maintenance does, and return what it returns."""
    from octo_stripe_gateway import services
    from octo_stripe_gateway.models import Payment
    from octo_stripe_gateway.services.deadlines import expire_payment
    from tests.shop.models import Booking

    arguments = dict(job["arguments"])
    if "key" in job:
        arguments["caller"] = services.Caller(idempotency_key=job["key"])
    models: dict[str, Any] = {"booking": Booking, "payment": Payment}
    about = [models[name].objects.get(pk=job[name]) for name in models if name in job]
    named = job["service"]
    service = expire_payment if named == "expire_payment" else getattr(services, named)
    return service(*about, **arguments)


def main(*, database: str) -> None:
    """Fork for each line, and print how the fork ended: `-9` if killed."""
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    # A warm-up: it is refused before it opens a connection, but imports all that a request needs.
    Client().post("/bookings/payments")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(database=sys.argv[1])
