"""The address that Stripe posts its events to, and the check of their signature.

How Stripe signs: https://docs.stripe.com/webhooks#verify-manually. The check is written out here, because
importing Stripe's SDK takes longer than all else that a webhook needs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View
from rest_framework.exceptions import MethodNotAllowed

from octo_stripe_gateway.api.errors import get_error_response
from octo_stripe_gateway.conf import BUILT_IN_WEBHOOK_SECRET, Secret, gateway_settings
from octo_stripe_gateway.exceptions import BadRequestError, ConfigurationError, SignatureError
from octo_stripe_gateway.ledger.transactions import without_atomic_requests
from octo_stripe_gateway.stripe.redaction import SecretBytes, get_logger, read_json, redact_text
from octo_stripe_gateway.webhooks import inbox

logger = get_logger(__name__)

# What an event's id and type are made of: they go into the log, where a line break would begin another entry.
LOGGABLE = re.compile(r"[\w.:-]{1,255}", re.ASCII)
# The part of a `Stripe-Signature` that holds a signature, and what its moment is made of.
SCHEME = "v1"
SECONDS = re.compile(r"[0-9]{1,15}")


class WebhookView(View):
    """Takes Stripe's events in. Their signature is the only authentication there is.

    2xx tells Stripe that an event is done with, 4xx that it is not Stripe's, and 5xx to deliver it again.
    """

    http_method_names = ["post"]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Exempt the view from logging in, from CSRF, and from ATOMIC_REQUESTS.

        The last would undo the record of a failure.
        """
        view: Any = csrf_exempt(super().as_view(**initkwargs))
        view.login_required = False
        return without_atomic_requests(view)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer every error in OCTO's body."""
        try:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[return-value]
        except Exception as error:  # noqa: BLE001 - this is the last one to answer it
            return get_error_response(error)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Verify the raw body, take the event in, and tell Stripe how it ended."""
        account = self.verify(request)
        if gateway_settings.webhook_processing == "task":
            from octo_stripe_gateway.webhooks import tasks

            event = tasks.defer_event(read_event(request), account=account)
        else:
            event = inbox.receive_event(read_event(request), account=account)
        return JsonResponse({"received": True, "status": event.status})

    def verify(self, request: HttpRequest) -> str:
        """Return the name of the account whose secret signed; raises SignatureError, ConfigurationError.

        The built-in secret is public, so it counts only while `DEBUG` is on.
        """
        secrets = {
            name: tuple(
                Secret(secret) for secret in own if settings.DEBUG or secret != BUILT_IN_WEBHOOK_SECRET
            )
            for name, own in self.get_secrets().items()
        }
        if not any(secrets.values()):
            logger.error("[OctoStripeGateway] Events are refused: no STRIPE_WEBHOOK_SECRET")
            raise ConfigurationError(_("The payment gateway is not configured."))
        header = request.headers.get("Stripe-Signature", "")
        return find_signer(lambda: SecretBytes(request.body), header=header, secrets=secrets)

    def get_secrets(self) -> Mapping[str, Sequence[str]]:
        """Return the secrets that may have signed, by the name of their account."""
        return {name: account.webhook_secrets for name, account in gateway_settings.accounts.items()}

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Refuse anything but a POST."""
        response = get_error_response(MethodNotAllowed(str(request.method)))
        response.headers["Allow"] = ", ".join(self.http_method_names).upper()
        return response


def find_signer(read_body: Callable[[], bytes], *, header: str, secrets: Mapping[str, Sequence[str]]) -> str:
    """Return the name of the account whose secret signed the raw body; raises SignatureError if none did.

    `header` is the request's `Stripe-Signature`: where it is right for no body, none is read. `secrets` has
    those of each account by its name.
    """
    items = [item.partition("=")[::2] for item in header.split(",")]
    moments = [value for name, value in items if name == "t"]
    values = [value for name, value in items if name == SCHEME]
    is_formed = all(map(SECONDS.fullmatch, moments)) and all(value and value.isascii() for value in values)
    oldest = time.time() - gateway_settings.webhook_tolerance
    if not (moments and values and is_formed) or int(moments[0]) < oldest:
        raise SignatureError(_("The signature is missing, wrong or too old."))
    signed = SecretBytes(b"%d.%b" % (int(moments[0]), read_body()))
    for name, own in secrets.items():
        for secret in own:
            key = SecretBytes(secret.encode())
            expected = hmac.new(key, signed, hashlib.sha256).hexdigest().encode()
            if secret.strip() and any(hmac.compare_digest(expected, each.encode()) for each in values):
                return name
    raise SignatureError(_("The signature is missing, wrong or too old."))


def read_event(request: HttpRequest) -> dict[str, Any]:
    """Return the event in a verified request, without client secrets; raises BadRequestError."""
    event = None
    with suppress(ValueError, RecursionError):
        event = read_json(SecretBytes(request.body))
    # Raised here, because its context would otherwise be an error that has the body.
    if event is None:
        raise BadRequestError(_("The event is not valid JSON."))
    names = [event.get("id"), event.get("type", "none")] if isinstance(event, dict) else []
    loggable = [name for name in names if isinstance(name, str) and LOGGABLE.fullmatch(name)]
    if not isinstance(event, dict) or loggable != names:
        raise BadRequestError(_("The event is not one of Stripe's."))
    # Error reporters send the request's body as well.
    has_escapes = b"\\u" in request.body
    request._body = (json.dumps(event) if has_escapes else redact_text(request.body.decode())).encode()
    return event
