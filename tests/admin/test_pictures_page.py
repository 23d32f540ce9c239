"""The pictures of the books in a real browser: they fit, in every shop, on a desk and a phone."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client

from tests.admin.test_pictures import move, owe, see
from tests.support.browser import DESK, MARKS, SCREENSHOTS, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Route

SMALL_PHONE: Any = {"width": 375, "height": 700}
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"

pytestmark = [
    *MARKS,
    pytest.mark.slow,
    pytest.mark.django_db,
    pytest.mark.urls("tests.support.admin_urls"),
]


def test_pictures_look_right_for_every_shop(client: Client) -> None:
    client.force_login(User.objects.create_superuser("operator"))
    pages = {"empty": see(client)}
    move(4200)
    pages["one-day"] = see(client)
    for days in range(1, 30):
        move(3000 + 700 * (days % 7), days=days)
        if days % 4 == 0:
            move(-900 - 100 * days, days=days, category="refund")
    move(-5200, days=11, category="dispute")
    pages["one-currency"] = see(client)
    move(812_000, days=3, currency="jpy")
    owe(3000, days=-1)
    owe(12_000, days=5)
    pages["full"] = see(client)
    pages["year"] = see(client, days=365)

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix("http://shop.test/")
        headers = {"Content-Security-Policy": POLICY}
        if name in pages:
            route.fulfill(body=pages[name], content_type="text/html", headers=headers)
        else:
            found = Path(str(finders.find(name.removeprefix("static/"))))
            route.fulfill(body=found.read_bytes(), content_type=mimetypes.guess_type(name)[0])

    problems: list[str] = []
    with open_browser() as browser:
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.route("**/*", answer)
        for name in pages:
            page.goto(f"http://shop.test/{name}")
            for look, viewport, scheme in (
                ("desk", DESK, "light"),
                ("dark", DESK, "dark"),
                ("phone", SMALL_PHONE, "light"),
                ("phone-dark", SMALL_PHONE, "dark"),
            ):
                page.set_viewport_size(viewport)
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # one of two words
                path = SCREENSHOTS / f"pictures-{name}-{look}.png"
                page.screenshot(path=path, full_page=True, animations="disabled")
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, look)
    assert problems == []
