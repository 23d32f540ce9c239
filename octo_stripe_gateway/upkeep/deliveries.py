"""Signals that a receiver has yet to hear of."""

from __future__ import annotations

import datetime as dt

from django.db.models import QuerySet

from octo_stripe_gateway.ledger.claims import Outcome, Step
from octo_stripe_gateway.ledger.outbox import deliver_change, schedule_delivery
from octo_stripe_gateway.models import Payment, PaymentChange


class DeliveryStep(Step[PaymentChange]):
    """Sends again what could not be delivered.

    One change is claimed at a time, until its next pause is over: a receiver that kills its process holds up
    no other change, and is not called again at once.
    """

    name = "changes"
    column = "deliver_at"
    asks_stripe = False
    size = 1

    def list_due(self, now: dt.datetime) -> QuerySet[PaymentChange]:
        return PaymentChange.ledger.due_for_delivery(now=now).order_by("deliver_at")

    def claim(self, rows: list[PaymentChange], *, until: dt.datetime) -> None:
        for change in rows:
            schedule_delivery(change)
            PaymentChange.ledger.save_changed(change, names=["deliveries", "deliver_at"])

    def do(self, row: PaymentChange) -> str:
        deliver_change(row, payment=Payment.ledger.get(pk=row.payment_id))
        return Outcome.FAILED if row.undelivered else "delivered"
