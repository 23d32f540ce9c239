"""Taking money: creating a payment, completing it, capturing and giving it up."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError
from django.db.models import Model
from django.utils.translation import gettext as _

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.currencies import check_amount
from octo_stripe_gateway.environments import check_livemode
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    IdempotencyError,
    PaymentMismatchError,
    PaymentRefusedError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.facts import PAYMENT_METADATA_KEY, PaymentIntentFact
from octo_stripe_gateway.models import IdempotencyKey, Payment, PricedPayable, Refund
from octo_stripe_gateway.services.attempts import ask_stripe, renew_key
from octo_stripe_gateway.services.idempotency import ANYONE, Caller, claim_key, find_key, hash_request
from octo_stripe_gateway.services.ledger import (
    apply_payment_intent,
    lock_payment,
    saving_changes,
)
from octo_stripe_gateway.services.refunds import request_refund
from octo_stripe_gateway.transactions import get_database, outside_transaction, write_transaction


@dataclass(frozen=True, slots=True)
class CreatedPayment:
    """A payment with the secret that the customer's browser needs; it is nowhere at rest."""

    payment: Payment
    client_secret: str = field(repr=False)


@outside_transaction
def create_payment(
    amount: int | None = None,
    *,
    currency: str = "",
    payable: Model | None = None,
    capture_method: str = Payment.CaptureMethod.AUTOMATIC,
    uuid: uuids.UUID | None = None,
    metadata: Mapping[str, str] | None = None,
    reseller_reference: str = "",
    stripe_params: Mapping[str, Any] | None = None,
    stripe_account: str = "",
    livemode: bool | None = None,
    caller: Caller = ANYONE,
) -> CreatedPayment:
    """Create a payment and its PaymentIntent; the amount is in Stripe's minor unit.

    A payable that says its price sets amount and currency. `stripe_params` go to Stripe as they are.
    `livemode` insists on real money, or on none. Raises BadRequestError, EnvironmentMismatchError,
    UnprocessableError, IdempotencyError, StripeError, ValueError where the payable is not saved.
    """
    amount, currency = _get_price(amount, currency=currency, payable=payable)
    payment = Payment(
        uuid=uuid or uuids.uuid4(),
        amount=amount,
        currency=currency,
        payable=payable,
        capture_method=capture_method,
        metadata=dict(metadata or {}),
        reseller_reference=reseller_reference,
        stripe_account=stripe_account,
        idempotency_scope=caller.scope,
    )
    account = stripe_client.get_account(payment)
    check_livemode(livemode, livemode=account.livemode)
    payment.stripe_account, payment.livemode = account.stripe_account, account.livemode
    payment.stripe_params = _get_intent_params(payment, extra=stripe_params or {})
    payment.request_fingerprint = _get_fingerprint(payment, uuid=uuid, extra=stripe_params)
    payment = _reserve_payment(payment, caller=caller)
    fact = _obtain_intent(payment)
    payment = _apply_intent_fact(payment, fact=fact)
    if payment.stripe_payment_intent_id != fact.id:
        raise PaymentMismatchError(_("Stripe's intent is not what was asked for."))
    return CreatedPayment(payment, fact.client_secret)


@outside_transaction
def complete_payment(payment: Payment) -> Payment:
    """Ask Stripe how the payment stands and update the record.

    Raises StripeError, and PaymentRefusedError where the host did not want what was paid for.
    """
    payment = _apply_intent_fact(payment, fact=_obtain_intent(payment))
    if payment.is_unwanted:
        send_back(payment)
    if payment.refusal:
        raise PaymentRefusedError(payment.refusal)
    return payment


@outside_transaction
def capture_payment(payment: Payment, *, amount: int | None = None, caller: Caller = ANYONE) -> Payment:
    """Take an authorized payment's money: the amount in minor units, or all of it.

    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError.
    """
    if amount is not None and amount <= 0:
        raise BadRequestError(_("amount: a positive integer in the minor unit is required."))
    stripe_client.get_account(payment)
    reserved = _reserve_capture(payment, amount=amount, caller=caller)
    return _capture(reserved) if reserved.status == Payment.Status.AUTHORIZED else reserved


@outside_transaction
def resume_capture(payment: Payment) -> Payment:
    """Repeat a capture that Stripe has not answered, if there is one; raises StripeError."""
    with lock_payment(payment) as locked:
        unanswered = locked.status == Payment.Status.AUTHORIZED and locked.amount_to_capture is not None
    return _capture(locked) if unanswered else locked


@outside_transaction
def cancel_payment(payment: Payment, *, caller: Caller = ANYONE) -> Payment:
    """Give up a payment that isn't paid; raises UnprocessableError, IdempotencyError, StripeError."""
    with lock_payment(payment) as locked:
        claim_key(caller, payment=locked, fingerprint=hash_request({"cancel": locked.pk}))
        if locked.status == Payment.Status.CANCELED:
            return locked
        if locked.intent_status == "succeeded":
            raise UnprocessableError(_("The payment is paid; refund it instead."))
    if not locked.stripe_payment_intent_id:
        locked = _apply_intent_fact(locked, fact=_obtain_intent(locked))
    try:
        fact = ask_stripe(locked, operation=stripe_client.cancel_payment_intent)
    except StripeRefusedError:
        renew_key(locked)
        current = _apply_current_intent(locked)
        if current.status != Payment.Status.CANCELED:
            raise
        return current
    return _apply_intent_fact(locked, fact=fact)


def send_back(payment: Payment) -> None:
    """Void or refund, once, a payment that the host refused; raises StripeError."""
    if payment.intent_status == "requires_capture":
        cancel_payment(payment)
    for refund in payment.refunds.filter(status=Refund.RESERVED).select_related("payment"):
        request_refund(refund)


def _get_price(amount: int | None, *, currency: str, payable: Model | None) -> tuple[int, str]:
    currency = currency.lower()
    if payable is not None and payable.pk is None:
        raise ValueError("The payable is not saved, so no payment can refer to it.")
    if isinstance(payable, PricedPayable):
        price, price_currency = payable.get_payment_amount()
        if currency not in {"", price_currency.lower()}:
            raise UnprocessableError(_("The amount is not the price."), currency=currency)
        if amount not in {None, price}:
            raise UnprocessableError(_("The amount is not the price."), amount=amount)
        amount, currency = price, price_currency.lower()
    currency = currency or gateway_settings.currency
    check_amount(amount or 0, currency=currency)
    return amount or 0, currency


def _get_intent_params(payment: Payment, *, extra: Mapping[str, Any]) -> dict[str, Any]:
    params = {
        "amount": payment.amount,
        "currency": payment.currency,
        "automatic_payment_methods": {"enabled": True},
        "capture_method": payment.capture_method,
        **extra,
    }
    own = {PAYMENT_METADATA_KEY: str(payment.uuid)}
    return params | {"metadata": {**payment.metadata, **extra.get("metadata", {}), **own}}


def _get_fingerprint(payment: Payment, *, uuid: uuids.UUID | None, extra: Mapping[str, Any] | None) -> str:
    # A price that the host has changed since makes no other request of it.
    priced = isinstance(payment.payable, PricedPayable)
    request = {
        "uuid": uuid,
        "amount": None if priced else payment.amount,
        "currency": None if priced else payment.currency,
        "payable": [payment.payable_type_id, payment.payable_id],
        "capture_method": payment.capture_method,
        "metadata": payment.metadata,
        "reseller_reference": payment.reseller_reference,
        "stripe_params": extra or {},
        "stripe_account": payment.stripe_account,
    }
    return hash_request(request)


def _reserve_payment(payment: Payment, *, caller: Caller) -> Payment:
    try:
        with write_transaction():
            Payment.objects.using(get_database()).insert(payment)
            if caller.idempotency_key:
                IdempotencyKey.objects.using(get_database()).create(
                    scope=caller.scope,
                    key=caller.idempotency_key,
                    request_fingerprint=payment.request_fingerprint,
                    payment=payment,
                )
    except IntegrityError:
        earlier = _find_reserved_payment(payment, caller=caller)
        if earlier:
            return earlier
        raise
    return payment


def _find_reserved_payment(payment: Payment, *, caller: Caller) -> Payment | None:
    fingerprint = payment.request_fingerprint
    key = find_key(caller, fingerprint=fingerprint)
    if key:
        return key.payment
    earlier = Payment.objects.using(get_database()).filter(uuid=payment.uuid).first()
    if earlier is None:
        return None
    if (earlier.request_fingerprint, earlier.idempotency_scope) != (fingerprint, caller.scope):
        raise IdempotencyError(_("This key or uuid was used with other parameters."))
    claim_key(caller, payment=earlier, fingerprint=fingerprint)
    return earlier


def _obtain_intent(payment: Payment) -> PaymentIntentFact:
    try:
        return ask_stripe(payment, operation=_create_or_retrieve_intent)
    except StripeRefusedError as error:
        if not payment.stripe_payment_intent_id:
            _note_refused_creation(payment, error)
        raise


def _create_or_retrieve_intent(payment: Payment) -> PaymentIntentFact:
    if payment.stripe_payment_intent_id:
        return stripe_client.retrieve_payment_intent(payment)
    return stripe_client.create_payment_intent(payment)


def _note_refused_creation(payment: Payment, error: StripeRefusedError) -> None:
    with lock_payment(payment) as locked, saving_changes(locked):
        # Stripe repeats the refusal to this key, and what it objects to may be put right.
        locked.stripe_attempt = max(locked.stripe_attempt, payment.stripe_attempt + 1)
        if not locked.stripe_payment_intent_id:
            locked.take_refusal(code=error.stripe_code, message=str(error.message))


def _note_refused_capture(payment: Payment) -> None:
    with lock_payment(payment) as locked:
        if locked.stripe_attempt == payment.stripe_attempt:
            locked.stripe_attempt += 1
            locked.amount_to_capture = None
            locked.save(update_fields=["stripe_attempt", "amount_to_capture"])


def _apply_intent_fact(payment: Payment, *, fact: PaymentIntentFact) -> Payment:
    with lock_payment(payment) as locked:
        apply_payment_intent(locked, fact)
    return locked


def _apply_current_intent(payment: Payment) -> Payment:
    # Stripe refused because the intent is elsewhere by now, perhaps where it was to go.
    return _apply_intent_fact(payment, fact=stripe_client.retrieve_payment_intent(payment))


def _capture(reserved: Payment) -> Payment:
    try:
        fact = ask_stripe(reserved, operation=stripe_client.capture_payment_intent)
    except StripeRefusedError:
        _note_refused_capture(reserved)
        current = _apply_current_intent(reserved)
        if current.amount_received != reserved.amount_to_capture:
            raise
        return current
    return _apply_intent_fact(reserved, fact=fact)


def _reserve_capture(payment: Payment, *, amount: int | None, caller: Caller) -> Payment:
    with lock_payment(payment) as locked:
        fingerprint = hash_request({"capture": locked.pk, "amount": amount})
        claim_key(caller, payment=locked, fingerprint=fingerprint)
        if locked.intent_status == "succeeded" and amount in {None, locked.amount_received}:
            return locked
        if locked.status != Payment.Status.AUTHORIZED:
            raise UnprocessableError(_("Only an authorized payment can be captured."))
        wanted = amount or locked.amount_capturable
        if wanted > locked.amount_capturable:
            raise UnprocessableError(_("The amount is more than was authorized."), amount=amount)
        if locked.amount_to_capture not in {None, wanted}:
            raise UnprocessableError(_("A capture of another amount is under way."))
        locked.amount_to_capture = wanted
        locked.save(update_fields=["amount_to_capture"])
    return locked
