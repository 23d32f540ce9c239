"""Async receivers share one event loop for as long as the process lives, and hear which change it is."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.dispatch import Signal

from octo_stripe_gateway import signals
from octo_stripe_gateway.ledger.outbox import deliver_change, send_to_all
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.support.receivers import listening

something = Signal()


def send(**sent: Any) -> list[tuple[str, Exception]]:
    return send_to_all(something, sender=Payment, **sent)


def listen(receive: Any) -> Any:
    return listening(something, receive)


def test_client_kept_at_module_level_goes_on_from_receiver_to_receiver() -> None:
    """A connection works in the loop only that it was opened in."""
    connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    answers: list[bytes] = []
    echoed = threading.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()
        await writer.wait_closed()
        echoed.set()

    async def receive(word: str, **_: Any) -> None:
        if not connections:
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            connections.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
        reader, writer = connections[0]
        writer.write(f"{word}\n".encode())
        answers.append(await asyncio.wait_for(reader.readline(), 5))

    with listen(receive):
        for word in ("one", "two", "three"):
            assert send(word=word) == []
        other = threading.Thread(target=send, kwargs={"word": "four"})
        other.start()
        other.join()
    assert answers == [b"one\n", b"two\n", b"three\n", b"four\n"]

    async def close(**_: Any) -> None:
        _reader, writer = connections[0]
        writer.close()
        await writer.wait_closed()

    with listen(close):
        assert send() == []
    assert echoed.wait(5)


def test_synchronous_code_in_a_receiver_runs_in_the_senders_thread() -> None:
    """So it sees the sender's connections, whatever thread that is, and even under a server's loop."""
    threads: list[tuple[int, int]] = []

    async def receive(sender_thread: int, **_: Any) -> None:
        await asyncio.sleep(0.01)
        threads.append((sender_thread, await sync_to_async(threading.get_ident)()))

    def work() -> None:
        assert send(sender_thread=threading.get_ident()) == []

    async def serve() -> None:
        await sync_to_async(work)()

    async def send_again(word: str, **_: Any) -> None:
        await sync_to_async(work)()

    with listen(receive):
        work()
        workers = [threading.Thread(target=work) for _ in range(5)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        asyncio.run(serve())
        async_to_sync(send_again)("")
    assert len(threads) == 8
    assert all(sender == ran for sender, ran in threads)


@pytest.mark.django_db
def test_receiver_sees_what_its_sender_has_written() -> None:
    """In a test's transaction too, which no other connection sees into."""
    PaymentFactory.create()
    counts: list[int] = []

    async def receive(**_: Any) -> None:
        counts.append(await Payment.objects.acount())

    with listen(receive):
        assert send() == []
    assert counts == [1]


def test_receiver_that_raises_is_told_of_and_stops_no_other() -> None:
    heard: list[str] = []

    async def fail(**_: Any) -> None:
        raise ZeroDivisionError

    async def hear(**_: Any) -> None:
        heard.append("heard")

    with listen(fail), listen(hear):
        ((name, error),) = send()
    assert name.endswith("fail")
    assert (type(error), heard) == (ZeroDivisionError, ["heard"])


def test_forked_process_has_a_loop_of_its_own() -> None:
    async def receive(**_: Any) -> None:
        await asyncio.sleep(0)

    with listen(receive):
        assert send() == []
        pid = os.fork()
        if not pid:
            threading.Timer(10, os._exit, [2]).start()
            os._exit(0 if send() == [] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.django_db
def test_receiver_hears_the_same_id_each_time() -> None:
    keys: list[str] = []

    async def receive(payment: Payment, change: PaymentChange, change_id: str, **_: Any) -> None:
        assert change_id == f"{payment.uuid}-{change.pk}"
        keys.append(change_id)
        if len(keys) == 1:
            raise ConnectionError

    with listening(signals.payment_succeeded, receive):
        payment = PaymentFactory.create()
        undelivered: dict[str, list[str]] = {"payment_succeeded": []}
        change = PaymentChange.objects.create(
            payment=payment, changes={}, source="python", undelivered=undelivered
        )
        for _each in range(2):
            deliver_change(change, payment=payment)
    assert len(keys) == 2
    assert len(set(keys)) == 1
