"""How calls reach Stripe: over kept connections, through the environment's proxy, and to nobody else."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import stripe as sdk

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import StripeUnavailableError
from octo_stripe_gateway.stripe import client
from octo_stripe_gateway.stripe.connections import PooledClient
from octo_stripe_gateway.testing.emulator import StripeEmulator

DEAD_ADDRESS = "http://127.0.0.1:9"


class Listener:
    """Answers each connection with the same bytes, and keeps what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.received: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(answer,), daemon=True).start()

    def _serve(self, answer: bytes) -> None:
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(65536))
                connection.sendall(answer)


@pytest.fixture
def proxy() -> Iterator[Listener]:
    listener = Listener(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    yield listener
    listener.socket.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def ask(api_base: str) -> Any:
    return PooledClient(api_base, timeout=(5, 5)).request("get", f"{api_base}/v1/payment_intents", {"A": "b"})


def test_https_goes_through_the_environments_proxy(proxy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:secret@{proxy.address}")
    with pytest.raises(sdk.APIConnectionError) as raised:
        ask("https://stripe.invalid")
    assert raised.value.should_retry
    (sent,) = proxy.received
    assert sent.startswith(b"CONNECT stripe.invalid:443 HTTP/1.")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"ann:secret") in sent


def test_no_proxy_is_honoured(proxy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(sdk.APIConnectionError):
        ask("https://127.0.0.1:9")
    assert proxy.received == []


def test_an_emulator_is_reached_past_a_proxy(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", DEAD_ADDRESS)
    client._get_http_client.cache_clear()
    assert client.check_key("") > 0


def test_an_address_may_have_a_path() -> None:
    listener = Listener(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRequest-Id: req_1\r\n\r\n{}")
    content, status, headers = ask(f"http://{listener.address}/mock")
    listener.socket.close()
    assert (content, status, headers["request-id"]) == (b"{}", 200, "req_1")
    assert listener.received[0].startswith(b"GET /mock/v1/payment_intents HTTP/1.1\r\n")


def test_a_certificate_of_nobodys_is_refused_once() -> None:
    listener = Listener(b"HTTP/1.1 200 OK\r\n\r\n")
    with pytest.raises(sdk.APIConnectionError) as raised:
        ask(f"https://{listener.address}")
    listener.socket.close()
    assert not raised.value.should_retry


@pytest.mark.parametrize("key", ["sk_test_first\nsecond", "sk_test_€"])
def test_a_key_that_no_header_can_hold_is_shown_nowhere(
    key: str, stripe: StripeEmulator, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    configure(STRIPE_API_KEY=key)
    caplog.set_level("DEBUG")
    with pytest.raises(StripeUnavailableError) as raised:
        client.check_key("")
    assert raised.value.__context__ is None
    assert key[-3:] not in caplog.text + str(raised.value)


def test_calls_share_a_connection(stripe: StripeEmulator) -> None:
    client._get_http_client.cache_clear()
    for _each in range(3):
        client.check_key("")
    http: Any = client._get_http_client(gateway_settings.stripe_timeout, gateway_settings.stripe_api_base)
    assert (http.pool.num_connections, http.pool.num_requests) == (1, 3)
