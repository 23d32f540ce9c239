"""A payment's story: each movement of its money once, with what is held after it, and what lies behind it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.api.lists import filter_by_index
from octo_stripe_gateway.ledger.concerns import describe, get_kind_label
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.stripe.currencies import format_money

# By column, what it was and what it became.
Changes = dict[str, list[Any]]

# The most changes, requests and events that are shown of each.
LONGEST = 200
# Which way each total moves what is held.
MOVES = {"amount_received": 1, "amount_refunded": -1, "amount_lost": -1}
REQUEST_KINDS = {"done": "paid", "failed": "failed", "abandoned": "canceled", "open": "authorized"}
# Columns already described by another line.
SAID_OTHERWISE = {*MOVES, "status", "amount_capturable", "amount_reserved", "disputed", "authorized_at"}


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


class Line(NamedTuple):
    """One thing that a change says; `kind` is its colour, and a detail is shown only when asked for."""

    text: Any
    kind: str = ""
    is_detail: bool = False


# What is said when an amount grows, and when it shrinks.
MOVEMENTS: dict[str, tuple[Line, Line | None]] = {
    "amount_received": (
        Line(_("Received %s"), "paid"),
        Line(_("%s was not received after all"), "failed"),
    ),
    "amount_refunded": (
        Line(_("Refunded %s"), "refunded"),
        Line(_("A refund of %s failed: the money is held again"), "failed"),
    ),
    "amount_lost": (
        Line(_("Lost %s in a dispute"), "failed"),
        Line(_("%s came back from a dispute"), "paid"),
    ),
    "amount_capturable": (Line(_("Authorized %s"), "authorized"), Line(_("Released %s"), "canceled")),
    "amount_reserved": (Line(_("A refund of %s is reserved"), is_detail=True), None),
}

TOLD = {
    "adopted": Line(_("Adopted from Stripe: %s")),
    "settled": Line(_("Settled: %s"), "operator"),
}


def get_timeline(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    """Return a payment's latest changes, requests and events, the oldest first.

    A request or event that went well is a detail.
    """
    entries = [
        Entry(at=payment.created_at, kind="pending", title=gettext("Created"), causes=_list(payment.owner)),
        *_get_changes(payment, site=site, with_events=with_events),
    ]
    requests = filter_by_index(StripeRequest.objects.all(), column="payment_id", value=payment.pk)
    for request in requests[:LONGEST]:
        amount = request.parameters.get("amount_to_capture") or request.parameters.get("amount")
        money = format_money(amount, currency=payment.currency) if amount else ""
        entry = Entry(
            at=request.created_at,
            kind="failed" if request.state == StripeRequest.State.FAILED else "request",
            title=gettext("Asked of Stripe: %s") % f"{request.get_kind_display()} {money}".strip(),
            is_detail=request.state == StripeRequest.State.DONE,
            state=str(request.get_state_display()),
            state_kind=REQUEST_KINDS.get(request.state, ""),
            causes=_list(
                request.stripe_request_id,
                request.http_status and f"HTTP {request.http_status}",
                request.error_code,
            ),
        )
        entries.append(entry)
    rows = WebhookEvent.objects.exclude(payment_intent_id="").defer("payload")
    intent_id = payment.stripe_payment_intent_id or ""
    events = filter_by_index(rows, column="payment_intent_id", value=intent_id)
    for event in events[:LONGEST] if with_events else ():
        entry = Entry(
            at=event.received_at,
            kind="failed" if event.status == WebhookEvent.Status.FAILED else "event",
            title=event.type,
            is_detail=event.is_finished and not event.error_code,
            state=event.get_status_display(),
            state_kind=event.status,
            causes=_list(event.stripe_event_id, describe(event.error_code, event.error_parameters)),
            url=display.get_url(WebhookEvent, "change", event.pk, site=site),
        )
        entries.append(entry)
    # Stripe's moments have whole seconds: what happened in the first may seem to precede the payment.
    return sorted(entries, key=lambda entry: max(entry.at, payment.created_at))


def _get_changes(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    with_causes = PaymentChange.objects.select_related("event", "request")
    journal = with_causes.defer("event__payload", "request__parameters")
    show = partial(format_money, currency=payment.currency)
    entries = []
    # What is held is reckoned back from now: the journal may begin late.
    held = payment.amount_received - payment.amount_refunded - payment.amount_lost
    for change in filter_by_index(journal, column="payment_id", value=payment.pk)[:LONGEST]:
        after, moved = held, 0
        for name, sign in MOVES.items():
            was, is_now = change.changes.get(name, (0, 0))
            moved += sign * (is_now - was)
        held -= moved
        lines = _describe_changes(change.changes, payment=payment)
        told = [line for line in lines if not line.is_detail]
        event = change.event if with_events else None
        failures = (": ".join([receiver, *raised]) for receiver, raised in change.delivery_errors.items())
        entry = Entry(
            at=change.created_at,
            kind=told[0].kind if told else "event",
            title="; ".join(line.text for line in told or lines),
            is_detail=not told,
            held=show(after) if moved else "",
            causes=_list(
                change.get_source_display(),
                change.actor,
                event and event.type,
                change.request and change.request.get_kind_display(),
                *(gettext("Not delivered: %s") % failure for failure in failures),
            ),
            more="; ".join(line.text for line in lines if told and line.is_detail),
            url=display.get_url(WebhookEvent, "change", event.pk, site=site) if event else "",
        )
        # Erasure may have left nothing of a change.
        entries += [entry] if lines else []
    if held:
        title = gettext("What happened before is not on the journal")
        entries.append(Entry(at=payment.created_at, kind="event", title=title, held=show(held)))
    return entries[::-1]


def _list(*texts: Any) -> list[str]:
    return [str(text) for text in texts if text]


def _describe_changes(changes: Changes, *, payment: Payment) -> list[Line]:
    """Return what changes of a payment say, the money first."""
    lines = []
    for name, (more, less) in MOVEMENTS.items():
        was, is_now = changes.get(name, (0, 0))
        # What is captured is no longer authorized, but it isn't released.
        is_captured = name == "amount_capturable" and "amount_received" in changes
        line = more if is_now > was else less
        if line and is_now != was and not (is_captured and is_now < was):
            money = format_money(abs(is_now - was), currency=payment.currency)
            lines.append(line._replace(text=str(line.text) % money))
    told = (_describe_change(name, *values, payment=payment) for name, values in changes.items())
    lines += filter(None, told)
    if "settled" in changes:
        lines = [line for line in lines if line.kind != "ended"]
    status = changes.get("status", ["", ""])[1]
    has_reason = any(changes.get(name, ["", ""])[1] for name in ("failure_code", "rejection_code"))
    is_end = status in {Payment.Status.FAILED, Payment.Status.CANCELED, Payment.Status.EXPIRED}
    if (is_end and not has_reason) or (status and all(line.is_detail for line in lines)):
        lines.append(Line(gettext("Status: %s") % display.get_status_label(status), status))
    return lines


def _describe_change(name: str, was: Any, is_now: Any, *, payment: Payment) -> Line | None:
    word, _space, key = name.partition(" ")
    if name in SAID_OTHERWISE or (name in {"failure_code", "rejection_code"} and not is_now):
        return None
    if name == "failure_code":
        return Line(gettext("Failed: %s") % display.spell(is_now), "failed")
    if name == "rejection_code":
        # It is the host's last word, so it is still the payment's.
        return Line(gettext("Rejected: %s") % describe_rejection(payment), "failed")
    if line := TOLD.get(name):
        return line._replace(text=str(line.text) % is_now)
    if name == "accepted_at":
        return Line(gettext("Accepted by the host"), is_detail=True)
    if name == "payable paid":
        price = format_money(is_now, currency=payment.currency)
        return Line(gettext("The price of %s is paid in full") % price, is_detail=True)
    if name == FRAUD_WARNING:
        named = {"warning": is_now["warning"], "type": display.spell(is_now["type"])}
        return Line(gettext("The card's bank warns of fraud: %(type)s (%(warning)s)") % named, "alert")
    if word == "dispute":
        text = gettext("Dispute %(dispute)s: %(status)s") % {"dispute": key, "status": display.spell(is_now)}
        return Line(text, "paid" if is_now == "won" else "failed")
    if word == "refund":
        number = key[: display.NUMBER_LENGTH]
        named = {"refund": number, "was": display.spell(was) or "-", "status": display.spell(is_now)}
        return Line(gettext("Refund %(refund)s: %(was)s → %(status)s") % named, is_detail=True)
    if word == "concern":
        if is_now is None:
            return Line(gettext("No longer: %s") % get_kind_label(key), "ended")
        return Line(describe(key, is_now, currency=payment.currency), "alert")
    values = (was, is_now) if was else (is_now,)
    return Line(capfirst(display.describe_change(name, values, currency=payment.currency)), is_detail=True)
