"""The emulator's Stripe.js under the packages that wrap Stripe's for React and Vue."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import MARKS, open_browser, serve_page, sync_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from octo_stripe_gateway.testing.emulator import StripeEmulator

pytest_plugins = ["tests.support.node_plugin"]
pytestmark = [*MARKS, pytest.mark.slow]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Pay</title><main></main>
<script>window.given = %s;</script><script src="%s/stripe.js"></script><script src="/bundle.js"></script>"""


@pytest.fixture
def page() -> Iterator[Page]:
    problems: list[str] = []
    with open_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        yield page
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


@pytest.fixture
def open_shop(
    page: Page, stripe: StripeEmulator, api: Any, bundle: Callable[[str], str]
) -> Iterator[Callable[..., str]]:
    """Open a page that pays 20.00 EUR with this source's components, and return the intent's id."""

    def open_page(source: str, kind: str = "payment", **options: Any) -> str:
        params = {"amount": 2000, "currency": "eur", "automatic_payment_methods": {"enabled": True}}
        intent = api.payment_intents.create(params=params)
        known = {} if "mode" in options or kind == "card" else {"clientSecret": intent.client_secret}
        given = {"secret": intent.client_secret, "kind": kind, "options": known | options}
        document = PAGE % (json.dumps(given), stripe.url)
        page.goto(stack.enter_context(serve_page(document, bundle=bundle(source))))
        return str(intent.id)

    with ExitStack() as stack:
        yield open_page
        page.close()


def pay(page: Page, number: str) -> None:
    for label, value in {"Card number": number, "Expiration date": "1234", "CVC": "123"}.items():
        page.get_by_label(label).fill("")
        page.get_by_label(label).press_sequentially(value)
    page.get_by_role("button", name="Pay now").click()


DEFERRED = {"mode": "payment", "amount": 2000, "currency": "eur"}
CASES = [
    pytest.param("react.jsx", "payment", {}, id="react"),
    pytest.param("react.jsx", "card", {}, id="react-card"),
    pytest.param("react.jsx", "deferred", DEFERRED, id="react-deferred"),
    pytest.param("vue.js", "payment", {}, id="vue"),
    pytest.param("vue.js", "deferred", DEFERRED, id="vue-deferred"),
]


@pytest.mark.parametrize(("source", "kind", "options"), CASES)
def test_wrapped_elements_are_declined_and_then_pay(
    page: Page,
    open_shop: Callable[..., str],
    stripe: StripeEmulator,
    source: str,
    kind: str,
    options: dict[str, Any],
) -> None:
    intent_id = open_shop(source, kind, **options)
    page.get_by_text("has no linkAuthentication element").wait_for()
    pay(page, "4000000000000002")
    result = page.locator("output")
    sync_api.expect(result).to_have_text("Your card was declined.")
    pay(page, "4242424242424242")
    sync_api.expect(result).to_have_text("succeeded")
    assert stripe.payment_intents[intent_id]["status"] == "succeeded"


def test_react_s_change_of_look_reaches_the_fields(page: Page, open_shop: Callable[..., str]) -> None:
    open_shop("react.jsx")
    field = page.get_by_label("Card number")
    sync_api.expect(field).to_have_css("color", "rgb(48, 49, 61)")
    page.get_by_role("button", name="Night").click()
    sync_api.expect(field).to_have_css("color", "rgb(255, 255, 255)")


def test_react_s_amount_that_is_not_the_intent_s_is_refused(
    page: Page, open_shop: Callable[..., str]
) -> None:
    open_shop("react.jsx", "deferred", **DEFERRED | {"amount": 1000})
    pay(page, "4242424242424242")
    sync_api.expect(page.locator("output")).to_contain_text("The provided amount (1000) does not match")
