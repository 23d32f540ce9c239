"""What is wrong with an installation, and what to do about it; only looks, and changes nothing.

Each diagnosis is made by a function that yields what it finds: in `accounts` of Stripe's accounts, in
`examination` of the host and the ledger. `checks` are Django's, at start.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is wrong, by a code that never changes, and one sentence on what to do."""

    code: str
    message: str
    action: str
    account: str = ""
    count: int | None = None
    oldest_seconds: int | None = None
