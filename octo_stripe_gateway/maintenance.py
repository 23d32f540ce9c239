"""Does everything that is due, once: what `manage.py maintain_payments` runs.

Several runs at once share the work, since each claims what it is about to do. A run that dies leaves nothing
behind but claims, which run out.
"""

from __future__ import annotations

import contextvars
import datetime as dt
import logging
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TypeVar

from django.db import connections
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.inbox import process_event
from octo_stripe_gateway.models import WebhookEvent
from octo_stripe_gateway.services import Outcome
from octo_stripe_gateway.transactions import get_connection, skip_locked, write_transaction

logger = logging.getLogger(__name__)

Counts = dict[str, int]
ReportProgress = Callable[[str, int, int], None]
Claimed = TypeVar("Claimed", bound=Sized)

THREADS = 4
BATCH_SIZE = 200
LEASE = dt.timedelta(minutes=10)
# After so many unanswered calls in a row, Stripe is left alone until the next run.
MOST_UNANSWERED = 10


class Work:
    """What the threads of a step share: how much is left to do, and the outcomes so far."""

    def __init__(self, *, limit: int, total: int, report: Callable[[int, int], None]) -> None:
        self.left, self.total, self.report = limit, total, report
        self.outcomes: Counter[str] = Counter()
        self.unanswered = 0
        self.is_stopped = False
        self.lock = threading.Lock()

    def take(self, wanted: int) -> int:
        """Return how many of the wanted may still be done, and count them as taken."""
        with self.lock:
            taken = 0 if self.is_stopped else min(wanted, self.left)
            self.left -= taken
        return taken

    def record(self, outcome: str) -> None:
        """Count an outcome, and stop if Stripe does not answer."""
        with self.lock:
            self.outcomes[outcome] += 1
            self.unanswered = self.unanswered + 1 if outcome == Outcome.UNANSWERED else 0
            self.report(self.outcomes.total(), max(self.total, self.outcomes.total()))
        if self.unanswered >= MOST_UNANSWERED and not self.is_stopped:
            logger.error("[OctoStripeGateway] Stripe does not answer; the rest has to wait")
            self.stop()

    def stop(self) -> None:
        """Have every thread end after its current item."""
        self.is_stopped = True


def run_maintenance(
    *, limit: int, threads: int = 0, report: ReportProgress = lambda *_progress: None
) -> dict[str, Counts]:
    """Do what is due, at most `limit` of each kind, and return the outcomes by kind.

    By default there are as many threads as the database can take. `report` gets the kind, how many are done,
    and of how many. A step is a function of the limit here: add one for each further kind.
    """
    threads = threads or _get_threads()
    return {
        "events": _process_events(limit, threads=threads, report=report),
        "payments": _check_payments(limit, threads=threads, report=report),
        "books": _keep_books(limit, threads=threads, report=report),
        "deadlines": _keep_deadlines(limit),
        "changes": _deliver_changes(limit),
    }


def _process_events(limit: int, *, threads: int, report: ReportProgress) -> Counts:
    total = WebhookEvent.ledger.filter(retry_at__lte=timezone.now())[:limit].count()
    work = Work(limit=limit, total=total, report=partial(report, "events"))
    return _work_off(work, _claim_due_events, _process_claimed, threads=threads)


def _claim_due_events(*, limit: int) -> Sequence[int]:
    """Claim events that failed or were left behind, the latest due first."""
    now = timezone.now()
    with write_transaction():
        due = WebhookEvent.ledger.filter(retry_at__lte=now).order_by("-retry_at")
        keys = list(skip_locked(due).values_list("pk", flat=True)[:limit])
        WebhookEvent.ledger.filter(pk__in=keys).update(retry_at=now + LEASE)
    return keys


def _process_claimed(keys: Sequence[int]) -> Generator[str]:
    for key in keys:
        yield _process_event(key)


def _process_event(key: int) -> str:
    try:
        return process_event(WebhookEvent.ledger.get(pk=key)).status
    except WebhookEvent.DoesNotExist:
        return "deleted"
    except Exception:  # noqa: BLE001 - it is on the event and in the log
        return WebhookEvent.Status.FAILED


def _check_payments(limit: int, *, threads: int, report: ReportProgress) -> Counts:
    services.recall_unanswered_requests()
    total = services.count_due_payments(limit=limit)
    work = Work(limit=limit, total=total, report=partial(report, "payments"))
    return _work_off(work, services.claim_due_payments, services.check_payments, threads=threads)


def _keep_books(limit: int, *, threads: int, report: ReportProgress) -> Counts:
    total = services.count_unbooked_payments(limit=limit)
    work = Work(limit=limit, total=total, report=partial(report, "books"))
    return _work_off(work, services.claim_unbooked_payments, services.book_payments, threads=threads)


def _work_off(
    work: Work, claim: Callable[..., Claimed], perform: Callable[[Claimed], Generator[str]], *, threads: int
) -> Counts:
    """Claim and perform batch after batch, until nothing is due or no more may be done."""

    def work_off() -> None:
        while wanted := work.take(BATCH_SIZE):
            claimed = claim(limit=wanted)
            with closing(perform(claimed)) as outcomes:
                for outcome in outcomes:
                    work.record(outcome)
                    if work.is_stopped:
                        return
            if len(claimed) < wanted:
                return

    _run_together(work_off, work=work, threads=min(threads, _count_batches(work.total)))
    return dict(work.outcomes)


def _keep_deadlines(limit: int) -> Counts:
    counts = {
        "expired": services.expire_due_payments(limit=limit),
        "captures": services.remind_of_captures(limit=limit),
        "installments": services.remind_of_installments(limit=limit),
    }
    return {name: count for name, count in counts.items() if count}


def _deliver_changes(limit: int) -> Counts:
    delivered, failed = services.deliver_due_changes(limit=limit)
    return {name: count for name, count in (("delivered", delivered), ("failed", failed)) if count}


def _run_together(function: Callable[[], None], *, work: Work, threads: int) -> None:
    """Run a function in so many threads at once, and raise what one of them raised; Ctrl-C ends them all."""
    if threads <= 1:
        function()
        return

    def run(context: contextvars.Context) -> None:
        try:
            context.run(function)
        except BaseException:
            work.stop()
            raise
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        runs = [pool.submit(run, contextvars.copy_context()) for _thread in range(threads)]
        try:
            for each in runs:
                each.result()
        finally:
            work.stop()


def _count_batches(total: int) -> int:
    return -(-total // BATCH_SIZE)


def _get_threads() -> int:
    # SQLite has one writer at a time.
    return THREADS if get_connection().features.has_select_for_update_skip_locked else 1
