"""What our metadata at Stripe says: whose an intent is, and what its payment is for.

An intent names the installation that made it, and is signed. Whoever may write an account's metadata, such as
the holder of a connected account, may write any name, but can't sign.
"""

from __future__ import annotations

import hmac
import json
import uuid as uuids
from collections.abc import Mapping
from enum import Enum, auto

from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError
from octo_stripe_gateway.ledger.concerns import INTENT_UNPROVEN, report_concern
from octo_stripe_gateway.models import Installation, Payment, find_payable
from octo_stripe_gateway.models.families import name_payable
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.snapshots import (
    INSTALLATION_METADATA_KEY,
    OWNER_METADATA_KEY,
    PAYABLE_METADATA_KEY,
    PAYMENT_METADATA_KEY,
    PAYMENT_METADATA_KEYS,
    PURPOSE_METADATA_KEY,
    REQUEST_METADATA_KEY,
    SIGNATURE_METADATA_KEY,
    PaymentIntentSnapshot,
)

SIGNED = tuple(key for key in PAYMENT_METADATA_KEYS if key != SIGNATURE_METADATA_KEY)


class Provenance(Enum):
    """Who made an intent. UNPROVEN has our names and no signature of ours: it is ours only if we know it."""

    OURS = auto()
    UNPROVEN = auto()
    FOREIGN = auto()
    OF_ANOTHER_SYSTEM = auto()


def judge(metadata: Mapping[str, str], *, currency: str, origin: Origin) -> Provenance:
    """Tell from an intent's metadata who made it."""
    if is_foreign(metadata):
        return Provenance.FOREIGN
    if not metadata.get(PAYMENT_METADATA_KEY):
        return Provenance.OF_ANOTHER_SYSTEM
    signature = metadata.get(SIGNATURE_METADATA_KEY, "")
    keys = gateway_settings.get_signing_keys(livemode=origin.livemode)
    wanted = (_sign(metadata, currency=currency, origin=origin, key=key) for key in keys)
    is_named = INSTALLATION_METADATA_KEY in metadata
    is_signed = is_named and any(hmac.compare_digest(each, signature.encode()) for each in wanted)
    return Provenance.OURS if is_signed else Provenance.UNPROVEN


def is_of_original(metadata: Mapping[str, str]) -> bool:
    """Tell whether this is a copy of another installation's database, and metadata names that."""
    return bool(gateway_settings.installation_id) and is_foreign(metadata)


def judge_intent(snapshot: PaymentIntentSnapshot, *, origin: Origin) -> Provenance:
    """Tell who made an intent."""
    return judge(snapshot.metadata, currency=snapshot.currency, origin=origin)


def is_foreign(metadata: Mapping[str, str]) -> bool:
    """Tell whether metadata, of whatever object, names another installation."""
    named = metadata.get(INSTALLATION_METADATA_KEY)
    return bool(named) and named != Installation.ledger.get_own().name


def report_unproven(intent_id: str, *, origin: Origin) -> None:
    """Call an operator for a paid intent that claims to be ours, in the caller's transaction."""
    report_concern(INTENT_UNPROVEN, object_id=intent_id, account=str(origin))


def holds_money(snapshot: PaymentIntentSnapshot) -> bool:
    """Tell whether an intent's money is received or held, and has not gone back."""
    refunded = snapshot.charge.amount_refunded if snapshot.charge else 0
    return snapshot.amount_received > refunded or snapshot.amount_capturable > 0


def describe_payment(payment: Payment, *, installation: Installation) -> dict[str, str]:
    """Return the metadata by which a payment is known as ours, and its row can be written again.

    Raises ConfigurationError where real money would go unsigned.
    """
    described = {
        PAYMENT_METADATA_KEY: str(payment.uuid),
        OWNER_METADATA_KEY: payment.owner,
        PAYABLE_METADATA_KEY: name_payable(payment.payable_type_id, payment.payable_id),
        PURPOSE_METADATA_KEY: payment.purpose,
        INSTALLATION_METADATA_KEY: installation.name,
        REQUEST_METADATA_KEY: payment.request_fingerprint,
    }
    keys = gateway_settings.get_signing_keys(livemode=payment.livemode)
    if not keys:
        raise ConfigurationError(_("The payment gateway is not configured."))
    signature = _sign(described, currency=payment.currency, origin=payment.origin, key=keys[0])
    described[SIGNATURE_METADATA_KEY] = signature.decode()
    return {key: value for key, value in described.items() if value}


def read_payment(snapshot: PaymentIntentSnapshot) -> Payment:
    """Return an unsaved payment as a signed intent describes it, without what it pays for."""
    metadata = snapshot.metadata
    payment = read_amount(snapshot)
    payment.uuid = uuids.UUID(snapshot.payment_uuid)
    payment.owner = metadata.get(OWNER_METADATA_KEY, "")
    payment.purpose = metadata.get(PURPOSE_METADATA_KEY, "")
    payment.request_fingerprint = metadata.get(REQUEST_METADATA_KEY, "")
    return payment


def read_amount(snapshot: PaymentIntentSnapshot) -> Payment:
    """Return an unsaved payment of what an intent says of itself, whoever made it.

    Its uuid stands for the intent, the same one however often it is adopted.
    """
    return Payment(
        uuid=uuids.uuid5(uuids.NAMESPACE_URL, f"stripe:{snapshot.id}"),
        amount=snapshot.amount,
        currency=snapshot.currency,
        livemode=snapshot.livemode,
        connect=dict(snapshot.connect),
        capture_method="manual" if snapshot.capture_method == "manual" else "automatic",
        metadata={k: value for k, value in snapshot.metadata.items() if k not in PAYMENT_METADATA_KEYS},
    )


def read_payable(snapshot: PaymentIntentSnapshot) -> Model | None:
    """Return what a signed intent pays for, None where that is nothing or gone."""
    name = snapshot.metadata.get(PAYABLE_METADATA_KEY, "")
    label, _colon, pk = name.partition(":")
    app_label, _dot, model = label.partition(".")
    try:
        payable: Model | None = find_payable(ContentType.objects.get_by_natural_key(app_label, model).pk, pk)
    except (ContentType.DoesNotExist, PayableUnavailableError):
        return None
    return payable


def _sign(metadata: Mapping[str, str], *, currency: str, origin: Origin, key: str) -> bytes:
    said = [metadata.get(name, "") for name in SIGNED]
    message = json.dumps([*said, currency, origin.account, origin.stripe_account, origin.livemode])
    return hmac.digest(key.encode(), message.encode(), "sha256").hex().encode()
