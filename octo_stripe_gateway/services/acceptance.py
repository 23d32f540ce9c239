"""The host's last word on a payment, given under the payment's lock."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.ledger.concerns import OPEN_ELSEWHERE
from octo_stripe_gateway.ledger.facts import Accepted, Authorized, Rejected
from octo_stripe_gateway.ledger.rejections import reject
from octo_stripe_gateway.ledger.transactions import calling_host
from octo_stripe_gateway.models import Concern, Payment, get_deadline, get_refund_terms, is_priced
from octo_stripe_gateway.services.dues import reject_excess
from octo_stripe_gateway.stripe.redaction import clean_text

HOST = "host"


def ask_host(
    payment: Payment, *, protected: Callable[[], AbstractContextManager[None]]
) -> Accepted | Authorized | Rejected | None:
    """Return the host's word on a payment that is received, or held; None before that can be told.

    The hook runs when the money is received; a hold has a hook of its own. The payment is saved first, and
    its ledger columns are protected from what the hook does to it.
    """
    rejection = _find_rejection(payment, protected=protected)
    if rejection and rejection.code == "paid_too_late" and not payment.paid_as_of:
        # An event doesn't say when a bank debit began, which may be days before it succeeds.
        return None
    if rejection:
        return rejection
    if payment.needs_authorization:
        return Authorized()
    dues = payment.dues
    if dues is None:
        return Accepted()
    terms = get_refund_terms(payment.payable)
    told = [[term.until.isoformat(), str(term.share)] for term in terms or ()]
    return Accepted(
        settled_price=None if dues.due else dues.price,
        refund_terms=None if terms is None else {"price": dues.price, "terms": told},
    )


def _find_rejection(
    payment: Payment, *, protected: Callable[[], AbstractContextManager[None]]
) -> Rejected | None:
    if payment.payable_type_id is None:
        return None
    payable = payment.payable
    if payable is None:
        return reject("payable_gone")
    if any(each.code == OPEN_ELSEWHERE.code for each in Concern.ledger.list_of(payment)):
        return reject("replaced")
    if payment.needs_acceptance and not payment.amount_held:
        return reject("gone_back")
    deadline = get_deadline(payable)
    if deadline and deadline <= payment.paid_at:
        return reject("paid_too_late")
    rejection = reject_excess(payment, payable) if is_priced(payable) else None
    name = "on_payment_completed" if payment.needs_acceptance else "on_payment_authorized"
    hook = getattr(payable, name, None)
    if rejection or hook is None:
        return rejection
    try:
        with protected(), calling_host():
            hook(payment)
    except PaymentRejectedError as error:
        return reject(HOST, words=clean_text(str(error)))
    return None
