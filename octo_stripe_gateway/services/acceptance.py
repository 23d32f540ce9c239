"""The host's last word on a payment, given under the payment's lock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.models import Payment, get_deadline, is_priced
from octo_stripe_gateway.services.balance import reject_excess
from octo_stripe_gateway.transactions import calling_host


def ask_host(payment: Payment, *, protected: Callable[[], AbstractContextManager[None]]) -> str | None:
    """Return why the host rejects the payment, empty where it accepts, None before that can be told.

    The hook runs when the money is received; a hold has a hook of its own. The payment is saved first, and
    its ledger columns are protected from what the hook does to it.
    """
    if payment.payable_type_id is None:
        return ""
    payable = payment.payable
    if payable is None:
        return _("What was paid for is gone.")
    if payment.needs_acceptance and not payment.amount_held:
        return _("The money has gone back already.")
    deadline = get_deadline(payable)
    if deadline and deadline <= payment.paid_at:
        # An event doesn't say when a bank debit began, which may be days before it succeeds.
        return _("The time to pay for this has run out.") if payment.paid_as_of else None
    if is_priced(payable):
        reason = reject_excess(payment, payable)
        if reason:
            return reason
    hook = _get_hook(payment, payable)
    if hook is None:
        return ""
    try:
        with protected(), calling_host():
            hook(payment)
    except PaymentRejectedError as error:
        return str(error) or _("The payment was rejected.")
    return ""


def _get_hook(payment: Payment, payable: object) -> Callable[[Payment], None] | None:
    name = "on_payment_completed" if payment.needs_acceptance else "on_payment_authorized"
    return getattr(payable, name, None)
