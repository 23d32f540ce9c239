"""What happened to a payment, from every source, in the order of our clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.utils.translation import gettext as _

from octo_stripe_gateway.admin.display import format_money, get_change_url
from octo_stripe_gateway.lists import filter_by_index
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent

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
    """Return what changed, what was asked of Stripe and what Stripe told, the oldest first.

    Of each kind the latest are there, up to two hundred.
    """
    entries = [Entry(payment.created_at, "pending", _("Created"), detail=payment.owner)]
    entries += _get_changes(payment)
    entries += _get_requests(payment)
    if with_events:
        entries += _get_events(payment, site=site)
    # Stripe's moments have whole seconds: what happened in the first may seem to precede the payment.
    return sorted(entries, key=lambda entry: max(entry.at, payment.created_at))


def _get_changes(payment: Payment) -> Iterator[Entry]:
    # By a time, which no index orders these by: the index of the payment is the only short way to them.
    changes = payment.changes.select_related("event", "request").order_by("-created_at", "-pk")[:LONGEST]
    for change in changes:
        status = change.changes.get("status", ("", ""))[1]
        yield Entry(
            change.created_at,
            status or "change",
            "; ".join(_describe_changes(change, currency=payment.currency)),
            detail=" · ".join(_describe_cause(change)),
        )


def _describe_changes(change: PaymentChange, *, currency: str) -> Iterator[str]:
    for name, (was, is_now) in change.changes.items():
        label = _get_label(name)
        yield f"{label}: {_show(name, was, currency)} → {_show(name, is_now, currency)}"


def _describe_cause(change: PaymentChange) -> Iterator[str]:
    yield str(change.get_source_display())
    if change.actor:
        yield change.actor
    if change.event:
        yield change.event.type
    if change.request:
        yield str(change.request.get_kind_display())
    if change.delivery_error:
        yield _("Not delivered: %s") % change.delivery_error


def _get_label(name: str) -> str:
    if " " in name or name == "settled":
        return name
    return str(Payment._meta.get_field(name).verbose_name)  # type: ignore[union-attr]


def _show(name: str, value: Any, currency: str) -> str:
    if name.startswith("amount_"):
        return format_money(value, currency=currency)
    return "-" if value in {None, ""} else str(value)


def _get_requests(payment: Payment) -> Iterator[Entry]:
    requests = payment.stripe_requests.order_by("-created_at", "-pk")[:LONGEST]
    for request in requests:
        yield Entry(
            request.created_at,
            "request",
            _("Asked of Stripe: %s") % request.get_kind_display(),
            state=str(request.get_state_display()),
            state_kind=_get_request_kind(request),
            detail=" · ".join(_describe_answer(request)),
        )


def _get_request_kind(request: StripeRequest) -> str:
    kinds = {"done": "paid", "failed": "failed", "abandoned": "canceled", "open": "authorized"}
    return kinds[request.state]


def _describe_answer(request: StripeRequest) -> Iterator[str]:
    if request.stripe_request_id:
        yield request.stripe_request_id
    if request.http_status:
        yield f"HTTP {request.http_status}"
    if request.error_code:
        yield request.error_code


def _get_events(payment: Payment, *, site: AdminSite) -> Iterator[Entry]:
    events = filter_by_index(
        WebhookEvent.objects.exclude(payment_intent_id="").defer("payload"),
        column="payment_intent_id",
        value=payment.stripe_payment_intent_id or "",
    )
    for event in events[:LONGEST]:
        yield Entry(
            event.received_at,
            "event",
            event.type,
            state=event.get_status_display(),
            state_kind=event.status,
            detail=" · ".join(text for text in (event.stripe_event_id, event.error) if text),
            url=get_change_url(WebhookEvent, event.pk, site=site),
        )
