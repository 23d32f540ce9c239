"""Deleting what is past its time, a batch at a time, so that no statement holds many locks for long."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from octo_stripe_gateway.models import (
    Concern,
    IdempotencyKey,
    Installation,
    PaymentChange,
    StripeRequest,
    WebhookEvent,
)
from octo_stripe_gateway.models.batches import BATCH_SIZE


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
    """Delete the rows that `pick` chooses of those older than `until`, in batches, the lowest keys first."""
    deleted = last = 0
    while True:
        batch = rows.filter(pk__gt=last).order_by("pk").values_list("pk", by)[:size]
        old = [pk for pk, made_at in batch if made_at < until]
        if not old:
            return deleted
        deleted += pick(rows.filter(pk__in=old)).delete()[0]
        last = old[-1]
