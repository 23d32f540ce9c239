"""Giving money back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from django.db import transaction
from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    GatewayError,
    IdempotencyError,
    PaymentMismatchError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.ledger.facts import Forgiven, PartRefused, RefundReserved, ReversalFailed
from octo_stripe_gateway.ledger.load import load, lock_payment
from octo_stripe_gateway.ledger.rules import may_reverse
from octo_stripe_gateway.ledger.transactions import outside_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import (
    Dispute,
    IdempotencyKey,
    Installation,
    Payment,
    Refund,
    StripeRequest,
    identify,
)
from octo_stripe_gateway.models.families import name_payable
from octo_stripe_gateway.services.dues import measure_forgiven
from octo_stripe_gateway.services.idempotency import (
    ANYONE,
    Caller,
    check_request,
    claim_key,
    get_key,
    hash_request,
)
from octo_stripe_gateway.services.requests import Performed, get_open_request, open_request, perform_request
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.currencies import check_amount, read_amount
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.stripe.snapshots import (
    INSTALLATION_METADATA_KEY,
    REFUND_METADATA_KEY,
    REQUEST_METADATA_KEY,
)

logger = get_logger(__name__)


class Asked(NamedTuple):
    """What is asked for of a refund; without an amount it is for all that is left."""

    amount: int | None
    reason: str
    due_again: bool
    reverse_transfer: bool | None
    refund_application_fee: bool | None

    def hash(self, **subject: Any) -> str:
        """Return a fingerprint that differs for any other request about the same subject."""
        return hash_request({**subject, **self._asdict()})


@outside_transaction
def refund_payment(
    payment: Payment,
    *,
    amount: int | None = None,
    reason: str = "",
    due_again: bool = False,
    reverse_transfer: bool | None = None,
    refund_application_fee: bool | None = None,
    caller: Caller = ANYONE,
) -> Payment:
    """Refund money that is held: the amount in minor units, or all of what is left.

    Its payable doesn't owe the amount again, unless `due_again`. With Stripe Connect the
    seller's transfer is reversed and the application fee returned in proportion, unless the settings or these
    arguments say otherwise. Stripe's rules: https://docs.stripe.com/refunds. Raises BadRequestError,
    UnprocessableError, IdempotencyError, PaymentMismatchError, StripeError.
    """
    if amount is not None:
        amount = read_amount(amount, source="refund_payment")
        check_amount(amount, currency=payment.currency)
    asked = Asked(
        amount,
        reason=reason,
        due_again=due_again,
        reverse_transfer=reverse_transfer,
        refund_application_fee=refund_application_fee,
    )
    return _refund(payment, asked, caller=caller, fingerprint=asked.hash(refund=payment.uuid))


def _refund(payment: Payment, asked: Asked, *, caller: Caller, fingerprint: str) -> Payment:
    stripe_client.get_account(payment.account)
    refund, request, is_new = _reserve_refund(payment, asked, caller=caller, fingerprint=fingerprint)
    lost_since = None
    if is_new and caller.idempotency_key:
        installation = Installation.ledger.get_own()
        lost_since = installation.lost_since if installation.may_lack_rows else None
    performed = (
        perform_request(request, is_new=is_new, lost_since=lost_since)
        if request
        else Performed(refund.payment, None, refund)
    )
    # Stripe's answer wasn't about this refund, so another process may have written its row: read it anew.
    refund = performed.refund if performed.refund == refund else Refund.ledger.get_by_pk(refund.pk)
    if refund.is_reserved:
        raise PaymentMismatchError(_("Stripe's refund is not what was asked for."))
    if refund.status == "failed":
        raise UnprocessableError(_("The refund failed: %s") % refund.failure_reason)
    return performed.payment


@outside_transaction
def refund_payable(
    payable: Any,
    *,
    amount: int | None = None,
    reason: str = "",
    due_again: bool = False,
    reverse_transfer: bool | None = None,
    refund_application_fee: bool | None = None,
    caller: Caller = ANYONE,
) -> list[Payment]:
    """Refund a payable's payments, the latest first: the amount in minor units, or all that is held.

    Safe to repeat: without an amount, unanswered refunds are sent again; with one, use the same idempotency
    key, so that earlier refunds count towards it. Returns the payments that were refunded. Raises
    UnprocessableError if less is held, and what `refund_payment` raises; a refusal of one payment is raised
    after the others are refunded. Stripe refunds no more than a payment received:
    https://docs.stripe.com/refunds.
    """
    payments = [each for each in reversed(Payment.ledger.list_of_payable(payable)) if each.amount_received]
    # Disputed payments come last: their refund is refused, and the rest must go back before that.
    payments.sort(key=lambda each: each.refunds_blocked)
    if amount is not None:
        amount = read_amount(amount, source="refund_payable")
        for currency in {each.currency for each in payments}:
            # Checked before any is refunded, since the amount is divided among them.
            check_amount(amount, currency=currency)
    asked = Asked(
        amount,
        reason=reason,
        due_again=due_again,
        reverse_transfer=reverse_transfer,
        refund_application_fee=refund_application_fee,
    )
    payable_type, key = identify(payable)
    fingerprint = asked.hash(payable=name_payable(payable_type.pk, key))
    before = {
        each.pk: _get_refunded_by(_get_caller_for(caller, each), each, fingerprint=fingerprint)
        for each in payments
    }
    counted = (each for each in payments if amount is None or not each.refunds_blocked)
    refundable = sum(each.amount_refundable for each in counted)
    left = refundable if amount is None else amount - sum(known.amount for known in before.values() if known)
    if left > refundable:
        raise UnprocessableError(_("The amount is more than is left to refund."), amount=amount)
    refunded, refused = [], []
    for payment in payments:
        known = before[payment.pk]
        part = known.amount if known else min(left, payment.amount_refundable)
        if part:
            left -= 0 if known else part
            keyed = _get_caller_for(caller, payment)
            asked_here = asked._replace(amount=part)
            try:
                refunded.append(_refund(payment, asked_here, caller=keyed, fingerprint=fingerprint))
            except (StripeRefusedError, UnprocessableError) as error:
                refused.append(error)
                # Only Stripe's words: ours are in the caller's language.
                words = error.stripe_message if isinstance(error, StripeRefusedError) else ""
                with lock_payment(payment) as locked:
                    record(locked, PartRefused(part, message=words or error.code))
        elif amount is None and payment.amount_reserved:
            # A refund that another caller asked for is theirs to repeat.
            with suppress(UnprocessableError):
                refunded.append(refund_payment(payment, reason=reason, due_again=due_again))
    if refused:
        raise refused[0]
    return refunded


def forgive(part: Refund | Dispute, *, amount: int) -> Payment:
    """Set how much of a refund or lost dispute is not owed again, in minor units, and return its payment.

    Raises UnprocessableError unless it is between nothing and the whole.
    """
    if not 0 <= amount <= part.amount:
        raise UnprocessableError(_("The amount is more than went back."), amount=amount)
    with lock_payment(part.payment) as locked:
        record(locked, Forgiven(part, amount=amount))
    return locked


def _get_caller_for(caller: Caller, payment: Payment) -> Caller:
    key = caller.idempotency_key and f"{caller.idempotency_key}/{payment.uuid}"
    return Caller(caller.owner, key)


def _get_refunded_by(caller: Caller, payment: Payment, *, fingerprint: str) -> Refund | None:
    """Return the payment's refund that the caller's key stands for; raises IdempotencyError as `claim_key`.

    If the key's row is lost, the uuid derived from the key finds a refund that came back from Stripe.
    """
    key = get_key(caller, fingerprint=fingerprint)
    if key and key.refund:
        return key.refund
    uuid = caller.derive_uuid("refund")
    refund = Refund.ledger.get_by(uuid=uuid, payment_id=payment.pk) if uuid else None
    if refund:
        refund.payment = payment
        check_request(refund.request_fingerprint, fingerprint)
    return refund


@outside_transaction
def void_or_refund(payment: Payment) -> Payment:
    """Return a rejected payment's money: void what is authorized, refund what is held.

    May be repeated until nothing is held. Stripe's rules: https://docs.stripe.com/refunds. Raises
    StripeError.
    """
    stripe_client.get_account(payment.account)
    with lock_payment(payment) as locked:
        if not may_reverse(load(locked, RefundReserved)):
            return locked
        request = None
        if locked.intent_status != "requires_capture":
            request = get_open_request(locked, StripeRequest.Kind.REFUND)
            if request is None and not locked.is_refundable:
                return locked
        request = request or open_reversal(locked)
    return perform_request(request).payment


def reverse_rejected(payment: Payment) -> Payment:
    """Return a rejected payment's money now if Stripe lets us; otherwise maintenance tries again."""
    try:
        return void_or_refund(payment)
    except GatewayError:
        message = "[OctoStripeGateway] The money of rejected payment %s is not returned yet"
        logger.exception(message, payment.uuid)
    with lock_payment(payment) as locked:
        record(locked, ReversalFailed())
    return locked


def _reserve_refund(
    payment: Payment, asked: Asked, *, caller: Caller, fingerprint: str
) -> tuple[Refund, StripeRequest | None, bool]:
    """Return the refund, the request that has to be performed for it, and whether that is new."""
    with lock_payment(payment) as locked:
        known = _get_refunded_by(caller, locked, fingerprint=fingerprint)
        if known:
            return known, _get_request(known), False
        refunds = _list_refunds(locked)
        earlier = _pick_unanswered(locked, asked, refunds=refunds, caller=caller)
        if earlier:
            return earlier, _get_request(earlier), False
        wanted = locked.amount_refundable if asked.amount is None else asked.amount
        _check_refundable(locked, wanted)
        refund = Refund(payment=locked, amount=wanted, reason=asked.reason, request_fingerprint=fingerprint)
        refund.amount_forgiven = 0
        if locked.payable_type_id and not asked.due_again:
            try:
                with transaction.atomic(using=Payment.ledger.database):
                    refund.amount_forgiven = measure_forgiven(locked, wanted)
            except Exception:
                # Upkeep asks again what is forgiven, once the price can be told.
                logger.exception("[OctoStripeGateway] What a refund of %s forgives can't be told", locked)
                refund.amount_forgiven = None
        refund.uuid = caller.derive_uuid("refund") or refund.uuid
        if caller.idempotency_key and not Refund.ledger.insert(refund, or_ignore=True):
            # Another call has just used this key for a refund of another payment.
            raise IdempotencyError(_("This key or uuid was used with other parameters."))
        request = _open_refund(refund, refunds=refunds, asked=asked)
        claim_key(caller, payment=locked, fingerprint=fingerprint, refund=refund)
    return refund, request, True


def _check_refundable(payment: Payment, wanted: int) -> None:
    """Refuse more than is left to refund."""
    if payment.refunds_blocked:
        raise UnprocessableError(_("The payment is disputed: Stripe takes no refund until that is decided."))
    if payment.intent_status != "succeeded":
        raise UnprocessableError(_("The payment is not paid, so there is nothing to refund."))
    if payment.amount_lost and not payment.amount_refundable:
        raise UnprocessableError(_("Nothing is left to refund: a dispute was lost."))
    if payment.amount_kept and not payment.amount_refundable:
        raise UnprocessableError(_("The cancellation terms keep what is left: waive them to refund it."))
    if not payment.amount_refundable:
        raise UnprocessableError(_("All of the payment is refunded, or being refunded, already."))
    if wanted > payment.amount_refundable:
        raise UnprocessableError(_("The amount is more than is left to refund."), amount=wanted)


def open_reversal(payment: Payment, *, reason: str = "") -> StripeRequest:
    """Open the request that voids or refunds what is left of a locked, reversible payment.

    This forgives nothing: the payable owes the amount again.
    """
    if payment.intent_status == "requires_capture":
        unanswered = get_open_request(payment, StripeRequest.Kind.CANCEL)
        parameters = {"cancellation_reason": reason} if reason else {}
        return unanswered or open_request(payment, StripeRequest.Kind.CANCEL, parameters=parameters)
    refund = Refund(payment=payment, amount=payment.amount_refundable, reason=reason, amount_forgiven=0)
    return _open_refund(refund, refunds=_list_refunds(payment))


def _list_refunds(payment: Payment) -> list[Refund]:
    """Return a locked payment's refunds, without a query where its totals say that none counts."""
    return Refund.ledger.list_of(payment) if payment.has_refunds_that_count else []


def _open_refund(refund: Refund, *, refunds: list[Refund], asked: Asked | None = None) -> StripeRequest:
    """Reserve an amount of a locked payment for a new refund, and put the request for it on record."""
    payment = refund.payment
    metadata = {
        REFUND_METADATA_KEY: str(refund.uuid),
        INSTALLATION_METADATA_KEY: Installation.ledger.get_own().name,
        REQUEST_METADATA_KEY: refund.request_fingerprint,
    }
    parameters = {
        "payment_intent": payment.intent_id,
        "amount": refund.amount,
        "metadata": {name: value for name, value in metadata.items() if value},
        **({"reason": refund.reason} if refund.reason else {}),
        **_follow_charge(payment, asked),
    }
    record(payment, RefundReserved(refund), refunds=refunds)
    return open_request(
        payment, StripeRequest.Kind.REFUND, parameters=parameters, refund=refund, uuid=refund.uuid
    )


def _follow_charge(payment: Payment, asked: Asked | None) -> dict[str, bool]:
    """Return a refund's parameters for Stripe Connect, by how its payment was charged."""
    reverses = asked.reverse_transfer if asked else None
    returns = asked.refund_application_fee if asked else None
    wanted = {
        "reverse_transfer": gateway_settings.reverse_transfers if reverses is None else reverses,
        "refund_application_fee": gateway_settings.refund_application_fees if returns is None else returns,
    }
    charged = {
        "reverse_transfer": "transfer_data" in payment.connect,
        "refund_application_fee": "application_fee_amount" in payment.connect,
    }
    return {name: True for name, is_wanted in wanted.items() if is_wanted and charged[name]}


def _get_request(refund: Refund) -> StripeRequest | None:
    """Return the unanswered request of a refund."""
    requests = StripeRequest.ledger.open_of(refund.payment).filter(refund=refund)
    request = requests.first() if refund.is_reserved else None
    if request:
        request.payment, request.refund = refund.payment, refund
    return request


def _pick_unanswered(
    payment: Payment, asked: Asked, *, refunds: list[Refund], caller: Caller
) -> Refund | None:
    """Return the unanswered refund that a call without a key repeats."""
    if caller.idempotency_key or (asked.amount is None and payment.amount_refundable):
        return None
    for refund in refunds:
        same = refund.is_reserved and refund.reason == asked.reason and asked.amount in {None, refund.amount}
        if same and not IdempotencyKey.ledger.filter(refund=refund).exists():
            return refund
    return None
