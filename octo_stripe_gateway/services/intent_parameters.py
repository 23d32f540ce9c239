"""What an intent is created with: the payment's own parameters, and what a host passes through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.models import Installation, Payment
from octo_stripe_gateway.services.provenance import describe_payment
from octo_stripe_gateway.snapshots import PAYMENT_METADATA_KEYS

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


def check_parameters(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a host passes through; raises BadRequestError for what the ledger decides."""
    for name in _list_reserved(extra):
        raise BadRequestError(_("stripe_params: %s is decided by the ledger.") % name)
    return extra


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


def _list_reserved(extra: Mapping[str, Any]) -> Iterator[str]:
    yield from sorted((LEDGER_PARAMS | CALL_OPTIONS) & extra.keys())
    for key in PAYMENT_METADATA_KEYS:
        if key in extra.get("metadata", {}):
            yield f"metadata.{key}"
    for method, options in extra.get("payment_method_options", {}).items():
        if "capture_method" in options:
            yield f"payment_method_options.{method}.capture_method"
