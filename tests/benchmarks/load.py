"""Sends prepared requests over keep-alive connections, bounded in requests and in time.

A separate process on bare sockets, so that it takes little of the machine from the server:
`python -m tests.benchmarks.load <pickled LoadOrder>` prints a LoadOutcome as JSON.
"""

from __future__ import annotations

import itertools
import json
import pickle
import re
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CLOSES = re.compile(rb"(?i)\r\nconnection: *close")
ANSWER_SECONDS = 60.0


class LoadOrder(NamedTuple):
    """What to send: the requests once each, or over and over until the time is up.

    The ports get equal shares of the connections.
    """

    ports: list[int]
    connections: int
    seconds: float
    repeat: bool
    requests: list[bytes]


class LoadOutcome(NamedTuple):
    """What came back; latencies in seconds, in the order of their arrival."""

    seconds: float
    latencies: list[float]
    statuses: dict[str, int]


class Connection:
    """One connection, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None
        self.answer = bytearray()
        self.sent_at = 0.0

    def send(self, request: bytes, *, selector: selectors.BaseSelector) -> None:
        """Send a request whole, over a new connection where the server closed the last one."""
        self.sent_at = time.perf_counter()
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(self.socket, selectors.EVENT_READ, self)
        self.socket.sendall(request)

    def receive(self, *, selector: selectors.BaseSelector) -> bytes:
        """Return the answer's status once all of it is here; None until then."""
        assert self.socket is not None
        received = self.socket.recv(65536)
        if not received:
            raise ConnectionResetError(bytes(self.answer[:200]))
        self.answer += received
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head = bytes(self.answer[:end])
        length = CONTENT_LENGTH.search(head)
        if len(self.answer) < end + 4 + (int(length[1]) if length else 0):
            return b""
        self.answer.clear()
        if CLOSES.search(head):
            selector.unregister(self.socket)
            self.socket.close()
            self.socket = None
        return head[9:12]


def run(order: LoadOrder) -> LoadOutcome:
    """Keep every connection busy until the requests or the time run out."""
    requests: Iterator[bytes] = itertools.cycle(order.requests) if order.repeat else iter(order.requests)
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        busy = 0
        ports = itertools.cycle(order.ports)
        for request in itertools.islice(requests, order.connections):
            Connection(next(ports)).send(request, selector=selector)
            busy += 1
        while busy:
            ready = selector.select(timeout=ANSWER_SECONDS)
            if not ready:
                raise TimeoutError(f"{busy} requests were not answered")
            for key, _events in ready:
                connection: Connection = key.data
                status = connection.receive(selector=selector)
                if not status:
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.sent_at)
                statuses[status.decode()] += 1
                following = next(requests, None) if now - started < order.seconds else None
                if following is None:
                    busy -= 1
                else:
                    connection.send(following, selector=selector)
        return LoadOutcome(time.perf_counter() - started, latencies, dict(statuses))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(LoadOrder(*pickle.loads(Path(sys.argv[1]).read_bytes())))))
