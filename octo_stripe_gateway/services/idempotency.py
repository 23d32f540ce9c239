"""Callers' own idempotency keys: the same again gives the same, other parameters an error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import IdempotencyError
from octo_stripe_gateway.models import IdempotencyKey, Payment, Refund
from octo_stripe_gateway.transactions import get_database


class Caller(NamedTuple):
    """Who asks, and the idempotency key that they sent; keys of different scopes never meet."""

    scope: str = ""
    idempotency_key: str = ""


ANYONE = Caller()


def hash_request(request: Mapping[str, Any]) -> str:
    """Return what tells a request from one with other parameters."""
    canonical = json.dumps(request, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def find_key(caller: Caller, *, fingerprint: str) -> IdempotencyKey | None:
    """Return what the caller's key stands for, if it came before; raises IdempotencyError as `claim_key`."""
    if not caller.idempotency_key:
        return None
    keys = IdempotencyKey.objects.using(get_database()).select_related("payment", "refund__payment")
    key = keys.filter(scope=caller.scope, key=caller.idempotency_key).first()
    if key:
        _check(key, fingerprint=fingerprint)
    return key


def claim_key(caller: Caller, *, payment: Payment, fingerprint: str, refund: Refund | None = None) -> None:
    """Let the caller's key stand for this request; raises IdempotencyError if it is another's."""
    if not caller.idempotency_key:
        return
    key, _created = IdempotencyKey.objects.using(get_database()).get_or_create(
        scope=caller.scope,
        key=caller.idempotency_key,
        defaults={"request_fingerprint": fingerprint, "payment": payment, "refund": refund},
    )
    _check(key, fingerprint=fingerprint)


def _check(key: IdempotencyKey, *, fingerprint: str) -> None:
    if key.request_fingerprint != fingerprint:
        raise IdempotencyError(_("This key was used with other parameters."))
