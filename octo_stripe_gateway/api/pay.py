"""The page that a pay link leads to, and the payment API for whoever has the link."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views import View
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from octo_stripe_gateway import services
from octo_stripe_gateway.api.authentication import ApiClient
from octo_stripe_gateway.api.card_payments import CompletePaymentSerializer
from octo_stripe_gateway.api.throttling import ActionThrottle, RateThrottle
from octo_stripe_gateway.api.views import PaymentViewSet
from octo_stripe_gateway.conf import STRIPE_API_BASE, gateway_settings
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.models import Payment, PaymentLink, PaymentQuerySet, get_deadline
from octo_stripe_gateway.services.dues import get_next_purpose
from octo_stripe_gateway.services.payment_links import find_payment_link, get_link_owner
from octo_stripe_gateway.stripe.client import get_api_version
from octo_stripe_gateway.stripe.currencies import format_money

# All that whoever has the link may know.
SHOWN = frozenset(
    "uuid amount currency currency_precision status gateway publishable_key stripe_account purpose failure"
    " utc_expires_at".split()
)


class PayPage(View):
    """Shows what is due of a payable and takes the payment. Creates nothing: mail scanners follow links."""

    template_name = "octo_stripe_gateway/pay.html"
    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Answer the page; the same one whatever is wrong with a link."""
        language = translation.get_language_from_request(request)
        with translation.override(language):
            link = find_payment_link(token)
            context = self.get_context(link, token=token) if link else {}
            page = {
                "language": language,
                "merchant": gateway_settings.merchant_name,
                "endpoint": f"{request.path.rstrip('/')}/payments",
                **context,
            }
            response = render(request, self.template_name, page, status=200 if context else 404)
        response.headers["Cache-Control"] = "no-store"
        response.headers["Content-Language"] = language
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["X-Robots-Tag"] = "noindex"
        return response

    def get_context(self, link: PaymentLink, *, token: str) -> dict[str, Any]:
        """Return what the page shows, nothing where there is nothing to pay for any more."""
        payable = link.payable
        dues = services.get_dues(payable) if payable else None
        purpose = link.purpose or (get_next_purpose(dues) if dues else "")
        if dues is None or dues.kept is not None or purpose not in dues.purposes:
            return {}
        deadline = get_deadline(payable)
        ends = min((each for each in (deadline, link.expires_at) if each), default=None)
        due = dues.get_due(purpose)
        base = gateway_settings.stripe_api_base
        release = get_api_version().partition(".")[2]
        is_stripe = base == STRIPE_API_BASE
        return {
            "title": str(payable),
            "due": format_money(due, currency=dues.currency) if due else "",
            "ends": ends,
            "is_late": bool(deadline and deadline <= timezone.now() and not dues.is_paid),
            "token": token,
            "stripe_js": f"https://js.stripe.com/{release}/stripe.js" if is_stripe else f"{base}/stripe.js",
        }


class LinkThrottle(ActionThrottle):
    """Allows each link and each address the rate of the action."""

    def get_counted(self, request: Request, view: Any) -> list[str]:
        """Return what requests are counted by."""
        return [*RateThrottle.get_counted(self, request, view), f"link {view.link}"]


class AnyObjectSerializer(serializers.Serializer[Any]):
    """A body whose fields don't count: the link says what is paid for."""


class LinkPaymentViewSet(PaymentViewSet):
    """Creates and completes payments for whoever has a link, as the payable's own owner."""

    schema = None
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (LinkThrottle,)
    request_serializers = {"create": AnyObjectSerializer, "complete": CompletePaymentSerializer}

    def perform_authentication(self, request: Request) -> None:
        """Let in whoever has a link that still leads somewhere; raises NotFound."""
        self.link = self.find_link()
        self.payable = self.link.payable
        if self.payable is None:
            raise NotFound
        user: Any = ApiClient(get_link_owner(self.payable))
        request.user = user

    def find_link(self) -> PaymentLink:
        """Return the link as it is now; raises NotFound, but where it tells what became of a payment."""
        link = find_payment_link(self.kwargs["token"], ended=self.action == "complete")
        if link and not link.is_usable:
            uuids = Payment.ledger.filter(**_name_payable(link)).values_list("uuid", flat=True)
            link = link if self.kwargs.get("id") in {str(each) for each in uuids} else None
        if link is None:
            raise NotFound(_("This link is not valid any more. Ask for a new one."))
        return link

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create or find the payment, unless the link is revoked meanwhile."""
        try:
            response = super().create(request, **kwargs)
        except GatewayError as error:
            if "balance" in error.values:
                error.values["balance"] = _shorten(error.values["balance"])
            raise
        self.find_link()
        return response

    def get_queryset(self) -> PaymentQuerySet:
        """Return the payments of the link's payable, whose owner may have changed since one was made."""
        return Payment.objects.filter(**_name_payable(self.link))

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return what the link says, whatever the body does."""
        own = {"payable": self.payable, "purpose": self.link.purpose}
        return super().get_create_parameters(own)

    def build_response(self, payment: Payment, *, client_secret: str = "") -> Response:
        """Answer what the page needs, and nothing that says which payment or payable it is."""
        response = super().build_response(payment, client_secret=client_secret)
        balance = response.data.get("balance")
        response.data = {
            **{name: value for name, value in response.data.items() if name in SHOWN},
            "payable": {"type": "link", "id": self.kwargs["token"]},
            **({"balance": _shorten(balance)} if balance else {}),
        }
        return response


def _name_payable(link: PaymentLink) -> dict[str, Any]:
    return {"payable_type": link.payable_type_id, "payable_id": link.payable_id}


def _shorten(balance: dict[str, Any]) -> dict[str, Any]:
    return {name: balance[name] for name in ("due", "currency")}
