"""OCTO's JSON in, from callers who may send anything, and out, whatever the host has set for its own views.

Names of JSON are in camelCase, those of Python in snake_case, by djangorestframework-camel-case's rules. Of
that package nothing but three functions is used.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.utils.translation import gettext as _
from djangorestframework_camel_case.util import camel_to_underscore, camelize_re, underscore_to_camel
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from octo_stripe_gateway.conf import gateway_settings

# A caller's own keys are passed on as they are.
VERBATIM = {"metadata"}
SCALARS = {str, int, bool, type(None)}


# Cached, since the names of answers are few.
@functools.lru_cache(maxsize=1024)
def to_camel(name: str) -> str:
    """Return a name in camelCase."""
    return str(camelize_re.sub(underscore_to_camel, name))


def to_snake(name: str) -> str:
    """Return a name in snake_case."""
    return str(camel_to_underscore(name))


def camelize(value: Any) -> Any:
    """Copy JSON with its names in camelCase, as the package's function does in ten times the time."""
    if isinstance(value, dict):
        return {
            to_camel(name) if isinstance(name, str) else name: each
            if type(each) in SCALARS or name in VERBATIM
            else camelize(each)
            for name, each in value.items()
        }
    return [camelize(each) for each in value] if isinstance(value, (list, tuple)) else value


def underscoreize(value: Any) -> Any:
    """Copy JSON with its names in snake_case; raises ParseError where two names become one."""
    if isinstance(value, list):
        return [underscoreize(each) for each in value]
    if not isinstance(value, dict):
        return value
    renamed = {to_snake(name): each for name, each in value.items()}
    if len(renamed) < len(value):
        raise ParseError(_("A name comes twice in one object."))
    return {name: each if name in VERBATIM else underscoreize(each) for name, each in renamed.items()}


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
        if isinstance(renderer_context, dict):
            # See `OctoMixin.dispatch`.
            renderer_context.pop("response", None)
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


class OctoJSONParser(BaseParser):
    """Parses a JSON object with camelCase names, those inside `metadata` kept as they are."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> dict[str, Any]:
        """Return the object; raises ParseError, or RequestDataTooBig past `MAX_BODY_SIZE`."""
        body: bytes = stream.read(gateway_settings.max_body_size + 1)
        if len(body) > gateway_settings.max_body_size:
            raise RequestDataTooBig
        return read_object(body)


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, its names in snake_case; raises ParseError."""

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ParseError(_("A name comes twice in one object."))
        return value

    try:
        value = json.loads(body.decode(), object_pairs_hook=make)
        if not isinstance(value, dict):
            raise ParseError(_("The body is not a JSON object."))
        # Python reads NaN, 1e999 and lone surrogates, which no one else could read back.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return underscoreize(value)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise ParseError(_("The body is not valid JSON.")) from error


class KeptStream:
    """Keeps a request's body for its next reader, however the first one reads it.

    Otherwise it would look empty after something else has read it, and a refund without a body refunds
    everything.
    """

    def __init__(self, request: Any) -> None:
        self.request, self.stream = request, request._stream

    def __getattr__(self, name: str) -> Any:
        """Read all of it, at the first use."""
        body = self.stream.read(gateway_settings.max_body_size + 1)
        self.request._body, self.request._stream = body, BytesIO(body)
        return getattr(self.request._stream, name)


def check_headers(request: Request) -> int:
    """Return how long the body is said to be; refuse it unread if that isn't told, too long, or not of JSON.

    Raises ParseError, UnsupportedMediaType, RequestDataTooBig.
    """
    if length := _get_length(request):
        content_type = request.content_type or ""
        if not any(media_type_matches(each.media_type, content_type) for each in request.parsers or ()):
            raise UnsupportedMediaType(content_type)
        if length > gateway_settings.max_body_size:
            raise RequestDataTooBig
    original: Any = request._request
    if not original._read_started:
        original._stream = KeptStream(original)
    return length


def check_body(request: Request, *, length: int) -> None:
    """Read the body, and raise ParseError if its length wasn't said."""
    # WSGI's stream has no more than the length says.
    if not length and isinstance(request._request, WSGIRequest):
        return
    if bool(request._request.body) > bool(length):
        raise ParseError(_("A body needs a Content-Length."))


def _get_length(asked: Request) -> int:
    # `headers` would be made of all of META, and a local variable with either would show the key in an
    # error report.
    length = str(asked.META.get("CONTENT_LENGTH") or "0")
    if "HTTP_TRANSFER_ENCODING" in asked.META or not (length.isascii() and length.isdigit()):
        raise ParseError(_("A body needs a Content-Length."))
    return int(length[:20])
