"""What ends by itself: payments whose time has run out, and holds that are about to."""

from __future__ import annotations

import datetime as dt
import logging
from contextlib import suppress

from django.db.models import F, Q
from django.utils import timezone

from octo_stripe_gateway import signals, stripe_client
from octo_stripe_gateway.exceptions import GatewayError, StripeRefusedError, StripeUnavailableError
from octo_stripe_gateway.models import PayableLock, Payment, StripeRequest
from octo_stripe_gateway.services.balance import get_deadline, has_deadline, refresh_lock
from octo_stripe_gateway.services.delivery import send_to_all
from octo_stripe_gateway.services.ledger import lock_payment, saving_changes
from octo_stripe_gateway.services.requests import (
    finish_creation,
    get_open_request,
    open_request,
    perform_request,
)
from octo_stripe_gateway.transactions import outside_transaction, write_transaction

logger = logging.getLogger(__name__)

# After so many unanswered calls in a row, Stripe is left alone until the next run.
MOST_UNANSWERED = 10
CAPTURE_REMINDER = dt.timedelta(days=1)
OVERDUE_REVIEW = dt.timedelta(hours=1)
UNPAID = {Payment.Status.PENDING, Payment.Status.FAILED, Payment.Status.AUTHORIZED}


@outside_transaction
def expire_payment(payment: Payment) -> Payment:
    """Cancel at Stripe a payment whose deadline has passed, unless the host has moved the deadline.

    Stripe decides races: one that was paid first is completed, and the host has its last word. One that is
    being processed is left until it settles. Raises StripeError.
    """
    stripe_client.get_account(payment.account)
    with suppress(StripeRefusedError):
        # An intent whose creation was not answered would stay payable.
        finish_creation(payment)
    request = _reserve_expiry(payment)
    return perform_request(request).payment if request else Payment.ledger.get(pk=payment.pk)


def expire_due_payments(*, limit: int) -> int:
    """Expire payments whose deadline has passed, the oldest first; returns how many are expired."""
    due = Payment.ledger.get_queryset().past_deadline(now=timezone.now()).order_by("expires_at")
    expired = unanswered = 0
    for pk in list(due.values_list("pk", flat=True)[:limit]):
        try:
            expired += _try_to_expire(pk)
            unanswered = 0
        except StripeUnavailableError:
            unanswered += 1
            if unanswered == MOST_UNANSWERED:
                logger.exception("[OctoStripeGateway] Stripe does not answer; other deadlines have to wait")
                break
    return expired


def _try_to_expire(pk: int) -> bool:
    """Tell whether a payment is expired now; raises StripeUnavailableError, since no other will be then."""
    try:
        return expire_payment(Payment.ledger.get(pk=pk)).status == Payment.Status.EXPIRED
    except StripeUnavailableError:
        raise
    except GatewayError as error:
        logger.warning("[OctoStripeGateway] Payment %s is not expired: %s", pk, error)
    except Exception:
        # A host's hook or deadline that raises stops no other payment from expiring.
        logger.exception("[OctoStripeGateway] Payment %s could not be expired", pk)
    return False


def remind_of_captures(*, limit: int) -> int:
    """Send `payment_capture_due` for holds that run out within a day; returns for how many."""
    holds = Payment.ledger.get_queryset().to_be_captured(before=timezone.now() + CAPTURE_REMINDER)
    keys = list(holds.order_by("capture_before").values_list("pk", flat=True)[:limit])
    for pk in keys:
        with write_transaction():
            locked = Payment.ledger.get_locked(pk)
            with saving_changes(locked):
                locked.capture_reminded_at = locked.capture_reminded_at or timezone.now()
    return len(keys)


def remind_of_installments(*, limit: int) -> int:
    """Send `installment_due` once for each installment that is due; returns how many times.

    A receiver that raises is called again. Each payable is asked first, since it may no longer owe anything;
    after the reminder it is still asked now and then, so that it doesn't stay overdue for ever.
    """
    now = timezone.now()
    asked_again = Q(reminded_at=None) | Q(reminded_at__lt=now - OVERDUE_REVIEW)
    due = PayableLock.ledger.get_queryset().overdue(now=now).filter(asked_again)
    return sum(_remind(lock) for lock in due.order_by(F("reminded_at").asc(nulls_first=True))[:limit])


def _remind(lock: PayableLock) -> bool:
    """Tell whether the host was reminded of a payable."""
    try:
        lock = refresh_lock(lock)
    except Exception:
        logger.exception("[OctoStripeGateway] What is due of %s can't be told", lock)
        return False
    now = timezone.now()
    if lock.next_due_at is None or lock.next_due_at > now:
        return False
    is_new = lock.reminded_at is None
    if is_new and send_to_all(signals.installment_due, sender=PayableLock, payable_lock=lock):
        return False
    lock.reminded_at = now
    PayableLock.ledger.save_changed(lock, names=["reminded_at"])
    return is_new


def _reserve_expiry(payment: Payment) -> StripeRequest | None:
    with lock_payment(payment) as locked:
        payable = locked.payable
        deadline = get_deadline(payable) if has_deadline(payable) else locked.expires_at
        if locked.status not in UNPAID or locked.rejection_reason or locked.intent_status == "processing":
            return None
        was_expiring = locked.is_expiring
        creation = get_open_request(locked, StripeRequest.Kind.CREATE)
        with saving_changes(locked):
            locked.expires_at = deadline
            locked.is_expiring = deadline is not None and deadline <= timezone.now()
            if locked.is_expiring and not locked.stripe_payment_intent_id and not creation:
                locked.cancel_unasked()
        if not locked.is_expiring or not locked.stripe_payment_intent_id:
            return None
        unanswered = get_open_request(locked, StripeRequest.Kind.CANCEL)
        if was_expiring and locked.mismatch and not unanswered:
            # Stripe has canceled it, but the mismatch kept that from being applied: don't ask at every run.
            return None
        parameters = {"cancellation_reason": "abandoned"}
        return unanswered or open_request(locked, StripeRequest.Kind.CANCEL, parameters=parameters)
