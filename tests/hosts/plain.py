"""A host whose admin is Django's own."""

from tests.settings import *  # noqa: F403 - a host's settings are all of them

ROOT_URLCONF = "tests.support.admin_urls"
