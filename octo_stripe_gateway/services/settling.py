"""Closing a concern."""

from __future__ import annotations

from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.ledger.concerns import KINDS
from octo_stripe_gateway.ledger.facts import ConcernSettled
from octo_stripe_gateway.ledger.journal import get_cause
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Concern
from octo_stripe_gateway.stripe.currencies import read_amount


def settle_concern(concern: Concern, *, reason: str, amount: int | None = None) -> Concern:
    """Close a concern for good, with the operator's reason; of a loss, with the amount that was lost.

    Nothing automatic starts again for what a person has settled. One that is closed already stays as it is.
    Raises BadRequestError without a reason, and without the amount of a loss. What a lost dispute takes:
    https://docs.stripe.com/disputes/how-disputes-work.
    """
    is_loss = concern.code in KINDS and KINDS[concern.code].is_loss
    if not reason.strip():
        raise BadRequestError(_("reason: a text is required."))
    amount = None if amount is None else read_amount(amount, source="amount")
    if is_loss != (amount is not None) or (amount or 0) < 0:
        raise BadRequestError(_("amount: what was lost is required, and only of a loss."))
    actor = get_cause().actor
    if concern.payment:
        with lock_payment(concern.payment) as locked:
            record(locked, ConcernSettled(concern.pk, by=actor, reason=reason, amount=amount))
    else:
        with write_transaction():
            still_open = Concern.ledger.open().filter(pk=concern.pk)
            still_open.update(settled_at=timezone.now(), settled_by=actor, reason=reason)
    return Concern.ledger.get_by_pk(concern.pk)
