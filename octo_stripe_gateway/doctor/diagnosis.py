"""One thing that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
        return {
            "code": self.code,
            "account": self.account,
            "message": self.message,
            "action": self.action,
            "count": self.count,
            "oldestSeconds": self.oldest_seconds,
        }
