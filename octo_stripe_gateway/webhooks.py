"""The address that Stripe posts its events to."""

from __future__ import annotations

import logging
from typing import Any

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View
from rest_framework.exceptions import MethodNotAllowed

from octo_stripe_gateway import inbox, stripe_client
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.responses import get_error_response

logger = logging.getLogger(__name__)


class WebhookView(View):
    """Takes Stripe's events in. Their signature is the only authentication there is.

    2xx tells Stripe that an event is done with, 4xx that it is not Stripe's, and 5xx to deliver it again.
    """

    http_method_names = ["post"]

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """Exempt the view from CSRF, and from ATOMIC_REQUESTS, which would undo the record of a failure."""
        view: Any = csrf_exempt(super().as_view(**initkwargs))
        for alias in connections:
            view = transaction.non_atomic_requests(alias)(view)
        return view

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer every error in OCTO's body."""
        try:
            return super().dispatch(request, *args, **kwargs)  # type: ignore[return-value]
        except Exception as error:  # noqa: BLE001 - this is the last one to answer it
            return get_error_response(error)

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Verify the raw body, take the event in, and tell Stripe how it ended."""
        payload = stripe_client.read_event(
            request.body,
            signature=request.META.get("HTTP_STRIPE_SIGNATURE", ""),
            secrets=self.get_secrets(),
        )
        event = inbox.receive_event(payload)
        return JsonResponse({"received": True, "status": event.status})

    def get_secrets(self) -> tuple[str, ...]:
        """Return the secrets that may have signed; raises ConfigurationError where there are none."""
        secrets = gateway_settings.stripe_webhook_secrets
        if not secrets:
            logger.error("[OctoStripeGateway] Events are refused: no STRIPE_WEBHOOK_SECRET")
            raise ConfigurationError(_("The payment gateway is not configured."))
        return secrets

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Refuse anything but a POST."""
        response = get_error_response(MethodNotAllowed(str(request.method)))
        response.headers["Allow"] = ", ".join(self.http_method_names).upper()
        return response
