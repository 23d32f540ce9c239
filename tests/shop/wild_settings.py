"""The tests' settings for a host whose REST framework defaults would break our views."""

from tests.settings import *  # noqa: F403

TRAP = "tests.shop.wild.Trap"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [TRAP],
    "DEFAULT_PERMISSION_CLASSES": [TRAP],
    "DEFAULT_RENDERER_CLASSES": [TRAP],
    "DEFAULT_PARSER_CLASSES": [TRAP],
    "DEFAULT_THROTTLE_CLASSES": [TRAP],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": TRAP,
    "DEFAULT_METADATA_CLASS": TRAP,
    "DEFAULT_VERSIONING_CLASS": TRAP,
    "DEFAULT_PAGINATION_CLASS": TRAP,
    "DEFAULT_FILTER_BACKENDS": [TRAP],
    "DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.coreapi.AutoSchema",
    "EXCEPTION_HANDLER": "tests.shop.wild.handle_exception",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "COMPACT_JSON": False,
    "UNICODE_JSON": False,
    "STRICT_JSON": False,
    "NON_FIELD_ERRORS_KEY": "oops",
    "DATETIME_FORMAT": "%d",
    "UPLOADED_FILES_USE_URL": False,
    "URL_FORMAT_OVERRIDE": "format",
    "FORMAT_SUFFIX_KWARG": "id",
    "PAGE_SIZE": 1,
}
JSON_CAMEL_CASE = {
    # Allowed, though the model no longer exists.
    "RENDERER_CLASS": "rest_framework.renderers.UnicodeJSONRenderer",
    "JSON_UNDERSCOREIZE": {"no_underscore_before_number": True, "ignore_keys": ("resellerReference",)},
}
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "Pacific/Auckland"
LANGUAGE_CODE = "en-nz"
