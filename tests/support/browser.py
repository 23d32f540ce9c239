"""Runs the installed Chromium or Chrome; modules that import this are skipped without playwright."""

from __future__ import annotations

import http.server
import shutil
import threading
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
PHONE: Any = {"width": 375, "height": 812}
LOOKS: Any = (
    ("phone-dark", PHONE, "dark"),
    ("phone", PHONE, "light"),
    ("dark", DESK, "dark"),
    ("desk", DESK, "light"),
)
FITS = "document.documentElement.scrollWidth <= innerWidth"
# No list of the admin is cut off, or scrolls within its own box.
COLUMNS_FIT = """[...document.querySelectorAll('.results, .octo-scroll')]
    .every(box => box.scrollWidth <= box.clientWidth)"""


@contextmanager
def open_browser(*options: str) -> Iterator[Browser]:
    """Run the browser for the block, with more options; meanwhile this thread can't use Django's database."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=[*ARGUMENTS, *options])
        yield browser
        browser.close()


@contextmanager
def serve_page(document: str, *, policy: str = "", **files: str) -> Iterator[str]:
    """Serve a page on this machine, and scripts by their names without the ending; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, _dot, ending = self.path.partition("?")[0].strip("/").partition(".")
            script = ending == "js"
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html; charset=utf-8")
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write((files.get(name, "") if script else document).encode())

        def log_message(self, *args: object) -> None:
            """Write nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()
