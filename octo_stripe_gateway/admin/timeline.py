"""A payment's story: each movement of its money once, with what is held after it, and what lies behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.contrib.admin import AdminSite
from django.utils.translation import gettext

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.wording import describe_changes
from octo_stripe_gateway.api.lists import filter_by_index
from octo_stripe_gateway.ledger.concerns import describe
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.stripe.currencies import format_money

LONGEST = 200
MOVES = {"amount_received": 1, "amount_refunded": -1, "amount_lost": -1}
REQUEST_KINDS = {"done": "paid", "failed": "failed", "abandoned": "canceled", "open": "authorized"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened; what is a detail, or `more`, is shown only when asked for."""

    at: dt.datetime
    kind: str
    title: str
    is_detail: bool = False
    held: str = ""
    state: str = ""
    state_kind: str = ""
    causes: list[str] = field(default_factory=list)
    more: str = ""
    url: str = ""


class Held:
    """What is held of a payment, reckoned back from now: the journal may begin late."""

    def __init__(self, payment: Payment) -> None:
        self.currency = payment.currency
        self.amount = payment.amount_received - payment.amount_refunded - payment.amount_lost

    def __str__(self) -> str:
        return format_money(self.amount, currency=self.currency)

    def undo(self, change: PaymentChange) -> str:
        """Go back before a change, and return what was held after it, empty where no money moved."""
        after = str(self)
        moved = 0
        for name, sign in MOVES.items():
            was, is_now = change.changes.get(name, (0, 0))
            moved += sign * (is_now - was)
        self.amount -= moved
        return after if moved else ""


def get_timeline(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    """Return a payment's changes, requests and events, the oldest first.

    It has the latest two hundred of each. A request or event that went well is a detail.
    """
    entries = [
        Entry(at=payment.created_at, kind="pending", title=gettext("Created"), causes=_list(payment.owner))
    ]
    entries += _get_changes(payment, site=site, with_events=with_events)
    entries += _get_requests(payment)
    if with_events:
        entries += _get_events(payment, site=site)
    # Stripe's moments have whole seconds: what happened in the first may seem to precede the payment.
    return sorted(entries, key=lambda entry: max(entry.at, payment.created_at))


def _get_changes(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    with_causes = PaymentChange.objects.select_related("event", "request")
    journal = with_causes.defer("event__payload", "request__parameters")
    held, entries = Held(payment), []
    for change in filter_by_index(journal, column="payment_id", value=payment.pk)[:LONGEST]:
        change.payment = payment
        entry = _tell(change, held=held, site=site, with_events=with_events)
        entries += [entry] if entry else []
    if held.amount:
        title = gettext("What happened before is not on the journal")
        entries.append(Entry(at=payment.created_at, kind="event", title=title, held=str(held)))
    return entries[::-1]


def _tell(change: PaymentChange, *, held: Held, site: AdminSite, with_events: bool) -> Entry | None:
    after = held.undo(change)
    lines = describe_changes(change.changes, payment=change.payment)
    told = [line for line in lines if not line.is_detail]
    texts = [line.text for line in told or lines]
    # Erasure may have left nothing of it.
    if not texts:
        return None
    event = change.event if with_events else None
    return Entry(
        at=change.created_at,
        kind=told[0].kind if told else "event",
        title="; ".join(texts),
        is_detail=not told,
        held=after,
        causes=list(_describe_cause(change, with_events=with_events)),
        more="; ".join(line.text for line in lines if told and line.is_detail),
        url=display.get_change_url(WebhookEvent, event.pk, site=site) if event else "",
    )


def _describe_cause(change: PaymentChange, *, with_events: bool) -> Iterator[str]:
    yield str(change.get_source_display())
    if change.actor:
        yield change.actor
    if change.event and with_events:
        yield change.event.type
    if change.request:
        yield str(change.request.get_kind_display())
    for receiver, raised in change.delivery_errors.items():
        yield gettext("Not delivered: %s") % ": ".join([receiver, *raised])


def _get_requests(payment: Payment) -> Iterator[Entry]:
    requests = filter_by_index(StripeRequest.objects.all(), column="payment_id", value=payment.pk)
    for request in requests[:LONGEST]:
        yield Entry(
            at=request.created_at,
            kind="failed" if request.state == StripeRequest.State.FAILED else "request",
            title=gettext("Asked of Stripe: %s") % _describe_request(request, currency=payment.currency),
            is_detail=request.state == StripeRequest.State.DONE,
            state=str(request.get_state_display()),
            state_kind=REQUEST_KINDS.get(request.state, ""),
            causes=list(_describe_answer(request)),
        )


def _describe_request(request: StripeRequest, *, currency: str) -> str:
    amount = request.parameters.get("amount_to_capture") or request.parameters.get("amount")
    money = format_money(amount, currency=currency) if amount else ""
    return f"{request.get_kind_display()} {money}".strip()


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
            at=event.received_at,
            kind="failed" if event.status == WebhookEvent.Status.FAILED else "event",
            title=event.type,
            is_detail=event.is_finished and not event.error_code,
            state=event.get_status_display(),
            state_kind=event.status,
            causes=_list(event.stripe_event_id, describe(event.error_code, event.error_parameters)),
            url=display.get_change_url(WebhookEvent, event.pk, site=site),
        )


def _list(*texts: str) -> list[str]:
    return [text for text in texts if text]
