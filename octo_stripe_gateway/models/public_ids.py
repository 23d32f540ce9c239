"""How callers name a payment: by its integer id or its uuid."""

from __future__ import annotations

import re
import uuid
from typing import Any

from octo_stripe_gateway.stripe.snapshots import LARGEST_INTEGER

INTEGER_ID = re.compile(r"[1-9][0-9]{0,18}")


def read_public_id(text: str) -> dict[str, Any]:
    """Return by which column a text names a payment, and by which value; nothing where it can't name one."""
    if INTEGER_ID.fullmatch(text) and int(text) <= LARGEST_INTEGER:
        return {"id": int(text)}
    return {"uuid": text} if is_uuid(text) else {}


def is_uuid(text: str) -> bool:
    """Tell whether a text is a uuid in its usual form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
