"""The tour shop's own tests, run as its developer runs them, and what it says in German."""

from __future__ import annotations

import gettext
import re
import subprocess
import sys

import pytest

from tests.support.demo import ROOT, get_environment
from tests.support.processes import ALONE

SHOP = ROOT / "example_project/tourshop"
CATALOGUE = SHOP / "locale/de/LC_MESSAGES/django.mo"


@pytest.mark.slow
def test_the_example_s_own_tests_pass() -> None:
    command = [sys.executable, "-m", "pytest", "example_project", *ALONE]
    done = subprocess.run(command, cwd=ROOT, env=get_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* passed", done.stdout)


def test_shop_s_german_is_complete_and_compiled() -> None:
    source = CATALOGUE.with_suffix(".po").read_text()
    entries = dict(re.findall(r'^msgid "(.+)"\nmsgstr "(.*)"$', source, re.MULTILINE))
    assert [message for message, translated in entries.items() if not translated] == []
    with CATALOGUE.open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert [message for message in entries if compiled.gettext(message) != entries[message]] == []
    templates = "".join(path.read_text() for path in SHOP.rglob("*.html"))
    written = set(re.findall(r'{% translate "(.+?)" %}', templates))
    assert written - entries.keys() == set()
    assert len(written) > 30
