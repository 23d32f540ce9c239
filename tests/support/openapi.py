"""Makes the API's description, with any settings."""

# mypy: disallow-untyped-calls=False

from __future__ import annotations

import copy
from typing import Any

from django.conf import settings
from django.test import override_settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings

from octo_stripe_gateway.api import schema as _extensions  # noqa: F401 - registered when it is imported
from octo_stripe_gateway.urls import urlpatterns
from tests.support.openapi_settings import SPECTACULAR_SETTINGS


def make_document(
    patterns: Any = None, *, spectacular: dict[str, Any] | None = None, **keys: Any
) -> dict[str, Any]:
    """Describe the app's or other URLs, with other keys of OCTO_STRIPE_GATEWAY."""
    patterns = patterns or urlpatterns
    changed = override_settings(OCTO_STRIPE_GATEWAY=settings.OCTO_STRIPE_GATEWAY | keys)
    with changed, patched_settings(SPECTACULAR_SETTINGS | (spectacular or {})):
        document: dict[str, Any] = SchemaGenerator(patterns=patterns).get_schema(public=True)
        return copy.deepcopy(document)


def close_document(document: dict[str, Any]) -> dict[str, Any]:
    """Forbid undescribed keys in answers; in requests any are allowed."""
    closed = copy.deepcopy(document)
    schemas = closed["components"]["schemas"]
    for name in list_answers(closed):
        schemas[name]["additionalProperties"] = False
    return closed


def list_answers(document: dict[str, Any]) -> set[str]:
    """Return the names of the schemas of answers."""
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = find_references(
        [each["responses"] for each in operations] + [document["components"]["responses"]]
    )
    while more := find_references([document["components"]["schemas"][name] for name in names]) - names:
        names |= more
    return {name for name in names if document["components"]["schemas"][name].get("type") == "object"}


def find_references(value: Any) -> set[str]:
    """Return the names of the schemas that a piece of a document refers to."""
    if isinstance(value, dict):
        kind, _slash, name = str(value.get("$ref", "")).removeprefix("#/components/").partition("/")
        return {name} if kind == "schemas" else find_references([*value.values()])
    return set().union(*map(find_references, value)) if isinstance(value, list) else set()
