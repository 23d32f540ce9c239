"""Due work: one claim and one loop for every kind of it.

A claim keeps rows for one process until it runs out. Others skip them, and if that process dies they are due
again by then. Claims write when a payment is asked for again, and how often it was, beside the ledger's one
writer: for many rows at once, which nothing locks while they are worked on. They never say anything of money,
are not journaled, and give way to what a fact has planned meanwhile (`column=until`).
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum, auto
from functools import partial
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from django.utils import timezone

from octo_stripe_gateway.exceptions import (
    GatewayError,
    StripeBusyError,
    StripeRateLimitedError,
    StripeUnavailableError,
)
from octo_stripe_gateway.ledger.transactions import outside_transaction, skip_locked, write_transaction
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

Row = TypeVar("Row", bound=Model)
# What is left to do with a row; returns in a word what came of it.
Job = Callable[[], str]

BATCH_SIZE = 200
# After so many unanswered calls in a row, Stripe is left alone until the next run.
MOST_UNANSWERED = 10
# Seconds between two calls, once Stripe has had too many.
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


class Outcome(StrEnum):
    """What the loop itself says of a row; each step has words of its own besides.

    `UNANSWERED`: Stripe did not answer, so the row is due again when its claim runs out. `ABORTED`: the step
    itself failed.
    """

    FAILED = auto()
    UNANSWERED = auto()
    ABORTED = auto()


class Step(ABC, Generic[Row]):
    """One kind of due work. A claim sets `column`, by which rows are due, to the end of a lease."""

    name: str
    column: str
    asks_stripe = True
    lease = dt.timedelta(minutes=10)
    size = BATCH_SIZE

    @abstractmethod
    def list_due(self, now: dt.datetime) -> QuerySet[Row]:
        """Return the rows that are due, the most urgent first."""

    def do(self, row: Row) -> str:
        """Do what is due, and return in a word what came of it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make due what was forgotten, before the run begins."""

    def claim(self, rows: list[Row], *, until: dt.datetime) -> None:
        """Keep locked rows for this process, in the caller's transaction."""
        _get_rows(rows).update(**{self.column: until})

    def plan(self, rows: list[Row], *, until: dt.datetime) -> Iterator[tuple[Row, Job]]:
        """Yield each claimed row with what to do."""
        for row in rows:
            yield row, partial(self.do, row)

    def conclude(self, rows: list[Row], *, until: dt.datetime) -> None:
        """Record that these rows were tried, and that Stripe answered."""


class Pace:
    """Slows all threads of a run down once Stripe has too many requests, before customers notice."""

    def __init__(self) -> None:
        self.pause = 0.0

    def wait(self) -> None:
        if self.pause:
            time.sleep(self.pause)

    def slow_down(self) -> None:
        self.pause = min(max(2 * self.pause, SHORTEST_PAUSE), LONGEST_PAUSE)

    def speed_up(self) -> None:
        self.pause = self.pause / 2 if self.pause > SHORTEST_PAUSE / 8 else 0.0


class Work:
    """A step's run, which several threads may share: how much is left to do, and the outcomes so far."""

    def __init__(
        self,
        step: Step[Any],
        *,
        limit: int,
        report: Callable[[int, int], object] = lambda *_progress: None,
        pace: Pace | None = None,
    ) -> None:
        self.step, self.left, self.report = step, limit, report
        self.pace = pace or Pace()
        self.outcomes: Counter[str] = Counter()
        self.total = self.unanswered = 0
        self.is_stopped = False
        self.lock = threading.Lock()

    def count(self) -> int:
        """Return how much is due, up to the limit."""
        self.total = self.step.list_due(timezone.now()).order_by()[: self.left].count()
        return self.total

    def run(self) -> None:
        """Claim and do batch after batch, until nothing is due or no more may be done."""
        while True:
            with self.lock:
                wanted = 0 if self.is_stopped else min(self.step.size, self.left)
                self.left -= wanted
            if not wanted:
                return
            rows, until = _claim(self.step, limit=wanted)
            self._give_back(wanted - len(rows))
            if not rows:
                return
            self._wait()
            self._do(rows, until=until)

    def stop(self) -> None:
        """Have every thread end after its current row."""
        self.is_stopped = True

    def _give_back(self, number: int) -> None:
        with self.lock:
            self.left += number

    def _do(self, rows: list[Any], *, until: dt.datetime) -> None:
        left = {row.pk: row for row in rows}
        tried: list[Any] = []
        try:
            for row, job in self.step.plan(rows, until=until):
                self._wait()
                outcome = self._attempt(job, about=row)
                del left[row.pk]
                if outcome != Outcome.UNANSWERED:
                    tried.append(row)
                self._record(outcome)
                if self.is_stopped:
                    return
        except StripeRateLimitedError:
            self.pace.slow_down()
            self._record(Outcome.UNANSWERED)
        finally:
            self.step.conclude(tried, until=until)
            self._give_back(len(left))
            if left:
                # Still claimed as they were: nobody has come to them.
                _get_rows(left.values()).filter(**{self.step.column: until}).update(
                    **{self.step.column: timezone.now()}
                )

    def _wait(self) -> None:
        if self.step.asks_stripe:
            self.pace.wait()

    def _attempt(self, job: Job, *, about: Model) -> str:
        try:
            outcome = job()
        except (StripeBusyError, StripeUnavailableError) as error:
            if isinstance(error, StripeRateLimitedError):
                self.pace.slow_down()
            return Outcome.UNANSWERED
        except GatewayError as error:
            logger.warning("[OctoStripeGateway] Upkeep failed, %s, %s: %s", self.step.name, about, error)
            return Outcome.FAILED
        except Exception:
            logger.exception("[OctoStripeGateway] Upkeep failed, %s, %s", self.step.name, about)
            return Outcome.FAILED
        self.pace.speed_up()
        return outcome

    def _record(self, outcome: str) -> None:
        """Count an outcome, and stop if Stripe does not answer."""
        with self.lock:
            self.outcomes[outcome] += 1
            self.unanswered = self.unanswered + 1 if outcome == Outcome.UNANSWERED else 0
            self.report(self.outcomes.total(), max(self.total, self.outcomes.total()))
        if self.unanswered >= MOST_UNANSWERED and not self.is_stopped:
            logger.error("[OctoStripeGateway] Stripe does not answer; the rest has to wait")
            self.stop()


def work_off(step: Step[Any], *, limit: int) -> Counter[str]:
    """Do what is due of one kind in this thread, at most so much, and return how often what came of it."""
    work = Work(step, limit=limit)
    step.prepare()
    work.run()
    return work.outcomes


@outside_transaction
def _claim(step: Step[Row], *, limit: int) -> tuple[list[Row], dt.datetime]:
    """Claim the most urgent rows that no other process has locked, and return them as they were before."""
    now = timezone.now()
    until = now + step.lease
    with write_transaction():
        rows = list(skip_locked(step.list_due(now))[:limit])
        if rows:
            step.claim(rows, until=until)
    return rows, until


def _get_rows(rows: Iterable[Row]) -> QuerySet[Row]:
    rows = list(rows)
    ledger: Any = type(rows[0]).ledger  # type: ignore[attr-defined]  # each model of ours has one
    due: QuerySet[Row] = ledger.filter(pk__in=[row.pk for row in rows])
    return due
