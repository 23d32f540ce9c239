"""What installing the app costs a process that doesn't use it yet."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from octo_stripe_gateway import services
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


def test_services_that_are_imported_late_are_still_listed_for_editors_and_shells() -> None:
    tree = ast.parse(Path(services.__file__).read_text())
    late = next(each for each in tree.body if isinstance(each, ast.If))
    typed = {name.asname for each in late.body if isinstance(each, ast.ImportFrom) for name in each.names}
    assert typed == {*services.__all__} == {*dir(services)}
    with pytest.raises(AttributeError, match="no attribute 'refund'"):
        services.refund  # noqa: B018
