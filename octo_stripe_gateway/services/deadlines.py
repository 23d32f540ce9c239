"""What is overdue, and what follows: a payment expires, and the host is reminded of an installment.

A payment is overdue once it is unpaid after its payable's deadline; an installment, once it is owed after its
date. `upkeep/deadlines.py` finds both, and calls the functions here for one at a time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.utils import timezone

from octo_stripe_gateway import signals
from octo_stripe_gateway.exceptions import GatewayError, StripeRefusedError
from octo_stripe_gateway.ledger.concerns import PAYABLE_OVERPAID, end_reported, report_concern
from octo_stripe_gateway.ledger.facts import CanceledUnasked, DeadlineKept, Forgiven
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.outbox import send_to_all
from octo_stripe_gateway.ledger.transactions import outside_transaction, write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import (
    PayableLock,
    Payment,
    Refund,
    StripeRequest,
    compute_dues,
    get_deadline,
    has_deadline,
    is_priced,
)
from octo_stripe_gateway.models.payment_indexes import UNPAID
from octo_stripe_gateway.services.dues import get_dues, get_next_purpose, measure_forgiven
from octo_stripe_gateway.services.payment_links import create_payment_link
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.services.request_kinds import EXPIRY
from octo_stripe_gateway.services.requests import (
    finish_creation,
    get_open_request,
    open_request,
    perform_request,
)
from octo_stripe_gateway.stripe import client as stripe_client


@outside_transaction
def expire_payment(payment: Payment) -> Payment:
    """Cancel an overdue payment at Stripe, unless the host has moved its deadline.

    Stripe decides races: one that was paid first is completed, and the host has its last word; money that
    came too late goes back. One that is being processed is left until it settles, since Stripe can't cancel
    it: https://docs.stripe.com/api/payment_intents/cancel. Raises StripeError.
    """
    stripe_client.get_account(payment.account)
    with suppress(StripeRefusedError):
        # An intent whose creation was not answered would stay payable.
        finish_creation(payment)
    with lock_payment(payment) as locked:
        if locked.status not in UNPAID or locked.rejection_code or locked.intent_status == "processing":
            return locked
        payable = locked.payable
        asks = has_deadline(payable) and locked.amount_kept is None
        deadline = get_deadline(payable) if asks else locked.expires_at
        record(locked, DeadlineKept(deadline, is_past=deadline is not None and deadline <= timezone.now()))
        if not locked.is_expiring:
            return locked
        if not locked.stripe_payment_intent_id:
            if not get_open_request(locked, StripeRequest.Kind.CREATE):
                record(locked, CanceledUnasked())
            return locked
        request = get_open_request(locked, StripeRequest.Kind.CANCEL) or open_request(
            locked, StripeRequest.Kind.CANCEL, parameters={"cancellation_reason": EXPIRY}
        )
    try:
        return perform_request(request).payment
    except StripeRefusedError:
        refused = Payment.ledger.get(pk=payment.pk)
        if refused.needs_reversal:
            reverse_rejected(refused)
        raise


def remind_of_installment(lock: PayableLock) -> bool:
    """Send `installment_due` for an overdue installment, once, and tell whether every receiver heard of it.

    The payable is asked first what it owes. Raises what its methods raise.
    """
    lock = update_due(lock)
    now = timezone.now()
    if lock.next_due_at is None or lock.next_due_at > now:
        return False
    is_new = lock.reminded_at is None
    link = ""
    with suppress(GatewayError):
        # A host that mounts no pay page is reminded all the same.
        link = create_payment_link(lock.payable, purpose=get_next_purpose(get_dues(lock.payable)))
    sent: dict[str, Any] = {
        "payable_lock": lock,
        "payment_link": link,
        "change_id": f"{lock.pk}-{lock.next_due_at:%Y%m%dT%H%M%S}",
    }
    if is_new and send_to_all(signals.installment_due, sender=PayableLock, **sent):
        return False
    lock.reminded_at = now
    PayableLock.ledger.save_changed(lock, names=["reminded_at"])
    return is_new


def update_due(lock: PayableLock) -> PayableLock:
    """Work out again what a payable owes, record it, and return its lock.

    A payable that is gone, or past its deadline, owes nothing. Raises what the host's methods raise.
    """
    payable = lock.payable
    named = {"payment__payable_type": lock.payable_type_id, "payment__payable_id": lock.payable_id}
    unmeasured = Refund.ledger.filter(**named, amount_forgiven=None).exclude(stripe_refund_id=None)
    for payment in Payment.ledger.filter(pk__in=unmeasured.values("payment")):
        with lock_payment(payment) as locked:
            for refund in Refund.ledger.list_of(locked):
                if refund.is_live and refund.amount_forgiven is None:
                    # It was made at Stripe.
                    amount = measure_forgiven(locked, refund.amount, is_made=True)
                    record(locked, Forgiven(refund, amount=amount))
    with write_transaction():
        held = PayableLock.ledger.get_by(lock=True, id=lock.pk) or lock
        payments = Payment.ledger.list_of_payable(payable) if is_priced(payable) else None
        dues = None if payments is None else compute_dues(payable, payments, kept=held.amount_kept)
        held.record(dues)
        name = held.payable_name
        if dues and dues.surplus:
            # The price fell, a cancellation didn't finish, or a refund failed after the same was paid again.
            about = {"amount": dues.surplus, "currency": dues.currency, "name": name}
            report_concern(PAYABLE_OVERPAID, object_id=name, **about)
        else:
            end_reported(PAYABLE_OVERPAID, object_id=name)
    return held
