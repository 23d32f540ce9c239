"""Deleting what is past its time, and forgetting a person while the books are kept."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from octo_stripe_gateway.batches import BATCH_SIZE, iterate_batches
from octo_stripe_gateway.exceptions import OperationInProgressError
from octo_stripe_gateway.models import (
    IdempotencyKey,
    Payment,
    PaymentChange,
    StripeRequest,
    WebhookEvent,
)
from octo_stripe_gateway.services.ledger import lock_payment, saving_changes
from octo_stripe_gateway.snapshots import PAYMENT_METADATA_KEY, REFUND_METADATA_KEY
from octo_stripe_gateway.transactions import write_transaction

PERSONAL_PARAMETERS = ("description", "metadata", "receipt_email", "shipping", "statement_descriptor_suffix")
PERSONAL_CHANGES = ("rejection_reason", "attention", "mismatch", "settled")


def prune_events(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete events from before that moment that have nothing left to do, and return how many."""
    finished = WebhookEvent.ledger.get_queryset().finished(until=until)
    batches = iterate_batches(finished, by="received_at", size=size)
    return sum(_delete(WebhookEvent.ledger.filter(pk__in=batch)) for batch in batches)


def prune_idempotency_keys(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete callers' keys from before that moment, and return how many.

    The same request after that is a new one. Keys stay while Stripe has not answered what they stand for.
    """

    def pick(old: QuerySet[Any]) -> QuerySet[Any]:
        return old.exclude(payment__in=StripeRequest.ledger.get_queryset().open().values("payment"))

    return _prune_oldest(IdempotencyKey.ledger.get_queryset(), until=until, size=size, pick=pick)


def prune_changes(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete the journal from before that moment of payments that are settled, and return how many changes.

    Changes stay while a listener has not heard of them.
    """

    def pick(old: QuerySet[Any]) -> QuerySet[Any]:
        return old.filter(deliver_at=None, payment__next_check_at=None)

    return _prune_oldest(PaymentChange.ledger.get_queryset(), until=until, size=size, pick=pick)


def _prune_oldest(
    rows: QuerySet[Any],
    *,
    until: dt.datetime,
    size: int,
    pick: Callable[[QuerySet[Any]], QuerySet[Any]],
) -> int:
    """Delete what is picked of the rows from before that moment, which the lowest keys are of."""
    deleted = 0
    for batch in iterate_batches(rows, size=size):
        old = rows.filter(pk__in=batch, created_at__lt=until)
        if not old.exists():
            break
        deleted += _delete(pick(old))
    return deleted


def _delete(rows: QuerySet[Any]) -> int:
    return rows.delete()[0]


def erase_personal_data(payment: Payment) -> None:
    """Remove from a payment and its records what may tell of a person; amounts and Stripe's ids stay.

    Stripe keeps its own copy: https://docs.stripe.com/privacy/redaction. Raises OperationInProgressError
    while a request has no answer: to repeat it takes what it asked for.
    """
    with lock_payment(payment) as locked:
        requests = list(StripeRequest.ledger.filter(payment=locked))
        if any(request.is_open for request in requests):
            raise OperationInProgressError(_("Stripe has not answered a request for this payment yet."))
        with saving_changes(locked):
            locked.metadata = {}
            locked.reseller_reference = ""
            locked.failure_message = ""
        for request in requests:
            _erase_parameters(request)
        for change in PaymentChange.ledger.filter(payment=locked):
            _erase_changes(change)
    # Events come before payments in the lock order.
    for key in list(WebhookEvent.ledger.about(locked).values_list("pk", flat=True)):
        _erase_payload(key)


def _erase_parameters(request: StripeRequest) -> None:
    kept = {name: value for name, value in request.parameters.items() if name not in PERSONAL_PARAMETERS}
    if "metadata" in request.parameters:
        # A repeat must still name its row.
        own = {PAYMENT_METADATA_KEY, REFUND_METADATA_KEY}
        metadata = request.parameters["metadata"]
        kept["metadata"] = {name: metadata[name] for name in own & metadata.keys()}
    if kept != request.parameters:
        request.parameters = kept
        StripeRequest.ledger.save_changed(request, names=["parameters"])


def _erase_changes(change: PaymentChange) -> None:
    kept = {name: values for name, values in change.changes.items() if name not in PERSONAL_CHANGES}
    if kept != change.changes or change.delivery_error:
        change.changes, change.delivery_error = kept, ""
        PaymentChange.ledger.save_changed(change, names=["changes", "delivery_error"])


def _erase_payload(event_pk: int) -> None:
    with write_transaction():
        event = WebhookEvent.ledger.get_by(lock=True, id=event_pk)
        if event:
            event.minimize()
            WebhookEvent.ledger.save_changed(event, names=["payload"])
