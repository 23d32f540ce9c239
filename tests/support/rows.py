"""A payment's rows in memory, and what they hear."""

from __future__ import annotations

import datetime as dt
from typing import Any

from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import apply
from tests.support.objects import make_payment

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


def make_rows(*facts: Any, **columns: Any) -> Rows:
    """Return the rows of a payment that has heard these facts."""
    return hear(Rows(make_payment(**{"id": 1} | columns), refunds=[], disputes=[]), *facts)


def hear(rows: Rows, *facts: Any) -> Rows:
    """Apply facts, and number the concerns as if they had been saved in between."""
    for fact in facts:
        apply(rows, fact, now=NOW)
        for number, concern in enumerate(rows.concerns, start=1):
            concern.pk = number
    return rows
