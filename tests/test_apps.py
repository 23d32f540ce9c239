"""What installing the app costs a process that doesn't use it yet."""

from __future__ import annotations

from tests.support.processes import run

HOST = """
import sys
from django.conf import settings

settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "octo_stripe_gateway",
    ],
)
import django
django.setup()
late = {"octo_stripe_gateway.services.creation", "octo_stripe_gateway.webhooks.inbox"}
print(sorted({"stripe", "requests", "rest_framework", *late} & sys.modules.keys()))
from octo_stripe_gateway.services import *
from octo_stripe_gateway.webhooks import inbox
print(sorted({"stripe", "requests"} & sys.modules.keys()))
"""


def test_neither_the_start_nor_the_services_import_what_is_not_used_yet() -> None:
    assert run("-c", HOST).split("\n")[:2] == ["[]", "[]"]
