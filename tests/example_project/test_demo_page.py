"""The demo's page in a real browser: what a visitor sees and does."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from octo_stripe_gateway.stripe.currencies import get_precision
from tests.support.browser import DESK, MARKS, PHONE, SCREENSHOTS, open_browser, sync_api
from tests.support.demo import Demo, run_command, run_demo

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request

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
        page.set_default_timeout(30_000)
        page.goto(demo.url)

    def book(self, tour: str = "Old town on foot") -> str:
        """Book, and return the reference from the address."""
        self.page.get_by_role("radio", name=tour).check()
        self.press("Continue to payment")
        self.sees("Pay for your booking")
        self.page.get_by_label("Card number").wait_for()
        return self.page.url.partition("booking=")[2]

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

    def refund(self) -> None:
        self.press("Cancel and refund …")
        self.page.get_by_role("dialog").get_by_role("button", name="Cancel and refund").click()

    def picture(self, name: str) -> None:
        """Save a screenshot, and check that nothing sticks out at the side."""
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
def language() -> str:
    return "en-GB"


@pytest.fixture
def scheme() -> Any:
    return "light"


@pytest.fixture
def shop(browser: Browser, demo: Demo, viewport: Any, language: str, scheme: Any) -> Iterator[Shop]:
    context = browser.new_context(viewport=viewport, locale=language, color_scheme=scheme)
    problems = watch(context)
    yield Shop(context.new_page(), demo)
    context.close()
    # Chromium logs every answer that isn't a success, even a declined card's.
    assert [problem for problem in problems if "Failed to load resource" not in problem] == []


def watch(context: BrowserContext) -> list[str]:
    """Return the list to which a browser's errors are added from now on."""
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    return problems


@pytest.mark.parametrize(
    "viewport", [pytest.param(DESK, id="desk"), pytest.param(PHONE, id="phone", marks=pytest.mark.slow)]
)
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
    shop.press("Cancel and refund …")
    shop.picture(f"{name}-4-asked")
    shop.press("Keep it")
    assert [booking["status"] for booking in shop.bookings()] == ["CONFIRMED"]
    shop.refund()
    shop.sees("Your booking is cancelled")
    refunded = shop.page.locator("#cancelled .summary div", has_text="Refunded")
    sync_api.expect(refunded).to_contain_text("€49.00")
    sync_api.expect(shop.page.locator("#cancelled .summary div", has_text="On your card")).to_contain_text(
        "by "
    )
    shop.picture(f"{name}-5-refunded")
    assert [booking["status"] for booking in shop.bookings()] == ["CANCELLED"]


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_declined_visitor_tries_another_card(shop: Shop, viewport: Any) -> None:
    shop.book()
    shop.pay(IS_DECLINED)
    told = shop.page.get_by_text("Your card was declined.")
    sync_api.expect(told).to_have_count(1)
    sync_api.expect(told).to_be_focused()
    sync_api.expect(told).to_be_in_viewport()
    sync_api.expect(shop.page.get_by_label("Card number")).to_have_attribute("aria-invalid", "true")
    shop.picture(f"{'desk' if viewport == DESK else 'phone'}-6-declined")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    assert len(shop.intents()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_visitor_completes_a_challenge(shop: Shop, viewport: Any) -> None:
    shop.book("Kyoto tea morning")
    shop.pay(ASKS)
    shop.page.get_by_role("dialog").wait_for()
    shop.picture(f"{'desk' if viewport == DESK else 'phone'}-7-challenge")
    shop.press("Complete")
    shop.sees("Your booking is confirmed")
    shop.reads("¥16,400")


@pytest.mark.slow
def test_visitor_fails_a_challenge_and_then_pays(shop: Shop) -> None:
    shop.book()
    shop.pay(ASKS)
    shop.press("Fail")
    shop.reads("Your bank could not make sure that it was you.")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    assert len(shop.intents()) == 1


@pytest.mark.slow
def test_booking_paid_in_another_tab_is_shown(shop: Shop) -> None:
    with shop.page.expect_response("**/bookings/payments") as answered:
        shop.book()
    shop.demo.pay(answered.value.json())
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")


@pytest.mark.slow
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


@pytest.mark.slow
def test_bookings_are_found_again(shop: Shop) -> None:
    shop.book("Sunset sailing")
    shop.page.get_by_role("link", name="Back to the tours").click()
    shop.sees("Where to?")
    shop.page.get_by_role("link", name="Sunset sailing").click()
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.page.go_back()
    shop.sees("Where to?")
    shop.page.go_forward()
    shop.sees("Your booking is confirmed")


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


@pytest.mark.slow
def test_visitor_comes_back_from_a_bank(shop: Shop) -> None:
    with shop.page.expect_response("**/bookings/payments") as answered:
        shop.book()
    payment = answered.value.json()
    shop.demo.pay(payment)
    shop.page.goto(
        f"{shop.page.url}&octo_payable=booking:{payment['payable']['id']}&octo_payment={payment['uuid']}"
        f"&payment_intent_client_secret={payment['stripeClientSecret']}&redirect_status=succeeded"
    )
    shop.sees("Your booking is confirmed")
    assert "secret" not in shop.page.url


@pytest.mark.slow
def test_shop_that_does_not_answer_is_explained(shop: Shop) -> None:
    shop.page.route("**/bookings", lambda route: route.abort(), times=1)
    shop.press("Continue to payment")
    told = shop.page.get_by_text("The shop can't be reached.")
    sync_api.expect(told).to_have_count(1)
    sync_api.expect(told).to_be_focused()
    shop.book()


@pytest.mark.slow
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


@pytest.mark.slow
def test_nothing_can_be_pressed_before_the_script_runs(shop: Shop) -> None:
    shop.page.route("**/page.js", lambda route: route.abort())
    shop.page.goto(shop.demo.url)
    pressable = shop.page.locator("button:visible:not(:disabled), input:visible:not(:disabled)")
    sync_api.expect(pressable).to_have_count(0)
    shop.reads("€24.50")
    shop.reads("€49.00")


@pytest.mark.slow
def test_each_step_has_a_title(shop: Shop) -> None:
    titles = [shop.page.title()]
    shop.book()
    titles.append(shop.page.title())
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    titles.append(shop.page.title())
    shop.refund()
    shop.sees("Your booking is cancelled")
    titles.append(shop.page.title())
    steps = [title.partition(" · ")[0] for title in titles]
    assert steps == ["Choose a tour", "Pay", "Confirmed", "Cancelled"]


def test_total_is_written_as_the_server_writes_it(shop: Shop) -> None:
    before = shop.page.locator("#total").text_content()
    shop.page.get_by_label("People").select_option("3")
    sync_api.expect(shop.page.locator("#total")).to_have_text("€73.50")
    shop.page.get_by_label("People").select_option("2")
    sync_api.expect(shop.page.locator("#total")).to_have_text(str(before))
    # Two decimals at Stripe, and none in Intl.
    tour = shop.page.locator("[name=tour]:checked")
    tour.evaluate("(tour) => Object.assign(tour.dataset, {amount: 61728, currency: 'huf', precision: 2})")
    shop.page.get_by_label("People").select_option("1")
    shop.page.get_by_label("People").select_option("2")
    sync_api.expect(shop.page.locator("#total")).to_have_text("HUF 1,234.56")


@pytest.mark.parametrize("language", ["de-DE"])
@pytest.mark.parametrize("scheme", ["dark"])
@pytest.mark.parametrize("viewport", [{"width": 375, "height": 800}])
def test_german_visitor_reads_german_only(shop: Shop) -> None:
    page = shop.page
    assert page.locator("html").get_attribute("lang") == "de"
    shop.picture("de-1-choose")
    page.get_by_role("button", name="Weiter zur Zahlung").click()
    page.get_by_label("Kartennummer").wait_for()
    for label, value in {"Kartennummer": IS_DECLINED, "Ablaufdatum": "1234", "Prüfziffer": "123"}.items():
        page.get_by_label(label).press_sequentially(value)
    page.get_by_role("button", name="49,00 € bezahlen").click()
    shop.reads("Ihre Karte wurde abgelehnt.")
    shop.picture("de-2-declined")
    page.get_by_label("Kartennummer").fill(ASKS)
    page.get_by_role("button", name="49,00 € bezahlen").click()
    page.get_by_role("button", name="Abschließen").click()
    shop.sees("Ihre Buchung ist bestätigt")
    shop.picture("de-3-confirmed")
    page.get_by_role("button", name="Stornieren und erstatten …").click()
    page.get_by_role("dialog").get_by_role("button", name="Stornieren und erstatten").click()
    shop.sees("Ihre Buchung ist storniert")
    shop.picture("de-4-cancelled")


@pytest.mark.slow
def test_visitor_pays_a_deposit_now_and_the_balance_later(shop: Shop) -> None:
    shop.book("Fjords by ship")
    shop.reads("€256.00")
    shop.reads("Reserved for you until")
    shop.picture("desk-8-deposit")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.reads("€1,024.00")
    sync_api.expect(shop.page.locator("#confirmed .badge")).to_have_text("Deposit paid")
    sync_api.expect(shop.page.locator("#confirmed .summary div", has_text="Due")).to_contain_text("now")
    shop.picture("desk-9-still-to-pay")
    sync_api.expect(shop.page.locator("octo-payment:visible")).to_have_count(0)
    shop.press("Pay the rest now")
    shop.page.get_by_label("Card number").wait_for()
    shop.pay(PAYS)
    sync_api.expect(shop.page.get_by_text("Still to pay").filter(visible=True)).to_have_count(0)
    sync_api.expect(shop.page.locator("#confirmed .badge")).to_have_text("Paid")
    paid = shop.bookings()
    assert [(booking["status"], booking["due"]) for booking in paid] == [("CONFIRMED", "")]
    shop.refund()
    shop.sees("Your booking is cancelled")
    refunded = shop.page.locator("#cancelled .summary div", has_text="Refunded")
    sync_api.expect(refunded).to_contain_text("€1,280.00")


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESK, {"width": 375, "height": 800}], ids=["desk", "phone"])
def test_somebody_else_pays_the_balance_by_a_link_while_the_page_is_open(
    shop: Shop, browser: Browser, viewport: Any
) -> None:
    shop.book("Fjords by ship")
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.press("Have somebody else pay …")
    link = shop.page.locator("#link")
    sync_api.expect(link).to_contain_text("/bookings/pay/")
    shop.picture(f"{'desk' if viewport == DESK else 'phone'}-11-link")
    # The first page begins to pay as well.
    shop.press("Pay the rest now")
    shop.page.get_by_label("Card number").wait_for()

    context = browser.new_context(viewport=viewport, locale="de-DE")
    problems = watch(context)
    page = context.new_page()
    page.goto(str(link.get_attribute("href")))
    sync_api.expect(page.locator("#due")).to_contain_text("1.024,00")
    page.locator("octo-payment[state=ready]").wait_for()
    for label, value in {"Kartennummer": PAYS, "Ablaufdatum": "1234", "Prüfziffer": "123"}.items():
        page.get_by_label(label).press_sequentially(value)
    page.get_by_role("button", name="1.024,00 € bezahlen").click()
    page.get_by_text("Ihre Zahlung ist abgeschlossen.").filter(visible=True).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SCREENSHOTS / f"pay-link-{viewport['width']}.png")
    context.close()
    assert problems == []

    # Whoever presses in the first page pays nothing more, and sees that it is paid.
    confirmed = len(shop.demo.stripe_requests("/confirm"))
    shop.pay(PAYS)
    sync_api.expect(shop.page.locator("#confirmed .badge")).to_have_text("Paid")
    assert len(shop.demo.stripe_requests("/confirm")) == confirmed
    # Both pages had the same intent.
    assert len(shop.intents()) == 1


@pytest.mark.slow
def test_booking_is_cancelled_by_its_terms_with_a_preview(shop: Shop) -> None:
    # The shop may be a day ahead of the tests: too late for all of the money to go back, not for half.
    soon = timezone.localdate() + dt.timedelta(days=2)
    shop.page.get_by_label("Date").fill(soon.isoformat())
    shop.book()
    shop.pay(PAYS)
    shop.sees("Your booking is confirmed")
    shop.press("Cancel and refund …")
    asked = shop.page.get_by_role("dialog")
    for what in ("You get back", "We keep"):
        sync_api.expect(asked.locator("div", has_text=what).last).to_contain_text("€24.50")
    shop.picture("desk-12-terms")
    assert [booking["status"] for booking in shop.bookings()] == ["CONFIRMED"]
    asked.get_by_role("button", name="Cancel and refund").click()
    shop.sees("Your booking is cancelled")
    refunded = shop.page.locator("#cancelled .summary div", has_text="Refunded")
    sync_api.expect(refunded).to_contain_text("€24.50")
    (booking,) = shop.bookings()
    assert (booking["status"], booking["totalRefunded"]) == ("CANCELLED", 2450)


# Each tour's price in Stripe's minor unit, and how the page writes what two people pay.
PRICED = [
    ("cop", 100_000_000, "COP\xa02,000,000.00"),
    ("krw", 150_000, "₩300,000"),
    ("isk", 1_500_000, "ISK\xa030,000.00"),
    ("kwd", 12_340, "KWD\xa024.680"),
]
ADD_TOURS = """
from django.contrib.auth.models import User
from tourshop.models import Tour
for currency, price, _shown in {priced!r}:
    Tour.objects.create(name="In " + currency, description=currency, price=price, currency=currency)
User.objects.create_superuser("operator", password="secret")
"""


@pytest.fixture(scope="module")
def worldwide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A shop with tours in currencies of two, no, seemingly two and three decimals, and an operator."""
    with tempfile.TemporaryDirectory() as directory, run_demo(Path(directory)) as demo:
        added = run_command("shell", "-c", ADD_TOURS.format(priced=PRICED), DEMO_DIRECTORY=directory)
        assert added.returncode == 0, added.stderr
        yield demo
        demo.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("currency", "price", "shown"), PRICED, ids=[priced[0] for priced in PRICED])
def test_shop_sells_in_any_currency(
    browser: Browser, worldwide: Demo, currency: str, price: int, shown: str
) -> None:
    page = browser.new_page(locale="en-GB")
    shop = Shop(page, worldwide)
    whole = 2 * price
    page.get_by_role("radio", name=f"In {currency}").check()
    sync_api.expect(page.locator("#total")).to_have_text(shown)
    shop.book(f"In {currency}")
    page.get_by_role("button", name=f"Pay {shown}").wait_for()
    shop.pay(ASKS)
    asked = page.get_by_role("dialog").get_by_text("who pays")
    sync_api.expect(asked).to_contain_text(shown)
    shop.press("Complete")
    shop.sees("Your booking is confirmed")
    shop.reads(shown)
    (booking,) = shop.bookings()
    assert (booking["amount"], booking["paid"]) == (whole, shown)
    # An operator gives half of it back, in major units.
    half, asked_back = write(price, currency), f"{Decimal(price).scaleb(-get_precision(currency))}"
    page.goto(f"{worldwide.url}/admin/octo_stripe_gateway/payment/")
    page.get_by_label("Username").fill("operator")
    page.get_by_label("Password").fill("secret")
    shop.press("Log in")
    page.get_by_role("link", name=booking["payment"][:8]).first.click()
    shop.reads(write(whole, currency))
    page.get_by_role("link", name="Refund", exact=True).click()
    sync_api.expect(page.get_by_label("Amount")).to_have_value(
        f"{Decimal(whole).scaleb(-get_precision(currency))}"
    )
    page.get_by_label("Amount").fill(asked_back)
    page.get_by_role("button", name="Refund").click()
    shop.reads(f"Refunded {half}.")
    page.goto(f"{worldwide.url}/?booking={booking['reference']}")
    (booking,) = shop.bookings()
    assert (booking["totalRefunded"], booking["paid"]) == (price, booking["refunded"])
    page.close()


@pytest.mark.parametrize(("currency", "price", "shown"), PRICED, ids=[priced[0] for priced in PRICED])
@pytest.mark.slow
def test_money_of_any_currency_is_held_at_the_bank_and_captured_in_part(
    browser: Browser, worldwide: Demo, currency: str, price: int, shown: str
) -> None:
    page = browser.new_page(locale="en-GB")
    key = {"Authorization": "Bearer demo-key"}

    def ask(method: str, path: str, body: Any) -> Any:
        url = f"{worldwide.url}/bookings/payments{path}"
        return page.request.fetch(url, method=method, data=body, headers=key).json()

    payment = ask("POST", "", {"amount": 2 * price, "currency": currency, "captureMethod": "manual"})
    confirm = f"{worldwide.emulator_url}/_emulator/payment_intents/{payment['stripePaymentIntentId']}/confirm"
    card = {"payment_method": "pm_card_authenticationRequired", "return_url": worldwide.url}
    bank = page.request.post(confirm, data=card).json()["next_action"]["redirect_to_url"]["url"]
    page.goto(bank)
    told = page.get_by_text("Your bank wants to know")
    number = shown.partition("\xa0")[2]
    sync_api.expect(told).to_contain_text(f"{number} {currency.upper()}" if number else shown)
    page.get_by_role("button", name="Complete").click()
    page.wait_for_url(f"{worldwide.url}/**")
    held = ask("PATCH", f"/{payment['uuid']}/complete", {})
    assert (held["status"], held["amount"], held["amountReceived"]) == ("ON_HOLD", 2 * price, 0)
    taken = ask("POST", f"/{payment['uuid']}/capture", {"amount": price})
    assert (taken["status"], taken["amountReceived"]) == ("CONFIRMED", price)
    page.close()


def write(amount: int, currency: str) -> str:
    """Return an amount as the admin writes it."""
    precision = get_precision(currency)
    return f"{amount / 10**precision:,.{precision}f} {currency.upper()}"


@pytest.mark.slow
def test_hold_that_runs_out_is_shown_as_cancelled(browser: Browser, demo_directory: Path) -> None:
    with run_demo(demo_directory, DEMO_HOLD_SECONDS="3") as demo:
        page = browser.new_page()
        shop = Shop(page, demo)
        shop.press("Continue to payment")
        shop.sees("Pay for your booking")
        deadline = time.monotonic() + 30
        while [booking["status"] for booking in shop.bookings()] != ["CANCELLED"]:
            assert time.monotonic() < deadline
            page.wait_for_timeout(100)
        page.reload()
        shop.sees("Your booking is cancelled")
        shop.picture("desk-10-run-out")
        page.close()
        demo.stop()
