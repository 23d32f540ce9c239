"""A host's page with nothing but `<octo-payment>` on it, under a strict Content-Security-Policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import include, path
from django.views.decorators.csrf import ensure_csrf_cookie
from rest_framework.request import Request

import octo_stripe_gateway
from octo_stripe_gateway.api.authentication import GatewayAuthentication, check_csrf
from octo_stripe_gateway.conf import gateway_settings
from tests.shop.models import Booking

GUIDE = Path(octo_stripe_gateway.__file__).parent / "docs/page.md"
PAGE = """{% load static %}<!doctype html>
<html lang="{{ lang }}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pay</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/checkout.css">
<script src="{{ stripe_js }}" defer></script>
<script src="{% static 'octo_stripe_gateway/octo-payment.js' %}" type="module"></script>
{% if script %}<script src="{{ script }}" type="module"></script>{% endif %}
</head>
<body><main>
<h1>Pay</h1>
<octo-payment endpoint="{{ endpoint }}" payable="booking:{{ booking }}" {{ more|safe }}></octo-payment>
</main></body></html>
"""
STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; background: light-dark(#fff, #10161d); color: light-dark(#1f2933, #e8edf2);
       font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 30rem; margin: 0 auto; padding: 1rem; }
"""
POLICY = (
    "default-src 'none'; script-src 'self' {stripe}; connect-src 'self' {stripe}; style-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"
)


def authenticate(request: HttpRequest) -> Any:
    """Let in callers with the API key, or with the CSRF token that only this host's pages can read."""
    if "Authorization" in request.headers:
        return GatewayAuthentication().authenticate_by_key(Request(request))[0]
    check_csrf(request)
    return True


def book(request: HttpRequest) -> HttpResponse:
    """Make a booking, and go on to pay for it."""
    booking = Booking.objects.create(
        price=request.GET.get("price", 2000), currency=request.GET.get("currency", "eur")
    )
    return redirect(f"/checkout/{booking.pk}/?{request.GET.urlencode()}")


@ensure_csrf_cookie
def checkout(request: HttpRequest, booking: int) -> HttpResponse:
    """Show the page; the query sets `lang`, `endpoint` and other attributes of the element."""
    context = {
        "booking": booking,
        "stripe_js": f"{gateway_settings.stripe_api_base}/stripe.js",
        "lang": "en",
        "endpoint": "/bookings/payments",
        **request.GET.dict(),
    }
    response = HttpResponse(engines["django"].from_string(PAGE).render(context))
    response.headers["Content-Security-Policy"] = POLICY.format(stripe=gateway_settings.stripe_api_base)
    return response


def keep_strict(get_response: Any) -> Any:
    """Add the policy to every page, as a host's middleware does."""

    def answer(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = get_response(request)
        response.headers["Content-Security-Policy"] = POLICY.format(stripe=gateway_settings.stripe_api_base)
        return response

    return answer


@ensure_csrf_cookie
def guide(_request: HttpRequest, booking: int) -> HttpResponse:
    """Show the page that the guide shows, with the emulator in Stripe's place."""
    html, css, js = (get_block(language) for language in ("html", "css", "js"))
    html = html.replace("https://js.stripe.com/endive", gateway_settings.stripe_api_base)
    page = f"""{{% load static %}}<!doctype html><html lang="en"><title>Pay</title><h1>Pay</h1>{html}
        <style>{css}</style><script type="module">{js}</script>"""
    context = {"booking": Booking(pk=booking)}
    return HttpResponse(engines["django"].from_string(page).render(context))


def get_block(language: str) -> str:
    """Return the guide's first block in this language."""
    return str(re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)[0])


def style(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(STYLE, content_type="text/css")


urlpatterns = [
    path("checkout/", book),
    path("checkout/<int:booking>/", checkout),
    path("checkout.css", style),
    path("guide/<int:booking>/", guide),
    path("", include("tests.support.urls")),
]
