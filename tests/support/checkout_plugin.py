"""A plugin: the fixtures of the tests that pay on a page with `<octo-payment>`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.browser import open_browser
from tests.support.checkout import Checkout

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def browser_options() -> list[str]:
    return []


@pytest.fixture
def browser(browser_options: list[str]) -> Iterator[Browser]:
    with open_browser(*browser_options) as browser:
        yield browser


@pytest.fixture
def context_options() -> dict[str, Any]:
    return {"locale": "en-GB", "color_scheme": "light"}


@pytest.fixture
def checkout(
    stripe: StripeEmulator,
    configure: Callable[..., None],
    live_server: Any,
    browser: Browser,
    context_options: dict[str, Any],
) -> Iterator[Checkout]:
    configure(IDENTIFY_CALLER="tests.support.checkout_urls.authenticate")
    page = browser.new_context(**context_options).new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield Checkout(page, url=live_server.url, stripe=stripe)
    # Chromium logs every answer that isn't a success, even a declined card's.
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []
