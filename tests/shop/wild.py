"""REST framework defaults of a host that wants everything different, each of which would break our views."""

from __future__ import annotations

from typing import Any, NoReturn


class Trap:
    """Stands in for any class of a host's defaults, and fails when it is used."""

    media_type = "text/trap"
    format = "trap"
    charset = "utf-16"
    wait = None

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"A default of the host was used: {name}")


def handle_exception(error: Exception, context: Any) -> NoReturn:
    raise AssertionError("The host's exception handler was used.")
