"""The work that nobody calls for: what was left behind, and what has its time.

`run_upkeep` does all that is due, once: what `manage.py maintain_payments` runs. Several runs at once share
the work, since each claims what it is about to do. A run that dies leaves only claims, which run out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from django.utils import timezone

from octo_stripe_gateway.books.booking import BookStep, SumStep
from octo_stripe_gateway.ledger.claims import Outcome, Pace, Step, Work
from octo_stripe_gateway.ledger.claims import work_off as work_off
from octo_stripe_gateway.ledger.outbox import DeliveryStep
from octo_stripe_gateway.ledger.transactions import get_connection
from octo_stripe_gateway.models import Payment, StripeRequest, WebhookEvent
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.upkeep import deadlines
from octo_stripe_gateway.upkeep.reconciliation import ReconciliationStep
from octo_stripe_gateway.upkeep.syncs import SyncStep
from octo_stripe_gateway.upkeep.threads import count_threads, run_together
from octo_stripe_gateway.webhooks.inbox import EventStep

logger = get_logger(__name__)

Counts = dict[str, int]
ReportProgress = Callable[[str, int, int], None]

# In the order in which they are done; what takes longest is the last.
STEPS: tuple[Step[Any], ...] = (
    EVENTS := EventStep(),
    SYNCS := SyncStep(),
    BOOKS := BookStep(),
    SUMS := SumStep(),
    DEADLINES := deadlines.DeadlineStep(),
    EXPIRIES := deadlines.ExpiryStep(),
    CAPTURES := deadlines.CaptureStep(),
    DUES := deadlines.DueStep(),
    INSTALLMENTS := deadlines.InstallmentStep(),
    DELIVERIES := DeliveryStep(),
    ReconciliationStep(),
)


def make_due() -> None:
    """Make due at once what waits for its time: failed events, unsettled payments, unanswered requests."""
    now = timezone.now()
    WebhookEvent.ledger.unprocessed().update(retry_at=now)
    unanswered = StripeRequest.ledger.open().values("payment")
    # Each has an index of its own. With both conditions in one statement, PostgreSQL reads the whole table.
    for payments in (Payment.ledger.filter(next_check_at__gt=now), Payment.ledger.filter(pk__in=unanswered)):
        payments.update(next_check_at=now)


def run_upkeep(
    *, limit: int, threads: int = 0, report: ReportProgress = lambda *_progress: None
) -> dict[str, Counts]:
    """Do what is due, at most `limit` of each kind, and return by kind how often what came of it.

    A kind that can't be worked on is logged and counted as aborted, and the others have their turn. At most
    `threads` work: see `count_threads`. `report` gets the kind, how many are done, and of how many.
    """
    was_connected = get_connection().connection is not None
    threads = count_threads(threads)
    pace = Pace()
    done: dict[str, Counter[str]] = {step.name: Counter() for step in STEPS}
    for step in STEPS:
        work = Work(step, limit=limit, report=partial(report, step.name), pace=pace)
        try:
            step.prepare()
            run_together(work.run, threads=min(threads, -(-work.count() // step.size)), stop=work.stop)
        except Exception:
            logger.exception("[OctoStripeGateway] Upkeep could not go on with its %s", step.name)
            work.outcomes[Outcome.ABORTED] += 1
            if not was_connected:
                # One that was open before may have settings of the host's, which a new one would lack.
                get_connection().close_if_unusable_or_obsolete()
        done[step.name] += work.outcomes
    return {name: dict(outcomes) for name, outcomes in done.items()}
