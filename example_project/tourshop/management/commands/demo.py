"""`manage.py demo`: the shop, its database and a Stripe to pay at, with one command."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application
from django.db import connections

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tourshop.models import Booking
from tourshop.views import TEST_CARDS, get_mode

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STRIPE_VARIABLES = ("STRIPE_API_KEY", "STRIPE_PUBLISHABLE_KEY", "STRIPE_WEBHOOK_SECRET")
MODES = {
    "emulator": "test mode: local Stripe emulator",
    "test": "Stripe test mode",
    "live": "LIVE: cards are really charged",
}


class Command(BaseCommand):
    """Starts everything, and stops everything on Ctrl-C or SIGTERM."""

    help = "Runs the tour shop with a database of its own and, without Stripe's keys, a local emulator."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8010, help="the shop's port (8010)")
        parser.add_argument("--emulator-port", type=int, default=8431, help="the emulator's port (8431)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop."""
        check_variables()
        check_port(options["port"], option="--port")
        if get_mode() == "emulator":
            check_port(options["emulator_port"], option="--emulator-port")
        with suppress(KeyboardInterrupt), ExitStack() as stack:
            call_command("migrate", verbosity=0)
            if get_mode() == "emulator":
                stack.enter_context(emulate(options["emulator_port"], shop_port=options["port"]))
            stack.enter_context(maintain())
            stack.enter_context(serve(options["port"]))
            stack.callback(self.say_goodbye)
            self.introduce(options["port"])
            threading.Event().wait()

    def introduce(self, port: int) -> None:
        """Say where everything is."""
        mode = get_mode()
        lines = [f"Tour shop   http://{HOST}:{port}/", f"Payments    {MODES[mode]}"]
        if mode == "emulator":
            lines += [f"Emulator    {gateway_settings.stripe_api_base}"]
        if mode != "live":
            lines += ["Test cards  (any future expiry date, any CVC)"]
            lines += [f"            {number}  {what}" for number, what in TEST_CARDS]
        lines += [f"API key     {key}" for key in gateway_settings.api_gateway_keys.get("", ())[:1]]
        self.stdout.write("\n".join([*lines, "Stop it with Ctrl-C.", ""]))
        self.stdout.flush()

    def say_goodbye(self) -> None:
        """Ignore further signals, so that nothing interrupts the shutdown."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.stdout.write("Stopping.")


@contextmanager
def serve(port: int) -> Iterator[None]:
    """Serve the shop on this machine."""
    server = ThreadedWSGIServer((HOST, port), WSGIRequestHandler)
    server.set_app(StaticFilesHandler(get_internal_wsgi_application()))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def maintain() -> Iterator[None]:
    """Run the maintenance that a host schedules, every second, and free places that weren't paid in time."""
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(1.0):
            try:
                run_upkeep(limit=100, threads=1)
                Booking.objects.lapsed().update(status=Booking.Status.CANCELLED)
            except Exception:  # the next run may succeed
                logger.exception("What was due could not be done")
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextmanager
def emulate(port: int, *, shop_port: int) -> Iterator[None]:
    """Have the emulator stand in for Stripe, its events sent to the shop; it remembers earlier runs."""
    # Set by manage.py.
    directory = Path(os.environ["DEMO_DIRECTORY"])
    directory.mkdir(parents=True, exist_ok=True)
    state = directory / "stripe.json"
    if not state.exists():
        # A new emulator doesn't know earlier intents: these bookings can't be paid any more.
        Booking.objects.filter(status=Booking.Status.PENDING).update(status=Booking.Status.CANCELLED)
    with StripeEmulator(
        port=port,
        webhook_url=f"http://{HOST}:{shop_port}/bookings/webhooks",
        webhook_secret=gateway_settings.stripe_webhook_secrets[0],
        settle_after=5.0,
        state=state,
    ) as emulator:
        settings.OCTO_STRIPE_GATEWAY["STRIPE_API_BASE"] = emulator.url
        yield


def check_variables() -> None:
    """Require all of Stripe's keys or none: a mix would pay at one Stripe and listen to another."""
    missing = [name for name in STRIPE_VARIABLES if not os.environ.get(name)]
    if 0 < len(missing) < len(STRIPE_VARIABLES):
        raise CommandError(
            f"To use Stripe itself, set {' and '.join(missing)} as well; to use the local emulator, set"
            f" none of {', '.join(STRIPE_VARIABLES)}."
        )


def check_port(port: int, *, option: str) -> None:
    """Raise CommandError, naming the option to use, if the port can't be used."""
    try:
        with socket.create_server((HOST, port)):
            pass
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is already in use" if taken else f"can't be used: {error}"
        raise CommandError(f"Port {port} {reason}. Choose another with {option}.") from error
