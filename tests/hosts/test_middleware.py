"""What Django's and others' middleware does to our routes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client
from django.urls import include, path, re_path

from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.webhooks.views import WebhookView
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.checks import list_ids
from tests.support.docs import get_block

pytestmark = pytest.mark.django_db


def show_page(_request: HttpRequest, **_names: str) -> HttpResponse:
    return HttpResponse("the host's own page")


urlpatterns = [
    path("bookings/", include("octo_stripe_gateway.urls")),
    path("strict/", WebhookView.as_view(), name="strict"),
    *i18n_patterns(re_path(r"^(?P<slug>.*)$", show_page)),
]


def test_a_host_that_asks_everybody_to_log_in_still_takes_payments(
    settings: Any, api: GatewayApi, stripe: StripeEmulator
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    payment = api.paid_at_stripe(stripe)
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert Payment.objects.get().status == "paid"
    assert api.retrieve(payment).json()["status"] == "CONFIRMED"
    assert api.request("GET", "/capabilities").status_code == 200
    assert api.request("GET", "/payments/a/b/c").status_code == 404


@pytest.mark.parametrize("language", ["en", "de"])
def test_what_is_not_there_is_not_looked_for_in_another_language(
    language: str, settings: Any, api: GatewayApi
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware", *settings.MIDDLEWARE]
    headers = {"Accept-Language": language}
    for path_ in ("/payments/999", "/payments/999/", "/payments/a/b"):
        answer = api.request("GET", path_, **headers)
        assert (answer.status_code, answer["Content-Language"]) == (404, language)
    assert Client().get("/elsewhere/", headers=headers)["Location"] == f"/{language}/elsewhere/"


def test_what_redirects_events_is_said_before_a_deployment(settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", *settings.MIDDLEWARE]
    assert {"W008", "W009"}.isdisjoint(list_ids(deploy=True))
    settings.SECURE_SSL_REDIRECT = True
    assert "W008" in list_ids(deploy=True)
    settings.SECURE_REDIRECT_EXEMPT = [r"webhooks/?$"]
    assert "W008" not in list_ids(deploy=True)
    settings.SECURE_REDIRECT_EXEMPT = []
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert "W008" not in list_ids(deploy=True)


def test_a_route_that_needs_its_slash_is_said_before_a_deployment(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(sys.modules[__name__], "urlpatterns", urlpatterns[:2])
    assert "W009" in list_ids(deploy=True)
    settings.APPEND_SLASH = False
    assert "W009" not in list_ids(deploy=True)


@pytest.mark.parametrize("header", ["idempotency-key", "octo-env", "octo-capabilities", "authorization"])
def test_a_page_of_another_origin_may_send_what_the_docs_allow(
    header: str, settings: Any, stripe: StripeEmulator
) -> None:
    shown: dict[str, Any] = {}
    exec(get_block("python", "CORS_ALLOW_HEADERS"), shown)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    settings.CORS_ALLOWED_ORIGINS = ["https://page.example"]
    settings.CORS_ALLOW_HEADERS = shown["CORS_ALLOW_HEADERS"]
    settings.CORS_EXPOSE_HEADERS = shown["CORS_EXPOSE_HEADERS"]
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    answer = Client().options(
        "/bookings/payments", headers={**asked, "Access-Control-Request-Headers": header}
    )
    assert header in answer["Access-Control-Allow-Headers"]
    api = GatewayApi(Client())
    assert "Link" in api.list_payments(Origin="https://page.example")["Access-Control-Expose-Headers"]


def test_a_large_number_names_its_payable_in_every_language(
    settings: Any, configure: Callable[..., None]
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    text = "{% load octo_stripe_gateway %}{{ booking|payable }}"
    booking = Booking(pk=1234567)
    assert Template(text).render(Context({"booking": booking})) == "booking:1234567"
    configure(PAYABLES={})
    assert Template(text).render(Context({"booking": booking})) == "shop.booking:1234567"


def test_tasks_that_nobody_runs_are_said(configure: Callable[..., None]) -> None:
    assert "W010" not in list_ids()
    configure(WEBHOOK_PROCESSING="task")
    assert "W010" in list_ids()
