"""The routes, to be mounted by `include()` under any prefix and as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import URLPattern, re_path
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from octo_stripe_gateway.api.pay import LinkPaymentViewSet, PayPage
from octo_stripe_gateway.api.views import CapabilitiesView, OctoMixin, PaymentViewSet
from octo_stripe_gateway.webhooks.views import WebhookView

app_name = "octo_stripe_gateway"


class NotFoundView(OctoMixin):
    """Answers a path of ours that leads nowhere, whoever asks."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound


def get_urls(
    *, viewset: type[PaymentViewSet] = PaymentViewSet, webhook_view: type[WebhookView] = WebhookView
) -> Sequence[URLPattern]:
    """Return the routes for a host's own subclasses, each with or without a trailing slash."""
    one, link = r"payments/(?P<id>[^/]+)", r"pay/(?P<token>[^/]+)"
    payments, complete = LinkPaymentViewSet, {"patch": "complete", "post": "complete"}
    routes = {
        # The first, since it is asked for most, and every pattern before it takes its time.
        "webhooks": ("webhooks", webhook_view.as_view()),
        "payment-list": ("payments", viewset.as_view({"get": "list", "post": "create"})),
        "payment-cancellations": ("payments/cancellations", viewset.as_view({"post": "cancel_payable"})),
        "payment-links": ("payments/links", viewset.as_view({"post": "create_link"})),
        "payment-link-revocations": ("payments/links/revocations", viewset.as_view({"post": "revoke_links"})),
        "payment-detail": (one, viewset.as_view({"get": "retrieve"})),
        **{
            f"payment-{action}": (f"{one}/{action}", viewset.as_view({"post": action}))
            for action in viewset.operations
        },
        "payment-complete": (f"{one}/complete", viewset.as_view(complete)),
        "pay": (link, PayPage.as_view()),
        "pay-create": (f"{link}/payments", payments.as_view({"post": "create"})),
        "pay-complete": (f"{link}/{one}/complete", payments.as_view(complete)),
        "capabilities": ("capabilities", CapabilitiesView.as_view()),
    }
    patterns = [re_path(rf"^{path}/?\Z", view, name=name) for name, (path, view) in routes.items()]
    return [*patterns, re_path(r"^payments/", NotFoundView.as_view(), name="not-found")]


urlpatterns = get_urls()
