"""What is kept, and for how long: a person is forgotten while the books stay, and old records are deleted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import OperationInProgressError
from octo_stripe_gateway.ledger.facts import Erased
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import (
    Concern,
    IdempotencyKey,
    Installation,
    Payment,
    PaymentChange,
    StripeRequest,
    WebhookEvent,
)
from octo_stripe_gateway.models.batches import BATCH_SIZE
from octo_stripe_gateway.stripe.snapshots import PAYMENT_METADATA_KEYS, REFUND_METADATA_KEY

PERSONAL_PARAMETERS = ("description", "metadata", "receipt_email", "shipping", "statement_descriptor_suffix")


def erase_personal_data(payment: Payment) -> None:
    """Remove what may identify a person from a payment and its records; amounts and Stripe's ids stay.

    Stripe keeps its own copy: https://docs.stripe.com/privacy/redaction. Raises OperationInProgressError
    while a request has no answer: its repeat needs the parameters.
    """
    with lock_payment(payment) as locked:
        requests = list(StripeRequest.ledger.filter(payment=locked))
        if any(request.is_open for request in requests):
            raise OperationInProgressError(_("Stripe has not answered a request for this payment yet."))
        record(locked, Erased())
        for request in requests:
            kept = {
                name: value for name, value in request.parameters.items() if name not in PERSONAL_PARAMETERS
            }
            if "metadata" in request.parameters:
                # A repeat must still name its row.
                own = {*PAYMENT_METADATA_KEYS, REFUND_METADATA_KEY}
                metadata = request.parameters["metadata"]
                kept["metadata"] = {name: metadata[name] for name in own & metadata.keys()}
            if kept != request.parameters:
                request.parameters = kept
                StripeRequest.ledger.save_changed(request, names=["parameters"])
        for change in PaymentChange.ledger.filter(payment=locked):
            # Concerns and settlements are told in words, of Stripe's or of an operator's.
            kept = {
                name: values
                for name, values in change.changes.items()
                if name not in {"settled", "rejection_parameters"} and not name.startswith("concern ")
            }
            if kept != change.changes or change.delivery_errors:
                change.changes, change.delivery_errors = kept, {}
                PaymentChange.ledger.save_changed(change, names=["changes", "delivery_errors"])
    # Events come before payments in the lock order.
    for key in list(WebhookEvent.ledger.about(locked).values_list("pk", flat=True)):
        with write_transaction():
            event = WebhookEvent.ledger.get_by(lock=True, id=key)
            if event is None:
                continue
            event.minimize()
            # What a host's handler raised may name a person.
            event.error_parameters.pop("message", None)
            WebhookEvent.ledger.save_changed(event, names=["payload", "error_parameters"])
            concerns = Concern.ledger.filter(payment=None, object_id=event.stripe_event_id)
            for concern in concerns.filter(parameters__has_key="message"):
                del concern.parameters["message"]
                Concern.ledger.save_changed(concern, names=["parameters"])


def prune_events(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete events from before that moment that have nothing left to do, and return how many.

    The newest stays, by which the doctor knows that events come.
    """
    newest = [*WebhookEvent.ledger.order_by("-pk").values_list("pk", flat=True)[:1]]
    events = WebhookEvent.ledger.exclude(pk__in=newest)
    return _prune_oldest(
        events, until=until, size=size, pick=lambda old: old.finished(until=until), by="received_at"
    )


def prune_concerns(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete concerns from before that moment that belong to no payment and ended by themselves.

    What a person has settled stays, since it must not open again.
    """
    alone = Concern.ledger.filter(payment=None)
    return _prune_oldest(
        alone, until=until, size=size, pick=lambda old: old.settled().filter(reason=""), by="opened_at"
    )


def prune_idempotency_keys(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete callers' keys from before that moment, and return how many.

    A key means its first request for ever: only those go whose payment or refund is found without them, by
    the uuid that they lead to. Keys stay while Stripe has not answered what they stand for.
    """
    installation = Installation.ledger.get_own()

    def is_found_without(key: IdempotencyKey) -> bool:
        made, operation = (key.refund, "refund") if key.refund else (key.payment, "create")
        return made.uuid == installation.derive(key.owner, operation, key.key)

    def pick(old: QuerySet[Any]) -> QuerySet[Any]:
        answered = old.exclude(payment__in=StripeRequest.ledger.open().values("payment"))
        keys = answered.select_related("payment", "refund")
        return old.filter(pk__in=[key.pk for key in keys if is_found_without(key)])

    return _prune_oldest(IdempotencyKey.ledger.get_queryset(), until=until, size=size, pick=pick)


def prune_changes(*, until: dt.datetime, size: int = BATCH_SIZE) -> int:
    """Delete the journal from before that moment of payments that are settled, and return how many changes.

    Changes stay while a listener has not heard of them.
    """
    settled = {"deliver_at": None, "payment__next_check_at": None}
    return _prune_oldest(
        PaymentChange.ledger.all(), until=until, size=size, pick=lambda old: old.filter(**settled)
    )


def _prune_oldest(
    rows: Any, *, until: dt.datetime, size: int, pick: Callable[[Any], Any], by: str = "created_at"
) -> int:
    """Delete the rows that `pick` chooses of those older than `until`, the lowest keys first.

    A batch at a time, so that no statement holds many locks for long.
    """
    deleted = last = 0
    while True:
        batch = rows.filter(pk__gt=last).order_by("pk").values_list("pk", by)[:size]
        old = [pk for pk, made_at in batch if made_at < until]
        if not old:
            return deleted
        deleted += pick(rows.filter(pk__in=old)).delete()[0]
        last = old[-1]
