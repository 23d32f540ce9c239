"""One thing that is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from octo_stripe_gateway.api.bodies import camelize


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is wrong, by a code that never changes, and one sentence on what to do."""

    code: str
    message: str
    action: str
    account: str = ""
    count: int | None = None
    oldest_seconds: int | None = None

    def to_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = camelize(asdict(self))
        return shown
