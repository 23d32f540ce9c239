"""What an intent's metadata says of its payment, so that a lost row can be written again."""

from __future__ import annotations

import uuid as uuids

from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db.models import Model

from octo_stripe_gateway.models import Payment, is_uuid
from octo_stripe_gateway.models.payments import PURPOSE_LENGTH
from octo_stripe_gateway.snapshots import (
    OWNER_METADATA_KEY,
    PAYABLE_METADATA_KEY,
    PAYMENT_METADATA_KEY,
    PAYMENT_METADATA_KEYS,
    PURPOSE_METADATA_KEY,
    PaymentIntentSnapshot,
)


def describe_payment(payment: Payment) -> dict[str, str]:
    """Return the metadata by which a payment's row can be written again; the account is the intent's own."""
    described = {
        PAYMENT_METADATA_KEY: str(payment.uuid),
        OWNER_METADATA_KEY: payment.owner,
        PAYABLE_METADATA_KEY: _name_payable(payment),
        PURPOSE_METADATA_KEY: payment.purpose,
    }
    return {key: value for key, value in described.items() if value}


def read_payment(snapshot: PaymentIntentSnapshot) -> Payment:
    """Return an unsaved payment as an intent's metadata describes it, without what it pays for."""
    metadata = snapshot.metadata
    payment = Payment(
        uuid=read_uuid(snapshot),
        amount=snapshot.amount,
        currency=snapshot.currency,
        livemode=snapshot.livemode,
        capture_method="manual" if snapshot.capture_method == "manual" else "automatic",
        owner=metadata.get(OWNER_METADATA_KEY, "")[:255],
        metadata={key: value for key, value in metadata.items() if key not in PAYMENT_METADATA_KEYS},
    )
    payment.purpose = metadata.get(PURPOSE_METADATA_KEY, "")[:PURPOSE_LENGTH]
    return payment


def read_uuid(snapshot: PaymentIntentSnapshot) -> uuids.UUID:
    """Return the uuid of an intent's payment: ours from the metadata, or one that stands for the intent."""
    named = snapshot.payment_uuid
    return uuids.UUID(named) if is_uuid(named) else make_stand_in(snapshot)


def make_stand_in(snapshot: PaymentIntentSnapshot) -> uuids.UUID:
    """Return a uuid that stands for an intent, the same one however often it is adopted."""
    return uuids.uuid5(uuids.NAMESPACE_URL, f"stripe:{snapshot.id}")


def read_payable(snapshot: PaymentIntentSnapshot) -> tuple[str, Model | None]:
    """Return the name of what an intent pays for, and that object; empty and None where there is none."""
    name = snapshot.metadata.get(PAYABLE_METADATA_KEY, "")
    label, _colon, pk = name.partition(":")
    app_label, _dot, model = label.partition(".")
    try:
        content_type = ContentType.objects.get_by_natural_key(app_label, model)
        payable: Model = content_type.get_object_for_this_type(using=Payment.ledger.database, pk=pk)
    except (ObjectDoesNotExist, ValidationError, ValueError, AttributeError):
        return name, None
    return name, payable


def _name_payable(payment: Payment) -> str:
    if payment.payable_type_id is None:
        return ""
    content_type = ContentType.objects.get_for_id(payment.payable_type_id)
    return f"{content_type.app_label}.{content_type.model}:{payment.payable_id}"
