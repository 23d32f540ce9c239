"""Names in JSON and in Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rest_framework.serializers import Serializer

import octo_stripe_gateway
from octo_stripe_gateway.api.bodies import to_camel, to_snake
from octo_stripe_gateway.api.serializers import PaymentFilterSerializer
from octo_stripe_gateway.api.views import PaymentViewSet

PACKAGE = Path(octo_stripe_gateway.__file__).parent


@pytest.mark.parametrize(
    ("snake", "camel"),
    [
        ("amount", "amount"),
        ("utc_created_at", "utcCreatedAt"),
        ("line_1", "line1"),
        ("line_2_bc", "line2Bc"),
        ("card_last_4", "cardLast4"),
        ("iso_8601_time", "iso8601Time"),
        ("v_2", "v2"),
        ("", ""),
    ],
)
def test_names_with_digits_lead_there_and_back(snake: str, camel: str) -> None:
    assert (to_camel(snake), to_snake(camel)) == (camel, snake)


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("sha256", "sha_256"),
        ("a1b2", "a1b_2"),
        ("URL", "url"),
        ("IDToken", "id_token"),
        ("already_snake", "already_snake"),
    ],
)
def test_other_names_of_callers_have_one_form(camel: str, snake: str) -> None:
    assert to_snake(camel) == snake


def list_names(serializer: Serializer[Any]) -> Iterator[str]:
    for name, field in serializer.fields.items():
        yield name
        if isinstance(field, Serializer):
            yield from list_names(field)


@pytest.mark.parametrize(
    "serializer_class", [*PaymentViewSet.request_serializers.values(), PaymentFilterSerializer]
)
def test_every_field_that_is_sent_leads_there_and_back(serializer_class: type[Serializer[Any]]) -> None:
    for name in list_names(serializer_class()):
        assert to_snake(to_camel(name)) == name


def test_only_one_module_knows_the_package() -> None:
    knowing = {
        path.name for path in PACKAGE.rglob("*.py") if "djangorestframework_camel_case" in path.read_text()
    }
    assert knowing == {"bodies.py"}
