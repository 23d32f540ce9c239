"""The host's REST framework defaults don't change our views, and ours don't change the host's."""

from __future__ import annotations

import pytest

from tests.support.processes import ALONE, run

MODULES = ("test_views", "test_filters", "test_authentication", "test_renderers")

HOST = """
import sys
from django.conf import settings

ours = sys.argv[1:] == ["with-us"]
settings.configure(
    SECRET_KEY="x",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"]
    + ["octo_stripe_gateway"] * ours,
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)
import django
django.setup()
from django.test import Client
from django.urls import include, path
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework import settings as drf

class Page(APIView):
    def get(self, request):
        return Response({"snake_case": str(request.user)})
    def post(self, request):
        return Response(request.data)

urlpatterns = [path("page", Page.as_view())]
if ours:
    urlpatterns.append(path("", include("octo_stripe_gateway.urls")))
client = Client()
answers = [
    client.get("/page"),
    client.get("/page", headers={"Accept": "text/xml"}),
    client.delete("/page"),
    client.post("/page", {"camelCase": "1"}),
    client.post("/page", "{", content_type="application/json"),
    client.post("/page", '{"camelCase": NaN}', content_type="application/json"),
    client.get("/nope"),
]
for answer in answers:
    print(answer.status_code, answer.headers, answer.content)
values = {name: getattr(drf.api_settings, name) for name in drf.DEFAULTS}
print({name: getattr(value, "__qualname__", value) for name, value in values.items()})
"""


@pytest.mark.slow
def test_host_s_defaults_change_nothing_of_ours() -> None:
    modules = [f"tests/api/{module}.py" for module in MODULES]
    output = run("-m", "pytest", *modules, "--ds", "tests.shop.wild_settings", *ALONE)
    assert " passed" in output


@pytest.mark.slow
def test_host_s_own_views_are_as_they_would_be_without_us() -> None:
    with_us, without_us = run("-c", HOST, "with-us"), run("-c", HOST)
    assert b"snake_case" in with_us.encode()
    assert with_us == without_us
