"""What tables have in common: indexes and constraints in a line each, and conditions on a moment."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from django.db.models import CheckConstraint, Index, Q, UniqueConstraint


def index(name: str, *fields: str, where: Q | None = None, opclasses: Sequence[str] = ()) -> Index:
    """Return an index of these columns, of the rows that `where` picks or of all."""
    return Index(fields=fields, condition=where, opclasses=opclasses, name=f"octo_{name}")


def unique(name: str, *fields: str, where: Q | None = None) -> UniqueConstraint:
    """Return the constraint that no two rows have the same values in these columns."""
    return UniqueConstraint(fields=fields, condition=where, name=f"octo_{name}")


def check(name: str, condition: Q) -> CheckConstraint:
    """Return the constraint that this holds in every row."""
    return CheckConstraint(condition=condition, name=f"octo_{name}")


def between(column: str, since: dt.datetime | None, until: dt.datetime | None) -> Q:
    """Return the condition that a moment is `since` or later and before `until`; None is no bound."""
    bounds = {f"{column}__gte": since, f"{column}__lt": until}
    return Q(**{name: bound for name, bound in bounds.items() if bound is not None})
