"""`manage.py stripe_emulator`: a small Stripe on this machine, to develop against."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from octo_stripe_gateway.conf import gateway_settings

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from octo_stripe_gateway.testing.emulator import StripeEmulator

DEFAULT_PORT = 8421
DEFAULT_WEBHOOK_URL = "http://127.0.0.1:8000/bookings/webhooks"
DEFAULT_WEBHOOK_SECRET = "whsec_test"  # noqa: S105
MISSING = "The emulator needs werkzeug: pip install 'octo-stripe-gateway[emulator]'"


def wait_for_ctrl_c() -> None:
    threading.Event().wait()


class Command(BaseCommand):
    """Runs the Stripe emulator in the foreground until Ctrl-C."""

    help = "Runs a small stateful Stripe on 127.0.0.1, for development and tests."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=DEFAULT_PORT)
        parser.add_argument("--webhook-url", default=DEFAULT_WEBHOOK_URL)
        parser.add_argument("--webhook-secret", help="Default: the project's own, if it has one.")

    def handle(self, *args: Any, **options: Any) -> None:
        if importlib.util.find_spec("werkzeug") is None:
            raise CommandError(MISSING)
        try:
            with self._emulator(options) as emulator:
                self._introduce(emulator)
                wait_for_ctrl_c()
        except OSError as error:
            raise CommandError(f"The port is taken: {error}") from None
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")

    def _emulator(self, options: dict[str, Any]) -> StripeEmulator:
        module = importlib.import_module("octo_stripe_gateway.testing.emulator")
        secrets = (options["webhook_secret"], *gateway_settings.stripe_webhook_secrets)
        emulator: StripeEmulator = module.StripeEmulator(
            port=options["port"],
            webhook_url=options["webhook_url"] or None,
            webhook_secret=next(filter(None, secrets), DEFAULT_WEBHOOK_SECRET),
            retry_delays=(1.0, 5.0, 30.0),
            settle_after=5.0,
        )
        return emulator

    def _introduce(self, emulator: StripeEmulator) -> None:
        module = importlib.import_module("octo_stripe_gateway.testing.emulator")
        self.stdout.write(
            f"Stripe emulator at {emulator.url}\n"
            f"Stripe.js at       {emulator.url}/stripe.js\n"
            f"Events go to       {emulator.webhook_url or 'nowhere'}\n"
            "Test cards (any future expiration date, any CVC):"
        )
        for card in module.CARDS:
            self.stdout.write(f"  {card.number:<19} {card.does}  ({card.payment_method})")
        self.stdout.write("Stop it with Ctrl-C.")
