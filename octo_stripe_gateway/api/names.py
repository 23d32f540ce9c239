"""Names of JSON in camelCase, those of Python in snake_case: the only module that knows how.

The rules are djangorestframework-camel-case's. Of that package nothing but three functions is used.
"""

from __future__ import annotations

import functools
from typing import Any

from django.utils.translation import gettext as _
from djangorestframework_camel_case.util import camel_to_underscore, camelize_re, underscore_to_camel
from rest_framework.exceptions import ParseError

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
