"""Who may use the payment API: the shop's visitors in their browsers, and holders of the API key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request

from octo_stripe_gateway.api.authentication import GatewayAuthentication, check_csrf


@dataclass(frozen=True)
class Visitor:
    """Someone without an account, whose session owns the bookings made in it."""

    pk: str
    is_authenticated = True

    def has_perm(self, permission: str) -> bool:
        """Grant only the permission to refund: this shop gives all money back."""
        return permission == "octo_stripe_gateway.refund_payment"


def authenticate(request: HttpRequest) -> Any:
    """Return the caller, for the setting IDENTIFY_CALLER; None denies access.

    A program sends the API key. A browser never has it: it sends the session's cookie, and the CSRF token
    that only a page of this shop can read.
    """
    if "Authorization" in request.headers:
        caller, _credential = GatewayAuthentication().authenticate_by_key(Request(request))
        return caller
    check_csrf(request)
    return find_visitor(request)


def find_visitor(request: HttpRequest) -> Visitor | None:
    """Return the session's visitor, or None while they have booked nothing."""
    pk = request.session.get("visitor")
    return Visitor(pk) if pk else None
