"""Completing, capturing and canceling a payment."""

from __future__ import annotations

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import OperationInProgressError, PaymentRejectedError, UnprocessableError
from octo_stripe_gateway.ledger.facts import CanceledUnasked
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.rejections import describe, describe_rejection
from octo_stripe_gateway.ledger.transactions import outside_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Payment, StripeRequest, is_priced
from octo_stripe_gateway.services.dues import foresee_rejection
from octo_stripe_gateway.services.idempotency import ANYONE, Caller, claim_key, hash_request
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.services.requests import (
    finish_creation,
    get_open_request,
    open_keyed_request,
    perform_request,
)
from octo_stripe_gateway.services.syncing import sync_intent
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.currencies import check_amount, read_amount


@outside_transaction
def complete_payment(payment: Payment) -> Payment:
    """Ask Stripe how the payment stands, unless that is settled already, and update the record.

    What each of an intent's states means: https://docs.stripe.com/payments/paymentintents/lifecycle. Raises
    StripeError, PaymentMismatchError, PayableUnavailableError, and PaymentRejectedError where the host
    rejected what was paid for.
    """
    is_settled = payment.stripe_payment_intent_id and payment.next_check_at is None
    payment = Payment.ledger.get_by_pk(payment.pk) if is_settled else sync_intent(finish_creation(payment))
    return _send_back_if_rejected(payment)


@outside_transaction
def capture_payment(payment: Payment, *, amount: int | None = None, caller: Caller = ANYONE) -> Payment:
    """Take an authorized payment's money: the amount in minor units, or all of it.

    The rest of what is held is released: https://docs.stripe.com/payments/place-a-hold-on-a-payment-method.
    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError, and PaymentRejectedError where
    the host rejects what was captured.
    """
    if amount is not None:
        amount = read_amount(amount, source="capture_payment")
        check_amount(amount, currency=payment.currency)
    stripe_client.get_account(payment.account)
    payment, request = _reserve_capture(payment, amount=amount, caller=caller)
    if request:
        payment = perform_request(request).payment
    return _send_back_if_rejected(payment)


@outside_transaction
def cancel_payment(payment: Payment, *, may_void: bool = True, caller: Caller = ANYONE) -> Payment:
    """Cancel a payment that isn't paid; `may_void` where that may release money that is held.

    Stripe cancels none that is paid: https://docs.stripe.com/api/payment_intents/cancel. Raises
    UnprocessableError, IdempotencyError, StripeError.
    """
    stripe_client.get_account(payment.account)
    finish_creation(payment)
    payment, request = _reserve_cancellation(payment, may_void=may_void, caller=caller)
    return perform_request(request).payment if request else payment


def _send_back_if_rejected(payment: Payment) -> Payment:
    if payment.needs_reversal:
        payment = reverse_rejected(payment)
    if payment.rejection_code:
        raise PaymentRejectedError(describe_rejection(payment))
    return payment


def _reserve_capture(
    payment: Payment, *, amount: int | None, caller: Caller
) -> tuple[Payment, StripeRequest | None]:
    with lock_payment(payment) as locked:
        fingerprint = hash_request({"capture": locked.uuid, "amount": amount})
        claim_key(caller, payment=locked, fingerprint=fingerprint)
        if locked.intent_status == "succeeded" and amount in {None, locked.amount_received}:
            return locked, None
        if locked.status != Payment.Status.AUTHORIZED:
            raise UnprocessableError(_("Only an authorized payment can be captured."))
        wanted = amount or locked.amount_capturable
        if wanted > locked.amount_capturable:
            raise UnprocessableError(_("The amount is more than was authorized."), amount=wanted)
        if wanted < locked.amount and is_priced(locked.payable):
            raise UnprocessableError(_("The amount is less than the price."), amount=wanted)
        open_capture = get_open_request(locked, StripeRequest.Kind.CAPTURE)
        if open_capture is None:
            # A capture that could only end as a refund would charge the customer for nothing.
            rejection = foresee_rejection(locked, locked.payable) if is_priced(locked.payable) else None
            if rejection:
                raise UnprocessableError(describe(*rejection, currency=locked.currency))
            parameters = {"amount_to_capture": wanted, "expand": [stripe_client.EXPAND_REFUNDS]}
            open_capture = open_keyed_request(
                locked, StripeRequest.Kind.CAPTURE, parameters=parameters, caller=caller
            )
        elif open_capture.parameters["amount_to_capture"] != wanted:
            raise UnprocessableError(_("A capture of another amount is under way."))
    return locked, open_capture


def _reserve_cancellation(
    payment: Payment, *, may_void: bool, caller: Caller
) -> tuple[Payment, StripeRequest | None]:
    with lock_payment(payment) as locked:
        claim_key(caller, payment=locked, fingerprint=hash_request({"cancel": locked.uuid}))
        if locked.intent_status == "canceled":
            return locked, None
        if locked.intent_status == "succeeded":
            raise UnprocessableError(_("The payment is paid; refund it instead."))
        if locked.intent_status == "requires_capture" and not may_void:
            raise UnprocessableError(_("The money of this payment is held: you may not release it."))
        if not locked.stripe_payment_intent_id:
            if get_open_request(locked, StripeRequest.Kind.CREATE):
                raise OperationInProgressError(_("The same operation is still running; try again."))
            record(locked, CanceledUnasked())
            return locked, None
        request = get_open_request(locked, StripeRequest.Kind.CANCEL) or open_keyed_request(
            locked, StripeRequest.Kind.CANCEL, parameters={}, caller=caller
        )
    return locked, request
