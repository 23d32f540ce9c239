"""OCTO's JSON in, from callers who may send anything."""

from __future__ import annotations

import json
from io import BytesIO
from typing import IO, Any

from django.core.exceptions import RequestDataTooBig
from django.utils.translation import gettext as _
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from octo_stripe_gateway.api.names import underscoreize
from octo_stripe_gateway.conf import gateway_settings


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
        return read_object(self._read(stream))

    def _read(self, stream: IO[Any]) -> bytes:
        body: bytes = stream.read(gateway_settings.max_body_size + 1)
        if len(body) > gateway_settings.max_body_size:
            raise RequestDataTooBig
        return body


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body, its names in snake_case; raises ParseError."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_make_object)
        if not isinstance(value, dict):
            raise ParseError(_("The body is not a JSON object."))
        # Python reads NaN, 1e999 and lone surrogates, which no one else could read back.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return underscoreize(value)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise ParseError(_("The body is not valid JSON.")) from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ParseError(_("A name comes twice in one object."))
    return value


class KeptStream:
    """A request's body that is kept for whoever reads it next, however the first one reads it.

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


def check_headers(request: Request) -> None:
    """Refuse a body that isn't JSON, is too long or of unknown length, before any of it is read.

    Raises ParseError, UnsupportedMediaType, RequestDataTooBig.
    """
    length, content_type = _get_length(request), request.content_type or ""
    parsers = [each for each in request.parsers or () if media_type_matches(each.media_type, content_type)]
    if length and not parsers:
        raise UnsupportedMediaType(content_type)
    if length > gateway_settings.max_body_size:
        raise RequestDataTooBig
    original: Any = request._request
    if not original._read_started:
        original._stream = KeptStream(original)


def check_body(request: Request) -> None:
    """Read the body, and raise ParseError if its length wasn't said."""
    if bool(request._request.body) > bool(_get_length(request)):
        raise ParseError(_("A body needs a Content-Length."))


def _get_length(request: Request) -> int:
    length = str(request.headers.get("Content-Length") or "0")
    if "Transfer-Encoding" in request.headers or not (length.isascii() and length.isdigit()):
        raise ParseError(_("A body needs a Content-Length."))
    return int(length[:20])
