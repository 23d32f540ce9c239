"""OCTO's optional features: which are served, and which a request asks for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

HEADER = "Octo-Capabilities"
CARD_PAYMENTS = "octo/cardPayments"

CAPABILITIES: tuple[dict[str, Any], ...] = (
    {"id": CARD_PAYMENTS, "revision": 1, "required": False, "dependencies": [], "docs": None},
)


@lru_cache(maxsize=1024)
def get_honoured(header: str) -> tuple[str, ...]:
    """Return the served capabilities that a header's comma list names, once each and in its order."""
    served = {capability["id"] for capability in CAPABILITIES}
    named = (name.strip() for name in header.split(","))
    return tuple(dict.fromkeys(name for name in named if name in served))
