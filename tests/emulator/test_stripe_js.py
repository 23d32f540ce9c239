"""The emulator's Stripe.js in a real browser."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import MARKS, open_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from octo_stripe_gateway.testing.emulator import StripeEmulator

pytestmark = MARKS
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pay</title>
<h1>Pay</h1><div id="element"></div><script src="%s/stripe.js"></script>"""
SETUP = """([secret, type]) => {
  window.secret = secret;
  window.stripe = Stripe("pk_test_x");
  window.elements = stripe.elements({clientSecret: secret});
  window.element = elements.create(type);
  window.seen = [];
  for (const event of ["ready", "change", "focus", "blur", "loaderror"]) {
    element.on(event, (payload) => seen.push([event, payload]));
  }
  element.mount("#element");
}"""
CONFIRM_PAYMENT = """() => stripe.confirmPayment(
  {elements, redirect: "if_required", confirmParams: {return_url: location.href}})"""
CONFIRM_CARD = """() => stripe.confirmCardPayment(
  secret, {payment_method: {card: element, billing_details: {name: "Ada"}}})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, stripe: StripeEmulator) -> Iterator[Page]:
    document = (PAGE % stripe.url).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            # Playwright evaluates; styles may not be inline.
            self.send_header(
                "Content-Security-Policy", f"style-src 'self'; script-src {stripe.url} 'unsafe-eval'"
            )
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *args: object) -> None:
            """Write nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    page = browser.new_page()
    page.set_default_timeout(5000)
    page.goto(f"http://127.0.0.1:{server.server_port}/shop?tour=1")
    yield page
    page.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mount(page: Page, api: Any) -> Callable[..., str]:
    def mount(kind: str = "payment") -> str:
        intent = api.payment_intents.create(params={"amount": 2000, "currency": "eur"})
        page.evaluate(SETUP, [intent.client_secret, kind])
        page.wait_for_function("seen.some(([event]) => event === 'ready')")
        return str(intent.id)

    return mount


def fill(page: Page, number: str, *, expiry: str = "1234", cvc: str = "123") -> None:
    page.get_by_label("Card number").press_sequentially(number)
    page.get_by_label("Expiration date").press_sequentially(expiry)
    page.get_by_label("CVC").press_sequentially(cvc)


def press(page: Page, button: str, script: str) -> Any:
    page.evaluate(f"() => {{ window.result = ({script})(); }}")
    dialog = page.get_by_role("dialog", name="Authenticate your payment")
    dialog.get_by_role("button", name=button).click()
    return page.evaluate("() => window.result")


@pytest.mark.parametrize(("kind", "script"), [("payment", CONFIRM_PAYMENT), ("card", CONFIRM_CARD)])
def test_a_test_card_pays(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator, kind: str, script: str
) -> None:
    intent_id = mount(kind)
    fill(page, "4242424242424242")
    result = page.evaluate(script)
    assert result["paymentIntent"]["id"] == intent_id
    assert result["paymentIntent"]["status"] == "succeeded"
    assert "metadata" not in result["paymentIntent"]
    assert stripe.payment_intents[intent_id]["amount_received"] == 2000


def test_a_declined_card_can_be_followed_by_one_that_pays(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "4000000000000002")
    error = page.evaluate(CONFIRM_PAYMENT)["error"]
    assert error["type"] == "card_error"
    assert error["code"] == "card_declined"
    assert error["decline_code"] == "generic_decline"
    assert error["message"] == "Your card was declined."
    assert error["payment_intent"]["status"] == "requires_payment_method"
    page.evaluate("() => element.clear()")
    fill(page, "4242424242424242")
    assert page.evaluate(CONFIRM_PAYMENT)["paymentIntent"]["status"] == "succeeded"


def test_a_challenge_that_is_completed_pays(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "4000002760003184")
    assert press(page, "Complete", CONFIRM_PAYMENT)["paymentIntent"]["status"] == "succeeded"
    assert page.get_by_role("dialog").count() == 0


def test_a_challenge_that_is_failed_is_an_error(page: Page, mount: Callable[..., str]) -> None:
    mount("card")
    fill(page, "4000002500003155")
    error = press(page, "Fail", CONFIRM_CARD)["error"]
    assert error["code"] == "payment_intent_authentication_failure"
    assert error["payment_intent"]["status"] == "requires_payment_method"


def test_a_challenge_that_is_completed_may_still_be_declined(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "4000008260003178")
    error = press(page, "Complete", CONFIRM_PAYMENT)["error"]
    assert error["decline_code"] == "insufficient_funds"


def test_the_browser_returns_with_the_result_when_it_is_told_to_redirect(
    page: Page, mount: Callable[..., str]
) -> None:
    intent_id = mount()
    fill(page, "4242424242424242")
    page.evaluate("() => { stripe.confirmPayment({elements, confirmParams: {return_url: '/done?a=b'}}); }")
    page.wait_for_url(f"**/done?a=b&payment_intent={intent_id}&*redirect_status=succeeded")


def test_an_intent_that_the_server_confirmed_is_handled_next(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    intent_id = mount()
    stripe.confirm(intent_id, "pm_card_authenticationRequired")
    script = "() => stripe.handleNextAction({clientSecret: secret})"
    assert press(page, "Complete", script)["paymentIntent"]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("number", "expiry", "cvc", "code"),
    [
        ("42424242", "1234", "123", "incomplete_number"),
        ("4242424242424241", "1234", "123", "invalid_number"),
        ("4242424242424242", "12", "123", "incomplete_expiry"),
        ("4242424242424242", "1220", "123", "invalid_expiry_year_past"),
        ("4242424242424242", "1234", "12", "incomplete_cvc"),
        ("378282246310005", "1234", "123", "incomplete_cvc"),
    ],
)
def test_what_is_typed_wrong_is_told_before_anything_is_sent(
    page: Page,
    mount: Callable[..., str],
    stripe: StripeEmulator,
    number: str,
    expiry: str,
    cvc: str,
    code: str,
) -> None:
    mount()
    fill(page, number, expiry=expiry, cvc=cvc)
    error = page.evaluate(CONFIRM_PAYMENT)["error"]
    assert (error["type"], error["code"]) == ("validation_error", code)
    assert page.get_by_role("alert").filter(has_text=error["message"]).is_visible()
    assert [r.path for r in stripe.requests if r.path.endswith("/payment_methods")] == []


def test_fields_are_formatted_as_they_are_typed(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "378282246310005", expiry="534", cvc="1234")
    assert page.get_by_label("Card number").input_value() == "3782 822463 10005"
    assert page.get_by_label("Expiration date").input_value() == "05 / 34"
    event, last = page.evaluate("seen.filter(([event]) => event === 'change').at(-1)")
    assert (event, last["complete"], last["empty"]) == ("change", True, False)


def test_a_secret_that_is_wrong_is_a_load_error(page: Page, mount: Callable[..., str]) -> None:
    intent_id = mount()
    page.evaluate("() => element.destroy()")
    page.evaluate(SETUP, [f"{intent_id}_secret_wrong", "payment"])
    page.wait_for_function("seen.some(([event]) => event === 'loaderror')")


def test_a_secret_key_is_refused_in_the_browser(page: Page) -> None:
    message = page.evaluate("() => { try { Stripe('sk_test_x'); } catch (e) { return e.name; } }")
    assert message == "IntegrationError"


def test_an_emulator_that_is_gone_is_an_error_and_not_thrown(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    mount()
    stripe.stop()
    result = page.evaluate("() => stripe.retrievePaymentIntent(secret)")
    assert result["error"]["type"] == "api_connection_error"
