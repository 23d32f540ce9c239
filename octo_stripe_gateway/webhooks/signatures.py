"""Says whose webhook secret signed an event: https://docs.stripe.com/webhooks#verify-manually.

Written out here, because importing Stripe's SDK takes longer than all else that a webhook needs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import SignatureError
from octo_stripe_gateway.stripe.redaction import SecretBytes

SCHEME = "v1"
SECONDS = re.compile(r"[0-9]{1,15}")


def check_form_and_age(header: str) -> tuple[int, list[bytes]]:
    """Return when a `Stripe-Signature` says that it was made, and its signatures.

    Raises SignatureError for a header that is right for no body, so that none need be read.
    """
    items = [item.partition("=")[::2] for item in header.split(",")]
    moments = [value for name, value in items if name == "t"]
    values = [value for name, value in items if name == SCHEME]
    is_formed = all(map(SECONDS.fullmatch, moments)) and all(value and value.isascii() for value in values)
    oldest = time.time() - gateway_settings.webhook_tolerance
    if not (moments and values and is_formed) or int(moments[0]) < oldest:
        raise SignatureError(_("The signature is missing, wrong or too old."))
    return int(moments[0]), [value.encode() for value in values]


def find_signer(body: bytes, *, header: str, secrets: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the account whose secret signed the raw body; raises SignatureError if none did.

    `header` is the request's `Stripe-Signature`, `secrets` has those of each account by its name.
    """
    seconds, signatures = check_form_and_age(header)
    signed = SecretBytes(b"%d.%b" % (seconds, body))
    for name, own in secrets.items():
        for secret in own:
            key = SecretBytes(secret.encode())
            expected = hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
            if secret.strip() and any(hmac.compare_digest(expected, each) for each in signatures):
                return name
    raise SignatureError(_("The signature is missing, wrong or too old."))
