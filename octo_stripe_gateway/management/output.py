"""What commands print: how far they are, and how many of something there are."""

from __future__ import annotations

import datetime as dt
import time

from django.core.management.base import OutputWrapper

SHOWN_EVERY = 0.1


class Progress:
    """One line on a terminal: how much is done, how fast, and the time left. A pipe gets nothing."""

    def __init__(self, stream: OutputWrapper) -> None:
        self.stream, self.name = stream, ""
        self.began = self.shown_at = 0.0
        self.first = self.width = 0

    def show(self, name: str, done: int, total: int) -> None:
        """Rewrite the line, at most ten times a second; where all is done, it stays."""
        if not self.stream.isatty():
            return
        now = time.monotonic()
        if name != self.name:
            self.name, self.began, self.first, self.shown_at = name, now, done - 1, now - SHOWN_EVERY
        if done < total and now < self.shown_at + SHOWN_EVERY:
            return
        self.shown_at = now
        rate = (done - self.first) / max(now - self.began, SHOWN_EVERY)
        left = dt.timedelta(seconds=round((total - done) / rate))
        line = f"{name}: {done} of {total}, {rate:.0f} a second" + (f", {left} left" if done < total else "")
        self.width = max(self.width, len(line))
        # Django's own style for this stream is that of errors.
        self.stream.write(line.ljust(self.width), str, ending="\r" if done < total else "\n")


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 payment` or `2 payments`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
