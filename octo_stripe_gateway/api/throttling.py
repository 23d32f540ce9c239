"""Limits how fast payments are made and changed, against those who try out stolen cards or keys."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from octo_stripe_gateway.api.authentication import is_guest
from octo_stripe_gateway.api.counters import Counter, take_all
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

NOT_COUNTED = "[OctoStripeGateway] Nothing is throttled: the cache doesn't answer"
UNTOLD = "there is a proxy, and NUM_PROXIES isn't set"
# What proxies add, by the names in `request.META`.
FORWARDING = tuple(
    f"HTTP_{name}"
    for name in "FORWARDED X_FORWARDED_FOR X_FORWARDED_HOST X_FORWARDED_PROTO X_REAL_IP VIA".split()
)
# Whoever has one IPv6 address has all of a network of this size.
IPV6_PREFIX = 64
# Some proxies add the port, which differs for each connection.
WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](:[0-9]+)?|(?P<ipv4>[0-9.]+):[0-9]+")


class RateThrottle(SimpleRateThrottle):
    """Allows what `THROTTLE_RATES` has for a name; a name without a rate has no limit.

    While the cache is down nothing is counted, and a request waits for at most one call that hangs.
    """

    name = ""

    def __init__(self) -> None:
        """Leave the rate open: it depends on the name."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count the request, and tell whether it is within the rate of all that it is counted with."""
        return self.is_within(request, view, count=take_all)

    def is_within(self, request: Request, view: Any, *, count: Callable[[Iterable[Counter]], float]) -> bool:
        """Tell whether the request is within the rate; `count` returns the seconds until it would be."""
        try:
            is_uncounted = "is_uncounted" in vars(request)
            self.seconds = 0.0 if is_uncounted else count(self.get_counters(request, view))
        except Exception:
            logger.exception(NOT_COUNTED)
            # One call that hangs is waited for, and no second one.
            request.is_uncounted = True  # type: ignore[attr-defined]
            self.seconds = 0.0
        return not self.seconds

    def wait(self) -> float | None:
        """Return the seconds until a request would be allowed."""
        return self.seconds

    def get_counters(self, request: Request, view: Any) -> list[Counter]:
        """Return what the request is counted by, without showing in the cache who it is."""
        rate = gateway_settings.throttle_rates.get(self.name)
        if not rate:
            return []
        limit, period = self.parse_rate(rate)
        hashed = [hashlib.sha256(each.encode()).hexdigest()[:32] for each in self.get_counted(request, view)]
        prefix = f"octo_stripe_gateway:{self.name}"
        return [Counter(f"{prefix}:{each}", limit=limit or 0, period=period or 0) for each in hashed]

    def get_counted(self, request: Request, view: Any) -> list[str]:
        """Return whose requests are counted together: an address's."""
        return [f"address {self.get_ident(request)}"]

    def get_ident(self, request: Request) -> str:
        """Return the caller's address; a proxy's word for it counts only with `NUM_PROXIES` set."""
        if api_settings.NUM_PROXIES is None:
            return get_network(str(request.META.get("REMOTE_ADDR")))
        return get_network(str(super().get_ident(request)))


class ActionThrottle(RateThrottle):
    """Allows each owner the rate of the action.

    A guest, who could take another name for each call, is counted by address as well. The integrator has no
    limit.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether the request is within the action's rate."""
        self.name = self.name or getattr(view, "action", None) or ""
        return super().allow_request(request, view)

    def get_counted(self, request: Request, view: Any) -> list[str]:
        """Return whose requests are counted together."""
        owner = view.get_owner()
        counted = super().get_counted(request, view) if is_guest(request.user) else []
        return [*counted, f"owner {owner}"] if owner else counted


class AuthenticationThrottle(RateThrottle):
    """Allows an address so many wrong credentials; after that none is checked, not even a right one.

    Right ones don't count, however many come at once. Where a proxy forwards and `NUM_PROXIES`
    isn't set, a stranger has the address of everybody else: then nobody is locked out.
    """

    name = "authentication"

    def __init__(self) -> None:
        """Begin without counters: one request is looked at twice."""
        self.counters: list[Counter] = []

    def allow_request(self, request: Request, view: Any) -> bool:
        """Tell whether one more credential may be checked; that counts nothing."""
        return self.is_within(
            request, view, count=lambda all_: max((each.get_wait() for each in all_), default=0.0)
        )

    def count_failure(self, request: Request, view: Any) -> bool:
        """Count a wrong credential, and tell whether its caller may know that it is wrong."""
        if is_everybody(request):
            logger.warning("[OctoStripeGateway] A credential is wrong, and nobody is locked out: %s", UNTOLD)
        return super().allow_request(request, view)

    def get_counters(self, request: Request, view: Any) -> list[Counter]:
        """Return what the address is counted by, nothing if it may be everybody's."""
        if not self.counters and not is_everybody(request):
            self.counters = super().get_counters(request, view)
        return self.counters


def is_everybody(request: Request) -> bool:
    """Tell whether all callers have the request's address: a proxy's that `NUM_PROXIES` doesn't tell of."""
    # No generator, whose variables an error report would show: one of the headers is the key.
    return api_settings.NUM_PROXIES is None and any(map(request.META.__contains__, FORWARDING))


@lru_cache(maxsize=1024)
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
