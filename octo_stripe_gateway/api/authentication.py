"""Who is calling, by an API key or the host's own check, and who owns the payments they make."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from octo_stripe_gateway.conf import Secret, gateway_settings
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError
from octo_stripe_gateway.stripe.redaction import SecretBytes, get_logger

logger = get_logger(__name__)

OWNER_LENGTH = 255
OF_KEY = "key:"
OF_NAME = "name:"
VIEW_PERMISSION = "octo_stripe_gateway.view_payment"
# Looked up in `META`, since `headers` would be made of all of it.
AUTHORIZATION = "HTTP_AUTHORIZATION"


class ApiClient:
    """A caller that is let in without being a user of the host.

    `owner` is empty for the integrator, `key:viator` for the holder of a named key, and `name:ann` for
    someone that `IDENTIFY_CALLER` names.
    """

    pk = None
    is_active = True
    is_anonymous = False
    is_authenticated = True

    def __init__(self, owner: str = "") -> None:
        self.owner = owner

    def __str__(self) -> str:
        return self.owner

    def has_perm(self, permission: str, obj: Any = None) -> bool:
        """Tell whether the caller has a permission.

        The integrator has all; a named key all but viewing the payments of others; a name none.
        """
        if not self.owner:
            return True
        return self.owner.startswith(OF_KEY) and permission != VIEW_PERMISSION


def get_owner(caller: Any) -> str:
    """Return the owner of a caller's payments: `key:viator`, `auth.user:42`; empty for the integrator.

    Raises BadRequestError where that is longer than a column or not printable, and ConfigurationError where
    the caller is neither an ApiClient nor has a `pk`.
    """
    if isinstance(caller, ApiClient):
        owner = caller.owner
    elif not getattr(caller, "is_authenticated", True):
        raise NotAuthenticated(_("You are not signed in."))
    else:
        # A class has a `pk` as well, which is nobody's.
        pk = None if isinstance(caller, type) else getattr(caller, "pk", None)
        kind = caller.__class__  # not type(), which for a lazy user is SimpleLazyObject
        label = f"{kind.__module__}.{kind.__qualname__}".lower()
        if meta := getattr(kind, "_meta", None):
            label = meta.concrete_model._meta.label_lower
        if pk is None or pk == "":
            raise ConfigurationError(f"A caller must be True, a name or have a pk, and is {label}.")
        owner = f"{label}:{pk}"
    check_owner(owner, caller=caller)
    return owner


def check_owner(owner: Any, *, caller: Any) -> None:
    """Raise ConfigurationError if the owner is no text, or names nobody and the caller isn't the integrator.

    With an empty owner, a user without a company, say, would see all of the integrator's payments, and with
    `company:None` those of everybody else without one. Raises BadRequestError if the owner is longer than
    its column or not printable.
    """
    is_integrator = isinstance(caller, ApiClient) and not caller.owner
    is_named = isinstance(owner, str) and owner.rpartition(":")[2] not in {"", "None"}
    is_guest_so_called = isinstance(caller, ApiClient) and owner == caller.owner
    if not isinstance(owner, str) or not (is_named or is_integrator or is_guest_so_called):
        raise ConfigurationError(
            "get_owner() must return text that names somebody, unless for the integrator."
        )
    if len(owner) > OWNER_LENGTH or not owner.isprintable():
        raise BadRequestError(_("The caller's name is too long or not printable."))


def is_guest(caller: Any) -> bool:
    """Tell whether the caller is neither a user nor the holder of a key: anybody can take another name."""
    if isinstance(caller, ApiClient):
        return bool(caller.owner) and not caller.owner.startswith(OF_KEY)
    return not getattr(caller, "is_authenticated", True)


def check_csrf(request: HttpRequest) -> None:
    """Apply Django's CSRF check, for an `IDENTIFY_CALLER` that trusts a cookie; raises PermissionDenied.

    The gateway's views are exempt from the host's middleware, as all API views are.
    """
    check = CSRFCheck(lambda _request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]
    if reason:
        raise PermissionDenied(_("The CSRF check failed: %s") % reason)


class GatewayAuthentication(BaseAuthentication):
    """Lets in whoever the `IDENTIFY_CALLER` callable accepts or, without one, whoever sends an API key."""

    keyword = b"bearer "

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Return the caller; raises NotAuthenticated without a credential, else AuthenticationFailed."""
        if gateway_settings.identify_caller:
            return self.authenticate_by_host(request)
        return self.authenticate_by_key(request)

    def authenticate_by_host(self, request: Request) -> tuple[Any, Any]:
        """Ask the host's callable, which returns True, a user, a name, or nothing to deny.

        An object that has a `pk` and isn't a user becomes the request's `auth`.
        """
        check = gateway_settings.identify_caller
        caller = check(request._request) if check else None
        is_in = all(getattr(caller, name, True) for name in ("is_authenticated", "is_active"))
        if not caller or not is_in:
            has_credential = bool(request.META.get(AUTHORIZATION))
            self.deny(has_credential=has_credential, message=str(_("You are not signed in.")))
        if caller is True:
            return ApiClient(), None
        if isinstance(caller, str):
            return ApiClient(f"{OF_NAME}{caller}"), None
        if hasattr(caller, "is_authenticated"):
            return caller, None
        return ApiClient(get_owner(caller)), caller

    def authenticate_by_key(self, request: Request) -> tuple[Any, Any]:
        """Compare the Bearer token with every configured key, in constant time."""
        keys = gateway_settings.api_gateway_keys
        if not any(keys.values()):
            logger.error(
                "[OctoStripeGateway] Every call is denied: neither API_GATEWAY_KEY nor IDENTIFY_CALLER"
                " is configured"
            )
        token = self.get_token(request)
        holders = [name for name, own in keys.items() for key in own if constant_time_compare(token, key)]
        if not token or not holders:
            self.deny(has_credential=bool(token))
        return ApiClient(f"{OF_KEY}{holders[0]}" if holders[0] else ""), None

    def get_token(self, request: Request) -> str:
        """Return the Bearer token, empty where there is none."""
        header = SecretBytes(request.META.get(AUTHORIZATION, "").encode("latin-1"))
        if header[: len(self.keyword)].lower() != self.keyword:
            return Secret()
        # Bytes that aren't UTF-8 are in no key: escape them instead of raising.
        return Secret(header[len(self.keyword) :].strip().decode(errors="backslashreplace"))

    def deny(self, *, has_credential: bool, message: str = "") -> None:
        """Raise for a missing credential or, differently, for a wrong one, as OCTO does."""
        if has_credential:
            raise AuthenticationFailed(message or _("The API key is not valid."))
        raise NotAuthenticated(message or _("An API key is required."))

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme to authenticate with."""
        return 'Bearer realm="octo_stripe_gateway"'
