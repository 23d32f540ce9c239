"""Views that a host derives from the gateway's."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.throttling import SimpleRateThrottle

from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.models import PaymentQuerySet
from octo_stripe_gateway.webhooks.views import WebhookView


class OwnPayments(PaymentViewSet):
    """Shows and makes one reseller's payments, whatever the caller says."""

    def get_queryset(self) -> PaymentQuerySet:
        return super().get_queryset().filter(reseller_reference="mine")

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {**super().get_create_parameters(parameters), "reseller_reference": "mine"}


class TwiceAMinute(SimpleRateThrottle):
    rate = "2/min"
    scope = "shop"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return "shop"


class ThrottledPayments(PaymentViewSet):
    throttle_classes = (TwiceAMinute,)


class FullError(APIException):
    status_code = 409
    default_detail = "The tour is full."


class RefusingPayments(PaymentViewSet):
    """Raises an error that a host's own code may raise, chosen by the reseller's reference."""

    errors = {
        "missing": Http404("internal words"),
        "denied": PermissionDenied("internal words"),
        "full": FullError(),
    }

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        raise self.errors[parameters["reseller_reference"]]


class OwnWebhook(WebhookView):
    """Has its own secret, as a second endpoint at Stripe has."""

    def get_secrets(self) -> dict[str, list[str]]:
        return {"": ["whsec_own"]}

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["X-Own"] = "yes"
        return response
