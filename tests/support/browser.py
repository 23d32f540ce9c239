"""The installed Chromium or Chrome; what imports this is skipped where playwright isn't installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="neither Chromium nor Chrome is installed"),
]
SCREENSHOTS = Path(__file__).resolve().parents[2] / ".screenshots"
DESK: Any = {"width": 1280, "height": 900}
PHONE: Any = {"width": 390, "height": 844}


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run the browser for the block; while it runs, this thread may not ask Django's database."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()
