"""Why payments are rejected: the codes that are stored, and their words."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.ledger.facts import Rejected
from octo_stripe_gateway.ledger.words import fill_in
from octo_stripe_gateway.models import Payment

HOST = "host"
SENTENCES = {
    HOST: _("The payment was rejected."),
    "being_paid": _("It is being paid already."),
    "canceled": _("It was canceled."),
    "currency_changed": _("The price has changed."),
    "gone_back": _("The money has gone back already."),
    "paid_already": _("It is paid already."),
    "paid_in_another_currency": _("It is paid in another currency."),
    "payable_gone": _("What was paid for is gone."),
    "price_changed": _("The price has changed."),
    "paid_too_late": _("The time to pay for this has run out."),
    "received_less": _("Less than the price was received."),
    "replaced": _("Another payment has replaced this one."),
}


def reject(code: str, **parameters: Any) -> Rejected:
    """Return the fact that a payment is rejected, by one of the codes above."""
    return Rejected(code, parameters)


def describe(code: str, parameters: dict[str, Any], *, currency: str) -> str:
    """Return why a payment is rejected, in the active language; a host's own words as the host gave them."""
    words = parameters.get("words") if code == HOST else ""
    return words or fill_in(SENTENCES.get(code, SENTENCES[HOST]), parameters, currency=currency)


def describe_rejection(payment: Payment) -> str:
    """Return why a payment was rejected, in the active language; empty where it wasn't."""
    if not payment.rejection_code:
        return ""
    return describe(payment.rejection_code, payment.rejection_parameters, currency=payment.currency)
