"""A page with `<octo-payment>` on it, as a customer uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support.browser import sync_api

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Request, Route

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
        page.set_default_timeout(30_000)
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


def answer_create(checkout: Checkout, *answers: Any) -> None:
    """Answer the next creations with these statuses, bodies and headers, and leave the rest to the server."""
    left = list(answers)

    def answer(route: Route) -> None:
        if not left:
            route.fallback()
            return
        status, body, headers = left.pop(0)
        route.fulfill(status=status, json=body, headers=headers)

    checkout.page.route("**/bookings/payments", answer)
