"""A host with several mounts, one of them at the root and before its own pages."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from octo_stripe_gateway.urls import get_urls
from tests.shop import views


def page(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("the host's own page")


urlpatterns = [
    path("", include("octo_stripe_gateway.urls", namespace="at_root")),
    path("bookings/", include("octo_stripe_gateway.urls")),
    path("a/b/c/", include("octo_stripe_gateway.urls", namespace="deep")),
    path("own/", include((get_urls(viewset=views.OwnPayments, webhook_view=views.OwnWebhook), "own"))),
    path("throttled/", include((get_urls(viewset=views.ThrottledPayments), "throttled"))),
    path("refusing/", include((get_urls(viewset=views.RefusingPayments), "refusing"))),
    path("", page),
    path("shop/", page),
    path("webhooks/github/", page),
    path("paymentsreport/", page),
]
