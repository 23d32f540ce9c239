"""Writing the row of an intent that has none: one lost with a database, or one of another system.

`begin_recovery` comes first after a failover or a restored backup: no id is given out again.
"""

from __future__ import annotations

import datetime as dt
import uuid as uuids
from contextlib import suppress

from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError, UnprocessableError
from octo_stripe_gateway.ledger.facts import Adopted, AdoptionConfirmed
from octo_stripe_gateway.ledger.transactions import outside_transaction, write_transaction
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Installation, Payment, find_payable, has_deadline
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.services.provenance import Provenance, judge_intent
from octo_stripe_gateway.services.refunds import reverse_rejected
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin, choose_account
from octo_stripe_gateway.stripe.snapshots import (
    OWNER_METADATA_KEY,
    PAYABLE_METADATA_KEY,
    PAYMENT_METADATA_KEYS,
    PURPOSE_METADATA_KEY,
    REQUEST_METADATA_KEY,
    PaymentIntentSnapshot,
)


@outside_transaction
def adopt_payment(
    intent_id: str, *, payable: Model | None = None, account: str = "", stripe_account: str = ""
) -> Payment:
    """Write the payment of a PaymentIntent, with its refunds and disputes, as Stripe knows them.

    If there is a payment already, it is brought up to date. An intent of ours says in its signed metadata
    whose it is and what it pays for; its money waits until an operator confirms the adoption. With a
    `payable` the host has decided what the money is for, and the payable has its last word at once. An intent
    that another system made counts as accepted, and no signal is sent for it.

    Raises StripeError, and UnprocessableError if the intent is of another installation or not provably ours,
    or the existing payment is for something else. What is asked of Stripe:
    https://docs.stripe.com/api/payment_intents/retrieve.
    """
    livemode = stripe_client.get_account(account).livemode
    origin = Origin(account, stripe_account, livemode)
    snapshot = stripe_client.retrieve_payment_intent(intent_id, origin=origin)
    provenance = judge_intent(snapshot, origin=origin)
    if provenance is Provenance.FOREIGN:
        raise UnprocessableError(_("The payment is of another installation."))
    with write_transaction():
        row = Payment.ledger.get_locked_by_intent(
            snapshot.id, payment_uuid=snapshot.payment_uuid, origin=origin
        ) or _insert(snapshot, origin=origin, provenance=provenance, payable=payable)
        if row.origin != origin or (payable is not None and row.payable != payable):
            raise UnprocessableError(_("The payment is there already, and for something else."))
        announces = provenance is not Provenance.OF_ANOTHER_SYSTEM
        record(row, snapshot, ask=ask_host, announces=announces)
    return reverse_rejected(row) if row.needs_reversal else row


@outside_transaction
def confirm_adoption(payment: Payment) -> Payment:
    """Let adopted money count: its payable has the last word, as if it had just been paid.

    Stripe is asked first how it stands: https://docs.stripe.com/api/payment_intents/retrieve. Raises
    StripeError, and PayableUnavailableError where the payable can't be asked.
    """
    snapshot = stripe_client.retrieve_payment_intent(payment.intent_id, origin=payment.origin)
    with write_transaction():
        row = Payment.ledger.get_by_pk(payment.pk, lock=True)
        record(row, AdoptionConfirmed())
        record(row, snapshot, ask=ask_host)
    return reverse_rejected(row) if row.needs_reversal else row


def _insert(
    snapshot: PaymentIntentSnapshot, *, origin: Origin, provenance: Provenance, payable: Model | None
) -> Payment:
    """Insert the intent's payment, as old as its intent, or return the one that somebody else inserted."""
    is_ours, metadata = provenance is Provenance.OURS, snapshot.metadata
    if payable is None and provenance is Provenance.UNPROVEN:
        raise UnprocessableError(_("The payment has our names, and no signature of ours."))
    payment = Payment(
        # It follows from the intent's id, so that adopting it again gives the same.
        uuid=uuids.uuid5(uuids.NAMESPACE_URL, f"stripe:{snapshot.id}"),
        amount=snapshot.amount,
        currency=snapshot.currency,
        account=origin.account,
        stripe_account=origin.stripe_account,
        livemode=snapshot.livemode,
        connect=dict(snapshot.connect),
        capture_method="manual" if snapshot.capture_method == "manual" else "automatic",
        metadata={name: value for name, value in metadata.items() if name not in PAYMENT_METADATA_KEYS},
        payable=payable,
    )
    if is_ours:
        payment.uuid = uuids.UUID(snapshot.payment_uuid)
        payment.owner = metadata.get(OWNER_METADATA_KEY, "")
        payment.purpose = metadata.get(PURPOSE_METADATA_KEY, "")
        payment.request_fingerprint = metadata.get(REQUEST_METADATA_KEY, "")
    if is_ours and payable is None:
        label, _colon, key = metadata.get(PAYABLE_METADATA_KEY, "").partition(":")
        app_label, _dot, model = label.partition(".")
        with suppress(ContentType.DoesNotExist, PayableUnavailableError):
            payable_type = ContentType.objects.get_by_natural_key(app_label, model)
            payment.payable = find_payable(payable_type.pk, key)
        if choose_account(payment) != (origin.account, origin.stripe_account):
            raise UnprocessableError(_("The payment is of an account that it would not be sent to."))
    is_over = snapshot.status in {"succeeded", "canceled"} and not snapshot.holds_money
    # What is paid later waits too: what it pays for may have been sold again.
    payment.awaits_operator = is_ours and payable is None and not is_over
    if not (is_ours and snapshot.holds_money):
        # The host knows of it already, or the money has gone back.
        payment.accepted_at = timezone.now() if snapshot.status == "succeeded" else None
        payment.authorized_at = timezone.now() if snapshot.status == "requires_capture" else None
    if has_deadline(payment.payable):
        payment.plan_deadline()
    if not Payment.ledger.insert(payment, or_ignore=True):
        # Somebody else adopts it at the same time.
        row = Payment.ledger.get_locked_by_intent(snapshot.id, payment_uuid=str(payment.uuid), origin=origin)
        if row is None:
            raise UnprocessableError(_("The payment is there already, and for something else."))
        return row
    record(payment, Adopted(snapshot.id, created=snapshot.created))
    return payment


def begin_recovery(*, since: dt.datetime, leap: int) -> int:
    """Record that what was written since then may be lost, and return the id that payments go on from.

    Ids leap, so that an id which a client still has never names another payment. For a day from now, a create
    or refund with a key is looked for at Stripe first. Raises ConfigurationError if the database can't leap.
    """
    connection = connections[Payment.ledger.database]
    table, key = Payment._meta.db_table, str(Payment._meta.pk.column)
    with write_transaction():
        installation = Installation.ledger.get_own()
        installation.lost_since, installation.recovered_at = since, timezone.now()
        Installation.ledger.save_changed(installation, names=["lost_since", "recovered_at"])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT COALESCE(MAX({key}), 0) FROM {table}")  # noqa: S608 - our own names
            largest = cursor.fetchone()[0]
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [table, key])
                sequence = cursor.fetchone()[0]
                cursor.execute(
                    "SELECT setval(%s, GREATEST(nextval(%s), %s) + %s)", [sequence, sequence, largest, leap]
                )
            elif connection.vendor == "sqlite":
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s RETURNING seq", [table])
                last = max(largest, *(row[0] for row in cursor.fetchall()), 0) + leap
                cursor.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s) RETURNING seq", [table, last]
                )
            else:
                raise ConfigurationError(f"Ids can't leap in {connection.display_name}.")
            return int(cursor.fetchone()[0]) + 1
