"""What a change of a payment says, in an operator's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.ledger.concerns import describe, get_kind_label
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.models.payment_changes import FRAUD_WARNING
from octo_stripe_gateway.stripe.currencies import format_money

# By column, what it was and what it became.
Changes = dict[str, list[Any]]

REFUND = "refund "
DISPUTE = "dispute "
CONCERN = "concern "
# Columns of which the words of others say enough.
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


class Line(NamedTuple):
    """One thing that a change says; `kind` is its colour, and a detail is shown only when asked for."""

    text: str
    kind: str = ""
    is_detail: bool = False


def describe_changes(changes: Changes, *, payment: Payment) -> list[Line]:
    """Return what changes of a payment say, the money first."""
    currency = payment.currency
    moved = {name: values[1] - values[0] for name, values in changes.items() if name.startswith("amount_")}
    lines = [
        *_describe_money(moved, currency=currency),
        *_describe_disputes(changes),
        *_describe_fraud(changes),
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
            text, kind = less if amount < 0 else more
            yield Line(str(text) % format_money(abs(amount), currency=currency), kind)
    yield from _describe_holds(moved, currency=currency)


def _describe_holds(moved: dict[str, int], *, currency: str) -> Iterator[Line]:
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


def _describe_fraud(changes: Changes) -> Iterator[Line]:
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
            texts = [display.format_value(value, name=name, currency=currency) for value in values]
            yield Line(capfirst(f"{display.get_label(name)}: {' → '.join(texts)}"), is_detail=True)
