"""A host that rejects at random and whose receiver fails at random, served by a process to be killed.

Run as a program, it forks a server for each seed on its input and prints the server's pid and port. Forking
replaces a killed server at once, without starting Python and Django again.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import Any

import django
from django.conf import settings

REJECTED = 0.25
FAILED = 0.2


def decide(_payable: object, payment: Any) -> None:
    """Accept or reject; a second acceptance fails, since each creates a ticket with a unique code."""
    from octo_stripe_gateway.exceptions import PaymentRejectedError
    from tests.shop.models import Ticket

    Ticket.objects.create(code=f"accepted {payment.pk}")
    if random.random() < REJECTED:
        raise PaymentRejectedError("The tour is full.")


def hear(payment: Any, **_: object) -> None:
    """Note that this success was heard of, or fail at random."""
    from tests.shop.models import Ticket

    if random.random() < FAILED:
        raise ConnectionError("The mail server is away.")
    Ticket.objects.get_or_create(code=f"heard {payment.pk}")


def serve(application: Any, *, seed: int) -> None:
    """Serve the API over HTTP, each request in a thread with a connection of its own."""
    from werkzeug.serving import make_server

    random.seed(seed)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    sys.stdout.write(f"{os.getpid()} {server.port}\n")
    sys.stdout.flush()
    server.serve_forever()


def load(*, database: str, stripe_url: str) -> Any:
    """Return the application; the SDK repeats a failed call once, without its usual half-second pause."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    default = settings.DATABASES["default"]
    default["NAME"] = database
    default["OPTIONS"] = {**default.get("OPTIONS", {}), "application_name": "chaos"}
    settings.OCTO_STRIPE_GATEWAY |= {
        "STRIPE_API_BASE": stripe_url,
        "STRIPE_TIMEOUT": (2, 1),
        "STRIPE_MAX_NETWORK_RETRIES": 1,
    }
    django.setup()
    import stripe
    from django.core.wsgi import get_wsgi_application

    from octo_stripe_gateway import signals
    from tests.shop.models import Booking, Voucher

    sdk: Any = stripe._http_client.HTTPClient
    sdk.INITIAL_DELAY, sdk.MAX_DELAY = 0.01, 0.02
    payables: list[Any] = [Booking, Voucher]
    for model in payables:
        model.on_payment_completed = decide
    signals.payment_succeeded.connect(hear)
    return get_wsgi_application()


def main(*, database: str, stripe_url: str) -> None:
    """Fork a server for each seed, and kill the last one at the end of the input."""
    application = load(database=database, stripe_url=stripe_url)
    # Nobody waits for killed servers: leave no zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pid = 0
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            serve(application, seed=int(line))
    if pid:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    # Imported again, since receivers are known by their module's name, which here is __main__.
    from tests.support import chaos_host

    chaos_host.main(database=sys.argv[1], stripe_url=sys.argv[2])
