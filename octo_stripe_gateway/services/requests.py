"""Asking Stripe: every request is recorded first, and one function performs every kind.

A service opens a request in the transaction that reserves the money for it, and commits. Then the request is
performed: Stripe is called with its idempotency key, the payment locked, the answer applied, the request
closed. A crash at any point leaves an open request, which `resume_request` performs again.
"""

from __future__ import annotations

import datetime as dt
import uuid as uuids
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from django.db.models import F
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import (
    IdempotencyError,
    StripeError,
    StripeKeyUsedError,
    StripeRefusedError,
    StripeUnavailableError,
)
from octo_stripe_gateway.ledger.facts import ABANDONED, MADE_ELSEWHERE
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import IdempotencyKey, Payment, PaymentChange, Refund, StripeRequest
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.idempotency import Caller
from octo_stripe_gateway.services.request_kinds import (
    KINDS,
    DoneElsewhereError,
    RequestKind,
    Snapshot,
    retrieve_intent,
)
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.client import Answer
from octo_stripe_gateway.stripe.snapshots import PaymentIntentSnapshot, RefundSnapshot

# Stripe may know a key for this long; it promises a day.
KEY_MEMORY = dt.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Performed:
    """A request that Stripe answered: the payment as it is now, what Stripe said, and the refund, if any."""

    payment: Payment
    snapshot: Snapshot | None
    refund: Refund | None = None


def open_request(
    payment: Payment,
    kind: StripeRequest.Kind,
    *,
    parameters: dict[str, Any],
    refund: Refund | None = None,
    uuid: uuids.UUID | None = None,
    key_version: int = 0,
) -> StripeRequest:
    """Record, in the caller's transaction, what will be asked of Stripe; `uuid` and version make its key."""
    request = StripeRequest(
        payment=payment, kind=kind, parameters=parameters, refund=refund, key_version=key_version
    )
    request.uuid = uuid or request.uuid
    StripeRequest.ledger.insert(request)
    return request


def get_open_request(payment: Payment, kind: StripeRequest.Kind) -> StripeRequest | None:
    """Return the payment's unanswered request of this kind, the oldest where there are several."""
    requests = StripeRequest.ledger.list_by(payment_id=payment.pk, kind=kind, state=StripeRequest.State.OPEN)
    for request in sorted(requests, key=lambda each: each.pk):
        request.payment = payment
        return request
    return None


def open_keyed_request(
    payment: Payment, kind: StripeRequest.Kind, *, parameters: dict[str, Any], caller: Caller
) -> StripeRequest:
    """Record a request whose key follows from the caller's; after a refusal, the next one that does."""
    uuid = caller.derive_uuid(kind)
    earlier = StripeRequest.ledger.list_by(payment_id=payment.pk, uuid=uuid) if uuid else []
    version = 1 + max((each.key_version for each in earlier), default=-1)
    return open_request(payment, kind, parameters=parameters, uuid=uuid, key_version=version)


def perform_request(
    request: StripeRequest, *, is_new: bool = False, lost_since: dt.datetime | None = None
) -> Performed:
    """Call Stripe for an open request, apply the answer and close the request.

    With `lost_since` the same may have been asked for from then on, and the row been lost. Raises
    IdempotencyError if that was for something else, and StripeError: StripeRefusedError releases what was
    reserved; after any other the request stays open.

    The key changes only after Stripe replays an error: before that, a new key could run the work twice. The
    work may exist already, so it is looked for first.
    """
    looks_first = KINDS[request.kind].looks_first or request.key_version
    looks = request.may_be_forgotten or (bool(looks_first) and not is_new)
    with acting(request_id=request.pk):
        try:
            regained = _regain(request, since=lost_since) if lost_since else None
            return regained or _find_or_send(request, looks=looks, is_new=is_new)
        except StripeKeyUsedError:
            regained = _regain(request, since=request.created_at - KEY_MEMORY)
            if regained or is_new:
                return regained or _forget(request)
            raise
        except StripeUnavailableError as error:
            if not error.replayed:
                raise
        # By one, even if several processes do so at once.
        same = StripeRequest.ledger.filter(pk=request.pk, key_version=request.key_version)
        same.update(key_version=F("key_version") + 1)
        request.key_version += 1
        return _find_or_send(request, looks=True)


def resume_request(request: StripeRequest) -> Payment:
    """Perform an open request again, or abandon one that nobody waits for any more; raises StripeError."""
    kind = KINDS[request.kind]
    if not kind.is_wanted(request):
        with acting(request_id=request.pk):
            found = _get_done(request, kind)
            if found:
                return _close_done(request, found, None).payment
            return _close_failed(request, ABANDONED, "", state=StripeRequest.State.ABANDONED)
    return perform_request(request).payment


def finish_creation(payment: Payment) -> Payment:
    """Perform the creation that has no answer yet, if there is one; raises StripeError."""
    if payment.stripe_payment_intent_id:
        return payment
    request = get_open_request(payment, StripeRequest.Kind.CREATE)
    if request:
        return perform_request(request).payment
    return Payment.ledger.get(pk=payment.pk)


def _regain(request: StripeRequest, *, since: dt.datetime) -> Performed | None:
    """Find at Stripe what a request with the same key had asked for, before its row was lost."""
    kind = KINDS[request.kind]
    found = kind.get_done(request, since=since)
    if found is None:
        return None
    if not kind.is_same(request, found):
        return _forget(request)
    return _close_done(request, found, None, is_regained=True)


def _forget(request: StripeRequest) -> NoReturn:
    """Delete what was reserved for a request whose key stands for another one: Stripe was never asked."""
    _close_failed(request, "idempotency_error", "", state=StripeRequest.State.FAILED)
    with lock_payment(request.payment) as payment:
        StripeRequest.ledger.filter(pk=request.pk).delete()
        IdempotencyKey.ledger.filter(payment=payment, refund=request.refund).delete()
        if request.refund_id:
            Refund.ledger.filter(pk=request.refund_id).delete()
        elif request.kind == StripeRequest.Kind.CREATE:
            PaymentChange.ledger.filter(payment=payment).delete()
            payment.delete()
    raise IdempotencyError(_("This key or uuid was used with other parameters."))


def _find_or_send(request: StripeRequest, *, looks: bool, is_new: bool = False) -> Performed:
    kind = KINDS[request.kind]
    found = _get_done(request, kind) if looks else None
    if found:
        return _close_done(request, found, None)
    try:
        answer = stripe_client.post(
            kind.get_path(request),
            origin=request.payment.origin,
            parameters=request.parameters,
            idempotency_key=request.idempotency_key,
        )
    except StripeRefusedError as error:
        return _close_refused(request, kind, error)
    except StripeError as error:
        _record_error(request, error)
        raise
    snapshot = kind.read(request, answer)
    if is_new and answer.replayed and isinstance(snapshot, PaymentIntentSnapshot):
        # What is new here was answered before: the row was lost, and the customer may have paid since.
        origin = request.payment.origin
        snapshot = stripe_client.retrieve_payment_intent(snapshot.id, origin=origin)
        return _close_done(request, snapshot, answer, is_regained=True)
    return _close_done(request, snapshot, answer)


def _get_done(request: StripeRequest, kind: RequestKind) -> Snapshot | None:
    try:
        return kind.get_done(request)
    except DoneElsewhereError:
        _close_failed(request, MADE_ELSEWHERE, "", state=StripeRequest.State.ABANDONED)
        # The caller hears of the refusal in any case; maintenance looks again.
        with suppress(StripeError):
            snapshot = retrieve_intent(request)
            with lock_payment(request.payment) as payment:
                record(payment, snapshot, ask=ask_host)
        raise


def _close_done(
    request: StripeRequest, snapshot: Snapshot, answer: Answer | None, *, is_regained: bool = False
) -> Performed:
    refund = None
    with lock_payment(request.payment) as payment:
        kind = KINDS[request.kind]
        fact = kind.regain(request, snapshot) if is_regained else kind.get_fact(snapshot)
        rows = record(payment, fact, ask=ask_host)
        if isinstance(snapshot, RefundSnapshot):
            refund = next((each for each in rows.refunds or () if each.stripe_refund_id == snapshot.id), None)
        request.close(StripeRequest.State.DONE)
        if answer:
            request.record_answer(http_status=answer.http_status, request_id=answer.request_id)
        StripeRequest.ledger.save_changed(request, names=StripeRequest.ANSWER_COLUMNS)
    return Performed(payment, snapshot, refund)


def _close_refused(request: StripeRequest, kind: RequestKind, error: StripeRefusedError) -> Performed:
    """Take as done what Stripe refuses because it is done already; release the rest, and raise the error.

    Where Stripe doesn't say how the intent stands, nothing is decided, and the request stays open.
    """
    _record_error(request, error)
    snapshot = None
    if request.payment.stripe_payment_intent_id:
        with suppress(StripeRefusedError):
            snapshot = retrieve_intent(request)
    if snapshot and kind.is_done(request, snapshot):
        return _close_done(request, snapshot, None)
    code, message = error.stripe_code or "refused", error.stripe_message
    payment = _close_failed(request, code, message, state=StripeRequest.State.FAILED)
    if snapshot:
        with lock_payment(payment) as locked:
            record(locked, snapshot, ask=ask_host)
    raise error


def _close_failed(request: StripeRequest, code: str, message: str, *, state: StripeRequest.State) -> Payment:
    with lock_payment(request.payment) as payment:
        request.close(state)
        still_open = StripeRequest.ledger.filter(pk=request.pk, state=StripeRequest.State.OPEN)
        if still_open.update(state=state, answered_at=request.answered_at):
            release = KINDS[request.kind].get_release(request, code=code, message=message)
            if release:
                record(payment, release)
    return payment


def _record_error(request: StripeRequest, error: StripeError) -> None:
    request.record_answer(
        http_status=error.http_status, request_id=error.request_id, error_code=error.stripe_code
    )
    StripeRequest.ledger.filter(pk=request.pk).update(
        http_status=request.http_status,
        stripe_request_id=request.stripe_request_id,
        error_code=request.error_code,
        attempts=F("attempts") + 1,
    )
