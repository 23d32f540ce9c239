"""Answers as Stripe would, with keep-alive, over TLS, after a delay; a process of its own.

It remembers nothing: every intent is of 2000 usd, and paid when it is retrieved. `GET /control/delay/<ms>`
sets the delay, `GET /control/connections` tells how many connections were opened so far.

`GET /control/listed/<count>/<first>/<step>` makes it list that many intents, the first created at second
`first` and each a step later; every twentieth is paid.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import ssl
import sys
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
numbers = itertools.count(1)
# Part of every id: ids of earlier runs are still in the database.
RUN = f"{time.time_ns():x}"
INTENT: dict[str, Any] = {
    "object": "payment_intent",
    "amount": 2000,
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic",
    "confirmation_method": "automatic",
    "currency": "usd",
    "customer": None,
    "description": None,
    "last_payment_error": None,
    "latest_charge": None,
    "livemode": False,
    "metadata": {"hotel": "Ritz"},
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_configuration_details": {"id": "pmc_1234567890", "parent": None},
    "payment_method_options": {
        "card": {"installments": None, "network": None, "request_three_d_secure": "automatic"},
        "link": {"persistent_token": None},
    },
    "payment_method_types": ["card", "link"],
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "status": "requires_payment_method",
    "transfer_data": None,
    "transfer_group": None,
}


class Upstream(asyncio.Protocol):
    """One connection."""

    delay = 0.0
    connections = 0
    listed = (0, 0, 1)

    def __init__(self) -> None:
        self.received = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        Upstream.connections += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end])
        length = CONTENT_LENGTH.search(head)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < total:
            return
        body = bytes(self.received[end + 4 : total])
        del self.received[:total]
        method, path, _version = head.split(b"\r\n", 1)[0].decode().split(" ")
        if path.startswith("/control"):
            self.answer(control(path))
        elif Upstream.delay:
            answer = make_answer(method, path, body)
            asyncio.get_running_loop().call_later(Upstream.delay, self.answer, answer)
        else:
            self.answer(make_answer(method, path, body))

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {formatdate(usegmt=True)}\r\n"
            f"Request-Id: req_{next(numbers)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)


def control(path: str) -> Any:
    # Don't count the connection that asks.
    Upstream.connections -= 1
    if path.startswith("/control/delay/"):
        Upstream.delay = int(path.rsplit("/", 1)[1]) / 1000
    if path.startswith("/control/listed/"):
        count, first, step = path.split("/")[3:]
        Upstream.listed = (int(count), int(first), int(step))
    return Upstream.connections


def make_answer(method: str, path: str, body: bytes) -> Any:
    path, _mark, query = path.partition("?")
    if path == "/v1/payment_intents" and method == "GET":
        return make_list(parse_qs(query))
    if path == "/v1/balance_transactions":
        return make_movements(parse_qs(query))
    if path == "/v1/refunds":
        return make_refund(parse_qs(body.decode()))
    if method == "POST":
        return make_intent(f"pi_{RUN}{next(numbers)}")
    intent_id = path.rsplit("/", 1)[1]
    charge = {
        "id": intent_id.replace("pi_", "ch_"),
        "object": "charge",
        "created": int(time.time()),
        "currency": "usd",
        "amount_refunded": 0,
        "livemode": False,
        "disputed": False,
        "payment_intent": intent_id,
        "refunds": {"object": "list", "data": [], "has_more": False},
    }
    return make_intent(intent_id) | {"status": "succeeded", "amount_received": 2000, "latest_charge": charge}


def make_list(params: dict[str, list[str]]) -> Any:
    """Return a page of the listed intents, the newest first."""
    count, first, step = Upstream.listed
    since, until = (int(params[f"created[{bound}]"][0]) for bound in ("gte", "lt"))
    after = params.get("starting_after", [""])[0]
    last = int(after.rsplit("_", 1)[1]) - 1 if after else min(count - 1, (until - 1 - first) // step)
    oldest = max(0, -((first - since) // step))
    numbers = range(last, max(oldest, last - 99) - 1, -1)
    page = [make_listed(number, created=first + number * step) for number in numbers]
    return {"object": "list", "data": page, "has_more": bool(page) and numbers[-1] > oldest}


def make_movements(params: dict[str, list[str]]) -> Any:
    """Return what moved for one charge; in the last minutes nothing did, since all is paid long ago."""
    page = [make_movement(source_id) for source_id in params.get("source", [])]
    return {"object": "list", "data": page, "has_more": False}


def make_movement(charge_id: str) -> dict[str, Any]:
    charge = {"id": charge_id, "object": "charge", "payment_intent": charge_id.replace("ch_", "pi_")}
    return {
        "id": charge_id.replace("ch_", "txn_"),
        "object": "balance_transaction",
        "amount": 2000,
        "available_on": int(time.time()),
        "created": int(time.time()),
        "currency": "usd",
        "description": None,
        "exchange_rate": None,
        "fee": 88,
        "net": 1912,
        "reporting_category": "charge",
        "source": charge,
        "status": "available",
        "type": "charge",
    }


def make_listed(number: int, *, created: int) -> dict[str, Any]:
    intent_id = f"pi_listed_{number}"
    is_paid = number % 20 == 0
    intent = (
        make_answer("GET", f"/v1/payment_intents/{intent_id}", b"") if is_paid else make_intent(intent_id)
    )
    return {**intent, "created": created}


def make_refund(params: dict[str, list[str]]) -> Any:
    return {
        "id": f"re_{RUN}{next(numbers)}",
        "object": "refund",
        "amount": int(params.get("amount", ["2000"])[0]),
        "created": int(time.time()),
        "currency": "usd",
        "metadata": {"octo_refund": params.get("metadata[octo_refund]", [""])[0]},
        "payment_intent": params["payment_intent"][0],
        "charge": params["payment_intent"][0].replace("pi_", "ch_"),
        "reason": None,
        "status": "succeeded",
        **dict.fromkeys("balance_transaction destination_details receipt_number source_transfer".split()),
    }


def make_intent(intent_id: str) -> dict[str, Any]:
    secret = f"{intent_id}_secret_0123456789abcdefghijklmno"
    return {"id": intent_id, "client_secret": secret, "created": int(time.time()), **INTENT}


async def serve(port: int, certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, ssl=context, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
