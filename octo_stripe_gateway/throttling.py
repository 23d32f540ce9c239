"""Limits how fast payments are made and refunded, against those who try out stolen cards."""

from __future__ import annotations

import hashlib
from typing import Any

from rest_framework.authentication import get_authorization_header
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from octo_stripe_gateway.conf import gateway_settings


class ActionThrottle(SimpleRateThrottle):
    """Allows each caller at each address the rate that `THROTTLE_RATES` has for the action."""

    def __init__(self) -> None:
        """Leave the rate open: it depends on the action."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether the request is within the rate; an action without a rate has no limit."""
        self.scope = getattr(view, "action", None) or ""
        self.rate = gateway_settings.throttle_rates.get(self.scope)
        if not self.rate:
            return True
        self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)

    def get_cache_key(self, request: Request, view: Any) -> str:
        """Return what tells callers apart, without keeping their credentials."""
        user = getattr(request.user, "pk", None)
        caller = f"{get_authorization_header(request)!r} {user} {self.get_ident(request)}"
        return f"octo_stripe_gateway:{self.scope}:{hashlib.sha256(caller.encode()).hexdigest()}"

    def get_ident(self, request: Request) -> str:
        """Return the caller's address; a proxy's word for it counts only with `NUM_PROXIES` set."""
        if api_settings.NUM_PROXIES is None:
            return str(request.META.get("REMOTE_ADDR"))
        return str(super().get_ident(request))
