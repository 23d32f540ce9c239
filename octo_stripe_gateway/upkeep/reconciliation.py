"""Reconciliation: once a night all that is young is compared with Stripe, both ways."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.ledger import concerns
from octo_stripe_gateway.ledger.claims import Outcome, Step
from octo_stripe_gateway.ledger.facts import FoundLate
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import BalanceTransaction, Concern, Installation, Payment, Refund
from octo_stripe_gateway.services.reconciliation import Finding, Kind, Reconciliation
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

# The hour of the night, where the host is.
HOUR = 3
# How often a run that goes on for long keeps others off.
RENEWAL = dt.timedelta(minutes=1)


class ReconciliationStep(Step[Installation]):
    """Compares the last days with Stripe, and opens a concern for each difference that no event told of.

    The windows of two nights overlap, so that the next night makes up for one that failed.
    """

    name = "reconciliation"
    column = "reconcile_at"

    def prepare(self) -> None:
        own = Installation.ledger.get_own()
        if own.reconcile_at is None:
            Installation.ledger.filter(pk=own.pk).update(reconcile_at=get_next_night(timezone.now()))

    def list_due(self, now: dt.datetime) -> QuerySet[Installation]:
        due = Installation.ledger.filter(reconcile_at__lte=now)
        return due if gateway_settings.reconcile_days else due.none()

    def do(self, row: Installation) -> str:
        """Compare what was made since the last time, and in any case in the last days."""
        now = timezone.now()
        window = now - dt.timedelta(days=gateway_settings.reconcile_days)
        audit = Reconciliation(
            min(window, row.reconciled_until or window),
            now,
            adopts=gateway_settings.reconcile_adopts,
            dry_run=False,
        )
        kinds: Counter[str] = Counter()
        renewed_at = now
        for finding in audit.run():
            kinds[finding.kind] += 1
            report_finding(finding)
            if timezone.now() > renewed_at + RENEWAL:
                renewed_at = timezone.now()
                Installation.ledger.filter(pk=row.pk).update(reconcile_at=renewed_at + self.lease)
        end_what_is_known()
        logger.info("[OctoStripeGateway] Reconciled with Stripe: %s", dict(kinds))
        Installation.ledger.filter(pk=row.pk).update(
            reconciled_until=now, reconcile_at=get_next_night(timezone.now())
        )
        return Outcome.FAILED if kinds[Kind.FAILED] else "reconciled"


def get_next_night(now: dt.datetime) -> dt.datetime:
    local = timezone.localtime(now) if settings.USE_TZ else now
    night = local.replace(hour=HOUR, minute=0, second=0, microsecond=0)
    return night if night > local else night + dt.timedelta(days=1)


def report_finding(finding: Finding) -> None:
    """Open a concern for what is on one side only, or differs though the payment was settled."""
    payment = finding.payment
    if finding.kind == Kind.FAILED:
        logger.error("[OctoStripeGateway] %s could not be compared: %s", finding.name, finding.error)
    elif finding.kind == Kind.UNKNOWN_HERE:
        with write_transaction():
            concerns.report_concern(concerns.UNKNOWN_HERE, object_id=finding.name, object=finding.name)
    elif finding.kind == Kind.UNKNOWN_AT_STRIPE:
        tell_of(payment, concerns.UNKNOWN_AT_STRIPE, object_id=finding.name, object=finding.name)
    elif finding.kind == Kind.ADDED and finding.name.startswith("txn_"):
        tell_of(payment, concerns.MOVED_UNNOTICED, object_id=finding.name, movement=finding.name)
    elif payment and payment.next_check_at is None:
        # Concerns tell of themselves, and reconciliation itself may have just opened one.
        told = {name: list(found) for name, found in finding.differences.items() if name != "has_concerns"}
        if told:
            tell_of(payment, concerns.FOUND_LATE, object_id=finding.name, differences=told)


def tell_of(payment: Payment | None, kind: concerns.Kind, *, object_id: str, **parameters: Any) -> None:
    """Open a concern of a payment, if there is one."""
    if payment:
        with lock_payment(payment) as locked:
            record(locked, FoundLate(kind, object_id, parameters))


def end_what_is_known() -> None:
    """End the concerns about objects that have a row by now."""
    unknown = Concern.ledger.open().filter(code=concerns.UNKNOWN_HERE.code)
    for object_id in list(unknown.values_list("object_id", flat=True)):
        known = (
            Payment.ledger.filter(stripe_payment_intent_id=object_id),
            Refund.ledger.filter(stripe_refund_id=object_id),
            BalanceTransaction.ledger.filter(stripe_balance_transaction_id=object_id),
        )
        if any(rows.exists() for rows in known):
            with write_transaction():
                concerns.end_reported(concerns.UNKNOWN_HERE, object_id=object_id)
