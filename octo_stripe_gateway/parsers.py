"""OCTO's JSON in, from callers who may send anything."""

from __future__ import annotations

import json
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.utils.translation import gettext as _
from djangorestframework_camel_case.util import underscoreize
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from octo_stripe_gateway.renderers import VERBATIM


class OctoJSONParser(BaseParser):
    """Parses a JSON object with camelCase names, those inside `metadata` kept as they are."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> dict[str, Any]:
        """Return the object; raises ParseError, or RequestDataTooBig past the host's own limit."""
        try:
            return self._load(self._read(stream).decode())
        except (ValueError, RecursionError) as error:
            raise ParseError(_("The body is not valid JSON.")) from error

    def _read(self, stream: IO[Any]) -> bytes:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body: bytes = stream.read() if limit is None else stream.read(limit + 1)
        if limit is not None and len(body) > limit:
            raise RequestDataTooBig
        return body

    def _load(self, text: str) -> dict[str, Any]:
        value = json.loads(text, object_pairs_hook=self._make_object)
        if not isinstance(value, dict):
            raise ParseError(_("The body is not a JSON object."))
        # Python reads NaN, 1e999 and lone surrogates, which no one else could read back.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return underscoreize(value, **VERBATIM)  # type: ignore[no-any-return]

    def _make_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            raise ParseError(_("A name comes twice in one object."))
        return value
