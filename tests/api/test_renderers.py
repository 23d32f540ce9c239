"""JSON as OCTO's clients read it."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import gettext_lazy

from octo_stripe_gateway.api.bodies import OctoJSONRenderer


@pytest.mark.parametrize(
    ("data", "json"),
    [
        ({"utc_created_at": None}, b'{"utcCreatedAt":null}'),
        ({"a_b": {"c_d": [{"e_f": 1}]}}, b'{"aB":{"cD":[{"eF":1}]}}'),
        ({"metadata": {"a_b": {"c_d": "e"}}}, b'{"metadata":{"a_b":{"c_d":"e"}}}'),
        ({"name": "Zo\u00eb"}, '{"name":"Zo\u00eb"}'.encode()),
        ({"name": gettext_lazy("Not found.")}, b'{"name":"Not found."}'),
    ],
)
def test_names_are_camel_case_but_for_metadata(data: Any, json: bytes) -> None:
    assert OctoJSONRenderer().render(data) == json


def test_what_is_no_json_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        OctoJSONRenderer().render({"amount": float("nan")})
