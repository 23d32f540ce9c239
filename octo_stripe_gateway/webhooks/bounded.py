"""Calls to what may hang, such as a broker or a cache: nobody waits for them longer than a moment."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connections

R = TypeVar("R")


class Bound:
    """Makes calls in threads of their own, so many at once, and gives up on each after some seconds."""

    def __init__(self, *, seconds: float, most: int) -> None:
        self.seconds = seconds
        self.free = threading.Semaphore(most)

    def call(self, function: Callable[[], R]) -> R:
        """Return what the function returns; raises what it raises, and TimeoutError if it takes too long.

        While too many calls hang, further ones aren't made. One that comes back later than that is ignored.
        """
        if not self.free.acquire(blocking=False):
            raise TimeoutError("Too many such calls hang.")
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)
            finally:
                connections.close_all()
                self.free.release()

        # Not a pool's thread: those are waited for when the process ends.
        threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
        return future.result(self.seconds)
