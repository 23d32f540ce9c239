"""What can be done with a payment: one function per operation, for every caller.

An operation first reserves what it is about to do and commits, then calls Stripe with an idempotency key
made from the reserved row, then locks the row and applies the answer. Repeating it after a crash, a
time-out or a lost answer finds the same row, sends the same key and ends the same. No lock and no
transaction is held during a call, so the operations refuse to run inside the caller's transaction.

Locks are taken in one order: event, payment, refund.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import uuid as uuids
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, ParamSpec, TypeVar

from django.db import IntegrityError, router, transaction
from django.db.models import Model
from django.dispatch import Signal
from django.utils.translation import gettext as _

from octo_stripe_gateway import signals, stripe_client
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    IdempotencyError,
    PaymentMismatchError,
    StripeError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.facts import PAYMENT_METADATA_KEY, ChargeFact, PaymentIntentFact, RefundFact
from octo_stripe_gateway.models import IdempotencyKey, Payment, PricedPayable, Refund, is_uuid

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Caller(NamedTuple):
    """Who asks, and the idempotency key that they sent; keys of different scopes never meet."""

    scope: str = ""
    idempotency_key: str = ""


ANYONE = Caller()


@dataclass(frozen=True, slots=True)
class CreatedPayment:
    """A payment with the secret that the customer's browser needs; it is nowhere at rest."""

    payment: Payment
    client_secret: str = field(repr=False)


class Before(NamedTuple):
    """What a payment was before a change, to tell what to announce."""

    payment_intent_id: str | None
    status: str
    is_confirmed: bool
    amount_refunded: int


def outside_transaction(operation: Callable[P, R]) -> Callable[P, R]:
    """Make an operation raise RuntimeError where the caller has a transaction open."""

    @functools.wraps(operation)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction.atomic(using=_database(), durable=True):
            pass
        return operation(*args, **kwargs)

    return checked


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
    caller: Caller = ANYONE,
) -> CreatedPayment:
    """Create a payment and its PaymentIntent; the amount is in Stripe's minor unit.

    A payable that says its price sets amount and currency. `stripe_params` go to Stripe as they are.
    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError.
    """
    amount, currency = _get_price(amount, currency=currency, payable=payable)
    account = stripe_client.get_account(stripe_account)
    payment = Payment(
        amount=amount,
        currency=currency,
        payable=payable,
        capture_method=capture_method,
        metadata=dict(metadata or {}),
        reseller_reference=reseller_reference,
        stripe_account=account.stripe_account,
        livemode=account.livemode,
        idempotency_scope=caller.scope,
    )
    if uuid:
        payment.uuid = uuid
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
    """Ask Stripe how the payment stands and update the record; raises StripeError."""
    return _apply_intent_fact(payment, fact=_obtain_intent(payment))


@outside_transaction
def refund_payment(
    payment: Payment, *, amount: int | None = None, reason: str = "", caller: Caller = ANYONE
) -> Payment:
    """Refund a paid payment: the amount in minor units, or all of what is left.

    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError.
    """
    refund, is_new = _reserve_refund(payment, amount=amount, reason=reason, caller=caller)
    if refund.is_reserved:
        fact = _obtain_refund(payment, refund=refund, is_new=is_new)
        with lock_payment(payment) as locked:
            refund = apply_refund(locked, fact)
    if refund.status == "failed":
        raise UnprocessableError(_("The refund failed: %s") % refund.failure_reason)
    return refund.payment


@outside_transaction
def capture_payment(payment: Payment, *, amount: int | None = None, caller: Caller = ANYONE) -> Payment:
    """Take an authorized payment's money: the amount in minor units, or all of it.

    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError.
    """
    reserved = _reserve_capture(payment, amount=amount, caller=caller)
    if reserved.status != Payment.Status.AUTHORIZED:
        return reserved
    return _change_intent(reserved, operation=stripe_client.capture_payment_intent)


@outside_transaction
def cancel_payment(payment: Payment, *, caller: Caller = ANYONE) -> Payment:
    """Give up a payment that isn't paid; raises UnprocessableError, IdempotencyError, StripeError."""
    with lock_payment(payment) as locked:
        _claim_key(caller, payment=locked, request={"cancel": locked.pk})
        if locked.status == Payment.Status.CANCELED:
            return locked
        if locked.intent_status == "succeeded":
            raise UnprocessableError(_("The payment is paid; refund it instead."))
    if not locked.stripe_payment_intent_id:
        locked = _apply_intent_fact(locked, fact=_obtain_intent(locked))
    return _change_intent(locked, operation=stripe_client.cancel_payment_intent)


@contextmanager
def lock_payment(payment: Payment) -> Iterator[Payment]:
    """Hold the payment's row locked in a transaction of its own, and give it as it is now."""
    with transaction.atomic(using=_database(), durable=True):
        yield Payment.objects.using(_database()).get_locked(payment.pk)


def apply_payment_intent(payment: Payment, fact: PaymentIntentFact) -> None:
    """Bring a locked payment to what Stripe says of its intent; a mismatch is flagged, not applied."""
    before = _note_before(payment)
    mismatch = payment.find_mismatch(fact)
    if mismatch:
        _flag_mismatch(payment, mismatch)
    else:
        payment.take_intent(fact)
        if fact.charge:
            _take_charge(payment, fact.charge)
    _save(payment, before=before)


def apply_charge(payment: Payment, fact: ChargeFact) -> None:
    """Bring a locked payment to what Stripe says of its charge's refunds."""
    before = _note_before(payment)
    _take_charge(payment, fact)
    _save(payment, before=before)


def apply_refund(payment: Payment, fact: RefundFact) -> Refund:
    """Bring a locked payment and the refund's row to what Stripe says of the refund."""
    before = _note_before(payment)
    refund = _take_refund(payment, fact)
    payment.update_refunded(payment.refunds.all())
    _save(payment, before=before)
    return refund


def _get_price(amount: int | None, *, currency: str, payable: Model | None) -> tuple[int, str]:
    currency = currency.lower()
    if isinstance(payable, PricedPayable):
        price, price_currency = payable.get_payment_amount()
        if amount not in {None, price} or currency not in {"", price_currency.lower()}:
            raise UnprocessableError(_("The amount is not the price."), amount=amount)
        amount, currency = price, price_currency.lower()
    if amount is None or amount <= 0:
        raise BadRequestError(_("amount: a positive integer in the minor unit is required."))
    return amount, currency or gateway_settings.currency


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
    request = {
        "uuid": uuid,
        "amount": payment.amount,
        "currency": payment.currency,
        "payable": [payment.payable_type_id, payment.payable_id],
        "capture_method": payment.capture_method,
        "metadata": payment.metadata,
        "reseller_reference": payment.reseller_reference,
        "stripe_params": extra or {},
        "stripe_account": payment.stripe_account,
    }
    return _hash_request(request)


def _hash_request(request: Mapping[str, Any]) -> str:
    canonical = json.dumps(request, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _reserve_payment(payment: Payment, *, caller: Caller) -> Payment:
    try:
        with transaction.atomic(using=_database(), durable=True):
            payment.save(force_insert=True, using=_database())
            if caller.idempotency_key:
                IdempotencyKey.objects.using(_database()).create(
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
    key = _find_key(caller)
    same_uuid = Payment.objects.using(_database()).filter(uuid=payment.uuid)
    earlier = key.payment if key else same_uuid.first()
    fingerprint = key.request_fingerprint if key else earlier and earlier.request_fingerprint
    if earlier and (fingerprint, earlier.idempotency_scope) != (
        payment.request_fingerprint,
        caller.scope,
    ):
        raise IdempotencyError(_("This key or uuid was used with other parameters."))
    return earlier


def _find_key(caller: Caller) -> IdempotencyKey | None:
    if not caller.idempotency_key:
        return None
    keys = IdempotencyKey.objects.using(_database()).select_related("payment", "refund")
    return keys.filter(scope=caller.scope, key=caller.idempotency_key).first()


def _claim_key(
    caller: Caller, *, payment: Payment, request: Mapping[str, Any], refund: Refund | None = None
) -> None:
    if not caller.idempotency_key:
        return
    key, _created = IdempotencyKey.objects.using(_database()).get_or_create(
        scope=caller.scope,
        key=caller.idempotency_key,
        defaults={
            "request_fingerprint": _hash_request(request),
            "payment": payment,
            "refund": refund,
        },
    )
    if key.request_fingerprint != _hash_request(request):
        raise IdempotencyError(_("This key was used with other parameters."))


def _obtain_intent(payment: Payment) -> PaymentIntentFact:
    if payment.stripe_payment_intent_id:
        return stripe_client.retrieve_payment_intent(payment)
    try:
        return stripe_client.create_payment_intent(payment)
    except StripeError as error:
        _note_intent_error(payment, error)
        raise


def _note_intent_error(payment: Payment, error: StripeError) -> None:
    # Stripe repeats an error to the key that got it, so the next try needs another key.
    if not error.answered:
        return
    with lock_payment(payment) as locked:
        before = _note_before(locked)
        locked.stripe_attempt = max(locked.stripe_attempt, payment.stripe_attempt + 1)
        if isinstance(error, StripeRefusedError):
            locked.amount_to_capture = None
            if not locked.stripe_payment_intent_id:
                locked.take_refusal(code=error.stripe_code, message=str(error.message))
        _save(locked, before=before)


def _apply_intent_fact(payment: Payment, *, fact: PaymentIntentFact) -> Payment:
    with lock_payment(payment) as locked:
        apply_payment_intent(locked, fact)
    return locked


def _change_intent(payment: Payment, *, operation: Callable[[Payment], PaymentIntentFact]) -> Payment:
    try:
        fact = operation(payment)
    except StripeError as error:
        _note_intent_error(payment, error)
        if isinstance(error, StripeRefusedError):
            # Refused because the intent is elsewhere by now: see where.
            _apply_intent_fact(payment, fact=stripe_client.retrieve_payment_intent(payment))
        raise
    return _apply_intent_fact(payment, fact=fact)


def _reserve_capture(payment: Payment, *, amount: int | None, caller: Caller) -> Payment:
    with lock_payment(payment) as locked:
        _claim_key(caller, payment=locked, request={"capture": locked.pk, "amount": amount})
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


def _reserve_refund(
    payment: Payment, *, amount: int | None, reason: str, caller: Caller
) -> tuple[Refund, bool]:
    request = {"refund": payment.pk, "amount": amount, "reason": reason}
    with lock_payment(payment) as locked:
        earlier = _find_key(caller)
        if earlier:
            _claim_key(caller, payment=locked, request=request)
        refund = earlier.refund if earlier else None
        if not caller.idempotency_key:
            refund = _find_unanswered(locked, amount=amount, reason=reason)
        if refund:
            return refund, False
        refund = locked.refunds.create(amount=_get_refund_amount(locked, amount), reason=reason)
        _claim_key(caller, payment=locked, request=request, refund=refund)
        locked.update_refunded(locked.refunds.all())
        locked.save()
    return refund, True


def _find_unanswered(payment: Payment, *, amount: int | None, reason: str) -> Refund | None:
    """Return the refund that a call without a key repeats, if one is still without an answer."""
    unanswered = payment.refunds.filter(
        status=Refund.RESERVED, reason=reason, idempotency_keys=None
    ).order_by("pk")
    if amount is None:
        return None if payment.amount_refundable else unanswered.first()
    return unanswered.filter(amount=amount).first()


def _get_refund_amount(payment: Payment, amount: int | None) -> int:
    if not payment.is_paid:
        raise UnprocessableError(_("Only a paid payment can be refunded."))
    if amount is not None and amount <= 0:
        raise BadRequestError(_("amount: a positive integer in the minor unit is required."))
    wanted = payment.amount_refundable if amount is None else amount
    if not 0 < wanted <= payment.amount_refundable:
        raise UnprocessableError(_("The amount is more than is left to refund."), amount=amount)
    return wanted


def _obtain_refund(payment: Payment, *, refund: Refund, is_new: bool) -> RefundFact:
    fact = None if is_new else stripe_client.find_refund(payment, refund=refund)
    if fact:
        return fact
    try:
        return stripe_client.create_refund(payment, refund=refund)
    except StripeError as error:
        _note_refund_error(payment, refund=refund, error=error)
        raise


def _note_refund_error(payment: Payment, *, refund: Refund, error: StripeError) -> None:
    if not error.answered:
        return
    with lock_payment(payment) as locked:
        before = _note_before(locked)
        row = locked.refunds.get(pk=refund.pk)
        if not row.is_reserved:
            return
        if isinstance(error, StripeRefusedError):
            row.status, row.failure_reason = "failed", error.stripe_code or "refused"
        row.stripe_attempt = max(row.stripe_attempt, refund.stripe_attempt + 1)
        row.save()
        locked.update_refunded(locked.refunds.all())
        _save(locked, before=before)


def _take_charge(payment: Payment, fact: ChargeFact) -> None:
    for refund_fact in fact.refunds:
        _take_refund(payment, refund_fact)
    payment.take_charge(fact)
    payment.update_refunded(payment.refunds.all())


def _take_refund(payment: Payment, fact: RefundFact) -> Refund:
    rows = list(payment.refunds.filter(stripe_refund_id=fact.id))
    if not rows and is_uuid(fact.refund_uuid):
        rows = list(payment.refunds.filter(stripe_refund_id=None, uuid=fact.refund_uuid))
    refund = rows[0] if rows else Refund(payment=payment, amount=fact.amount)
    mismatch = refund.find_mismatch(fact)
    if mismatch:
        _flag_mismatch(payment, mismatch)
    else:
        refund.take(fact)
        refund.save()
    return refund


def _flag_mismatch(payment: Payment, mismatch: str) -> None:
    logger.error("[OctoStripeGateway] Payment %s does not match Stripe: %s", payment.uuid, mismatch)
    if payment.mismatch != mismatch:
        _announce(signals.payment_mismatched, payment)
    payment.mismatch = mismatch


def _note_before(payment: Payment) -> Before:
    return Before(
        payment_intent_id=payment.stripe_payment_intent_id,
        status=payment.status,
        is_confirmed=payment.confirmed_at is not None,
        amount_refunded=payment.amount_refunded,
    )


def _save(payment: Payment, *, before: Before) -> None:
    payment.save()
    for signal in _get_changes(payment, before=before):
        _announce(signal, payment)


def _get_changes(payment: Payment, *, before: Before) -> Iterator[Signal]:
    if before.payment_intent_id is None and payment.stripe_payment_intent_id:
        yield signals.payment_created
    if payment.confirmed_at and not before.is_confirmed:
        yield signals.payment_succeeded
    if payment.status == Payment.Status.FAILED != before.status:
        yield signals.payment_failed
    if payment.status == Payment.Status.CANCELED != before.status:
        yield signals.payment_canceled
    if payment.amount_refunded > before.amount_refunded:
        yield signals.payment_refunded


def _announce(signal: Signal, payment: Payment) -> None:
    send = functools.partial(signal.send_robust, sender=Payment, payment=payment)
    transaction.on_commit(send, using=_database(), robust=True)


def _database() -> str:
    return router.db_for_write(Payment)
