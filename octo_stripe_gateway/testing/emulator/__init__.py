"""A small stateful Stripe for laptops and tests: the unmodified stripe SDK talks HTTP to it.

    with StripeEmulator(webhook_url="http://127.0.0.1:8000/bookings/webhooks") as stripe:
        client = StripeClient("sk_test_x", base_addresses={"api": stripe.url})

It refuses what Stripe refuses, and does on command what customers, banks and networks do: see the
methods of `StripeEmulator`, and `Fault` for network and server trouble. All keys share one account,
except those shaped like Stripe's own and those given to `add_account`.

It binds loopback only and never starts unless asked. It needs the extra `emulator` (werkzeug).
An emulator that runs in a process of its own (`manage.py stripe_emulator`) takes the same commands
over HTTP: see `octo_stripe_gateway.testing.emulator.control`.
"""

from octo_stripe_gateway.testing.emulator.accounts import EmulatedAccount
from octo_stripe_gateway.testing.emulator.cards import CARDS, Card
from octo_stripe_gateway.testing.emulator.delivery import Delivery
from octo_stripe_gateway.testing.emulator.emulator import DEFAULT_PORT, StripeEmulator
from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.events import LoggedEvent
from octo_stripe_gateway.testing.emulator.faults import Fault, Hold
from octo_stripe_gateway.testing.emulator.server import LoggedRequest
from octo_stripe_gateway.testing.emulator.state import StateError

__all__ = [
    "CARDS",
    "DEFAULT_PORT",
    "Card",
    "Delivery",
    "EmulatedAccount",
    "Fault",
    "Hold",
    "LoggedEvent",
    "LoggedRequest",
    "StateError",
    "StripeApiError",
    "StripeEmulator",
]
