"""A host with django-unfold, which replaces the admin's templates."""

from tests.settings import *  # noqa: F403 - a host's settings are all of them
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
ROOT_URLCONF = "tests.support.admin_urls"
