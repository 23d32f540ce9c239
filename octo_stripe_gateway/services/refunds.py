"""Giving money back."""

from __future__ import annotations

from django.utils.translation import gettext as _

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.currencies import check_amount
from octo_stripe_gateway.exceptions import (
    PaymentMismatchError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.facts import RefundFact
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.services.attempts import ask_stripe
from octo_stripe_gateway.services.idempotency import ANYONE, Caller, claim_key, find_key, hash_request
from octo_stripe_gateway.services.ledger import (
    apply_refund,
    find_refunds,
    lock_payment,
    saving_changes,
)
from octo_stripe_gateway.transactions import get_database, outside_transaction


@outside_transaction
def refund_payment(
    payment: Payment, *, amount: int | None = None, reason: str = "", caller: Caller = ANYONE
) -> Payment:
    """Refund a paid payment: the amount in minor units, or all of what is left.

    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError.
    """
    stripe_client.get_account(payment)
    refund, is_new = _reserve_refund(payment, amount=amount, reason=reason, caller=caller)
    if refund.is_reserved:
        refund = request_refund(refund, is_new=is_new)
    if refund.status == "failed":
        raise UnprocessableError(_("The refund failed: %s") % refund.failure_reason)
    return refund.payment


def request_refund(refund: Refund, *, is_new: bool = False) -> Refund:
    """Ask Stripe for a reserved refund and apply the answer; raises StripeError.

    A refund that was asked for before is looked for first: Stripe forgets idempotency keys after a day.
    """

    def obtain(refund: Refund) -> RefundFact:
        was_asked_for = not is_new or refund.stripe_attempt > 0
        earlier = stripe_client.find_refund(refund) if was_asked_for else None
        return earlier or _create_refund(refund)

    fact = ask_stripe(refund, operation=obtain)
    with lock_payment(refund.payment) as locked:
        applied = apply_refund(locked, fact)
    if applied.is_reserved:
        raise PaymentMismatchError(_("Stripe's refund is not what was asked for."))
    return applied


def give_back(refund: Refund, *, reason: str) -> None:
    """Return a reserved refund's amount to the books, because Stripe will not refund it."""
    with lock_payment(refund.payment) as locked, saving_changes(locked):
        reserved = locked.refunds.filter(pk=refund.pk, status=Refund.RESERVED)
        if reserved.update(status="failed", failure_reason=reason):
            locked.update_refunded(find_refunds(locked))


def _reserve_refund(
    payment: Payment, *, amount: int | None, reason: str, caller: Caller
) -> tuple[Refund, bool]:
    fingerprint = hash_request({"refund": payment.pk, "amount": amount, "reason": reason})
    with lock_payment(payment) as locked:
        key = find_key(caller, fingerprint=fingerprint)
        if key and key.refund:
            return key.refund, False
        refunds = find_refunds(locked)
        if not caller.idempotency_key:
            earlier = _find_unanswered(locked, refunds=refunds, amount=amount, reason=reason)
            if earlier:
                return earlier, False
        with saving_changes(locked):
            refund = Refund(payment=locked, amount=_get_refund_amount(locked, amount), reason=reason)
            Refund.objects.using(get_database()).insert(refund)
            locked.update_refunded([*refunds, refund])
        claim_key(caller, payment=locked, fingerprint=fingerprint, refund=refund)
    return refund, True


def _find_unanswered(
    payment: Payment, *, refunds: list[Refund], amount: int | None, reason: str
) -> Refund | None:
    """Return the refund that a call without a key repeats: the same one, if it has no answer yet."""
    if amount is None and payment.amount_refundable:
        return None
    for refund in refunds:
        same = refund.is_reserved and refund.reason == reason and amount in {None, refund.amount}
        if same and not refund.idempotency_keys.exists():
            return refund
    return None


def _get_refund_amount(payment: Payment, amount: int | None) -> int:
    if not payment.is_paid:
        raise UnprocessableError(_("Only a paid payment can be refunded."))
    wanted = payment.amount_refundable if amount is None else amount
    if not 0 < wanted <= payment.amount_refundable:
        raise UnprocessableError(_("The amount is more than is left to refund."))
    check_amount(wanted, currency=payment.currency)
    return wanted


def _create_refund(refund: Refund) -> RefundFact:
    try:
        return stripe_client.create_refund(refund)
    except StripeRefusedError as error:
        give_back(refund, reason=error.stripe_code or "refused")
        raise
