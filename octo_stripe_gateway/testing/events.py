"""Events as Stripe would sign them, for a host's own tests."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

import stripe

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError


def signed_event(
    event_type: str, stripe_object: Mapping[str, Any], *, secret: str = "", **fields: Any
) -> tuple[bytes, str]:
    """Return the raw body and the `Stripe-Signature` of an event about the object.

    Signed with the configured webhook secret. `fields` replace those of the event itself, such as `id`,
    `created` and `account`. Raises ConfigurationError where there is no secret.
    """
    secret = secret or next(iter(gateway_settings.stripe_webhook_secrets), "")
    if not secret:
        raise ConfigurationError("There is no STRIPE_WEBHOOK_SECRET: use the fixture `stripe`, or pass one.")
    event = {
        "id": f"evt_{secrets.token_hex(12)}",
        "object": "event",
        "api_version": stripe.api_version,
        "created": int(time.time()),
        "livemode": False,
        "type": event_type,
        "data": {"object": dict(stripe_object)},
        **fields,
    }
    body = json.dumps(event)
    return body.encode(), stripe.WebhookSignature.generate_signature_header(body, secret)
