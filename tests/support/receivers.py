"""Connects receivers of signals for part of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.dispatch import Signal


@contextmanager
def listening(signal: Signal, receiver: Callable[..., object]) -> Iterator[None]:
    """Connect a receiver to a signal for the block."""
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)
