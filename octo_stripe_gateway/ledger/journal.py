"""Who changes payments and why, as the journal records it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from octo_stripe_gateway.models import PaymentChange


class Cause(NamedTuple):
    """Where a change comes from: a source, who acts, and the event or request behind it."""

    source: str = PaymentChange.Source.PYTHON
    actor: str = ""
    event_id: int | None = None
    request_id: int | None = None


UNKNOWN_CAUSE = Cause()
_cause: ContextVar[Cause] = ContextVar("octo_stripe_gateway_cause", default=UNKNOWN_CAUSE)


def get_cause() -> Cause:
    """Return the cause that changes are attributed to now."""
    return _cause.get()


@contextmanager
def acting(**cause: Any) -> Iterator[None]:
    """Attribute changes inside the block to this cause; what is not given stays as it is."""
    token = _cause.set(_cause.get()._replace(**cause))
    try:
        yield
    finally:
        _cause.reset(token)
