"""What happened to a payment, from every source, in the order of our clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext as _

from octo_stripe_gateway.admin.display import format_money, get_change_url
from octo_stripe_gateway.models import Payment, WebhookEvent

LONGEST = 200


class Entry(NamedTuple):
    """One thing that happened."""

    at: dt.datetime
    kind: str
    title: str
    state: str = ""
    state_kind: str = ""
    detail: str = ""
    url: str = ""


def get_timeline(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    """Return a payment's milestones, refunds, events and what operators did, the oldest first.

    Of each kind the latest are there, up to two hundred.
    """
    entries = [*_get_milestones(payment), *_get_refunds(payment), *_get_operations(payment)]
    if with_events:
        entries += _get_events(payment, site=site)
    # Stripe's moments have whole seconds: what happened in the first may seem to precede the payment.
    return sorted(entries, key=lambda entry: max(entry.at, payment.created_at))


def _get_milestones(payment: Payment) -> Iterator[Entry]:
    milestones = [
        (payment.created_at, "pending", _("Created")),
        (payment.failed_at, "failed", _("Failed")),
        (payment.confirmed_at, "paid", _("Paid")),
        (payment.refunded_at, "refunded", _("Refunded in full")),
        (payment.canceled_at, "canceled", _("Canceled")),
    ]
    for at, kind, title in milestones:
        if at:
            failure = f"{payment.failure_code} {payment.failure_message}".strip() if kind == "failed" else ""
            yield Entry(at, kind, title, detail=failure)


def _get_refunds(payment: Payment) -> Iterator[Entry]:
    for refund in payment.refunds.order_by("-pk")[:LONGEST]:
        yield Entry(
            refund.created_at,
            "refunded",
            _("Refund of %s") % format_money(refund.amount, currency=payment.currency),
            state=refund.status,
            state_kind=_get_refund_kind(refund.status),
            detail=" · ".join(
                text
                for text in (refund.stripe_refund_id, refund.reason.replace("_", " "), refund.failure_reason)
                if text
            ),
        )


def _get_refund_kind(status: str) -> str:
    return {"succeeded": "paid", "failed": "failed", "canceled": "canceled"}.get(status, "authorized")


def _get_events(payment: Payment, *, site: AdminSite) -> Iterator[Entry]:
    events = payment.webhook_events.defer("payload").order_by("-pk")[:LONGEST]
    for event in events:
        yield Entry(
            event.received_at,
            "event",
            event.type,
            state=event.get_status_display(),
            state_kind=event.status,
            detail=" · ".join(text for text in (event.stripe_event_id, event.error) if text),
            url=get_change_url(WebhookEvent, event.pk, site=site),
        )


def _get_operations(payment: Payment) -> Iterator[Entry]:
    content_type = ContentType.objects.get_for_model(Payment)
    entries: Any = LogEntry.objects.filter(content_type=content_type, object_id=str(payment.pk))
    for entry in entries.select_related("user").order_by("-pk")[:LONGEST]:
        yield Entry(entry.action_time, "operator", entry.get_change_message(), detail=str(entry.user))
