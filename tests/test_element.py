"""`<octo-payment>` in a real browser, against the API and the emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.browser import MARKS, open_browser, sync_api

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request

pytestmark = [
    *MARKS,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.support.checkout"),
]

PAYS = "4242424242424242"
IS_DECLINED = "4000000000000002"
ASKS = "4000002500003155"
NOTE_EVENTS = """
  window.told = [];
  for (const name of ["ready", "paid", "processing", "failed", "expired"]) {
    addEventListener(`octo-payment-${name}`, (event) => told.push([name, event.detail]));
  }
"""


class Checkout:
    """The page as a customer uses it."""

    def __init__(self, page: Page, *, url: str, stripe: StripeEmulator) -> None:
        self.page = page
        self.url = url
        self.stripe = stripe
        self.element = page.locator("octo-payment")
        self.error = page.get_by_role("alert").and_(page.locator("octo-payment [part=error]"))
        self.requests: list[Request] = []
        page.set_default_timeout(10_000)
        page.add_init_script(NOTE_EVENTS)
        page.on("request", lambda request: self.requests.append(request))

    def open(self, **query: str) -> None:
        """Book, and come to the page where it is paid for."""
        self.page.goto(f"{self.url}/checkout/?{urlencode(query)}")

    def open_form(self, **query: str) -> None:
        self.open(**query)
        self.becomes("ready")

    def becomes(self, state: str) -> None:
        sync_api.expect(self.element).to_have_attribute("state", state)

    def fill(self, number: str) -> None:
        for label, value in {"Card number": number, "Expiration date": "1234", "CVC": "123"}.items():
            self.page.get_by_label(label).fill("")
            self.page.get_by_label(label).press_sequentially(value)

    @property
    def button(self) -> Locator:
        return self.page.locator("octo-payment [part=button]")

    def pay(self, number: str = PAYS) -> None:
        self.fill(number)
        self.button.click()

    def told(self) -> list[Any]:
        """Return the names and details of the events so far."""
        told: list[Any] = self.page.evaluate("told")
        return told

    def names(self) -> list[str]:
        return [name for name, _detail in self.told()]

    def intents(self) -> list[Any]:
        return list(self.stripe.payment_intents.values())

    def calls(self, path: str) -> list[Request]:
        """Return the page's requests at addresses that end like this."""
        return [request for request in self.requests if request.url.endswith(path)]


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
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
    configure(AUTHENTICATE="tests.support.checkout.authenticate")
    page = browser.new_page(**context_options)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield Checkout(page, url=live_server.url, stripe=stripe)
    # Chromium writes of every answer that isn't a success, a declined card's too.
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


def test_payment_is_created_paid_and_completed(checkout: Checkout) -> None:
    checkout.open_form()
    sync_api.expect(checkout.button).to_have_text("Pay €20.00")
    checkout.pay()
    checkout.becomes("paid")
    sync_api.expect(checkout.page.get_by_role("status")).to_have_text("Your payment is complete. Thank you.")
    (ready, before), (paid, after) = checkout.told()
    assert (ready, before["payment"]["status"]) == ("ready", "PENDING")
    assert (paid, after["payment"]["status"]) == ("paid", "CONFIRMED")
    assert [intent["status"] for intent in checkout.intents()] == ["succeeded"]
