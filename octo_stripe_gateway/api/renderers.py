"""OCTO's JSON out, whatever the host has set for its own views."""

from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from octo_stripe_gateway.api.names import camelize


class OctoJSONRenderer(JSONRenderer):
    """Renders names in camelCase, those inside `metadata` excepted."""

    ensure_ascii = False
    compact = True
    strict = True

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the JSON as bytes."""
        return super().render(camelize(data), accepted_media_type, renderer_context)


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
