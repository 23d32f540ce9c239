"""The routes, to be mounted by `include()` under any prefix and as often as wanted."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import URLPattern, re_path

from octo_stripe_gateway.api.pay import LinkPaymentViewSet, PayPage
from octo_stripe_gateway.api.views import CapabilitiesView, NotFoundView, PaymentViewSet
from octo_stripe_gateway.webhooks.views import WebhookView

app_name = "octo_stripe_gateway"

ACTIONS: dict[str, dict[str, str]] = {
    "complete": {"patch": "complete", "post": "complete"},
    "refund": {"post": "refund"},
    "capture": {"post": "capture"},
    "cancel": {"post": "cancel"},
}


def get_urls(
    *, viewset: type[PaymentViewSet] = PaymentViewSet, webhook_view: type[WebhookView] = WebhookView
) -> Sequence[URLPattern]:
    """Return the routes for a host's own subclasses, each with or without a trailing slash."""
    one = r"^payments/(?P<id>[^/]+)"
    actions = [
        re_path(rf"{one}/{action}/?\Z", viewset.as_view(methods), name=f"payment-{action}")
        for action, methods in ACTIONS.items()
    ]
    return [
        re_path(r"^payments/?\Z", viewset.as_view({"get": "list", "post": "create"}), name="payment-list"),
        re_path(
            r"^payments/cancellations/?\Z",
            viewset.as_view({"post": "cancel_payable"}),
            name="payment-cancellations",
        ),
        re_path(r"^payments/links/?\Z", viewset.as_view({"post": "create_link"}), name="payment-links"),
        re_path(
            r"^payments/links/revocations/?\Z",
            viewset.as_view({"post": "revoke_links"}),
            name="payment-link-revocations",
        ),
        re_path(rf"{one}/?\Z", viewset.as_view({"get": "retrieve"}), name="payment-detail"),
        *actions,
        re_path(r"^pay/(?P<token>[^/]+)/?\Z", PayPage.as_view(), name="pay"),
        re_path(
            r"^pay/(?P<token>[^/]+)/payments/?\Z",
            LinkPaymentViewSet.as_view({"post": "create"}),
            name="pay-create",
        ),
        re_path(
            r"^pay/(?P<token>[^/]+)/payments/(?P<id>[^/]+)/complete/?\Z",
            LinkPaymentViewSet.as_view({"patch": "complete", "post": "complete"}),
            name="pay-complete",
        ),
        re_path(r"^capabilities/?\Z", CapabilitiesView.as_view(), name="capabilities"),
        re_path(r"^webhooks/?\Z", webhook_view.as_view(), name="webhooks"),
        re_path(r"^payments/", NotFoundView.as_view(), name="not-found"),
    ]


urlpatterns = get_urls()
