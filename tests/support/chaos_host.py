"""A host that does everything wrong now and then, served by a process to be killed.

It rejects, swallows errors of the database, changes its prices and deadlines, and its receivers fail.

Run as a program, it forks a server for each seed on its input and prints the server's pid and port. Forking
replaces a killed server at once, without starting Python and Django again.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import django
from django.conf import settings

REJECTED = 0.25
SWALLOWED = 0.1
FAILED = 0.2
# A connected account that takes a part of the payments.
CONNECTED = "acct_lyon"


def decide(_payable: object, payment: Any) -> None:
    """Accept or reject; a second acceptance fails, since each creates a ticket with a unique code."""
    from octo_stripe_gateway.exceptions import PaymentRejectedError
    from tests.shop.models import Ticket

    Ticket.objects.create(code=f"accepted {payment.pk}")
    if random.random() < SWALLOWED:
        swallow(f"accepted {payment.pk}")
    if random.random() < REJECTED:
        raise PaymentRejectedError("The tour is full.")


def swallow(code: str) -> None:
    """Have the database refuse a second ticket of this code, and go on as if nothing had happened."""
    from django.db import IntegrityError, connection

    from tests.shop.models import Ticket

    ways: list[Callable[[], object]] = [
        lambda: Ticket.objects.create(code=code),
        lambda: Ticket.objects.bulk_create([Ticket(code=code)]),
        lambda: connection.cursor().execute("INSERT INTO shop_ticket (code) VALUES (%s)", [code]),
    ]
    with suppress(IntegrityError):
        random.choice(ways)()


def stumble(_event: object, payment: Any) -> None:
    """Handle an event, now and then with an error that is swallowed."""
    from tests.shop.models import Ticket

    if payment and random.random() < SWALLOWED:
        code = f"handled {payment.pk} {random.getrandbits(64)}"
        Ticket.objects.create(code=code)
        swallow(code)


def get_deadline(booking: Any) -> dt.datetime | None:
    """Return the deadline that a buyer has set for a booking."""
    from tests.shop.models import Ticket

    codes = Ticket.objects.filter(code__startswith=f"d{booking.pk} ").values_list("code", flat=True)
    return min((dt.datetime.fromtimestamp(int(code.split()[1]), tz=dt.UTC) for code in codes), default=None)


def choose_account(payment: Any) -> tuple[str, str]:
    """Take a part of the payments for a connected account, by a price that may change."""
    amount = getattr(payment.payable, "price", payment.amount)
    return "", "" if amount % 2 else CONNECTED


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
        "CHOOSE_ACCOUNT": choose_account,
    }
    django.setup()
    import stripe
    from django.core.wsgi import get_wsgi_application

    from octo_stripe_gateway import signals
    from octo_stripe_gateway.webhooks import handlers
    from tests.shop.models import Booking, Voucher

    sdk: Any = stripe._http_client.HTTPClient
    sdk.INITIAL_DELAY, sdk.MAX_DELAY = 0.01, 0.02
    payables: list[Any] = [Booking, Voucher]
    for model in payables:
        model.on_payment_completed = decide
    payables[0].get_payment_deadline = get_deadline
    handlers.register("payment_intent.succeeded", "charge.refunded")(stumble)
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
