"""The admin under themes that replace Django's templates."""

from __future__ import annotations

import pytest

from tests.support.processes import ALONE, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("host", ["plain", "unfold"])
def test_every_page_opens(host: str) -> None:
    pages = ("tests/hosts/admin_pages.py", "-o", "addopts=", f"--ds=tests.hosts.{host}")
    assert "1 passed" in run("-m", "pytest", *ALONE, *pages)
