"""What our metadata at Stripe says: whose an intent is, and what its payment is for.

An intent names the installation that made it, and is signed. Whoever may write an account's metadata, such as
the holder of a connected account, may write any name, but can't sign.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from enum import Enum, auto

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.ledger.concerns import INTENT_UNPROVEN, report_concern
from octo_stripe_gateway.models import Installation, Payment
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
    """Who made an intent. UNPROVEN has our names, unsigned: it is ours only if its row is here."""

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


def _sign(metadata: Mapping[str, str], *, currency: str, origin: Origin, key: str) -> bytes:
    said = [metadata.get(name, "") for name in SIGNED]
    message = json.dumps([*said, currency, origin.account, origin.stripe_account, origin.livemode])
    return hmac.digest(key.encode(), message.encode(), "sha256").hex().encode()
