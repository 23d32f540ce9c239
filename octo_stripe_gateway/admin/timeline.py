"""A payment's story: each movement of its money once, with what is held after it, and what lies behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
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

REFUND = "refund "
DISPUTE = "dispute "
CONCERN = "concern "
# Columns already described by another line.
SAID_OTHERWISE = frozenset(
    "status amount_capturable amount_received amount_refunded amount_reserved amount_lost disputed"
    " failure_code rejection_code settled authorized_at adopted".split()
) | {FRAUD_WARNING}

# What it says when a total grows and when it shrinks, each with its colour.
MOVEMENTS = {
    "amount_received": (
        (_("Received %s"), "paid"),
        (_("%s was not received after all"), "failed"),
    ),
    "amount_refunded": (
        (_("Refunded %s"), "refunded"),
        (_("A refund of %s failed: the money is held again"), "failed"),
    ),
    "amount_lost": (
        (_("Lost %s in a dispute"), "failed"),
        (_("%s came back from a dispute"), "paid"),
    ),
}
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


class Line(NamedTuple):
    """One thing that a change says; `kind` is its colour, and a detail is shown only when asked for."""

    text: str
    kind: str = ""
    is_detail: bool = False


def get_timeline(payment: Payment, *, site: AdminSite, with_events: bool) -> list[Entry]:
    """Return a payment's changes, requests and events, the oldest first.

    It has the latest two hundred of each. A request or event that went well is a detail.
    """
    entries = [
        Entry(at=payment.created_at, kind="pending", title=gettext("Created"), causes=_list(payment.owner)),
        *_get_changes(payment, site=site, with_events=with_events),
        *_get_requests(payment),
        *(_get_events(payment, site=site) if with_events else ()),
    ]
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


def _get_requests(payment: Payment) -> Iterator[Entry]:
    requests = filter_by_index(StripeRequest.objects.all(), column="payment_id", value=payment.pk)
    for request in requests[:LONGEST]:
        amount = request.parameters.get("amount_to_capture") or request.parameters.get("amount")
        money = format_money(amount, currency=payment.currency) if amount else ""
        yield Entry(
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


def _get_events(payment: Payment, *, site: AdminSite) -> Iterator[Entry]:
    rows = WebhookEvent.objects.exclude(payment_intent_id="").defer("payload")
    intent_id = payment.stripe_payment_intent_id or ""
    for event in filter_by_index(rows, column="payment_intent_id", value=intent_id)[:LONGEST]:
        yield Entry(
            at=event.received_at,
            kind="failed" if event.status == WebhookEvent.Status.FAILED else "event",
            title=event.type,
            is_detail=event.is_finished and not event.error_code,
            state=event.get_status_display(),
            state_kind=event.status,
            causes=_list(event.stripe_event_id, describe(event.error_code, event.error_parameters)),
            url=display.get_url(WebhookEvent, "change", event.pk, site=site),
        )


def _list(*texts: Any) -> list[str]:
    return [str(text) for text in texts if text]


def _describe_changes(changes: Changes, *, payment: Payment) -> list[Line]:
    """Return what changes of a payment say, the money first."""
    currency = payment.currency
    moved = {name: values[1] - values[0] for name, values in changes.items() if name.startswith("amount_")}
    lines = [
        *_describe_money(moved, currency=currency),
        *_describe_disputes(changes),
        *_describe_outcome(changes, payment=payment),
        *_describe_concerns(changes, currency=currency),
        *_describe_refunds(changes),
    ]
    if not lines and "status" in changes:
        status = changes["status"][1]
        lines.append(Line(gettext("Status: %s") % display.get_status_label(status), status))
    return [*lines, *_describe_rest(changes, currency=currency)]


def _describe_money(moved: dict[str, int], *, currency: str) -> Iterator[Line]:
    for name, (more, less) in MOVEMENTS.items():
        if amount := moved.get(name, 0):
            sentence, kind = less if amount < 0 else more
            yield Line(str(sentence) % format_money(abs(amount), currency=currency), kind)
    held = moved.get("amount_capturable", 0)
    if held > 0:
        yield Line(gettext("Authorized %s") % format_money(held, currency=currency), "authorized")
    elif held < 0 and not moved.get("amount_received"):
        yield Line(gettext("Released %s") % format_money(-held, currency=currency), "canceled")
    if (reserved := moved.get("amount_reserved", 0)) > 0:
        text = gettext("A refund of %s is reserved") % format_money(reserved, currency=currency)
        yield Line(text, is_detail=True)


def _describe_disputes(changes: Changes) -> Iterator[Line]:
    for name, (_was, status) in changes.items():
        if name.startswith(DISPUTE):
            named = {"dispute": name.removeprefix(DISPUTE), "status": display.spell(status)}
            yield Line(
                gettext("Dispute %(dispute)s: %(status)s") % named, "paid" if status == "won" else "failed"
            )
    if "disputed" in changes and not any(name.startswith(DISPUTE) for name in changes):
        yield Line(gettext("Disputed") if changes["disputed"][1] else gettext("No longer disputed"), "failed")
    if told := changes.get(FRAUD_WARNING, [None, None])[1]:
        named = {"warning": told["warning"], "type": display.spell(told["type"])}
        yield Line(gettext("The card's bank warns of fraud: %(type)s (%(warning)s)") % named, "alert")


def _describe_outcome(changes: Changes, *, payment: Payment) -> Iterator[Line]:
    status, code = (changes.get(name, ["", ""])[1] for name in ("status", "failure_code"))
    if intent_id := changes.get("adopted", ["", ""])[1]:
        yield Line(gettext("Adopted from Stripe: %s") % intent_id)
    if changes.get("rejection_code", ["", ""])[1]:
        # It is the host's last word, so it is still the payment's.
        yield Line(gettext("Rejected: %s") % describe_rejection(payment), "failed")
    elif code:
        yield Line(gettext("Failed: %s") % display.spell(code), "failed")
    elif status in {Payment.Status.FAILED, Payment.Status.CANCELED, Payment.Status.EXPIRED}:
        yield Line(gettext("Status: %s") % display.get_status_label(status), status)


def _describe_concerns(changes: Changes, *, currency: str) -> Iterator[Line]:
    if reason := changes.get("settled", ["", ""])[1]:
        yield Line(gettext("Settled: %s") % reason, "operator")
        return
    for name, (_was, told) in changes.items():
        code = name.removeprefix(CONCERN)
        if name.startswith(CONCERN) and told is not None:
            yield Line(describe(code, told, currency=currency), "alert")
        elif name.startswith(CONCERN):
            yield Line(gettext("No longer: %s") % get_kind_label(code))


def _describe_refunds(changes: Changes) -> Iterator[Line]:
    for name, (was, status) in changes.items():
        if name.startswith(REFUND):
            number = name.removeprefix(REFUND)[: display.NUMBER_LENGTH]
            named = {"refund": number, "was": display.spell(was) or "-", "status": display.spell(status)}
            yield Line(gettext("Refund %(refund)s: %(was)s → %(status)s") % named, is_detail=True)


def _describe_rest(changes: Changes, *, currency: str) -> Iterator[Line]:
    for name, (was, is_now) in changes.items():
        if name == "accepted_at":
            yield Line(gettext("Accepted by the host"), is_detail=True)
        elif name == "payable paid":
            price = format_money(is_now, currency=currency)
            yield Line(gettext("The price of %s is paid in full") % price, is_detail=True)
        elif name not in SAID_OTHERWISE and not name.startswith((REFUND, DISPUTE, CONCERN)):
            values = (was, is_now) if was else (is_now,)
            yield Line(capfirst(display.describe_change(name, values, currency=currency)), is_detail=True)
