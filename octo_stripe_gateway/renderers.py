"""OCTO's JSON out, whatever the host has set for its own views."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from djangorestframework_camel_case.util import camelize_re, underscore_to_camel
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

# A caller's own keys are passed on as they are.
VERBATIM = {"ignore_fields": ("metadata",)}


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


def camelize(data: Any) -> Any:
    """Copy JSON with its names in camelCase, as the package's function does in ten times the time."""
    if isinstance(data, dict):
        return {
            camelize_name(name): value if name in VERBATIM["ignore_fields"] else camelize(value)
            for name, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [camelize(value) for value in data]
    return data


@functools.lru_cache(maxsize=1024)
def camelize_name(name: Any) -> Any:
    """Return a name in camelCase."""
    return re.sub(camelize_re, underscore_to_camel, name) if isinstance(name, str) else name


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
