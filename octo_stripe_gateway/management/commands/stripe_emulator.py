"""`manage.py stripe_emulator`: a small Stripe on this machine, to develop against."""

from __future__ import annotations

import errno
import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from octo_stripe_gateway.conf import BUILT_IN_WEBHOOK_SECRET, gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from octo_stripe_gateway.testing.emulator import Delivery, LoggedEvent

DEFAULT_PORT = 8421
RETRY_DELAYS = (1.0, 5.0, 30.0)
DEFAULT_WEBHOOK_URL = "http://127.0.0.1:8000/bookings/webhooks"
WITHOUT_DEBUG = (
    "DEBUG is off. Whoever can reach the emulator can say that a payment is paid: run it here only to "
    "develop or test, with --without-debug."
)
UNEXPECTED = (
    "This project doesn't expect the emulator's webhook secret and will refuse its events. Give the project "
    "one for tests as STRIPE_WEBHOOK_SECRET, and the same to --webhook-secret."
)
IN_USE = "Port %(port)s is already in use. Choose another with --port, and name it in STRIPE_API_BASE."
MISSING = "The emulator needs werkzeug: pip install 'octo-stripe-gateway[emulator]'"


def wait_for_ctrl_c() -> None:
    threading.Event().wait()


def is_expected(secret: str) -> bool:
    """Return whether the project takes events that are signed with this secret, as far as can be told."""
    try:
        return secret in gateway_settings.stripe_webhook_secrets
    except ConfigurationError:
        return True


class Command(BaseCommand):
    """Runs the Stripe emulator in the foreground until Ctrl-C."""

    help = "Runs a small stateful Stripe on 127.0.0.1, for development and tests."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"Its own port ({DEFAULT_PORT}).")
        parser.add_argument(
            "--webhook-url", default=DEFAULT_WEBHOOK_URL, help=f"Where events go ({DEFAULT_WEBHOOK_URL})."
        )
        parser.add_argument(
            "--webhook-secret",
            default=BUILT_IN_WEBHOOK_SECRET,
            help="Signs the events. By default the built-in one; the project's own is never used unasked.",
        )
        parser.add_argument("--state", metavar="FILE", help="Keeps everything over restarts, in this file.")
        parser.add_argument("--without-debug", action="store_true", help="Run though DEBUG is off.")

    def handle(self, *args: Any, **options: Any) -> None:
        if importlib.util.find_spec("werkzeug") is None:
            raise CommandError(MISSING)
        if not (settings.DEBUG or options["without_debug"]):
            raise CommandError(WITHOUT_DEBUG)
        # Imported here: it needs werkzeug.
        from octo_stripe_gateway.testing import emulator

        try:
            self.emulator = emulator.StripeEmulator(
                port=options["port"],
                webhook_url=options["webhook_url"] or None,
                webhook_secret=options["webhook_secret"],
                retry_delays=RETRY_DELAYS,
                settle_after=5.0,
                state=options["state"],
                on_event=self._tell_event,
                on_delivery=self._tell_delivery,
            )
            with self.emulator:
                self.stdout.write(
                    f"Stripe emulator at {self.emulator.url}\n"
                    f"Stripe.js at       {self.emulator.url}/stripe.js\n"
                    f"Events go to       {self.emulator.webhook_url or 'nowhere'}\n"
                    f"It remembers       {len(self.emulator.payment_intents)} payment intents\n"
                    "Test cards (any future expiration date, any CVC):"
                )
                for card in emulator.CARDS:
                    self.stdout.write(f"  {card.number:<19} {card.does}  ({card.payment_method})")
                if self.emulator.webhook_url and not is_expected(self.emulator.webhook_secret):
                    self.stdout.write(self.style.WARNING(UNEXPECTED))
                self.stdout.write("Stop it with Ctrl-C.")
                wait_for_ctrl_c()
        except (OSError, ValueError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            raise CommandError(IN_USE % options if taken else f"The emulator can't run: {error}") from None
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")

    def _tell_event(self, event: LoggedEvent) -> None:
        if event.type == "payment_intent.created":
            intent_id = event.payload["data"]["object"]["id"]
            url = f"{self.emulator.url}/_emulator/payment_intents/{intent_id}/confirm"
            self.stdout.write(f"To pay {intent_id}:  curl -X POST {url}")

    def _tell_delivery(self, event: LoggedEvent, delivery: Delivery) -> None:
        if delivery.accepted:
            return
        status = f"HTTP {delivery.status}: " if delivery.status else ""
        reason = " ".join(f"{status}{delivery.error or ''}".split())
        tried = sum(one.url == delivery.url for one in event.deliveries)
        then = "It will be sent again." if tried <= len(RETRY_DELAYS) else "It is given up."
        self.stderr.write(f"{event.type} ({event.id}) did not arrive at {delivery.url}: {reason} {then}")
