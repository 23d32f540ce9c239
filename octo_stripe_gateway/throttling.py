"""Limits how fast payments are made and changed, against those who try out stolen cards or keys."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from typing import Any

from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from octo_stripe_gateway.conf import gateway_settings

logger = logging.getLogger(__name__)

# Whoever has one IPv6 address has all of a network of this size.
IPV6_PREFIX = 64
# Some proxies add the port, which differs for each connection.
WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](:[0-9]+)?|(?P<ipv4>[0-9.]+):[0-9]+")


class LenientCache:
    """The host's cache. While it is down nothing is counted: a refund must not wait for it."""

    def get(self, key: str, default: Any) -> Any:
        """Return what is kept under the key."""
        try:
            return cache.get(key, default)
        except Exception:
            logger.exception("[OctoStripeGateway] Nothing is throttled: the cache doesn't answer")
            return default

    def set(self, key: str, value: Any, timeout: float) -> None:
        """Keep a value for some seconds."""
        try:
            cache.set(key, value, timeout)
        except Exception:
            logger.exception("[OctoStripeGateway] Nothing is throttled: the cache doesn't answer")


class RateThrottle(SimpleRateThrottle):
    """Allows what `THROTTLE_RATES` has for a name; a name without a rate has no limit."""

    cache: Any = LenientCache()
    name = ""

    def __init__(self) -> None:
        """Leave the rate open: it depends on the name."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether the request is within the rate."""
        self.rate = gateway_settings.throttle_rates.get(self.name)
        if not self.rate:
            return True
        self.num_requests, self.duration = self.parse_rate(self.rate)
        return super().allow_request(request, view)

    def get_cache_key(self, request: Request, view: Any) -> str:
        """Return what is counted together, without showing in the cache who it is."""
        counted = hashlib.sha256(self.get_counted(request, view).encode()).hexdigest()
        return f"octo_stripe_gateway:{self.name}:{counted}"

    def get_counted(self, request: Request, view: Any) -> str:
        """Return whose requests are counted together: an address's."""
        return f"address {self.get_ident(request)}"

    def get_ident(self, request: Request) -> str:
        """Return the caller's address; a proxy's word for it counts only with `NUM_PROXIES` set."""
        if api_settings.NUM_PROXIES is None:
            return get_network(str(request.META.get("REMOTE_ADDR")))
        return get_network(str(super().get_ident(request)))


class ActionThrottle(RateThrottle):
    """Allows each owner the rate of the action; the integrator has none and is counted by address."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether the request is within the action's rate."""
        self.name = self.name or getattr(view, "action", None) or ""
        return super().allow_request(request, view)

    def get_counted(self, request: Request, view: Any) -> str:
        """Return whose requests are counted together."""
        owner = view.get_owner()
        return f"owner {owner}" if owner else super().get_counted(request, view)


class AuthenticationThrottle(RateThrottle):
    """Allows an address so many wrong credentials; after that none is checked, not even a right one."""

    name = "authentication"

    def throttle_success(self) -> bool:
        """Count nothing yet."""
        return True

    def count_failure(self) -> None:
        """Count a credential that was checked and turned out to be wrong."""
        if self.rate:
            super().throttle_success()


def get_network(address: str) -> str:
    """Return what one caller may have at once: an IPv4 address, or a whole IPv6 network."""
    parts = WITH_PORT.fullmatch(address)
    host = (parts["ipv6"] or parts["ipv4"] or "") if parts else address
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), IPV6_PREFIX), strict=False))
