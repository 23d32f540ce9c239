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


def check_form_and_age(header: str) -> None:
    """Raise SignatureError for a `Stripe-Signature` that no body could have: before the body is read."""
    seconds, signatures = _parse(header)
    if not (signatures and _is_recent(seconds)):
        raise SignatureError(_("The signature is missing, wrong or too old."))


def _is_recent(seconds: int) -> bool:
    return seconds >= time.time() - gateway_settings.webhook_tolerance


def find_signer(body: bytes, *, header: str, secrets: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the account whose secret signed the raw body; raises SignatureError if none did.

    `header` is the request's `Stripe-Signature`, `secrets` has those of each account by its name.
    """
    seconds, signatures = _parse(header)
    signers = [
        name
        for name, own in secrets.items()
        for secret in own
        if _is_recent(seconds) and _is_signed(body, seconds=seconds, signatures=signatures, secret=secret)
    ]
    if not signers:
        raise SignatureError(_("The signature is missing, wrong or too old."))
    return signers[0]


def _parse(header: str) -> tuple[int, list[bytes]]:
    """Return when it was signed and how; of a header that Stripe would not write, nothing that is valid."""
    items = [item.partition("=")[::2] for item in header.split(",")]
    moments = [value for name, value in items if name == "t"]
    values = [value for name, value in items if name == SCHEME]
    well_formed = all(map(SECONDS.fullmatch, moments)) and all(value and value.isascii() for value in values)
    if not moments or not well_formed:
        return 0, []
    return int(moments[0]), [value.encode() for value in values]


def _is_signed(body: bytes, *, seconds: int, signatures: Sequence[bytes], secret: str) -> bool:
    if not secret.strip():
        return False
    key, signed = SecretBytes(secret.encode()), SecretBytes(b"%d.%b" % (seconds, body))
    expected = hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
    matches = [hmac.compare_digest(expected, signature) for signature in signatures]
    return any(matches)
