"""Closing a concern."""

from __future__ import annotations

from django.utils import timezone

from octo_stripe_gateway.ledger.journal import get_cause
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.rules import Settled
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Concern
from octo_stripe_gateway.transactions import write_transaction


def settle_concern(concern: Concern, *, reason: str, amount: int | None = None) -> Concern:
    """Close a concern for good, with the operator's reason; of a loss, with the amount that was lost.

    Nothing automatic starts again for what a person has settled. One that is closed already stays as it is.
    """
    actor = get_cause().actor
    if concern.payment:
        with lock_payment(concern.payment) as locked:
            record(locked, Settled(concern.pk, by=actor, reason=reason, amount=amount))
    else:
        with write_transaction():
            still_open = Concern.ledger.get_queryset().open().filter(pk=concern.pk)
            still_open.update(settled_at=timezone.now(), settled_by=actor, reason=reason)
    return Concern.ledger.get_by_pk(concern.pk)
