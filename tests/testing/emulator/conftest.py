from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from octo_stripe_gateway.testing.emulator import StripeEmulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sdk.enable_telemetry = False

AMOUNT: Any = {"amount": 2000, "currency": "usd"}
NO_REDIRECTS: Any = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
OPEN: Any = {**AMOUNT, **NO_REDIRECTS}
PAID: Any = {**OPEN, "confirm": True, "payment_method": "pm_card_visa"}


class Endpoint:
    """A webhook endpoint that answers with the statuses it is given, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.answer = b""
        self.open = threading.Event()
        self.open.set()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.open.wait(5)
                endpoint.received.append((dict(self.headers.items()), body))
                self.send_response(endpoint.statuses.pop(0) if endpoint.statuses else 200)
                self.send_header("Content-Length", str(len(endpoint.answer)))
                self.end_headers()
                self.wfile.write(endpoint.answer)

            def log_message(self, *args: object) -> None:
                """Write nothing."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhooks"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def types(self) -> list[str]:
        return [
            sdk.Webhook.construct_event(body, headers["Stripe-Signature"], "whsec_test").type
            for headers, body in self.received
        ]

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def stripe() -> Iterator[StripeEmulator]:
    with StripeEmulator(retry_delays=(0.01, 0.02)) as emulator:
        yield emulator


@pytest.fixture
def connect(stripe: StripeEmulator) -> Callable[..., sdk.StripeClient]:
    def client(key: str = "sk_test_x", *, retries: int = 0) -> sdk.StripeClient:
        return sdk.StripeClient(
            key,
            base_addresses={"api": stripe.url},
            http_client=sdk.RequestsClient(timeout=60),
            max_network_retries=retries,
        )

    return client


# Any: tests send parameters that the SDK's types forbid.
@pytest.fixture
def api(connect: Callable[..., sdk.StripeClient]) -> Any:
    return connect().v1


@pytest.fixture
def endpoint(stripe: StripeEmulator) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    stripe.webhook_url = endpoint.url
    yield endpoint
    stripe.webhook_url = None
    endpoint.close()
