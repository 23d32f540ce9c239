"""The rows of a locked payment in memory, as the rules change them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from octo_stripe_gateway.ledger.concerns import Kind
from octo_stripe_gateway.models import Concern, Dispute, Payment, Refund


@dataclass(slots=True)
class Rows:
    """A locked payment with what a fact may change of it; `refunds` and `disputes` are None if it can't.

    `notes` goes into the journal beside the columns. `contradiction` is the code of the concern, if what
    Stripe said was not applied; `is_warned` where a bank's warning of fraud is new.
    """

    payment: Payment
    refunds: list[Refund] | None = None
    disputes: list[Dispute] | None = None
    concerns: list[Concern] = field(default_factory=list)
    # The bank's warnings of fraud that are on record, and uuids that no new refund may take.
    warnings: frozenset[tuple[str, str]] = frozenset()
    taken_uuids: frozenset[str] = frozenset()
    notes: dict[str, list[Any]] = field(default_factory=dict)
    contradiction: str = ""
    is_warned: bool = False
    is_answer: bool = False
    is_tied: bool = False
    has_moved: bool = False
    now: dt.datetime = field(init=False)
    before: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.remember()

    def remember(self) -> None:
        """Take the rows as saved: only what changes from now on counts."""
        self.before = {id(row): dict(row.__dict__) for row in self}
        self.notes, self.is_tied, self.has_moved = {}, False, False

    def __iter__(self) -> Any:
        yield self.payment
        yield from self.parts
        yield from self.concerns

    @property
    def parts(self) -> list[Refund | Dispute]:
        """Return refunds and disputes, as far as they are loaded."""
        return [*(self.refunds or ()), *(self.disputes or ())]

    def get_before(self, row: Any, name: str) -> Any:
        """Return a column as it was saved, None for a new row."""
        return self.before.get(id(row), {}).get(name)

    def find_concern(self, kind: Kind, *, object_id: str = "") -> Concern | None:
        """Return the latest concern of a kind about an object, open or settled."""
        about = (kind.code, object_id)
        return next((each for each in reversed(self.concerns) if (each.code, each.object_id) == about), None)

    def open_concern(
        self, kind: Kind, /, *, object_id: str = "", stage: int = 0, as_of: int = 0, **parameters: Any
    ) -> None:
        """Open a concern about the payment, or bring the open one to what is known now.

        What a person has settled stays settled: the same code, object and parameters open no second one.
        """
        latest = self.find_concern(kind, object_id=object_id)
        if latest and latest.was_settled_by_person and latest.parameters == parameters:
            return
        if latest is None or not latest.is_open:
            latest = Concern(payment=self.payment, code=kind.code, object_id=object_id, opened_at=self.now)
            self.concerns.append(latest)
        latest.parameters, latest.stage, latest.as_of = parameters, stage, as_of

    def end_concern(self, kind: Kind, *, object_id: str = "") -> None:
        """End an open concern by a fact that disproves it; nothing happens where none is open."""
        latest = self.find_concern(kind, object_id=object_id)
        if latest and latest.is_open:
            latest.settled_at = self.now
