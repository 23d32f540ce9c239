"""Turns every error into OCTO's body and one HTTP status."""

from __future__ import annotations

import math
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.http import Http404, HttpResponse, JsonResponse, UnreadablePostError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.settings import api_settings

from octo_stripe_gateway import exceptions
from octo_stripe_gateway.api.bodies import to_camel
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

# The first class that an error is an instance of decides. REST framework's others bring their status.
HTTP_STATUSES: dict[type[Exception], int] = {
    exceptions.PaymentNotFoundError: 404,
    exceptions.OperationInProgressError: 409,
    exceptions.UnprocessableError: 422,
    exceptions.PaymentPendingError: 400,
    exceptions.BadRequestError: 400,
    exceptions.StripeUnavailableError: 503,
    exceptions.StripeError: 502,
    exceptions.PayableUnavailableError: 503,
    exceptions.GatewayError: 500,
    drf.NotAuthenticated: 401,
    drf.AuthenticationFailed: 403,
    drf.PermissionDenied: 403,
    RequestDataTooBig: 413,
    SuspiciousOperation: 400,
    UnreadablePostError: 400,
}
# The codes of errors that bring none of OCTO's.
CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS"}

# REST framework's own translations count only where it is among the host's apps, which it need not be.
REST_FRAMEWORK_MESSAGES = (
    gettext_noop("Not found."),
    gettext_noop('Method "{method}" not allowed.'),
    gettext_noop('Unsupported media type "{media_type}" in request.'),
    gettext_noop("Request was throttled."),
    gettext_noop("Expected available in {wait} second."),
    gettext_noop("Expected available in {wait} seconds."),
    gettext_noop("You do not have permission to perform this action."),
    gettext_noop("A server error occurred."),
    gettext_noop("This field may not be null."),
    gettext_noop("This field may not be blank."),
    gettext_noop("Not a valid string."),
    gettext_noop("Ensure this field has no more than {max_length} characters."),
    gettext_noop("Ensure this value is less than or equal to {max_value}."),
    gettext_noop("Ensure this value is greater than or equal to {min_value}."),
    gettext_noop('"{input}" is not a valid choice.'),
    gettext_noop('Expected a dictionary of items but got type "{input_type}".'),
    gettext_noop("Invalid data. Expected a dictionary, but got {datatype}."),
    gettext_noop("Surrogate characters are not allowed: U+{code_point:X}."),
)


class OctoError:
    """An error as OCTO's HTTP answer: status, body and headers."""

    def __init__(self, error: Exception) -> None:
        if isinstance(error, Http404):
            error = drf.NotFound()
        elif isinstance(error, PermissionDenied):
            error = drf.PermissionDenied()
        elif isinstance(error, ValidationError):
            error = drf.ValidationError(error.messages)
        self.error = error
        usual = error.status_code if isinstance(error, drf.APIException) else 500
        self.status = next((each for kind, each in HTTP_STATUSES.items() if isinstance(error, kind)), usual)

    @property
    def code(self) -> str:
        """Return OCTO's code."""
        if isinstance(self.error, exceptions.GatewayError):
            return self.error.code
        return CODES.get(self.status, "BAD_REQUEST" if self.status < 500 else "INTERNAL_SERVER_ERROR")

    @property
    def body(self) -> dict[str, Any]:
        """Return OCTO's error body, the offending values included."""
        body: dict[str, Any] = {"error": self.code, "errorMessage": self.message}
        if isinstance(self.error, exceptions.GatewayError):
            body |= self.error.values
        if self.code == "TOO_MANY_REQUESTS":
            body["retryAfter"] = self.retry_after
        return body

    @property
    def message(self) -> str:
        """Return a message that is safe to show; a fault's own text is not."""
        if isinstance(self.error, exceptions.ConfigurationError):
            return _("The payment gateway is not configured.")
        if isinstance(self.error, exceptions.GatewayError):
            return str(self.error.message)
        if isinstance(self.error, drf.APIException):
            return _flatten(self.error.detail)
        if self.status == 500:
            return _("Something went wrong on our side.")
        return _("The request could not be read.")

    @property
    def retry_after(self) -> int | None:
        """Return the seconds after which a repeat may work, where that is known."""
        if isinstance(self.error, drf.Throttled):
            return max(1, math.ceil(getattr(self.error, "wait", None) or 0))
        return getattr(self.error, "retry_after", None)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that go with the status."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="octo_stripe_gateway"'
        return headers


def handle_exception(error: Exception, context: dict[str, Any]) -> Response:
    """Answer an error of a REST framework view."""
    octo = _describe(error, owner=getattr(context.get("view"), "owner", ""))
    return Response(octo.body, status=octo.status, headers=octo.headers)


def get_error_response(error: Exception) -> HttpResponse:
    """Answer an error of a plain view."""
    octo = _describe(error)
    return JsonResponse(octo.body, status=adapt_status(octo.status), headers=octo.headers)


def adapt_status(status: int) -> int:
    """Return the status to send: with `STRICT_OCTO` 200, 400 or 500, as OCTO's own rule has it."""
    # An unreadable setting already gives 500; don't read it again.
    if status == 500 or not gateway_settings.strict_octo:
        return status
    return 200 if status < 400 else 400 if status < 500 else 500


def _describe(error: Exception, *, owner: str = "") -> OctoError:
    octo = OctoError(error)
    if octo.status == 500:
        what = error if isinstance(error, exceptions.ConfigurationError) else type(error).__name__
        logger.error("[OctoStripeGateway] A request failed: %s, owner %r", what, owner, exc_info=error)
    return octo


def _flatten(detail: Any, path: str = "") -> str:
    if isinstance(detail, dict) and detail:
        name, rest = next(iter(detail.items()))
        name = "" if name == api_settings.NON_FIELD_ERRORS_KEY else to_camel(str(name))
        return _flatten(rest, ".".join(part for part in (path, name) if part))
    if isinstance(detail, list) and detail:
        return _flatten(next(filter(None, detail), detail[0]), path)
    return f"{path}: {detail}" if path else str(detail)
