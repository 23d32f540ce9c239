"""The emulator's Stripe.js in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from tests.support.browser import MARKS, open_browser, serve_page
from tests.support.cases import one_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from octo_stripe_gateway.testing.emulator import StripeEmulator

pytestmark = MARKS
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Pay</title>
<h1>Pay</h1><div id="element"></div><script src="%s/stripe.js"></script>"""
SETUP = """([secret, type, options]) => {
  window.secret = secret;
  window.stripe = Stripe("pk_test_x");
  window.elements = stripe.elements({...(options?.mode ? {} : {clientSecret: secret}), ...options});
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
    # Playwright evaluates; styles may not be inline.
    policy = f"style-src 'self'; script-src {stripe.url} 'unsafe-eval'"
    page = browser.new_page()
    page.set_default_timeout(30_000)
    with serve_page(PAGE % stripe.url, policy=policy) as url:
        page.goto(f"{url}shop?tour=1")
        yield page
        page.close()


@pytest.fixture
def mount(page: Page, api: Any) -> Callable[..., str]:
    def mount(kind: str = "payment", *, amount: int = 2000, currency: str = "eur", **options: Any) -> str:
        is_deferred = "mode" in options
        automatic = {"enabled": True}
        # Elements made before the intent may be of another amount.
        params: dict[str, Any] = {"amount": 2000 if is_deferred else amount, "currency": currency}
        params |= {"automatic_payment_methods": automatic}
        intent = api.payment_intents.create(params=params)
        deferred = {"currency": currency, "amount": amount} if is_deferred else {}
        page.evaluate(SETUP, [intent.client_secret, kind, deferred | options])
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    one_in(
        5,
        [
            (123_456, "huf", "HUF 1,234.56"),
            (100_000_000, "cop", "COP 1,000,000.00"),
            (50_000, "isk", "ISK 500.00"),
            (12_340, "kwd", "KWD 12.340"),
            (5000, "krw", "₩5,000"),
        ],
    ),
)
def test_the_bank_s_page_shows_the_amount_that_is_charged(
    page: Page, mount: Callable[..., str], amount: int, currency: str, shown: str
) -> None:
    mount(amount=amount, currency=currency)
    fill(page, "4000002500003155")
    page.evaluate(
        "window.paid = stripe.confirmPayment({elements, redirect: 'if_required', "
        "confirmParams: {return_url: location.href}}); 0"
    )
    dialog = page.get_by_role("dialog", name="Authenticate your payment")
    dialog.wait_for()
    assert shown in dialog.inner_text().replace("\xa0", " ")


@pytest.mark.slow
def test_a_challenge_that_is_failed_is_an_error(page: Page, mount: Callable[..., str]) -> None:
    mount("card")
    fill(page, "4000002500003155")
    error = press(page, "Fail", CONFIRM_CARD)["error"]
    assert error["code"] == "payment_intent_authentication_failure"
    assert error["payment_intent"]["status"] == "requires_payment_method"


@pytest.mark.slow
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
    page.evaluate("""() => {
      stripe.confirmPayment({elements, confirmParams: {return_url: `${location.origin}/done?a=b`}});
    }""")
    page.wait_for_url(f"**/done?a=b&payment_intent={intent_id}&*redirect_status=succeeded")


@pytest.mark.slow
def test_an_intent_that_the_server_confirmed_is_handled_next(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    intent_id = mount()
    stripe.confirm(intent_id, "pm_card_authenticationRequired")
    script = "() => stripe.handleNextAction({clientSecret: secret})"
    assert press(page, "Complete", script)["paymentIntent"]["status"] == "succeeded"


@pytest.mark.slow
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


@pytest.mark.slow
def test_fields_are_formatted_as_they_are_typed(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "378282246310005", expiry="534", cvc="1234")
    assert page.get_by_label("Card number").input_value() == "3782 822463 10005"
    assert page.get_by_label("Expiration date").input_value() == "05 / 34"
    event, last = page.evaluate("seen.filter(([event]) => event === 'change').at(-1)")
    assert (event, last["complete"], last["empty"]) == ("change", True, False)


@pytest.mark.slow
def test_a_secret_that_is_wrong_is_a_load_error(page: Page, mount: Callable[..., str]) -> None:
    intent_id = mount()
    page.evaluate("() => element.destroy()")
    page.evaluate(SETUP, [f"{intent_id}_secret_wrong", "payment"])
    page.wait_for_function("seen.some(([event]) => event === 'loaderror')")


def thrown(page: Page, script: str) -> str:
    """Run faulty code, and return the error that Stripe.js throws."""
    told = page.evaluate(
        f"async () => {{ try {{ {script} }} catch (e) {{ return `${{e.name}}: ${{e.message}}`; }} }}"
    )
    assert told is not None
    return str(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("Stripe('')", "Please call Stripe() with your publishable key. You used an empty string."),
        ("Stripe('sk_test_x')", "You should not use your secret key with Stripe.js."),
        (
            "Stripe('pk_test_x').elements({clientSecret: 'pi_1'})",
            "Invalid value for elements(): clientSecret should be a client secret of the form ${id}_secret_$",
        ),
        (
            "Stripe('pk_test_x').elements().create('payment')",
            "In order to create a payment element, you must pass a clientSecret or mode when creating the El",
        ),
        ("await Stripe('pk_test_x').createToken()", "has no createToken()"),
        (
            "await Stripe('pk_test_x').confirmCardPayment('pi_1', {payment_method: 'pm_card_visa'})",
            "Invalid value for stripe.confirmCardPayment intent secret: value should be a client secret of ",
        ),
    ],
)
def test_a_mistake_is_thrown_in_stripe_s_words(page: Page, script: str, words: str) -> None:
    told = thrown(page, script)
    assert told.startswith("IntegrationError: ")
    assert words in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("elements.create('payment')", "Can only create one Element of type payment"),
        (
            "element.mount('#nowhere')",
            "The selector you specified (#nowhere) applies to no DOM elements that are currently on the pag",
        ),
        ("element.destroy(); element.mount('#element')", "This Element has already been destroyed."),
        (
            "element.unmount(); await stripe.confirmPayment({elements, redirect: 'if_required'})",
            "Invalid value for stripe.confirmPayment(): elements should have a mounted Payment Element or",
        ),
        (
            "await stripe.confirmPayment({elements})",
            "stripe.confirmPayment(): the `confirmParams.return_url` argument is required unless passing",
        ),
        (
            "await stripe.confirmPayment({elements, redirect: 'if_required'})",
            "stripe.confirmPayment(): the `confirmParams.return_url` argument is required when using auto",
        ),
        (
            "element.mount('#element'); element._ready = false; await elements.submit()",
            "We could not retrieve data from the specified Element.",
        ),
    ],
)
def test_a_mistake_with_an_element_is_thrown_in_stripe_s_words(
    page: Page, mount: Callable[..., str], script: str, words: str
) -> None:
    mount()
    told = thrown(page, script)
    assert told.startswith("IntegrationError: ")
    assert words in told


@pytest.mark.slow
def test_a_return_url_that_is_none_is_an_error(page: Page, mount: Callable[..., str]) -> None:
    mount()
    script = "() => stripe.confirmPayment({elements, confirmParams: {return_url: '/done'}})"
    error = page.evaluate(script)["error"]
    assert (error["code"], error["message"]) == ("url_invalid", "Not a valid URL")


CONFIRM_DEFERRED = """() => stripe.confirmPayment({elements, clientSecret: secret, redirect: "if_required",
  confirmParams: {return_url: location.href}})"""


@pytest.mark.slow
def test_elements_made_before_the_intent_pay_it(page: Page, mount: Callable[..., str]) -> None:
    mount(mode="payment", amount=2000)
    fill(page, "4242424242424242")
    assert page.evaluate("() => elements.submit()") == {"selectedPaymentMethod": "card"}
    assert page.evaluate(CONFIRM_DEFERRED)["paymentIntent"]["status"] == "succeeded"


@pytest.mark.slow
def test_elements_made_before_the_intent_must_be_submitted(page: Page, mount: Callable[..., str]) -> None:
    mount(mode="payment", amount=2000)
    fill(page, "4242424242424242")
    words = (
        "elements.submit() must be called before stripe.confirmPayment(). Call elements.submit() as soon as"
    )
    assert words in thrown(page, f"await ({CONFIRM_DEFERRED})()")
    words = "You must pass in a clientSecret when calling stripe.confirmPayment()."
    assert words in thrown(page, "await elements.submit(); await stripe.confirmPayment({elements})")


@pytest.mark.slow
def test_elements_of_another_amount_do_not_pay(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    intent_id = mount(mode="payment", amount=1000)
    fill(page, "4242424242424242")
    page.evaluate("() => elements.submit()")
    error = page.evaluate(CONFIRM_DEFERRED)["error"]
    assert error["type"] == "invalid_request_error"
    assert "The provided amount (1000) does not match the expected amount (2000)." in error["message"]
    assert stripe.payment_intents[intent_id]["status"] == "requires_payment_method"


@pytest.mark.slow
def test_an_element_is_found_by_type_and_by_react_s_component(page: Page, mount: Callable[..., str]) -> None:
    mount()
    assert page.evaluate("() => elements.getElement('payment') === element")
    assert page.evaluate("() => elements.getElement({__elementType: 'payment'}) === element")
    assert page.evaluate("() => elements.getElement('card')") is None


@pytest.mark.slow
def test_the_field_that_was_declined_is_marked(page: Page, mount: Callable[..., str]) -> None:
    mount()
    fill(page, "4000000000000127")
    assert page.evaluate(CONFIRM_PAYMENT)["error"]["code"] == "incorrect_cvc"
    marked = {name: page.get_by_label(name).get_attribute("aria-invalid") for name in ("Card number", "CVC")}
    assert marked == {"Card number": "false", "CVC": "true"}
    page.get_by_label("CVC").press_sequentially("1")
    assert page.get_by_label("CVC").get_attribute("aria-invalid") == "false"


@pytest.mark.slow
def test_a_bank_account_is_processing_for_a_while(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    intent_id = mount(currency="usd")
    page.get_by_label("US bank account").check()
    assert page.evaluate(CONFIRM_PAYMENT)["paymentIntent"]["status"] == "processing"
    stripe.settle(intent_id)
    assert (
        page.evaluate("() => stripe.retrievePaymentIntent(secret)")["paymentIntent"]["status"] == "succeeded"
    )


@pytest.mark.slow
def test_a_wallet_pays_within_its_confirm_event(page: Page, mount: Callable[..., str]) -> None:
    mount("expressCheckout")
    assert page.evaluate("seen[0][1].availablePaymentMethods.googlePay") is True
    words = (
        'Element confirming payment is "expressCheckout", but stripe.confirmPayment() was not called within'
    )
    assert words in thrown(page, f"await ({CONFIRM_PAYMENT})()")
    page.evaluate(f"""() => {{
      window.result = new Promise((done) => element.on("confirm", () => done(({CONFIRM_PAYMENT})())));
    }}""")
    page.get_by_role("button", name="Test wallet").click()
    assert page.evaluate("result")["paymentIntent"]["status"] == "succeeded"


@pytest.mark.slow
def test_split_card_fields_pay_together(page: Page, mount: Callable[..., str]) -> None:
    mount("cardNumber")
    page.evaluate("""() => {
      for (const type of ["cardExpiry", "cardCvc"]) {
        const place = document.body.appendChild(document.createElement("div"));
        elements.create(type).mount(place);
      }
    }""")
    page.get_by_label("Card number").press_sequentially("4242424242424242")
    assert page.evaluate(CONFIRM_CARD)["error"]["code"] == "incomplete_expiry"
    page.get_by_label("Expiration date").press_sequentially("1234")
    page.get_by_label("CVC").press_sequentially("123")
    assert page.evaluate(CONFIRM_CARD)["paymentIntent"]["status"] == "succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linkAuthentication", "address"])
def test_an_element_that_is_missing_says_so_and_leaves_the_page_at_work(
    page: Page, mount: Callable[..., str], kind: str
) -> None:
    mount(kind)
    page.get_by_text(f"has no {kind} element").wait_for()
    page.evaluate("""() => {
      window.payment = elements.create("payment");
      payment.on("ready", () => seen.push(["payment ready"]));
      payment.mount(document.body.appendChild(document.createElement("div")));
    }""")
    page.wait_for_function("seen.some(([event]) => event === 'payment ready')")
    fill(page, "4242424242424242")
    assert page.evaluate(CONFIRM_PAYMENT)["paymentIntent"]["status"] == "succeeded"


@pytest.mark.slow
def test_the_look_follows_what_the_page_changes(page: Page, mount: Callable[..., str]) -> None:
    mount(appearance={"theme": "night", "variables": {"colorText": "#abcdef"}})
    colour = "(part) => getComputedStyle(part).color"
    field = page.get_by_label("Card number")
    assert field.evaluate(colour) == "rgb(171, 205, 239)"
    page.evaluate("() => elements.update({appearance: {theme: 'stripe'}})")
    assert field.evaluate(colour) == "rgb(48, 49, 61)"


@pytest.mark.slow
def test_the_language_is_the_page_s(page: Page, mount: Callable[..., str]) -> None:
    mount(locale="de")
    page.get_by_label("Kartennummer").press_sequentially("4000000000000002")
    page.get_by_label("Ablaufdatum").press_sequentially("1234")
    page.get_by_label("Prüfziffer").press_sequentially("123")
    assert page.evaluate(CONFIRM_PAYMENT)["error"]["message"] == "Ihre Karte wurde abgelehnt."
    page.evaluate("() => elements.update({locale: 'en'})")
    assert page.get_by_label("Card number").input_value() == "4000 0000 0000 0002"


def test_the_release_is_that_of_the_sdk_s_api_version(page: Page) -> None:
    assert page.evaluate("Stripe.version") == sdk.api_version.partition(".")[2]


@pytest.mark.slow
def test_an_emulator_that_is_gone_is_an_error_and_not_thrown(
    page: Page, mount: Callable[..., str], stripe: StripeEmulator
) -> None:
    mount()
    stripe.stop()
    result = page.evaluate("() => stripe.retrievePaymentIntent(secret)")
    assert result["error"]["type"] == "api_connection_error"
