"""The demo's page in a real browser: what a visitor sees and does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import DESK, MARKS, PHONE, SCREENSHOTS, open_browser, sync_api
from tests.support.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

PAYS = "4242424242424242"
IS_DECLINED = "4000000000000002"
ASKS = "4000002500003155"

pytest_plugins = ["tests.support.demo_plugin"]
pytestmark = MARKS


class Shop:
    """The page as a visitor uses it."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page = page
        self.demo = demo
        page.set_default_timeout(10_000)
        page.goto(demo.url)

    def book(self, tour: str = "Old town on foot") -> str:
        """Book, and return the reference that the address then has."""
        self.page.get_by_role("radio", name=tour).check()
        self.press("Continue to payment")
        self.sees("Pay for your booking")
        self.page.get_by_label("Card number").wait_for()
        return self.page.url.partition("#")[2]

    def pay(self, number: str) -> None:
        """Fill the card form in and send it."""
        values = {"Card number": number, "Expiration date": "1234", "CVC": "123"}
        for label, value in values.items():
            self.page.get_by_label(label).fill("")
            self.page.get_by_label(label).press_sequentially(value)
        self.press(re.compile("^Pay "))

    def press(self, name: Any) -> None:
        self.page.get_by_role("button", name=name).click()

    def sees(self, heading: str) -> None:
        self.page.get_by_role("heading", name=heading).wait_for()

    def reads(self, text: str) -> None:
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def bookings(self) -> list[Any]:
        """Return the visitor's bookings as the shop has them."""
        answer: dict[str, list[Any]] = self.page.request.get(f"{self.demo.url}/bookings").json()
        return answer["bookings"]

    def intents(self) -> list[str]:
        """Return what Stripe was asked to make for these bookings: one intent's payment each time."""
        own = {booking["payment"] for booking in self.bookings()}
        made = self.demo.stripe_requests("/v1/payment_intents")
        payments = [uuid for entry in made for uuid in entry["params"]["metadata"].values()]
        return [uuid for uuid in payments if uuid in own]

    def picture(self, name: str) -> None:
        """Keep a picture to look at, and see that nothing sticks out at the side."""
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def viewport() -> Any:
    return DESK


@pytest.fixture
def shop(browser: Browser, demo: Demo, viewport: Any) -> Iterator[Shop]:
    context = browser.new_context(viewport=viewport, locale="en-GB")
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield Shop(page, demo)
    context.close()
    # Chromium writes of every answer that isn't a success, a declined card's too.
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_visitor_pays_and_is_refunded(shop: Shop, viewport: Any) -> None:
    name = "desk" if viewport == DESK else "phone"
    shop.reads("Test mode: local Stripe emulator")
    shop.reads("None yet.")
    shop.picture(f"{name}-1-choose")
    shop.book()
    shop.picture(f"{name}-2-pay")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.reads("€49.00")
    shop.picture(f"{name}-3-confirmed")
    assert [booking["status"] for booking in shop.bookings()] == ["CONFIRMED"]
    shop.press("Cancel and refund")
    shop.sees("Your booking is cancelled")
    shop.reads("€49.00 goes back to your card.")
    shop.picture(f"{name}-4-refunded")
    assert [booking["status"] for booking in shop.bookings()] == ["CANCELLED"]


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_declined_visitor_tries_another_card(shop: Shop, viewport: Any) -> None:
    shop.book()
    shop.pay(IS_DECLINED)
    alert = shop.page.locator("#pay .error", has_text="Your card was declined.")
    alert.wait_for()
    sync_api.expect(alert).to_be_in_viewport()
    shop.picture(f"{'desk' if viewport == DESK else 'phone'}-5-declined")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    assert len(shop.intents()) == 1


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_visitor_completes_a_challenge(shop: Shop, viewport: Any) -> None:
    shop.book("Kyoto tea morning")
    shop.pay(ASKS)
    shop.page.get_by_role("dialog").wait_for()
    shop.picture(f"{'desk' if viewport == DESK else 'phone'}-6-challenge")
    shop.press("Complete")
    shop.sees("Your booking is confirmed")
    shop.reads("JP¥16,400")


def test_visitor_fails_a_challenge_and_then_pays(shop: Shop) -> None:
    shop.book()
    shop.pay(ASKS)
    shop.press("Fail")
    shop.reads("Your bank could not make sure that it was you.")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    assert len(shop.intents()) == 1


def test_booking_that_is_confirmed_late_is_waited_for(shop: Shop) -> None:
    shop.book()
    before = {"bookings": shop.bookings()}
    shop.page.route("**/bookings", lambda route: route.fulfill(json=before), times=1)
    shop.pay(PAYS)
    shop.reads("Your payment is on its way.")
    shop.sees("Your booking is confirmed")


def test_booking_paid_in_another_tab_is_shown(shop: Shop) -> None:
    with shop.page.expect_response("**/bookings/payments") as answered:
        shop.book()
    shop.demo.pay(answered.value.json())
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")


def test_reload_goes_on_with_the_same_payment(shop: Shop) -> None:
    shop.book()
    shop.pay(ASKS)
    shop.page.get_by_role("dialog").wait_for()
    shop.page.reload()
    shop.sees("Pay for your booking")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    assert len(shop.intents()) == 1
    shop.page.reload()
    shop.sees("Your booking is confirmed")


def test_bookings_are_found_again(shop: Shop) -> None:
    shop.book("Sunset sailing")
    shop.page.get_by_role("link", name="Back to the tours").click()
    shop.sees("Where to?")
    shop.page.get_by_role("link", name="Sunset sailing").click()
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.page.go_back()
    shop.sees("Where to?")


def test_double_clicks_book_and_pay_once(shop: Shop) -> None:
    shop.page.get_by_role("button", name="Continue to payment").dblclick()
    shop.page.get_by_label("Card number").wait_for()
    assert len(shop.bookings()) == len(shop.intents()) == 1
    before = len(shop.demo.stripe_requests("/confirm"))
    shop.pay(PAYS[:-1])
    shop.page.get_by_label("Card number").press("End")
    shop.page.get_by_label("Card number").press_sequentially(PAYS[-1])
    shop.page.get_by_role("button", name="Pay €49.00").dblclick()
    shop.sees("Your booking is confirmed")
    assert len(shop.demo.stripe_requests("/confirm")) == before + 1


def test_visitor_comes_back_from_a_bank(shop: Shop) -> None:
    with shop.page.expect_response("**/bookings/payments") as answered:
        shop.book()
    payment = answered.value.json()
    shop.demo.pay(payment)
    secret = payment["stripeClientSecret"]
    shop.page.goto(
        f"{shop.demo.url}/?payment={payment['uuid']}&payment_intent={payment['stripePaymentIntentId']}"
        f"&payment_intent_client_secret={secret}&redirect_status=succeeded"
    )
    shop.sees("Your booking is confirmed")
    assert "secret" not in shop.page.url


def test_visitor_comes_back_from_a_bank_that_declined(shop: Shop) -> None:
    with shop.page.expect_response("**/bookings/payments") as answered:
        shop.book()
    payment = answered.value.json()
    shop.demo.pay(payment, payment_method="pm_card_visa_chargeDeclined")
    shop.page.goto(f"{shop.demo.url}/?payment={payment['uuid']}&redirect_status=failed")
    shop.reads("Your card was declined.")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")


def test_answer_lost_after_paying_is_asked_for_again(shop: Shop) -> None:
    shop.page.route("**/complete", lambda route: route.abort(), times=1)
    shop.book()
    shop.pay(PAYS)
    shop.reads("The shop can't be reached.")
    shop.press(re.compile("^Pay "))
    shop.sees("Your booking is confirmed")


def test_payment_form_that_does_not_load_is_explained(shop: Shop) -> None:
    shop.page.route("**/stripe.js", lambda route: route.abort())
    shop.page.reload()
    shop.press("Continue to payment")
    shop.reads("Stripe's payment form could not be loaded.")
    shop.page.unroute("**/stripe.js")
    shop.page.reload()
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")


def test_shop_that_does_not_answer_is_explained(shop: Shop) -> None:
    shop.page.route("**/bookings", lambda route: route.abort(), times=1)
    shop.press("Continue to payment")
    shop.reads("The shop can't be reached.")
    shop.book()


def test_card_number_is_copied(shop: Shop) -> None:
    shop.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shop.press("Copy 4242 4242 4242 4242")
    shop.reads("Copied")
    assert shop.page.evaluate("navigator.clipboard.readText()") == PAYS


def test_page_works_from_the_keyboard(shop: Shop) -> None:
    shop.page.get_by_label("People").focus()
    shop.page.keyboard.press("Tab")
    shop.page.keyboard.press("Enter")
    shop.sees("Pay for your booking")
    assert shop.page.evaluate("document.activeElement.tagName") == "H1"
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")


def test_page_keeps_its_secrets(shop: Shop) -> None:
    requests: list[Request] = []
    shop.page.on("request", lambda request: requests.append(request))
    shop.book()
    content = shop.page.content()
    for secret in ("demo-key", "sk_test", "_secret_", "whsec"):
        assert secret not in content
    assert not [
        request for request in requests if "authorization" in request.headers and shop.demo.url in request.url
    ]
    stored = shop.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "_secret_" not in stored
