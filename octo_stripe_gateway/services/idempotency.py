"""Callers' own idempotency keys: a repeat gets the same answer, a request with other parameters an error."""

from __future__ import annotations

import hashlib
import json
import uuid as uuids
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import IdempotencyError
from octo_stripe_gateway.models import IdempotencyKey, Installation, Payment, Refund


class Caller(NamedTuple):
    """Who asks, and the idempotency key that they sent; keys of different owners never meet."""

    owner: str = ""
    idempotency_key: str = ""

    @property
    def kept_key(self) -> str:
        """Return the key as it is kept: by its hash, since it may name a person."""
        return hashlib.sha256(self.idempotency_key.encode()).hexdigest()

    def derive_uuid(self, operation: str, *, installation: Installation | None = None) -> uuids.UUID | None:
        """Return the uuid that the key leads to in this installation, None without a key.

        It follows from the key's hash, and from nothing that a database may lose. So a row is found again
        without its key, and pruning can tell which rows are.
        """
        if not self.idempotency_key:
            return None
        installation = installation or Installation.ledger.get_own()
        return installation.derive(self.owner, operation, self.kept_key)


ANYONE = Caller()


def hash_request(request: Mapping[str, Any]) -> str:
    """Return the fingerprint of a request's parameters."""
    canonical = json.dumps(request, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def get_key(caller: Caller, *, fingerprint: str) -> IdempotencyKey | None:
    """Return the caller's key if it was used before; raises IdempotencyError if for another request."""
    if not caller.idempotency_key:
        return None
    keys = IdempotencyKey.ledger.select_related("payment", "refund__payment")
    key = keys.filter(owner=caller.owner, key=caller.kept_key).first()
    if key:
        check_request(key.request_fingerprint, fingerprint)
    return key


def check_request(known: str, asked: str) -> None:
    """Raise IdempotencyError unless a key or uuid is used for the request that it was first used for."""
    if known != asked:
        raise IdempotencyError(_("This key or uuid was used with other parameters."))


def claim_key(caller: Caller, *, payment: Payment, fingerprint: str, refund: Refund | None = None) -> None:
    """Let the caller's key stand for this request; raises IdempotencyError if it stands for another.

    The payment is locked: keys come last in the lock order.
    """
    if not insert_key(caller, payment=payment, fingerprint=fingerprint, refund=refund):
        get_key(caller, fingerprint=fingerprint)


def insert_key(caller: Caller, *, payment: Payment, fingerprint: str, refund: Refund | None = None) -> bool:
    """Put the caller's key, if there is one, on record; return False if it came before."""
    if not caller.idempotency_key:
        return True
    key = IdempotencyKey(
        owner=caller.owner,
        key=caller.kept_key,
        request_fingerprint=fingerprint,
        payment=payment,
        refund=refund,
    )
    return IdempotencyKey.ledger.insert(key, or_ignore=True)
