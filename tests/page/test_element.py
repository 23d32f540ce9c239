"""`<octo-payment>` in a real browser, against the API and the emulator."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage

import octo_stripe_gateway
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.testing.emulator import Fault
from tests.shop.models import Booking
from tests.support.browser import MARKS, sync_api
from tests.support.checkout import ASKS, IS_DECLINED, PAYS, Checkout, answer_create
from tests.support.checkout_urls import GUIDE, get_block
from tests.support.node import STATIC

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytest_plugins = ["tests.support.checkout_plugin"]
pytestmark = [
    *MARKS,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.support.checkout_urls"),
]


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
    assert "_secret_" not in str(checkout.told())


# Declines, challenges, wallets.


@pytest.mark.slow
def test_declined_card_is_followed_by_one_that_pays_the_same_intent(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(IS_DECLINED)
    sync_api.expect(checkout.error).to_have_text("Your card was declined.")
    sync_api.expect(checkout.error).to_be_focused()
    checkout.becomes("ready")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert checkout.names() == ["ready", "failed", "paid"]
    assert checkout.told()[1][1]["error"] == {"code": "generic_decline", "message": "Your card was declined."}
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_mistyped_card_is_told_at_its_field_only(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay("4242424242424241")
    checkout.page.get_by_text("Your card number is invalid.").wait_for()
    sync_api.expect(checkout.error).to_be_hidden()
    sync_api.expect(checkout.page.get_by_label("Card number")).to_be_focused()
    assert checkout.names() == ["ready"]


@pytest.mark.slow
def test_challenge_is_completed(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(ASKS)
    checkout.page.get_by_role("button", name="Complete").click()
    checkout.becomes("paid")


@pytest.mark.slow
def test_challenge_that_failed_is_tried_again(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(ASKS)
    checkout.page.get_by_role("button", name="Fail").click()
    sync_api.expect(checkout.error).to_contain_text("Your bank could not make sure that it was you.")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_wallet_pays_where_wallets_are_asked_for(checkout: Checkout) -> None:
    checkout.open_form(more="express")
    sync_api.expect(checkout.page.get_by_text("or", exact=True)).to_be_visible()
    checkout.page.get_by_role("button", name="Test wallet").click()
    checkout.becomes("paid")
    assert [intent["status"] for intent in checkout.intents()] == ["succeeded"]


@pytest.mark.slow
def test_wallets_are_not_shown_unless_asked_for(checkout: Checkout) -> None:
    checkout.open_form()
    sync_api.expect(checkout.page.get_by_text("or", exact=True)).to_be_hidden()


# Banks that send the customer elsewhere, and banks that take their time.


def go_to_bank(checkout: Checkout, **query: str) -> None:
    """Pay with a method that sends the customer to the bank's own page."""

    def redirect(route: Route) -> None:
        # Without this, Stripe.js shows the challenge on the page.
        route.continue_(post_data=(route.request.post_data or "").replace("use_stripe_sdk=true", ""))

    checkout.page.route("**/confirm", redirect)
    checkout.open_form(**query)
    checkout.pay(ASKS)
    checkout.page.get_by_role("heading", name="Authenticate your payment").wait_for()


def test_customer_comes_back_from_a_bank_that_paid(checkout: Checkout) -> None:
    go_to_bank(checkout, step="last")
    checkout.page.get_by_role("button", name="Complete").click()
    checkout.becomes("paid")
    assert checkout.page.url.endswith("/?step=last")
    assert checkout.names() == ["paid"]
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_customer_comes_back_from_a_bank_that_did_not_pay(checkout: Checkout) -> None:
    go_to_bank(checkout)
    checkout.page.get_by_role("button", name="Fail").click()
    sync_api.expect(checkout.error).to_contain_text("Your bank could not make sure that it was you.")
    checkout.becomes("ready")
    checkout.page.unroute_all()
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_client_secret_leaves_the_address_at_once(checkout: Checkout) -> None:
    checkout.open_form()
    address = f"{checkout.page.url}&octo_payable=booking:0&octo_payment=x&payment_intent_client_secret=pi_x"
    checkout.page.goto(address)
    checkout.becomes("ready")
    assert "secret" not in checkout.page.url


@pytest.mark.slow
@pytest.mark.parametrize("named", ["..", ".", "%2e%2e", "x", "1", "9f6c1c9e-5f0d-4e0f-8a55-2f7a3b9d7c11", ""])
def test_address_that_names_no_payment_calls_nothing_else(checkout: Checkout, named: str) -> None:
    checkout.open()
    booking = checkout.element.get_attribute("payable")
    called: list[str] = []
    checkout.page.on(
        "request", lambda request: called.append(request.url) if request.method == "PATCH" else None
    )
    checkout.page.goto(f"{checkout.page.url.rstrip('?')}?octo_payable={booking}&octo_payment={named}")
    checkout.becomes("ready")
    assert "octo_" not in checkout.page.url
    assert all(url.endswith(f"/payments/{named}/complete") and len(named) == 36 for url in called)


@pytest.mark.slow
def test_address_that_names_another_payable_s_payment_is_ignored(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay()
    checkout.becomes("paid")
    paid = checkout.told()[-1][1]["payment"]["uuid"]
    checkout.open()
    booking = checkout.element.get_attribute("payable")
    address = checkout.page.url.rstrip("?")
    checkout.page.goto(f"{address}?octo_payable={booking}&octo_payment={paid}")
    checkout.becomes("ready")
    assert "octo_" not in checkout.page.url


@pytest.mark.slow
@pytest.mark.parametrize("succeed", [True, False])
def test_page_waits_for_a_bank_that_takes_its_time(checkout: Checkout, succeed: bool) -> None:
    checkout.open_form(currency="usd")
    checkout.page.get_by_label("US bank account").check()
    checkout.button.click()
    checkout.becomes("processing")
    checkout.page.get_by_text("Your payment is on its way.").wait_for()
    (intent,) = checkout.intents()
    checkout.stripe.settle(intent["id"], succeed=succeed)
    checkout.becomes("paid" if succeed else "ready")
    if succeed:
        assert checkout.names() == ["ready", "processing", "paid"]
        return
    sync_api.expect(checkout.error).to_have_text("The customer's bank account has been closed.")
    checkout.page.get_by_label("Card", exact=True).check()
    checkout.pay(PAYS)
    checkout.becomes("paid")


@pytest.mark.slow
def test_processing_payment_is_still_shown_as_processing_after_a_reload(checkout: Checkout) -> None:
    checkout.open_form(currency="usd")
    checkout.stripe.confirm(checkout.intents()[0]["id"], "pm_usBankAccount_success")
    checkout.page.reload()
    checkout.becomes("processing")
    checkout.stripe.settle(checkout.intents()[0]["id"])
    checkout.becomes("paid")


# Tabs, reloads, impatience.


def test_double_click_pays_once(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.fill(PAYS)
    checkout.button.dblclick()
    checkout.becomes("paid")
    assert len(checkout.calls("/confirm")) == 1


@pytest.mark.slow
def test_reload_finds_the_same_payment(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(ASKS)
    checkout.page.get_by_role("dialog").wait_for()
    checkout.page.reload()
    checkout.becomes("ready")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_reload_after_paying_finds_it_paid(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.stripe.confirm(checkout.intents()[0]["id"])
    checkout.page.reload()
    checkout.becomes("paid")


@pytest.mark.slow
def test_payment_made_in_another_tab_is_not_made_again(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.stripe.confirm(checkout.intents()[0]["id"])
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.stripe.charges) == 1


@pytest.mark.slow
def test_payment_that_was_given_up_is_followed_by_another(checkout: Checkout) -> None:
    checkout.open_form()
    before = checkout.told()[0][1]["payment"]
    cancel = f"{checkout.url}/bookings/payments/{before['uuid']}/cancel"
    answer = checkout.page.request.post(cancel, headers={"Authorization": "Bearer gateway-key"})
    assert answer.ok, answer.text()
    checkout.pay(PAYS)
    sync_api.expect(checkout.page.get_by_label("Card number")).to_have_value("")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert [intent["status"] for intent in checkout.intents()] == ["canceled", "succeeded"]


@pytest.mark.slow
def test_page_restored_from_the_browser_s_cache_starts_over(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(ASKS)
    checkout.page.get_by_role("dialog").wait_for()
    checkout.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    checkout.becomes("ready")
    assert len(checkout.intents()) == 1


# The network.


@pytest.mark.slow
def test_shop_that_is_out_of_reach_is_tried_again(checkout: Checkout) -> None:
    checkout.page.route("**/bookings/payments", lambda route: route.abort())
    checkout.open()
    checkout.becomes("failed")
    sync_api.expect(checkout.error).to_contain_text("The shop can't be reached.")
    checkout.page.unroute_all()
    checkout.button.click()
    checkout.becomes("ready")
    assert checkout.told()[0][1]["error"]["code"] == "connection_lost"
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_customer_notices_nothing_of_an_answer_that_is_lost_once(checkout: Checkout) -> None:
    checkout.page.route("**/bookings/payments", lambda route: route.abort(), times=1)
    checkout.page.route("**/complete", lambda route: route.abort(), times=1)
    checkout.open_form()
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert checkout.names() == ["ready", "paid"]


@pytest.mark.slow
@pytest.mark.parametrize("status", [502, 503, 429])
def test_server_that_is_busy_is_asked_again(checkout: Checkout, status: int) -> None:
    checkout.page.route("**/complete", lambda route: route.fulfill(status=status, json={}), times=2)
    checkout.open_form()
    checkout.pay(PAYS)
    checkout.becomes("paid")


@pytest.mark.slow
def test_lost_confirmation_may_be_paid_again(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.page.route("**/complete", lambda route: route.abort())
    checkout.pay(PAYS)
    sync_api.expect(checkout.error).to_contain_text("Paying again is safe: you are charged only once.")
    checkout.becomes("ready")
    checkout.page.unroute_all()
    checkout.button.click()
    checkout.becomes("paid")
    assert len(checkout.stripe.charges) == 1


@pytest.mark.slow
def test_stripe_that_took_the_money_without_an_answer_is_looked_up(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/confirm", when="after"))
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.stripe.charges) == 1


@pytest.mark.slow
def test_stripe_that_never_got_the_request_may_be_asked_again(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/confirm", when="before"))
    checkout.pay(PAYS)
    sync_api.expect(checkout.error).to_contain_text("Paying again is safe: you are charged only once.")
    checkout.button.click()
    checkout.becomes("paid")
    assert len(checkout.stripe.charges) == 1


@pytest.mark.slow
def test_slow_network_shows_a_skeleton(checkout: Checkout) -> None:
    waiting: list[Route] = []
    checkout.page.route("**/bookings/payments", lambda route: waiting.append(route))
    with checkout.page.expect_request("**/bookings/payments"):
        checkout.open()
    sync_api.expect(checkout.page.locator("[part=skeleton]")).to_be_visible()
    sync_api.expect(checkout.page.get_by_role("status")).to_have_text("Loading the payment form …")
    sync_api.expect(checkout.button).to_be_hidden()
    waiting[0].continue_()
    checkout.becomes("ready")
    sync_api.expect(checkout.page.locator("[part=skeleton]")).to_be_hidden()


@pytest.mark.slow
def test_stripe_js_that_does_not_load_is_told(checkout: Checkout) -> None:
    checkout.page.route("**/stripe.js", lambda route: route.abort())
    checkout.open()
    checkout.becomes("failed")
    sync_api.expect(checkout.error).to_contain_text("The payment form could not be loaded.")
    checkout.page.unroute_all()
    checkout.page.reload()
    checkout.becomes("ready")


# The host's side: holds, balances, refusals.


@pytest.mark.slow
def test_page_says_when_the_time_to_pay_runs_out(checkout: Checkout) -> None:
    def shorten(route: Route) -> None:
        answer = route.fetch()
        soon = checkout.page.evaluate("new Date(Date.now() + 1500).toISOString()")
        route.fulfill(response=answer, json={**answer.json(), "utcExpiresAt": soon})

    checkout.page.route("**/bookings/payments", shorten)
    checkout.open_form()
    checkout.page.get_by_text("Reserved for you until").wait_for()
    checkout.becomes("expired")
    checkout.page.get_by_text("The time to pay is over.").wait_for()
    assert checkout.names() == ["ready", "expired"]


@pytest.mark.slow
def test_customer_s_clock_may_be_wrong(checkout: Checkout) -> None:
    def hold(route: Route) -> None:
        answer = route.fetch()
        until = (datetime.now(UTC) + timedelta(minutes=15)).isoformat()
        route.fulfill(response=answer, json={**answer.json(), "utcExpiresAt": until})

    checkout.page.clock.install(time=datetime.now(UTC) + timedelta(hours=1))
    checkout.page.route("**/bookings/payments", hold)
    checkout.open_form()
    checkout.page.clock.run_for("10:00")
    checkout.becomes("ready")
    checkout.page.clock.run_for("06:00")
    checkout.becomes("expired")


@pytest.mark.slow
def test_page_says_that_the_time_to_pay_is_over(checkout: Checkout) -> None:
    refusal = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "No.", "utcExpiresAt": "2020-01-01T00:00:00Z"}
    answer_create(checkout, (422, refusal, {}))
    checkout.open()
    checkout.becomes("expired")


@pytest.mark.slow
def test_balance_that_is_paid_is_told(checkout: Checkout) -> None:
    balance = {"price": 2000, "received": 2000, "refunded": 0, "due": 0, "currency": "eur", "nextDueAt": None}
    refusal = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "Nothing is due.", "balance": balance}
    answer_create(checkout, (422, refusal, {}))
    checkout.open()
    checkout.becomes("paid")
    assert checkout.told() == [["paid", {"payment": None, "balance": balance, "error": None}]]


@pytest.mark.slow
def test_reload_of_what_is_paid_says_so(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.pay(PAYS)
    checkout.becomes("paid")
    checkout.page.reload()
    checkout.becomes("paid")
    assert checkout.told()[0][1]["balance"]["due"] == 0
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_deposit_is_paid_and_then_the_balance(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [("deposit", 500, None), ("balance", 1500, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    checkout.open_form(more='purpose="deposit"')
    sync_api.expect(checkout.button).to_have_text("Pay €5.00")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert checkout.told()[-1][1]["balance"]["due"] == 1500
    checkout.page.reload()
    checkout.becomes("paid")
    checkout.page.evaluate("document.querySelector('octo-payment').purpose = 'balance'")
    sync_api.expect(checkout.button).to_have_text("Pay €15.00")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert checkout.told()[-1][1]["balance"]["due"] == 0
    assert [intent["amount_received"] for intent in checkout.intents()] == [500, 1500]


@pytest.mark.slow
def test_another_tab_pays_the_same_intent(checkout: Checkout) -> None:
    checkout.open_form()
    tab = checkout.page.context.new_page()
    tab.goto(checkout.page.url)
    sync_api.expect(tab.locator("octo-payment")).to_have_attribute("state", "ready")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_payment_under_way_in_another_browser_is_waited_for(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout.stripe, "webhook_url", f"{checkout.url}/bookings/webhooks")
    checkout.open_form(currency="usd")
    (intent,) = checkout.intents()
    checkout.stripe.confirm(intent["id"], "pm_usBankAccount_success")
    checkout.stripe.wait_for_deliveries()
    checkout.page.evaluate("sessionStorage.clear()")
    checkout.page.clock.install()
    checkout.page.reload()
    checkout.becomes("processing")
    checkout.stripe.settle(intent["id"])
    checkout.stripe.wait_for_deliveries()
    checkout.page.clock.run_for("00:10")
    checkout.becomes("paid")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_payable_that_is_being_paid_elsewhere_is_waited_for(checkout: Checkout) -> None:
    busy = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "It is being paid.", "balance": {"due": 2000}}
    paid = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "It is paid already.", "balance": {"due": 0}}
    answer_create(
        checkout, (409, busy, {"Retry-After": "1"}), (409, busy, {"Retry-After": "1"}), (422, paid, {})
    )
    checkout.open()
    checkout.becomes("paid")
    assert checkout.names() == ["processing", "paid"]


@pytest.mark.slow
def test_creation_that_runs_in_another_tab_is_found(checkout: Checkout) -> None:
    busy = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "The same operation is running."}
    answer_create(checkout, (409, busy, {"Retry-After": "0"}))
    checkout.open_form()
    assert checkout.names() == ["ready"]


def test_refusal_is_told_in_the_host_s_words(checkout: Checkout) -> None:
    refusal = {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "The tour is full."}
    answer_create(checkout, (422, refusal, {}))
    checkout.open()
    checkout.becomes("failed")
    sync_api.expect(checkout.error).to_have_text("The tour is full.")
    assert checkout.told()[0][1]["error"] == {"code": "UNPROCESSABLE_ENTITY", "message": "The tour is full."}
    checkout.button.click()
    checkout.becomes("ready")
    keys = [call.headers["idempotency-key"] for call in checkout.calls("/bookings/payments")]
    assert len(set(keys)) == len(keys) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_denied_payment_is_not_offered_again(checkout: Checkout, status: int) -> None:
    denial = {"error": "BAD_REQUEST", "errorMessage": "A booking of yours is required."}
    answer_create(checkout, (status, denial, {}))
    checkout.open()
    checkout.becomes("failed")
    sync_api.expect(checkout.error).to_have_text("A booking of yours is required.")
    sync_api.expect(checkout.button).to_be_hidden()


@pytest.mark.slow
def test_money_that_the_host_sends_back_is_told(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(*_args: Any) -> None:
        raise PaymentRejectedError("Your hold has expired.")

    monkeypatch.setattr(Booking, "on_payment_completed", reject, raising=False)
    checkout.open_form()
    checkout.pay(PAYS)
    checkout.becomes("failed")
    sync_api.expect(checkout.error).to_have_text("Your hold has expired. What you paid goes back to you.")
    sync_api.expect(checkout.error).to_be_focused()
    assert [refund["amount"] for refund in checkout.stripe.refunds.values()] == [2000]


# Who asks, and for what.


@pytest.mark.slow
def test_csrf_token_may_be_an_attribute(checkout: Checkout) -> None:
    checkout.page.route("**/bookings/payments", lambda route: route.abort())
    checkout.open(more='csrf-token="abc"')
    checkout.becomes("failed")
    assert checkout.calls("/bookings/payments")[0].headers["x-csrftoken"] == "abc"


@pytest.mark.slow
def test_bearer_token_is_sent_in_place_of_a_cookie(checkout: Checkout) -> None:
    checkout.page.route("**/bookings/payments", lambda route: route.abort())
    checkout.open()
    checkout.becomes("failed")
    checkout.page.unroute_all()
    checkout.page.context.clear_cookies()
    checkout.page.evaluate("document.querySelector('octo-payment').token = 'gateway-key'")
    checkout.becomes("ready")
    assert checkout.calls("/bookings/payments")[-1].headers["authorization"] == "Bearer gateway-key"
    checkout.pay(PAYS)
    checkout.becomes("paid")


@pytest.mark.slow
def test_token_that_was_set_before_the_element_was_defined_counts(checkout: Checkout) -> None:
    checkout.page.add_init_script(
        "document.addEventListener('readystatechange', () => {"
        " document.querySelector('octo-payment').token = 'gateway-key'; }, {once: true})"
    )
    checkout.open_form()
    first, *more = checkout.calls("/bookings/payments")
    assert first.headers["authorization"] == "Bearer gateway-key"
    assert more == []


@pytest.mark.slow
def test_purpose_is_sent(checkout: Checkout) -> None:
    answer_create(checkout, (422, {"error": "UNPROCESSABLE_ENTITY", "errorMessage": "No deposit."}, {}))
    checkout.open(more='purpose="deposit"')
    checkout.becomes("failed")
    assert '"purpose":"deposit"' in str(checkout.calls("/bookings/payments")[0].post_data)


@pytest.mark.slow
def test_a_connected_accounts_payment_is_paid(checkout: Checkout, configure: Callable[..., None]) -> None:
    """Stripe finds the intent only when it is told the account."""
    checkout.stripe.connect_account("acct_1Lyon")
    configure(CHOOSE_ACCOUNT=lambda _payment: ("", "acct_1Lyon"))
    checkout.open_form()
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert [intent["status"] for intent in checkout.intents()] == ["succeeded"]
    confirmed = [each for each in checkout.stripe.requests if each.path.endswith("/confirm")]
    assert {each.stripe_account for each in confirmed} == {"acct_1Lyon"}


@pytest.mark.slow
def test_connected_account_is_given_to_stripe(checkout: Checkout) -> None:
    def connect(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "stripeAccount": "acct_lyon"})

    checkout.open_form(lang="de")
    checkout.page.route("**/bookings/payments", connect)
    checkout.page.evaluate("""() => {
      const element = document.querySelector("octo-payment");
      element.loadStripe = async (...given) => { window.given = given; return null; };
      element.restart();
    }""")
    checkout.becomes("failed")
    given = checkout.page.evaluate("given")
    assert given == ["pk_test_gateway", {"locale": "de", "stripeAccount": "acct_lyon"}]


@pytest.mark.slow
def test_another_payable_begins_another_payment(checkout: Checkout) -> None:
    checkout.open_form()
    first = checkout.element.get_attribute("payable")
    checkout.open_form(price="3000")
    checkout.page.evaluate(
        "(payable) => { document.querySelector('octo-payment').payable = payable; }", first
    )
    sync_api.expect(checkout.button).to_have_text("Pay €20.00")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert {intent["amount"]: intent["status"] for intent in checkout.intents()} == {
        2000: "succeeded",
        3000: "requires_payment_method",
    }


@pytest.mark.slow
def test_removed_element_does_nothing_more(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.page.evaluate("() => { window.away = document.querySelector('octo-payment'); away.remove(); }")
    assert checkout.page.evaluate("away.childElementCount") == 0
    checkout.page.evaluate("() => { document.querySelector('main').append(away); }")
    checkout.becomes("ready")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    assert len(checkout.intents()) == 1


@pytest.mark.slow
def test_form_around_the_element_is_not_submitted(checkout: Checkout) -> None:
    checkout.open_form()
    checkout.page.evaluate("""() => {
      const form = document.createElement("form");
      form.addEventListener("submit", () => told.push(["sent"]));
      document.querySelector("main").append(form);
      form.append(document.querySelector("octo-payment"));
    }""")
    checkout.becomes("ready")
    checkout.fill(PAYS)
    checkout.page.get_by_label("CVC").press("Enter")
    checkout.becomes("paid")
    assert "sent" not in checkout.names()


# The look and the language.

BUTTONS = {
    "en": "Pay €20.00",
    "de": "20,00 € bezahlen",
    "es": "Pagar 20,00 €",
    "fr": "Payer 20,00 €",
    "it": "Paga 20,00 €",
    "pt-PT": "Pagar 20,00 €",
    "nl": "€ 20,00 betalen",
    "ja": "€20.00 を支払う",
}


@pytest.mark.slow
@pytest.mark.parametrize("language", BUTTONS)
def test_language_is_the_page_s(checkout: Checkout, language: str) -> None:
    checkout.open_form(lang=language)
    sync_api.expect(checkout.button).to_have_text(BUTTONS[language])
    assert checkout.calls("/bookings/payments")[0].headers["accept-language"] == language[:2]


@pytest.mark.slow
def test_language_of_a_page_in_another_is_english(checkout: Checkout) -> None:
    checkout.open_form(lang="sv")
    sync_api.expect(checkout.button).to_have_text("Pay €20.00")
    assert checkout.page.locator("octo-payment [part=body]").get_attribute("lang") == "en"


def test_every_message_is_in_every_language(checkout: Checkout) -> None:
    source = Path(octo_stripe_gateway.__file__).parent / "static/octo_stripe_gateway/octo-payment.js"
    table = source.read_text().partition("const MESSAGES = ")[2].partition("\n};")[0]
    checkout.page.goto("about:blank")
    messages = checkout.page.evaluate(f"() => ({table}\n}})")
    assert messages.keys() == {language[:2] for language in BUTTONS}
    holes = {
        language: {name: re.findall(r"{\w+}", text) for name, text in texts.items()}
        for language, texts in messages.items()
    }
    assert [language for language in holes if holes[language] != holes["en"]] == []


@pytest.mark.slow
def test_german_page_has_no_english_on_it(checkout: Checkout) -> None:
    checkout.open_form(lang="de")
    for label, value in {"Kartennummer": IS_DECLINED, "Ablaufdatum": "1234", "Prüfziffer": "123"}.items():
        checkout.page.get_by_label(label).press_sequentially(value)
    checkout.button.click()
    sync_api.expect(checkout.error).to_have_text("Ihre Karte wurde abgelehnt.")


@pytest.mark.slow
def test_stripe_s_form_has_the_element_s_colours(checkout: Checkout) -> None:
    checkout.open_form()
    field = checkout.page.get_by_label("Card number")
    background = "(node) => getComputedStyle(node).backgroundColor"
    assert field.evaluate(background) == "rgb(255, 255, 255)"
    checkout.page.emulate_media(color_scheme="dark")
    sync_api.expect(field).to_have_css("background-color", "rgb(27, 35, 44)")
    checkout.page.evaluate("""() => {
      document.querySelector("octo-payment").appearance = {variables: {colorBackground: "#123456"}};
    }""")
    sync_api.expect(field).to_have_css("background-color", "rgb(18, 52, 86)")


# The guide and the file.


@pytest.mark.slow
def test_guide_s_page_takes_a_payment(checkout: Checkout) -> None:
    checkout.open_form()
    booking = str(checkout.element.get_attribute("payable")).partition(":")[2]
    checkout.page.goto(f"{checkout.url}/guide/{booking}/")
    checkout.becomes("ready")
    sync_api.expect(checkout.button).to_have_css("text-transform", "uppercase")
    checkout.pay(PAYS)
    checkout.page.wait_for_url("**/thanks")


@pytest.mark.slow
def test_guide_names_the_release_of_stripe_js_that_goes_with_the_sdk() -> None:
    release = sdk.api_version.partition(".")[2]
    assert f"https://js.stripe.com/{release}/stripe.js" in get_block("html")


@pytest.mark.slow
def test_guide_names_every_attribute_event_part_and_property() -> None:
    declared = (STATIC / "octo-payment.d.ts").read_text()
    script = (STATIC / "octo-payment.js").read_text()
    events = set(re.findall(r'"(octo-payment-\w+)": OctoPaymentEvent', declared))
    attributes = set(re.findall(r'getAttribute\("([\w-]+)"\)', script)) | {"purpose", "express"}
    parts = set(re.findall(r'make\("\w+", "(\w+)"', script)) - {"probe"}
    properties = {f"-{name}" for name in re.findall(r"var\(--octo-payment-([\w-]+),", script)}
    named = {*re.findall(r"`([\w-]+)`", GUIDE.read_text()), "-accent"}
    assert (events | attributes | parts | properties) - named - {"lang"} == set()
    assert len(events) == 5
    assert len(properties) == 8


class HashedStorage(ManifestStaticFilesStorage):
    """A storage that a host may use; it also rewrites imports in scripts."""

    support_js_module_import_aggregation = True


@pytest.mark.slow
def test_static_files_can_be_hashed(tmp_path: Path) -> None:
    shutil.copytree(STATIC, tmp_path / "octo_stripe_gateway")
    storage = HashedStorage(location=tmp_path, base_url="/static/")
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    paths = {name: (storage, name) for name in names}
    problems = [
        result for _name, _hashed, result in storage.post_process(paths) if isinstance(result, Exception)
    ]
    assert problems == []


# The keyboard.


def test_payment_is_made_from_the_keyboard(checkout: Checkout) -> None:
    keyboard = checkout.page.keyboard
    checkout.open_form()
    keyboard.press("Tab")
    # A complete field moves the focus to the next.
    keyboard.type(f"{IS_DECLINED}1234123")
    keyboard.press("Enter")
    sync_api.expect(checkout.error).to_be_focused()
    keyboard.press("Tab")
    sync_api.expect(checkout.button).to_be_focused()
    for _step in ("CVC", "expiration date", "card number"):
        keyboard.press("Shift+Tab")
    sync_api.expect(checkout.page.get_by_label("Card number")).to_be_focused()
    keyboard.press("ControlOrMeta+A")
    keyboard.type(ASKS)
    keyboard.press("Enter")
    checkout.page.get_by_role("dialog").wait_for()
    keyboard.press("Enter")
    checkout.becomes("paid")
    sync_api.expect(checkout.page.get_by_role("status")).to_be_focused()
