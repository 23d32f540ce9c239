"""Compares what Stripe said with what a row expects."""

from __future__ import annotations

from typing import Any


def compare_snapshot(snapshot: Any, *, expected: dict[str, Any], most: dict[str, int] | None = None) -> str:
    """Return where a snapshot differs from what is expected or exceeds the most it may have."""
    differing = [
        f"{name} is {getattr(snapshot, name)!r}, not {value!r}"
        for name, value in expected.items()
        if getattr(snapshot, name) != value
    ]
    excessive = [
        f"{name} is {getattr(snapshot, name)!r}, more than {value!r}"
        for name, value in (most or {}).items()
        if getattr(snapshot, name) > value
    ]
    return "; ".join(differing + excessive)
