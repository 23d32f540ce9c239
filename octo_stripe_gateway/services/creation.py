"""Creating a payment and its PaymentIntent; of a priced payable, for what is due."""

from __future__ import annotations

import datetime as dt
import uuid as uuids
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError
from django.db.models import Model
from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    ConfigurationError,
    OperationInProgressError,
    PaymentMismatchError,
    StripeAuthenticationError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.ledger.facts import AdoptionConfirmed, AmountRequested, OpenElsewhere
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.transactions import outside_transaction, running_host, write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import (
    Installation,
    Payment,
    StripeRequest,
    get_deadline,
    get_price,
    has_deadline,
    is_priced,
    resolve,
)
from octo_stripe_gateway.models.families import name_payable
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.dues import Quote, check_deadline, quote_payment
from octo_stripe_gateway.services.idempotency import (
    ANYONE,
    Caller,
    check_request,
    claim_key,
    get_key,
    hash_request,
    insert_key,
)
from octo_stripe_gateway.services.intent_parameters import (
    check_metadata,
    check_parameters,
    get_intent_parameters,
)
from octo_stripe_gateway.services.payments import cancel_payment
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.services.requests import (
    finish_creation,
    get_open_request,
    open_request,
    perform_request,
)
from octo_stripe_gateway.services.syncing import sync_intent
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.currencies import check_amount, read_amount
from octo_stripe_gateway.stripe.environments import check_livemode
from octo_stripe_gateway.stripe.origin import choose_account
from octo_stripe_gateway.stripe.snapshots import CONNECT, PaymentIntentSnapshot


@dataclass(frozen=True, slots=True)
class CreatedPayment:
    """A payment with the secret that the customer's browser needs, which is never stored."""

    payment: Payment
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """A payment that is about to be put on record, and what was asked for it."""

    payment: Payment
    installation: Installation
    amount: int | None
    purpose: str
    extra: Mapping[str, Any]
    has_uuid: bool

    def follow(self, quote: Quote) -> None:
        """Set on the payment what its payable asks for."""
        payment = self.payment
        payment.amount, payment.currency = quote.amount, quote.currency
        payment.purpose, payment.expires_at = quote.purpose, quote.deadline


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
    description: str = "",
    receipt_email: str = "",
    statement_descriptor_suffix: str = "",
    stripe_params: Mapping[str, Any] | None = None,
    stripe_account: str = "",
    livemode: bool | None = None,
    purpose: str = "",
    caller: Caller = ANYONE,
) -> CreatedPayment:
    """Create a payment and its PaymentIntent; the amount is in Stripe's minor unit.

    A priced payable sets amount and currency: `purpose` is the installment to pay, or `full`; by default the
    next that is due. If the owner has an open payment for it, that is returned or, with a new `uuid`,
    replaced. `stripe_params` go to Stripe as they are, and so do the three that have names here; those that
    the ledger decides are refused. `livemode` insists on real money, or on none. What Stripe takes:
    https://docs.stripe.com/api/payment_intents/create. Raises BadRequestError, ConfigurationError,
    EnvironmentMismatchError, UnprocessableError, IdempotencyError, PaymentMismatchError, StripeError, and
    ValueError if the payable is not saved.
    """
    amount = None if amount is None else read_amount(amount, source="create_payment")
    installation = Installation.ledger.get_own()
    if payable is not None:
        if payable.pk is None:
            raise ValueError("The payable is not saved, so no payment can refer to it.")
        payable = resolve(payable)
    currency, priced = currency.lower(), is_priced(payable)
    if priced:
        price_currency = get_price(payable)[1]
        if currency not in {"", price_currency}:
            raise UnprocessableError(_("The amount is not the price."), currency=currency)
        currency = price_currency
    if priced and capture_method != Payment.CaptureMethod.AUTOMATIC:
        allowed = getattr(payable, "allows_manual_capture", False)
        # A hold confirms nothing. A method that isn't called would count as a yes.
        if not (allowed() if callable(allowed) else allowed):
            raise UnprocessableError(_("This can't be authorized only: it has to be paid."))
    payment = Payment(
        uuid=uuid or caller.derive_uuid("create", installation=installation) or uuids.uuid4(),
        amount=amount or 0,
        currency=currency or gateway_settings.currency,
        payable=payable,
        capture_method=capture_method,
        purpose=purpose,
        metadata=check_metadata(metadata or {}),
        reseller_reference=reseller_reference,
        stripe_account=stripe_account,
        owner=caller.owner,
    )
    named = {
        "description": description,
        "receipt_email": receipt_email,
        "statement_descriptor_suffix": statement_descriptor_suffix,
    }
    given = {**(stripe_params or {}), **{name: value for name, value in named.items() if value}}
    extra = check_parameters(given, metadata=payment.metadata)
    payment.connect = {name: extra[name] for name in CONNECT if extra.get(name)}
    asked = {
        "uuid": uuid,
        # If the host has changed the price or the account since, it is still the same request.
        "amount": None if priced else payment.amount,
        "currency": None if priced else payment.currency,
        "payable": name_payable(payment.payable_type_id, payment.payable_id),
        "capture_method": capture_method,
        "purpose": purpose,
        "metadata": payment.metadata,
        "reseller_reference": reseller_reference,
        "stripe_params": extra,
        "stripe_account": stripe_account,
    }
    payment.request_fingerprint = hash_request(asked)
    payment.account, payment.stripe_account = choose_account(payment)
    payment.livemode = stripe_client.get_account(payment.account).livemode
    check_livemode(livemode, livemode=payment.livemode)
    draft = Draft(
        payment,
        installation=installation,
        amount=amount,
        purpose=purpose,
        extra=extra,
        has_uuid=uuid is not None,
    )
    payment, request = _reserve_payment(draft, caller=caller)
    is_named = draft.has_uuid or bool(caller.idempotency_key)
    lost_since = installation.lost_since if is_named and installation.may_lack_rows else None
    return _obtain_secret(payment, request, lost_since=lost_since)


def _reserve_payment(draft: Draft, *, caller: Caller) -> tuple[Payment, StripeRequest | None]:
    """Record the payment and its request, or return those that the same create recorded before."""
    if is_priced(draft.payment.payable):
        return _reserve_priced(draft, caller=caller)
    check_amount(draft.payment.amount, currency=draft.payment.currency)
    try:
        with write_transaction():
            draft.payment.expires_at = get_deadline(draft.payment.payable)
            request = _insert(draft, caller=caller)
            with running_host():
                check_deadline(draft.payment.payable)
    except IntegrityError:
        earlier = _get_reserved_payment(draft, caller=caller)
        if earlier is None:
            raise
        return _get_creation(earlier)
    return draft.payment, request


def _reserve_priced(draft: Draft, *, caller: Caller) -> tuple[Payment, StripeRequest | None]:
    """Reserve for a priced payable: its open payment if that is for the same, or a new one in its place.

    Of several creates at once the last that is put on record stays, so that one can always be paid.
    """
    reuses, others = not draft.has_uuid, None
    while True:
        earlier = _get_reserved_payment(draft, caller=caller)
        if earlier:
            _follow_price(earlier, draft=draft)
            return _get_creation(earlier)
        try:
            with write_transaction():
                quote = quote_payment(draft.payment, amount=draft.amount, purpose=draft.purpose)
                same = quote.open_payment if reuses else None
                if same is None and (others is not None or not quote.others):
                    draft.follow(quote)
                    request = _insert(draft, caller=caller)
                    break
        except IntegrityError:
            # The same create came first, or it is an error of the host's own.
            if _get_reserved_payment(draft, caller=caller) is None:
                raise
            continue
        if same is None:
            others = quote.others
            for other in others:
                _give_way(other)
            continue
        open_payment = finish_creation(same)
        if _change_amount(open_payment, quote.amount):
            with lock_payment(open_payment) as locked:
                claim_key(caller, payment=locked, fingerprint=draft.payment.request_fingerprint)
            return _get_creation(locked)
        _give_way(open_payment)
        reuses = False
    for other in quote.others:
        with suppress(OperationInProgressError):
            # Whoever pays second gets the money back.
            _give_way(other)
    return draft.payment, request


def _insert(draft: Draft, *, caller: Caller) -> StripeRequest:
    """Insert payment, request and key; raises IntegrityError if the uuid or the key was used before."""
    payment = draft.payment
    if has_deadline(payment.payable):
        payment.plan_deadline()
    Payment.ledger.insert(payment)
    request = open_request(
        payment,
        StripeRequest.Kind.CREATE,
        parameters=get_intent_parameters(payment, extra=draft.extra, installation=draft.installation),
        uuid=draft.installation.derive("create", str(payment.uuid)),
    )
    if not insert_key(caller, payment=payment, fingerprint=payment.request_fingerprint):
        raise IntegrityError("The caller's key came before.")
    return request


def _follow_price(payment: Payment, *, draft: Draft) -> None:
    """Change the open payment of a repeated create to what is due now, or it would be rejected once paid.

    Raises UnprocessableError where Stripe refuses that.
    """
    if payment.is_open and payment.stripe_payment_intent_id:
        with write_transaction():
            quote = quote_payment(draft.payment, amount=draft.amount, purpose=payment.purpose)
        if not _change_amount(payment, quote.amount) and Payment.ledger.get_by_pk(payment.pk).is_open:
            raise UnprocessableError(_("The price has changed."), amount=quote.amount)


def _change_amount(payment: Payment, amount: int) -> bool:
    """Have Stripe change an open payment's amount; tells whether it is that now. Raises StripeError."""
    asked = None
    while asked != amount:
        with lock_payment(payment) as locked:
            if not locked.is_open or not locked.stripe_payment_intent_id:
                return False
            if locked.amount == locked.intent_amount == amount and locked.amount_requested is None:
                return True
            # An unanswered request for another amount comes first.
            request = get_open_request(locked, StripeRequest.Kind.UPDATE)
            if request is None:
                record(locked, AmountRequested(amount))
                request = open_request(locked, StripeRequest.Kind.UPDATE, parameters={"amount": amount})
        asked = request.parameters["amount"]
        try:
            changed = perform_request(request).payment
        except StripeRefusedError:
            return False
    return changed.amount == amount


def _give_way(payment: Payment) -> None:
    """Cancel an open payment so that a new one can replace it; if it was rejected, return its money.

    One that is being created gives way by itself. One whose account can't be asked any more is left to an
    operator. Raises OperationInProgressError where it is being paid, and StripeError.
    """
    payment = Payment.ledger.get(pk=payment.pk)
    if not payment.stripe_payment_intent_id:
        return
    try:
        payment = sync_intent(payment)
        if payment.needs_reversal:
            reverse_rejected(payment)
            return
        if payment.is_open:
            payment = cancel_payment(payment, may_void=False)
        elif request := get_open_request(payment, StripeRequest.Kind.CANCEL):
            # It was canceled by a request whose answer was lost.
            payment = perform_request(request).payment
    except UnprocessableError as error:
        raise OperationInProgressError(_("It is being paid already.")) from error
    except (ConfigurationError, StripeAuthenticationError):
        _leave_to_operator(payment)
    except StripeRefusedError as error:
        if not error.is_unknown:
            raise OperationInProgressError(_("It is being paid already.")) from error
        _leave_to_operator(payment)
    else:
        if payment.intent_status != "canceled":
            raise OperationInProgressError(_("It is being paid already."))


def _leave_to_operator(payment: Payment) -> None:
    """Call an operator for an open payment that can't be canceled: its account's key is gone."""
    with lock_payment(payment) as locked:
        record(locked, OpenElsewhere())


def _check_latest(payment: Payment) -> None:
    """Give way to a payment of the same owner that was put on record later, while this was created.

    Raises OperationInProgressError then.
    """
    if not (payment.is_open and is_priced(payment.payable)):
        return
    later = Payment.ledger.filter(
        payable_type=payment.payable_type_id,
        payable_id=payment.payable_id,
        owner=payment.owner,
        pk__gt=payment.pk,
        status__in=[Payment.Status.PENDING, Payment.Status.FAILED],
    )
    if any(each.is_open for each in later):
        _give_way(payment)
        raise OperationInProgressError(_("Another payment has replaced this one."))


def _get_reserved_payment(draft: Draft, *, caller: Caller) -> Payment | None:
    fingerprint = draft.payment.request_fingerprint
    key = get_key(caller, fingerprint=fingerprint)
    if key:
        return key.payment
    is_named = draft.has_uuid or caller.idempotency_key
    earlier = Payment.ledger.get_by(uuid=draft.payment.uuid) if is_named else None
    if earlier is None:
        return None
    check_request(f"{earlier.owner} {earlier.request_fingerprint}", f"{caller.owner} {fingerprint}")
    with lock_payment(earlier) as locked:
        claim_key(caller, payment=locked, fingerprint=fingerprint)
    return earlier


def _get_creation(payment: Payment) -> tuple[Payment, StripeRequest | None]:
    """Return the payment and its unanswered creation, if any; after a refusal, a new one.

    What Stripe objected to may have been fixed since, in its dashboard for instance.
    """
    with lock_payment(payment) as locked:
        if locked.stripe_payment_intent_id or locked.intent_status == "canceled":
            return locked, None
        request = get_open_request(locked, StripeRequest.Kind.CREATE)
        if request is None:
            asked = locked.stripe_requests.using(Payment.ledger.database)
            last = asked.filter(kind=StripeRequest.Kind.CREATE).latest("pk")
            if last.state == StripeRequest.State.DONE:
                # Its intent contradicts the row, and so would another.
                raise PaymentMismatchError(_("Stripe's intent is not what was asked for."))
            request = open_request(
                locked,
                StripeRequest.Kind.CREATE,
                parameters=last.parameters,
                uuid=last.uuid,
                key_version=last.key_version + 1,
            )
    return locked, request


def _obtain_secret(
    payment: Payment, request: StripeRequest | None, *, lost_since: dt.datetime | None
) -> CreatedPayment:
    if request:
        performed = perform_request(request, is_new=not request.attempts, lost_since=lost_since)
        payment, snapshot = performed.payment, performed.snapshot
        _check_latest(payment)
        asked = request.parameters["amount"]
        if payment.amount != asked and _change_amount(payment, asked):
            payment = Payment.ledger.get(pk=payment.pk)
    else:
        snapshot = stripe_client.retrieve_payment_intent(payment.intent_id, origin=payment.origin)
        with lock_payment(payment) as locked:
            record(locked, snapshot, ask=ask_host)
            if locked.awaits_operator and locked.is_open:
                # Whoever made it asks for it again, before it is paid.
                record(locked, AdoptionConfirmed())
        payment = locked
        if payment.is_open and payment.intent_amount != payment.amount:
            other = get_open_request(payment, StripeRequest.Kind.UPDATE)
            if other:
                # Another tab follows the price: Stripe has changed the amount, the row has not.
                _change_amount(payment, other.parameters["amount"])
            payment = Payment.ledger.get(pk=payment.pk)
    is_other_amount = payment.is_open and payment.intent_amount != payment.amount
    if not isinstance(snapshot, PaymentIntentSnapshot) or (
        payment.stripe_payment_intent_id != snapshot.id or is_other_amount
    ):
        raise PaymentMismatchError(_("Stripe's intent is not what was asked for."))
    return CreatedPayment(payment, snapshot.client_secret)
