"""Taking money: creating a payment, completing, capturing and canceling it."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError
from django.db.models import Model
from django.utils.translation import gettext as _

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.conf import choose_account, gateway_settings
from octo_stripe_gateway.currencies import check_amount
from octo_stripe_gateway.environments import check_livemode
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    IdempotencyError,
    PaymentMismatchError,
    PaymentRejectedError,
    UnprocessableError,
)
from octo_stripe_gateway.models import HoldablePayable, Payment, PricedPayable, StripeRequest
from octo_stripe_gateway.services.idempotency import (
    ANYONE,
    Caller,
    claim_key,
    get_key,
    hash_request,
    insert_new_key,
)
from octo_stripe_gateway.services.ledger import apply_payment_intent, lock_payment, saving_changes
from octo_stripe_gateway.services.provenance import describe_payment
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.services.requests import (
    get_open_request,
    open_request,
    perform_request,
)
from octo_stripe_gateway.snapshots import PAYMENT_METADATA_KEYS, PaymentIntentSnapshot
from octo_stripe_gateway.transactions import outside_transaction, write_transaction

# What the ledger decides: passed through to Stripe, it would get past the ledger.
LEDGER_PARAMS = frozenset(
    "amount currency capture_method confirm confirmation_method off_session error_on_requires_action"
    " expand return_url".split()
)
# What the SDK would take for options of the call.
CALL_OPTIONS = frozenset(
    "api_key idempotency_key stripe_account stripe_context stripe_version content_type headers"
    " max_network_retries".split()
)


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

    A payable that says its price sets amount and currency. `stripe_params` go to Stripe as they are, but for
    what the ledger decides. `livemode` insists on real money, or on none. Raises BadRequestError,
    EnvironmentMismatchError, UnprocessableError, IdempotencyError, StripeError, and ValueError where the
    payable is not saved.
    """
    amount, currency = _get_price(amount, currency=currency, payable=payable)
    _check_capture_method(capture_method, payable=payable)
    payment = Payment(
        uuid=uuid or uuids.uuid4(),
        amount=amount,
        currency=currency,
        payable=payable,
        capture_method=capture_method,
        metadata=dict(metadata or {}),
        reseller_reference=reseller_reference,
        stripe_account=stripe_account,
        owner=caller.owner,
    )
    payment.request_fingerprint = _get_fingerprint(payment, uuid=uuid, extra=stripe_params)
    payment.account, payment.stripe_account = choose_account(payment)
    payment.livemode = stripe_client.get_account(payment).livemode
    check_livemode(livemode, livemode=payment.livemode)
    parameters = _get_intent_parameters(payment, extra=stripe_params or {})
    payment, request = _reserve_payment(payment, parameters=parameters, caller=caller)
    return _obtain_secret(payment, request)


@outside_transaction
def complete_payment(payment: Payment) -> Payment:
    """Ask Stripe how the payment stands and update the record.

    Raises StripeError, and PaymentRejectedError where the host rejected what was paid for.
    """
    payment = _refresh(payment)
    if payment.needs_reversal:
        payment = reverse_rejected(payment)
    if payment.rejection_reason:
        raise PaymentRejectedError(payment.rejection_reason)
    return payment


@outside_transaction
def capture_payment(payment: Payment, *, amount: int | None = None, caller: Caller = ANYONE) -> Payment:
    """Take an authorized payment's money: the amount in minor units, or all of it.

    Raises BadRequestError, UnprocessableError, IdempotencyError, StripeError, and PaymentRejectedError where
    the host rejects what was captured.
    """
    if amount is not None and amount <= 0:
        raise BadRequestError(_("amount: a positive integer in the minor unit is required."))
    stripe_client.get_account(payment)
    payment, request = _reserve_capture(payment, amount=amount, caller=caller)
    if request:
        payment = perform_request(request).payment
    if payment.needs_reversal:
        payment = reverse_rejected(payment)
    if payment.rejection_reason:
        raise PaymentRejectedError(payment.rejection_reason)
    return payment


@outside_transaction
def cancel_payment(payment: Payment, *, caller: Caller = ANYONE) -> Payment:
    """Cancel a payment that isn't paid; raises UnprocessableError, IdempotencyError, StripeError."""
    stripe_client.get_account(payment)
    _finish_creation(payment)
    payment, request = _reserve_cancellation(payment, caller=caller)
    return perform_request(request).payment if request else payment


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


def _check_capture_method(capture_method: str, *, payable: Model | None) -> None:
    """Refuse a hold where a price is to be paid, unless the payable allows it: a hold confirms nothing."""
    if capture_method == Payment.CaptureMethod.AUTOMATIC or not isinstance(payable, PricedPayable):
        return
    if not (isinstance(payable, HoldablePayable) and payable.allows_manual_capture):
        raise UnprocessableError(_("This can't be authorized only: it has to be paid."))


def _get_intent_parameters(payment: Payment, *, extra: Mapping[str, Any]) -> dict[str, Any]:
    for name in _list_reserved(extra):
        raise BadRequestError(_("stripe_params: %s is decided by the ledger.") % name)
    parameters = {
        "amount": payment.amount,
        "currency": payment.currency,
        "automatic_payment_methods": {"enabled": True},
        "capture_method": payment.capture_method,
        **extra,
    }
    metadata = {**payment.metadata, **extra.get("metadata", {})}
    free = {key: value for key, value in metadata.items() if key not in PAYMENT_METADATA_KEYS}
    return parameters | {"metadata": free | describe_payment(payment)}


def _list_reserved(extra: Mapping[str, Any]) -> Iterator[str]:
    yield from sorted((LEDGER_PARAMS | CALL_OPTIONS) & extra.keys())
    for key in PAYMENT_METADATA_KEYS:
        if key in extra.get("metadata", {}):
            yield f"metadata.{key}"
    for method, options in extra.get("payment_method_options", {}).items():
        if "capture_method" in options:
            yield f"payment_method_options.{method}.capture_method"


def _get_fingerprint(payment: Payment, *, uuid: uuids.UUID | None, extra: Mapping[str, Any] | None) -> str:
    # Neither a price nor a choice of account that the host has changed since makes it another request.
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


def _reserve_payment(
    payment: Payment, *, parameters: dict[str, Any], caller: Caller
) -> tuple[Payment, StripeRequest | None]:
    """Put the payment and its request on record, or return what the same create put there before."""
    try:
        with write_transaction():
            Payment.ledger.insert(payment)
            request = open_request(payment, StripeRequest.Kind.CREATE, parameters=parameters)
            insert_new_key(caller, payment=payment, fingerprint=payment.request_fingerprint)
    except IntegrityError:
        earlier = _get_reserved_payment(payment, caller=caller)
        if earlier is None:
            raise
        return _get_creation(earlier)
    return payment, request


def _get_reserved_payment(payment: Payment, *, caller: Caller) -> Payment | None:
    fingerprint = payment.request_fingerprint
    key = get_key(caller, fingerprint=fingerprint)
    if key:
        return key.payment
    earlier = Payment.ledger.filter(uuid=payment.uuid).first()
    if earlier is None:
        return None
    if (earlier.request_fingerprint, earlier.owner) != (fingerprint, caller.owner):
        raise IdempotencyError(_("This key or uuid was used with other parameters."))
    with lock_payment(earlier) as locked:
        claim_key(caller, payment=locked, fingerprint=fingerprint)
    return earlier


def _get_creation(payment: Payment) -> tuple[Payment, StripeRequest | None]:
    """Return the payment and the creation that a repeat waits for; one that Stripe refused is asked anew.

    What Stripe objected to may have been put right, in its dashboard for instance.
    """
    with lock_payment(payment) as locked:
        if locked.stripe_payment_intent_id or locked.intent_status == "canceled":
            return locked, None
        request = get_open_request(locked, StripeRequest.Kind.CREATE)
        if request is None:
            refused = locked.stripe_requests.using(Payment.ledger.database)
            last = refused.filter(kind=StripeRequest.Kind.CREATE).latest("pk")
            request = open_request(locked, StripeRequest.Kind.CREATE, parameters=last.parameters)
    return locked, request


def _obtain_secret(payment: Payment, request: StripeRequest | None) -> CreatedPayment:
    if request:
        performed = perform_request(request, is_new=not request.attempts)
        payment, snapshot = performed.payment, performed.snapshot
    else:
        snapshot = stripe_client.retrieve_payment_intent(payment)
        payment = _apply_intent(payment, snapshot)
    if not isinstance(snapshot, PaymentIntentSnapshot) or payment.stripe_payment_intent_id != snapshot.id:
        raise PaymentMismatchError(_("Stripe's intent is not what was asked for."))
    return CreatedPayment(payment, snapshot.client_secret)


def _refresh(payment: Payment) -> Payment:
    """Return the payment as Stripe says it stands; one whose creation Stripe refused stays as it is."""
    payment = _finish_creation(payment)
    if not payment.stripe_payment_intent_id:
        return payment
    return _apply_intent(payment, stripe_client.retrieve_payment_intent(payment))


def _finish_creation(payment: Payment) -> Payment:
    """Perform the creation that has no answer yet, if there is one."""
    if payment.stripe_payment_intent_id:
        return payment
    request = get_open_request(payment, StripeRequest.Kind.CREATE)
    if request:
        return perform_request(request).payment
    return Payment.ledger.get(pk=payment.pk)


def _apply_intent(payment: Payment, snapshot: PaymentIntentSnapshot) -> Payment:
    with lock_payment(payment) as locked:
        apply_payment_intent(locked, snapshot)
    return locked


def _reserve_capture(
    payment: Payment, *, amount: int | None, caller: Caller
) -> tuple[Payment, StripeRequest | None]:
    with lock_payment(payment) as locked:
        fingerprint = hash_request({"capture": locked.pk, "amount": amount})
        claim_key(caller, payment=locked, fingerprint=fingerprint)
        if locked.intent_status == "succeeded" and amount in {None, locked.amount_received}:
            return locked, None
        if locked.status != Payment.Status.AUTHORIZED:
            raise UnprocessableError(_("Only an authorized payment can be captured."))
        wanted = amount or locked.amount_capturable
        _check_capture(locked, wanted)
        open_capture = get_open_request(locked, StripeRequest.Kind.CAPTURE)
        if open_capture is None:
            parameters = {"amount_to_capture": wanted, "expand": [stripe_client.EXPAND_REFUNDS]}
            open_capture = open_request(locked, StripeRequest.Kind.CAPTURE, parameters=parameters)
        elif open_capture.parameters["amount_to_capture"] != wanted:
            raise UnprocessableError(_("A capture of another amount is under way."))
    return locked, open_capture


def _check_capture(payment: Payment, wanted: int) -> None:
    if wanted > payment.amount_capturable:
        raise UnprocessableError(_("The amount is more than was authorized."), amount=wanted)
    if wanted < payment.amount and isinstance(payment.payable, PricedPayable):
        raise UnprocessableError(_("The amount is less than the price."), amount=wanted)


def _reserve_cancellation(payment: Payment, *, caller: Caller) -> tuple[Payment, StripeRequest | None]:
    with lock_payment(payment) as locked:
        claim_key(caller, payment=locked, fingerprint=hash_request({"cancel": locked.pk}))
        if locked.intent_status == "canceled":
            return locked, None
        if locked.intent_status == "succeeded":
            raise UnprocessableError(_("The payment is paid; refund it instead."))
        if not locked.stripe_payment_intent_id:
            with saving_changes(locked):
                locked.cancel_unasked()
            return locked, None
        open_cancellation = get_open_request(locked, StripeRequest.Kind.CANCEL)
        request = open_cancellation or open_request(locked, StripeRequest.Kind.CANCEL, parameters={})
    return locked, request
