"""What `check --deploy` says of a host that has done nothing but what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.support.docs import get_blocks
from tests.support.processes import ROOT

# No Stripe key, publishable key or webhook secret; a key to guess; SQLite; a cache of each process; proxies.
PLAIN = {"E009", "E010", "E011", "E021", "W003", "W005", "W007"}
ADDED = {
    # The rest of what the README's "Going live" names is set: nothing is left but the machine's own.
    "what goes live": (
        """
OCTO_STRIPE_GATEWAY = {
    "STRIPE_API_KEY": "sk_live_1",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "API_GATEWAY_KEY": "k" * 32,
    "SIGNING_KEY": "s" * 32,
}
REST_FRAMEWORK = {"NUM_PROXIES": 1}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "rates"}}
""",
        {"W003"},
    ),
    "a redirect to https behind a proxy": ("SECURE_SSL_REDIRECT = True", PLAIN | {"W008"}),
    "a worker that isn't there": (
        'OCTO_STRIPE_GATEWAY |= {"WEBHOOK_PROCESSING": "task"}',
        PLAIN | {"W010"},
    ),
    "the public secret": (
        """
from octo_stripe_gateway import conf
OCTO_STRIPE_GATEWAY |= {"STRIPE_WEBHOOK_SECRET": conf.BUILT_IN_WEBHOOK_SECRET}
""",
        PLAIN - {"E011"} | {"E003"},
    ),
    "a live key in the open": (
        """
OCTO_STRIPE_GATEWAY |= {"STRIPE_API_KEY": "sk_live_1", "STRIPE_API_BASE": "http://stripe.internal"}
""",
        PLAIN - {"E009"} | {"E022", "E025"},
    ),
    "a cache that may hang": (
        """
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://cache"}}
""",
        PLAIN - {"W005"} | {"W011"},
    ),
}

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A new project with the README's lines, and `DEBUG` off."""
    call_command("startproject", "mysite", str(tmp_path))
    settings, urls = get_blocks("python", page="README.md")[:2]
    with (tmp_path / "mysite/settings.py").open("a") as file:
        file.write(f"{settings}DEBUG = False\n")
    with (tmp_path / "mysite/urls.py").open("a") as file:
        file.write(urls)
    return tmp_path


def check(host: Path) -> set[str]:
    """Return the numbers of what is said of the gateway."""
    ours = ("DJANGO_", "STRIPE_", "API_GATEWAY", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    checked = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=host,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in checked.stderr
    return set(re.findall(r"\(octo_stripe_gateway\.(\w+)\)", checked.stderr))


def test_all_that_a_new_host_lacks_is_named_before_it_goes_live(host: Path) -> None:
    assert check(host) == PLAIN


@pytest.mark.parametrize("added", ADDED)
def test_what_a_host_adds_is_judged_too(added: str, host: Path) -> None:
    lines, expected = ADDED[added]
    with (host / "mysite/settings.py").open("a") as file:
        file.write(f"{lines}\n")
    assert check(host) == expected
