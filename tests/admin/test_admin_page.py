"""The admin in a real browser: an operator finds a payment and refunds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from octo_stripe_gateway.models import Dispute, Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import ConcernFactory, PaymentFactory, WebhookEventFactory
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.browser import COLUMNS_FIT, DESK, FITS, LOOKS, MARKS, PHONE, SCREENSHOTS, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PAYMENTS = "/admin/octo_stripe_gateway/payment/"
MOVEMENTS = "/admin/octo_stripe_gateway/balancetransaction/"
EVENTS = "/admin/octo_stripe_gateway/webhookevent/"

make_payment: Any = PaymentFactory
make_event: Any = WebhookEventFactory

pytestmark = [
    *MARKS,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.support.admin_urls"),
]


class Office:
    """The admin as an operator uses it."""

    def __init__(self, page: Page, *, url: str) -> None:
        self.page = page
        self.url = url
        page.set_default_timeout(30_000)

    def log_in(self) -> None:
        self.open("/admin/")
        self.page.get_by_label("Username").fill("operator")
        self.page.get_by_label("Password").fill("secret")
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("link", name="Payments", exact=True).first.wait_for()

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def follow(self, link: str) -> None:
        self.page.get_by_role("link", name=link, exact=True).click()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button, exact=True).click()

    def reads(self, text: str) -> None:
        self.page.get_by_text(text).filter(visible=True).first.wait_for()

    def hides(self, text: str) -> None:
        assert self.page.get_by_text(text).filter(visible=True).count() == 0

    def picture(self, name: str) -> None:
        """Save screenshots, and check that nothing sticks out at the side."""
        for look, viewport, scheme in LOOKS:
            self.page.set_viewport_size(viewport)
            self.page.emulate_media(color_scheme=scheme)
            self.page.screenshot(
                path=SCREENSHOTS / f"admin-{name}-{look}.png", full_page=True, animations="disabled"
            )
            assert self.page.evaluate(FITS)
            if viewport == DESK:
                # On a phone the sums of large amounts scroll within their own box.
                assert self.page.evaluate(COLUMNS_FIT)


@pytest.fixture
def payments(transactional_db: None, api: GatewayApi, stripe: StripeEmulator) -> list[Payment]:
    """Fill the ledger with one payment of each kind; the first exists at the emulator too."""
    User.objects.create_superuser("operator", password="secret")
    paid = api.paid(stripe, {"amount": 4900, "currency": "usd", "resellerReference": "VIATOR-88213"})
    api.deliver(stripe)
    booking = Booking.objects.create()
    run_upkeep(limit=10, threads=1)
    visitor = "tourshop.auth.visitor:e65c21f49d3b4d0c8e1f"
    ticket = Ticket.objects.create(code="T-1")
    make_payment(authorized=True, amount=12_000, currency="jpy", payable=ticket, owner=visitor)
    make_payment(failed=True, amount=8950, currency="eur", payable=booking)
    make_payment(refunded=True, amount=15_000, currency="bhd", livemode=True)
    disputed = make_payment(
        paid=True,
        disputed=True,
        has_concerns=True,
        payable=booking,
        amount_refunded=700,
        owner="key:viator",
        account="emea",
    )
    Dispute.objects.create(
        payment=disputed,
        stripe_dispute_id="du_1PqXyz",
        amount=1300,
        currency="usd",
        reason="fraudulent",
        status="needs_response",
        evidence_due_by=1_900_000_000,
    )
    ConcernFactory.create(
        payment=disputed, code="intent_differs", parameters={"differences": {"amount": [2000, 1900]}}
    )
    sold_out = {"words": "This departure is sold out."}
    rejected = {"status": "failed", "rejection_code": "host", "rejection_parameters": sold_out}
    make_payment(paid=True, amount=123_456_789, payable=booking, owner="auth.user:42", **rejected)
    ConcernFactory.create(payment__owner="auth.user:42")
    make_event(failed=True, payment=disputed)
    make_event(failed=True, payment=disputed, error_code="payment_unknown")
    make_event(
        payment=disputed,
        type="charge.refunded",
        error_code="endpoint_outdated",
        error_parameters={"version": "2024-06-20"},
    )
    # Playwright's thread can't use the database, so read what the tests need here.
    return [Payment.objects.get(pk=paid["id"]), disputed]


@pytest.fixture
def office(payments: list[Payment], live_server: Any) -> Iterator[Office]:
    problems: list[str] = []
    with open_browser() as browser:
        page = browser.new_page(locale="en-GB")
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield Office(page, url=live_server.url)
    assert problems == []


@pytest.mark.slow
def test_operator_finds_a_payment_and_refunds_it(
    office: Office, payments: list[Payment], stripe: StripeEmulator
) -> None:
    payment = payments[0]
    office.log_in()
    office.open(PAYMENTS)
    office.reads("12,000 JPY")
    office.reads("visitor e65c21f4…")
    office.picture("1-list")
    office.open(MOVEMENTS)
    office.reads("charge")
    office.picture("10-movements")
    office.open(f"{PAYMENTS}?q=VIATOR-88213")
    office.follow(payment.uuid.hex[:8])
    office.reads("Received 49.00 USD")
    office.hides("payment_intent.succeeded")
    office.picture("2-payment")
    office.page.get_by_label("Show events, requests and details too").check()
    office.reads("payment_intent.succeeded")
    office.picture("2-payment-whole")
    office.follow("Refund")
    office.page.get_by_label("Amount in USD").fill("20")
    office.page.get_by_label("Reason").select_option("requested by customer")
    office.page.get_by_label("Amount in USD").fill("49.01")
    office.press("Refund")
    office.reads("The amount is more than is left to refund.")
    office.picture("3-refund")
    office.page.get_by_label("Amount in USD").fill("20")
    office.press("Refund")
    office.reads("Refunded 20.00 USD.")
    office.reads("Refunded 20.00 USD")
    office.reads("29.00 USD")
    office.picture("4-refunded")
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]


@pytest.mark.slow
def test_operator_sees_what_is_wrong(office: Office, payments: list[Payment]) -> None:
    office.log_in()
    office.picture("5-index")
    office.follow("Concerns: The payment intent differs")
    office.follow(payments[1].uuid.hex[:8])
    office.reads("amount is 19.00 USD, not 20.00 USD")
    office.reads("13.00 USD · needs response")
    office.picture("5-disputed")
    office.open(EVENTS)
    office.picture("6-events")
    office.page.locator("#result_list").get_by_role("link", name="payment_intent.succeeded").first.click()
    office.follow("Reprocess")
    office.picture("7-reprocess")
    office.press("Reprocess")
    office.reads("The event is processed now.")
    office.picture("8-event")
    office.open(f"/admin/shop/booking/{payments[1].payable_id}/change/")
    office.reads("89.50 EUR")
    office.picture("9-inline")


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_pay_link_is_made_and_copied(office: Office, payments: list[Payment], viewport: Any) -> None:
    page = office.page
    page.set_viewport_size(viewport)
    page.route("**/admin/**", allow_own_scripts_only)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    office.log_in()
    office.open(f"/admin/shop/booking/{payments[1].payable_id}/change/")
    office.follow("Make a pay link")
    office.press("Make a pay link")
    link = page.get_by_label("pay link").input_value()
    office.press("Copy")
    office.reads("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == link
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Without a clipboard, as over plain HTTP, it is selected.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.evaluate("getSelection().removeAllRanges()")
    page.locator(".octo-copy").click()
    assert page.evaluate("String(getSelection())") == link


def allow_own_scripts_only(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": "script-src 'self'"})
