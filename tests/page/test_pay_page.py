"""The page of a pay link in a real browser, under a strict policy, while all that it shows changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from octo_stripe_gateway import services
from tests.shop.models import Booking
from tests.support.browser import MARKS, sync_api
from tests.support.checkout import ASKS, PAYS, Checkout
from tests.support.threads import run_together

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest_plugins = ["tests.support.checkout_plugin", "tests.support.node_plugin"]
pytestmark = [
    *MARKS,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.support.checkout_urls"),
]

PRICE = 9000
DAY = dt.timedelta(days=1)


class Paying:
    """A booking, its link, and the page that it leads to."""

    def __init__(self, checkout: Checkout, *, link: str = "") -> None:
        self.checkout = checkout
        self.due = checkout.page.locator("#due")
        self.dialog = checkout.page.get_by_role("dialog")
        self.link = link or self.ask(self._make_link)

    @staticmethod
    def _make_link() -> str:
        booking = Booking.objects.create(price=PRICE, currency="usd")
        return services.create_payment_link(booking, expires_at=timezone.now() + DAY)

    def ask(self, work: Callable[[], Any]) -> Any:
        """Do something with the database, which the browser's own thread can't use."""
        (answer,) = run_together([work])
        return answer

    def open(self) -> None:
        self.checkout.page.goto(self.checkout.url + self.link)
        self.checkout.becomes("ready")

    def go_to_the_bank(self) -> None:
        """Pay with a card whose bank asks, and wait for its question."""
        self.open()
        self.checkout.pay(ASKS)
        self.dialog.wait_for()

    def come_back(self) -> None:
        """Say yes to the bank."""
        self.dialog.get_by_role("button", name="Complete").click()

    def reads(self, text: str) -> None:
        sync_api.expect(self.checkout.page.locator("main")).to_contain_text(text)

    def money(self) -> tuple[int, int]:
        """Return what Stripe took and what it sent back."""
        charges = [each for each in self.checkout.stripe.charges.values() if each["paid"]]
        return sum(each["amount"] for each in charges), sum(each["amount_refunded"] for each in charges)


@pytest.fixture
def paying(checkout: Checkout, settings: Any) -> Paying:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.support.checkout_urls.keep_strict"]
    return Paying(checkout)


PHONE: Any = {"viewport": {"width": 375, "height": 800}}
DESK: Any = {"viewport": {"width": 1280, "height": 800}}
BOTH = pytest.mark.parametrize("context_options", [DESK, PHONE], ids=["desk", "phone"])


@BOTH
def test_link_is_paid(paying: Paying, context_options: Any) -> None:
    paying.open()
    sync_api.expect(paying.due).to_have_text("$90.00")
    sync_api.expect(paying.checkout.button).to_have_text("Pay $90.00")
    assert paying.checkout.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paying.checkout.pay(PAYS)
    paying.checkout.becomes("paid")
    sync_api.expect(paying.due).to_be_hidden()
    assert paying.money() == (PRICE, 0)
    paying.checkout.page.reload()
    paying.reads("It is paid already.")


# What changes while the page is open.


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("price", [PRICE + 1000, PRICE - 1000])
def test_outdated_price_is_never_paid(paying: Paying, context_options: Any, price: int) -> None:
    paying.open()
    paying.ask(lambda: Booking.objects.update(price=price))
    paying.checkout.pay(PAYS)
    sync_api.expect(paying.checkout.error).to_have_text(
        "The price has changed. Check the amount before you pay."
    )
    assert paying.money() == (0, 0)
    # What was typed stays, and the amount is the new one everywhere.
    shown = f"${price // 100}.00"
    sync_api.expect(paying.due).to_have_text(shown)
    sync_api.expect(paying.checkout.button).to_have_text(f"Pay {shown}")
    sync_api.expect(paying.checkout.page.get_by_label("Card number")).to_have_value("4242 4242 4242 4242")
    paying.checkout.button.click()
    paying.checkout.becomes("paid")
    assert paying.money() == (price, 0)


@pytest.mark.slow
def test_price_that_changes_at_the_bank_is_sent_back(paying: Paying) -> None:
    paying.go_to_the_bank()
    paying.ask(lambda: Booking.objects.update(price=PRICE + 1000))
    paying.come_back()
    paying.checkout.becomes("failed")
    paying.reads("The price has changed. What you paid goes back to you.")
    sync_api.expect(paying.due).to_be_hidden()
    assert paying.money() == (PRICE, PRICE)
    paying.checkout.button.click()
    sync_api.expect(paying.checkout.button).to_contain_text("$100.00")


@pytest.mark.slow
def test_deadline_that_passes_at_the_bank_sends_the_money_back(
    paying: Paying, monkeypatch: pytest.MonkeyPatch
) -> None:
    paying.go_to_the_bank()
    past = timezone.now() - DAY
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: past, raising=False)
    paying.come_back()
    paying.checkout.becomes("failed")
    paying.reads("The time to pay for this has run out. What you paid goes back to you.")
    assert paying.money() == (PRICE, PRICE)


@pytest.mark.slow
def test_link_that_expires_at_the_bank_is_paid(paying: Paying, monkeypatch: pytest.MonkeyPatch) -> None:
    """It limits when a payment may begin; the payable's own deadline limits when money may come."""
    paying.go_to_the_bank()
    late = timezone.now() + DAY
    monkeypatch.setattr(timezone, "now", lambda: late)
    paying.come_back()
    paying.checkout.becomes("paid")
    assert paying.money() == (PRICE, 0)


@pytest.mark.slow
def test_link_that_is_revoked_at_the_bank_takes_nothing(paying: Paying) -> None:
    paying.go_to_the_bank()
    paying.ask(lambda: services.revoke_payment_links(Booking.objects.get()))
    paying.come_back()
    paying.checkout.becomes("failed")
    paying.reads("This link is not valid any more. Ask for a new one.")
    sync_api.expect(paying.checkout.button).to_be_hidden()
    assert paying.money() == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["revoked", "expired", "canceled"])
def test_link_that_ends_while_its_page_is_open_takes_nothing(
    paying: Paying, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    paying.open()
    if ends == "expired":
        late = timezone.now() + DAY
        monkeypatch.setattr(timezone, "now", lambda: late)
    else:
        end = services.revoke_payment_links if ends == "revoked" else services.cancel_payable
        paying.ask(lambda: end(Booking.objects.get()))
    paying.checkout.pay(PAYS)
    paying.checkout.becomes("failed")
    paying.reads("This link is not valid any more. Ask for a new one.")
    assert paying.money() == (0, 0)
    paying.checkout.page.reload()
    paying.reads("This link is not valid any more. Ask for a new one.")


@pytest.mark.slow
def test_two_devices_pay_once(paying: Paying, browser: Browser) -> None:
    paying.open()
    phone = Checkout(
        browser.new_context(**PHONE).new_page(), url=paying.checkout.url, stripe=paying.checkout.stripe
    )
    other = Paying(phone, link=paying.link)
    other.go_to_the_bank()
    paying.checkout.pay(PAYS)
    paying.checkout.becomes("paid")
    other.come_back()
    phone.becomes("paid")
    assert paying.money() == (PRICE, 0)
    assert len(paying.checkout.intents()) == 1


# Wallets.


@pytest.mark.slow
@pytest.mark.parametrize("browser_options", [["--host-resolver-rules=MAP shop.example.com 127.0.0.1"]])
@pytest.mark.parametrize("connected", ["", "acct_1Lyon"])
def test_wallet_is_shown_once_its_domain_is_registered(
    paying: Paying, settings: Any, configure: Callable[..., None], browser_options: Any, connected: str
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    if connected:
        paying.checkout.stripe.connect_account(connected)
        configure(CHOOSE_ACCOUNT=lambda _payment: ("", connected))
    paying.checkout.url = paying.checkout.url.replace("localhost", "shop.example.com")
    page = paying.checkout.page
    paying.open()
    page.wait_for_load_state("networkidle")
    wallet = page.get_by_role("button", name="Test wallet")
    sync_api.expect(wallet).to_have_count(0)
    sync_api.expect(page.locator("octo-payment [part=or]")).to_be_hidden()
    paying.ask(lambda: call_command("stripe_setup", url="https://shop.example.com/bookings/webhooks"))
    paying.open()
    wallet.click()
    paying.checkout.becomes("paid")
    assert paying.money() == (PRICE, 0)


# Languages and accessibility.

LOOKS = [
    pytest.param({"locale": language, **device, "color_scheme": scheme}, id=f"{language}-{scheme}")
    for language, device, scheme in (
        ("en-GB", DESK, "light"),
        ("de-DE", PHONE, "dark"),
        ("fr-FR", PHONE, "light"),
        ("ja-JP", DESK, "dark"),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("context_options", LOOKS)
def test_page_has_no_violation_of_accessibility(
    paying: Paying, find_violations: Callable[[Page], list[str]], context_options: Any
) -> None:
    page = paying.checkout.page
    found: dict[str, list[str]] = {}
    paying.open()
    assert str(page.locator("html").get_attribute("lang"))[:2] == context_options["locale"][:2]
    found["ready"] = find_violations(page)
    paying.ask(lambda: Booking.objects.update(price=PRICE + 1000))
    page.locator("octo-payment input[name=number]").press_sequentially(PAYS)
    page.locator("octo-payment input[name=expiry]").press_sequentially("1234")
    page.locator("octo-payment input[name=cvc]").press_sequentially("123")
    paying.checkout.button.click()
    paying.checkout.error.wait_for()
    found["changed"] = find_violations(page)
    paying.checkout.button.click()
    paying.checkout.becomes("paid")
    found["paid"] = find_violations(page)
    page.reload()
    found["paid already"] = find_violations(page)
    paying.ask(lambda: services.revoke_payment_links(Booking.objects.get()))
    page.reload()
    found["revoked"] = find_violations(page)
    assert found == {state: [] for state in found}
    assert len(found) == 5
