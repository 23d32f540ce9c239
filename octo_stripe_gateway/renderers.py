"""OCTO's JSON out, whatever the host has set for its own views."""

from collections.abc import Iterable
from typing import Any

from djangorestframework_camel_case.render import CamelCaseJSONRenderer
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

# A caller's own keys are passed on as they are.
VERBATIM = {"ignore_fields": ("metadata",)}


class OctoJSONRenderer(CamelCaseJSONRenderer):  # type: ignore[misc]
    """Renders names in camelCase, those inside `metadata` excepted."""

    json_underscoreize = VERBATIM
    ensure_ascii = False
    compact = True
    strict = True


class AlwaysJSON(DefaultContentNegotiation):
    """Answers JSON whatever the client says it accepts, since there is nothing else."""

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, Any]:
        """Return the first renderer."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
