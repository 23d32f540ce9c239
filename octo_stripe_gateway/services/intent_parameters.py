"""What an intent is created with: the payment's own parameters, and what a host passes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.models import Installation, Payment
from octo_stripe_gateway.services.provenance import describe_payment
from octo_stripe_gateway.stripe.currencies import read_amount
from octo_stripe_gateway.stripe.redaction import WHOLE_CLIENT_SECRET
from octo_stripe_gateway.stripe.snapshots import PAYMENT_METADATA_KEYS

METADATA_KEYS = 50 - len(PAYMENT_METADATA_KEYS)  # Stripe takes 50.
METADATA_KEY_LENGTH = 40
METADATA_VALUE_LENGTH = 500
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


def check_parameters(extra: Mapping[str, Any], *, metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what a host passes through beside the metadata given, its amounts as integers.

    Raises BadRequestError for what the ledger decides, and for metadata that Stripe takes in no case.
    """
    options = extra.get("payment_method_options", {}).items()
    methods = [method for method, chosen in options if "capture_method" in chosen]
    reserved = sorted((LEDGER_PARAMS | CALL_OPTIONS) & extra.keys())
    reserved += [f"payment_method_options.{method}.capture_method" for method in methods]
    if reserved:
        raise BadRequestError(_("stripe_params: %s is decided by the ledger.") % reserved[0])
    read: dict[str, Any] = {}
    if "application_fee_amount" in extra:
        source = "stripe_params.application_fee_amount"
        read["application_fee_amount"] = read_amount(extra["application_fee_amount"], source=source)
    if "amount" in (transfer := extra.get("transfer_data", {})):
        amount = read_amount(transfer["amount"], source="stripe_params.transfer_data.amount")
        read["transfer_data"] = {**transfer, "amount": amount}
    if "metadata" in extra:
        more = check_metadata(extra["metadata"], name="stripe_params.metadata")
        read["metadata"] = more
        check_metadata({**metadata, **more})
    return {**extra, **read}


def check_metadata(metadata: Any, *, name: str = "metadata") -> dict[str, str]:
    """Return metadata as Stripe takes it: text by text, within https://docs.stripe.com/metadata's limits.

    Keys are checked as values are, and may not be ours. Raises BadRequestError.
    """
    if not isinstance(metadata, Mapping):
        raise BadRequestError(_("%s: text by text is required.") % name)
    if len(metadata) > METADATA_KEYS:
        wrong = _("There are too many keys.")
        raise BadRequestError(f"{name}: {wrong}")
    for key, value in metadata.items():
        if wrong := _find_fault(key) or _find_fault(value):
            raise BadRequestError(f"{name}.{str(key)[:METADATA_KEY_LENGTH]}: {wrong}")
        if not 0 < len(key) <= METADATA_KEY_LENGTH or "[" in key or "]" in key:
            wrong = _("A key is too long, empty or has brackets.")
            raise BadRequestError(f"{name}: {wrong}")
        if key in PAYMENT_METADATA_KEYS:
            wrong = _("A key is reserved.")
            raise BadRequestError(f"{name}: {wrong}")
    return dict(metadata)


def _find_fault(text: Any) -> str:
    """Return what is wrong with a key or value of metadata, empty if nothing is."""
    if not isinstance(text, str):
        return _("Not a valid string.")
    if WHOLE_CLIENT_SECRET.search(text):
        return _("A client secret may not be sent here.")
    if len(text) > METADATA_VALUE_LENGTH:
        return _("Ensure this field has no more than {max_length} characters.").format(
            max_length=METADATA_VALUE_LENGTH
        )
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        return _("It has characters that can't be stored.")
    return ""


def get_intent_parameters(
    payment: Payment, *, extra: Mapping[str, Any], installation: Installation
) -> dict[str, Any]:
    """Return what Stripe is asked for: the payment's parameters, the host's, and the metadata of both."""
    parameters = {
        "amount": payment.amount,
        "currency": payment.currency,
        "automatic_payment_methods": {"enabled": True},
        "capture_method": payment.capture_method,
        **extra,
    }
    metadata = {**payment.metadata, **extra.get("metadata", {})}
    free = {key: value for key, value in metadata.items() if key not in PAYMENT_METADATA_KEYS}
    return parameters | {"metadata": free | describe_payment(payment, installation=installation)}
