"""Writing the row of an intent that has none: one lost with a database, or one of another system."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway import stripe_client
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.services.ledger import apply_payment_intent, saving_changes
from octo_stripe_gateway.services.provenance import make_stand_in, read_payable, read_payment
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.snapshots import PaymentIntentSnapshot
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.transactions import outside_transaction, write_transaction


@outside_transaction
def adopt_payment(
    intent_id: str, *, payable: Model | None = None, account: str = "", stripe_account: str = ""
) -> Payment:
    """Write the payment of a PaymentIntent, with its refunds and disputes, as Stripe knows them.

    If there is a payment already, it is brought up to date. An intent that this app made says in its metadata
    what it pays for and whose it is, and its payable has the last word as ever. One that another system made
    counts as accepted, and no signal is sent for it. Raises StripeError, and UnprocessableError if the
    existing payment is for something else.
    """
    origin = Origin(account, stripe_account)
    snapshot = stripe_client.retrieve_payment_intent(intent_id, origin=origin)
    payment = _make_payment(snapshot, origin=origin, payable=payable)
    is_ours = bool(snapshot.payment_uuid)
    if not (is_ours and _holds_money(snapshot)):
        _accept_unasked(payment, snapshot)
    with write_transaction():
        row = _get_or_insert(payment, snapshot)
        is_same = (row.account, row.stripe_account) == (account, stripe_account)
        if not is_same or (payable is not None and row.payable != payable):
            raise UnprocessableError(_("The payment is there already, and for something else."))
        apply_payment_intent(row, snapshot, announces=is_ours)
    return reverse_rejected(row) if row.needs_reversal else row


def _make_payment(snapshot: PaymentIntentSnapshot, *, origin: Origin, payable: Model | None) -> Payment:
    payment = read_payment(snapshot)
    payment.account, payment.stripe_account = origin.account, origin.stripe_account
    name = ""
    if payable is None:
        name, payable = read_payable(snapshot)
    if payable is not None:
        payment.payable = payable
    elif name:
        # Rejecting it, as if it had just been paid, would send the money back.
        payment.attention = _("What was paid for is not in the database: %s") % name
    return payment


def _holds_money(snapshot: PaymentIntentSnapshot) -> bool:
    refunded = snapshot.charge.amount_refunded if snapshot.charge else 0
    return snapshot.amount_received > refunded or snapshot.amount_capturable > 0


def _accept_unasked(payment: Payment, snapshot: PaymentIntentSnapshot) -> None:
    """Count money as accepted that the host has heard of, or that has gone back."""
    if snapshot.status == "succeeded":
        payment.accepted_at = timezone.now()
    if snapshot.status == "requires_capture":
        payment.authorized_at = timezone.now()


def _get_or_insert(payment: Payment, snapshot: PaymentIntentSnapshot) -> Payment:
    """Return the intent's payment, locked; a new one is as old as its intent."""
    # Asked first: a row that somebody else adopts meanwhile is found by the intent then.
    is_taken = Payment.ledger.filter(uuid=payment.uuid).exists()
    row = _lock(payment, snapshot)
    if row:
        return row
    if is_taken:
        payment.uuid = make_stand_in(snapshot)
    if not Payment.ledger.insert(payment, or_ignore=True):
        # Somebody else adopts it at the same time.
        return _lock(payment, snapshot) or payment
    with saving_changes(payment) as unsaved:
        payment.created_at = _get_moment(snapshot)
        unsaved.others["adopted"] = ["", snapshot.id]
    return payment


def _lock(payment: Payment, snapshot: PaymentIntentSnapshot) -> Payment | None:
    return Payment.ledger.get_locked_by_intent(snapshot.id, payment_uuid=str(payment.uuid))


def _get_moment(snapshot: PaymentIntentSnapshot) -> dt.datetime:
    moment = dt.datetime.fromtimestamp(snapshot.created, tz=dt.UTC)
    return moment if settings.USE_TZ else timezone.make_naive(moment)
