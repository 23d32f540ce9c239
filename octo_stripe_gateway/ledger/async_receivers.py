"""The event loop that async receivers of signals share.

`async_to_sync` alone runs each in a new loop, which breaks every client that a receiver keeps: its
connections belong to a loop that is gone, and the call fails though it was carried out.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import AsyncToSync, async_to_sync


class LastingLoop:
    """An event loop in a thread of its own, started when it is first needed, one a process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Leave the loop to the process that this one was forked from."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                name = "octo-stripe-gateway-receivers"
                threading.Thread(target=self._loop.run_forever, name=name, daemon=True).start()
            return self._loop


lasting_loop = LastingLoop()
os.register_at_fork(after_in_child=lasting_loop.forget)


def call_async(receiver: Callable[..., Coroutine[Any, Any, Any]], **sent: Any) -> None:
    """Run an async receiver on the lasting loop, and wait for it; raises what it raises.

    What it runs by `sync_to_async`, queries for instance, runs in the calling thread, on its connections.
    """

    async def hand_over() -> None:
        executor = getattr(AsyncToSync.executors, "current", None)

        async def receive() -> None:
            # asgiref finds the calling thread by this.
            AsyncToSync.executors.current = executor
            await receiver(**sent)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(receive(), lasting_loop.get()))

    async_to_sync(hand_over)()
