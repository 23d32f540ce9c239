"""Statement descriptors: https://docs.stripe.com/get-started/account/statement-descriptors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.errors import InvalidParameterError

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator.params import Parameters

PREFIX = "EMULATED"
MAXIMUM, MINIMUM = 22, 5
FORBIDDEN = "<>\\'\"*"
ROOM = MAXIMUM - len(f"{PREFIX}* ")
NOT_FOR_CARDS = (
    "The `statement_descriptor` parameter is not supported for card payments. To set a dynamic "
    "statement descriptor for a card payment, use `statement_descriptor_suffix` instead."
)


def calculated_descriptor(suffix: str | None) -> str:
    """Return the statement line that the customer reads: the account's prefix and the payment's suffix."""
    return f"{PREFIX}* {suffix}".upper() if suffix else f"{PREFIX} STRIPE"


def check_descriptors(params: Parameters) -> None:
    """Refuse a descriptor or suffix that Stripe would refuse."""
    for name in ("statement_descriptor", "statement_descriptor_suffix"):
        if text := params.get(name):
            _check_characters(text, name=name)
    if len(suffix := params.get("statement_descriptor_suffix") or "") > ROOM:
        raise InvalidParameterError(
            f"The statement descriptor `{PREFIX}* {suffix}` is too long: the account's prefix and the "
            f"suffix must be at most {MAXIMUM} characters together.",
            param="statement_descriptor_suffix",
        )
    if 0 < len(params.get("statement_descriptor") or "") < MINIMUM:
        raise InvalidParameterError(
            f"The statement descriptor must be at least {MINIMUM} characters.", param="statement_descriptor"
        )


def _check_characters(text: str, *, name: str) -> None:
    if set(text) & set(FORBIDDEN):
        raise InvalidParameterError(
            f"Invalid {name}: it cannot contain the characters {', '.join(FORBIDDEN)}.",
            param=name,
            code="invalid_characters",
        )
    if not re.search("[A-Za-z]", text):
        raise InvalidParameterError(f"The {name} must contain at least one letter.", param=name)
