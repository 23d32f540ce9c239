"""What differs between the kinds of requests: one class a kind."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.ledger.facts import (
    MADE_ELSEWHERE,
    AmountRefused,
    AmountTaken,
    CreationRefused,
    ExpiryDropped,
    RefundRefused,
    RefundRegained,
    Regained,
)
from octo_stripe_gateway.models import StripeRequest, get_deadline, has_deadline
from octo_stripe_gateway.models.refunds import DEAD_STATUSES
from octo_stripe_gateway.services.provenance import is_foreign
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.client import Answer
from octo_stripe_gateway.stripe.snapshots import REQUEST_METADATA_KEY, PaymentIntentSnapshot, RefundSnapshot

Snapshot = PaymentIntentSnapshot | RefundSnapshot
# Stripe's word for why an expired payment is canceled.
EXPIRY = "abandoned"
# Clocks differ: an intent is looked for this many seconds before and after its request.
LEEWAY = 300


class DoneElsewhereError(StripeRefusedError):
    """Somebody has done an unanswered request's work at Stripe by hand."""


class RequestKind:
    """A kind of request that changes an intent; the others override what differs.

    `path` is where it is posted to, `action` the end of that below the intent. `looks_first`: a repeat first
    checks whether Stripe has done the work. `repeats_late`: the work is still wanted after Stripe may have
    forgotten the key.
    """

    path = action = ""
    looks_first = False
    repeats_late = True

    def get_path(self, request: StripeRequest) -> str:
        """Return the path in Stripe's API that the request is posted to."""
        return self.path or stripe_client.get_intent_path(request.payment.intent_id) + self.action

    def read(self, request: StripeRequest, answer: Answer) -> Snapshot:
        """Return what Stripe answered; raises StripeError."""
        if answer.replayed:
            # A replay shows the charge as it was, without what was refunded since.
            return retrieve_intent(request)
        return PaymentIntentSnapshot.from_object(answer.stripe_object, as_of=answer.as_of)

    def get_done(self, request: StripeRequest, *, since: dt.datetime | None = None) -> Snapshot | None:
        """Ask Stripe whether the request's work is done, and return it if so; raises StripeError.

        With `since` it may have been done from then on.
        """
        snapshot = retrieve_intent(request)
        return snapshot if snapshot.status in {"canceled", "succeeded"} else None

    def get_release(self, request: StripeRequest, *, code: str, message: str) -> Any:
        """Return the fact that frees what a failed request had reserved, None if that is nothing."""
        return None

    def get_fact(self, snapshot: Snapshot) -> Any:
        """Return what the ledger hears of an answer."""
        return snapshot

    def is_same(self, request: StripeRequest, snapshot: Any) -> bool:
        """Tell whether this same request made what was found at Stripe after its row was lost."""
        return True

    def regain(self, request: StripeRequest, snapshot: Any) -> Any:
        """Return the fact for what was made at Stripe before the row was lost."""
        return self.get_fact(snapshot)

    def is_wanted(self, request: StripeRequest) -> bool:
        """Tell whether an unanswered request's work is still wanted."""
        return self.repeats_late or not request.may_be_forgotten

    def is_done(self, request: StripeRequest, snapshot: PaymentIntentSnapshot) -> bool:
        """Tell whether the intent is already exactly what a refused request wanted."""
        return False


class Creation(RequestKind):
    """Creates the payment's intent."""

    path = "/v1/payment_intents"
    repeats_late = False

    def read(self, request: StripeRequest, answer: Answer) -> Snapshot:
        """Return the intent as it was when it was made, which is what a replay shows."""
        created = answer.stripe_object["created"]
        return PaymentIntentSnapshot.from_object(answer.stripe_object, as_of=created)

    def get_done(self, request: StripeRequest, *, since: dt.datetime | None = None) -> Snapshot | None:
        """Find the intent by our uuid in its metadata, among those of the request's day."""
        payment = request.payment
        if payment.stripe_payment_intent_id:
            return retrieve_intent(request)
        first = min(request.created_at, since or request.created_at)
        last = min(timezone.now(), request.created_at + dt.timedelta(days=1))
        intents = stripe_client.list_payment_intents(
            payment.origin,
            since=int(first.timestamp()) - LEEWAY,
            until=int(last.timestamp()) + LEEWAY,
        )
        named = (each for each in intents if each.payment_uuid == str(payment.uuid))
        return next((each for each in named if not is_foreign(each.metadata)), None)

    def is_same(self, request: StripeRequest, snapshot: Any) -> bool:
        """Tell whether the create that made the intent was this one."""
        asked: str = snapshot.metadata.get(REQUEST_METADATA_KEY, "")
        return asked == request.payment.request_fingerprint

    def regain(self, request: StripeRequest, snapshot: Any) -> Any:
        """Let the payment cost what its intent does; its money waits for an operator, as if adopted."""
        return Regained(snapshot, waits=snapshot.holds_money)

    def get_release(self, request: StripeRequest, *, code: str, message: str) -> Any:
        """Show the payment as failed, unless its intent has turned up."""
        return CreationRefused(code=code, message=message)


class Capture(RequestKind):
    """Takes the money of an authorized intent."""

    action = "/capture"

    def is_done(self, request: StripeRequest, snapshot: PaymentIntentSnapshot) -> bool:
        """Tell whether exactly that amount was captured."""
        captured: int = request.parameters["amount_to_capture"]
        return snapshot.amount_received == captured


class AmountUpdate(RequestKind):
    """Changes the amount of an intent that is not being paid."""

    def get_done(self, request: StripeRequest, *, since: dt.datetime | None = None) -> Snapshot | None:
        """Return the intent if its amount is what was asked for, or it can't be changed any more."""
        snapshot = retrieve_intent(request)
        ended = snapshot.status in {"canceled", "succeeded"}
        return snapshot if ended or snapshot.amount == request.parameters["amount"] else None

    def get_fact(self, snapshot: Snapshot) -> Any:
        """Say that Stripe has taken the amount, whatever else was heard in the same second."""
        return AmountTaken(snapshot) if isinstance(snapshot, PaymentIntentSnapshot) else snapshot

    def is_done(self, request: StripeRequest, snapshot: PaymentIntentSnapshot) -> bool:
        """Tell whether the amount is what was asked for."""
        asked: int = request.parameters["amount"]
        return snapshot.amount == asked

    def get_release(self, request: StripeRequest, *, code: str, message: str) -> Any:
        """Forget the amount that was asked for."""
        return AmountRefused()


class Cancellation(RequestKind):
    """Cancels an intent, and with it releases what is authorized."""

    action = "/cancel"

    def is_wanted(self, request: StripeRequest) -> bool:
        """Tell whether an expiry still is one: the host may have moved the deadline."""
        payment = request.payment
        payable = payment.payable if payment.amount_kept is None else None
        if request.parameters.get("cancellation_reason") != EXPIRY or not has_deadline(payable):
            return True
        deadline = get_deadline(payable)
        return deadline is not None and deadline <= timezone.now()

    def get_release(self, request: StripeRequest, *, code: str, message: str) -> Any:
        """Let a payment that could not be expired go on."""
        return ExpiryDropped()

    def is_done(self, request: StripeRequest, snapshot: PaymentIntentSnapshot) -> bool:
        """Tell whether it is canceled."""
        return snapshot.status == "canceled"


class RefundCreation(RequestKind):
    """Creates a refund."""

    path = "/v1/refunds"
    looks_first = True
    repeats_late = False

    def read(self, request: StripeRequest, answer: Answer) -> Snapshot:
        """Return the refund as it was when it was made, which is what a replay shows."""
        return RefundSnapshot.from_object(answer.stripe_object, as_of=answer.stripe_object["created"])

    def get_done(self, request: StripeRequest, *, since: dt.datetime | None = None) -> Snapshot | None:
        """Find the refund by our uuid; raises DoneElsewhereError if its amount was refunded by hand since."""
        refunds = stripe_client.list_refunds(request.payment.intent_id, origin=request.payment.origin)
        amount, asked_at = request.parameters["amount"], int(request.created_at.timestamp())
        for snapshot in refunds:
            if request.refund and snapshot.refund_uuid == str(request.refund.uuid):
                return snapshot
        for snapshot in refunds:
            is_live = snapshot.status not in DEAD_STATUSES and snapshot.amount == amount
            if is_live and not snapshot.refund_uuid and snapshot.created >= asked_at:
                message = _("The amount was refunded at Stripe meanwhile.")
                raise DoneElsewhereError(message, stripe_code=MADE_ELSEWHERE)
        return None

    def is_same(self, request: StripeRequest, snapshot: Any) -> bool:
        """Tell whether the request that made the refund was this one."""
        return request.refund is None or snapshot.request_fingerprint == request.refund.request_fingerprint

    def regain(self, request: StripeRequest, snapshot: Any) -> Any:
        """Take Stripe's amount: what was left to refund may have changed with the rows that were lost."""
        return RefundRegained(snapshot)

    def is_done(self, request: StripeRequest, snapshot: PaymentIntentSnapshot) -> bool:
        """Tell whether a refund has our uuid."""
        refund, refunds = request.refund, snapshot.charge.refunds if snapshot.charge else ()
        return refund is not None and str(refund.uuid) in {each.refund_uuid for each in refunds}

    def get_release(self, request: StripeRequest, *, code: str, message: str) -> Any:
        """Free the refund's amount."""
        reason = request.parameters.get("reason", "")
        return RefundRefused(request.refund_id, code=code, message=message, reason=reason)


def retrieve_intent(request: StripeRequest) -> PaymentIntentSnapshot:
    """Ask Stripe how the intent stands that a request is about; raises StripeError."""
    payment = request.payment
    return stripe_client.retrieve_payment_intent(payment.intent_id, origin=payment.origin)


KINDS: dict[str, RequestKind] = {
    StripeRequest.Kind.CREATE: Creation(),
    StripeRequest.Kind.CAPTURE: Capture(),
    StripeRequest.Kind.CANCEL: Cancellation(),
    StripeRequest.Kind.REFUND: RefundCreation(),
    StripeRequest.Kind.UPDATE: AmountUpdate(),
}
