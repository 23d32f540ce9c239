"""Bodies that never come, in a host with one process."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.host import running

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("path", "status"),
    [("/bookings/payments", 401), ("/bookings/payments/1/refund", 401), ("/bookings/webhooks", 400)],
)
def test_a_stranger_s_slow_body_is_not_waited_for(path: str, status: int) -> None:
    with running(changes={}) as (address,):
        host = urlsplit(address)
        with socket.create_connection((str(host.hostname), host.port or 0), timeout=10) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode())
