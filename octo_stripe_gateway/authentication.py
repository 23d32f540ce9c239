"""Who may call: the holder of an API key, or whom the host's own check lets in."""

from __future__ import annotations

import logging
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, CSRFCheck, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from octo_stripe_gateway.conf import gateway_settings

logger = logging.getLogger(__name__)


class ApiClient:
    """A caller that is let in without being a user of the host."""

    pk = None
    is_active = True
    is_anonymous = False
    is_authenticated = True


def check_csrf(request: HttpRequest) -> None:
    """Apply Django's CSRF check, for an `AUTHENTICATE` that trusts a cookie; raises PermissionDenied.

    The gateway's views are exempt from the host's middleware, as all API views are.
    """
    check = CSRFCheck(lambda _request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]
    if reason:
        raise PermissionDenied(_("The CSRF check failed: %s") % reason)


class GatewayAuthentication(BaseAuthentication):
    """Lets in whom the `AUTHENTICATE` callable accepts or, without one, who sends an API key."""

    keyword = b"bearer"

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Return the caller; raises NotAuthenticated without a credential, else AuthenticationFailed."""
        if gateway_settings.authenticate:
            return self.authenticate_by_host(request)
        return self.authenticate_by_key(request)

    def authenticate_by_host(self, request: Request) -> tuple[Any, Any]:
        """Ask the host's callable, which may return a user of its own."""
        check = gateway_settings.authenticate
        caller = check(request._request) if check else None
        if not caller or not getattr(caller, "is_authenticated", True):
            self.refuse(credential=get_authorization_header(request))
        return (caller if hasattr(caller, "is_authenticated") else ApiClient()), None

    def authenticate_by_key(self, request: Request) -> tuple[Any, Any]:
        """Compare the Bearer token with every configured key, in constant time."""
        keys = gateway_settings.api_gateway_keys
        if not keys:
            logger.error(
                "[OctoStripeGateway] Every call is refused: neither API_GATEWAY_KEY nor AUTHENTICATE"
                " is configured"
            )
        token = self.get_token(request)
        matches = [constant_time_compare(token, key.encode()) for key in keys]
        if not token or not any(matches):
            self.refuse(credential=token)
        return ApiClient(), None

    def get_token(self, request: Request) -> bytes:
        """Return the Bearer token, empty where there is none."""
        keyword, _space, token = get_authorization_header(request).partition(b" ")
        return token.strip() if keyword.lower() == self.keyword else b""

    def refuse(self, *, credential: bytes) -> None:
        """Tell a caller without a credential from one with a wrong one, as OCTO does."""
        if credential:
            raise AuthenticationFailed(_("The API key is not valid."))
        raise NotAuthenticated(_("An API key is required."))

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme to authenticate with."""
        return 'Bearer realm="octo_stripe_gateway"'
