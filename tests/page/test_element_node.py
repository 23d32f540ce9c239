"""Checks `<octo-payment>` with npm's tools: TypeScript, React, Vue and axe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import MARKS, sync_api
from tests.support.checkout import IS_DECLINED, PAYS, Checkout, answer_create
from tests.support.checkout_urls import get_block
from tests.support.demo import Demo
from tests.support.node import DOCUMENT, STATIC

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytest_plugins = ["tests.support.checkout_plugin", "tests.support.demo_plugin", "tests.support.node_plugin"]
pytestmark = [
    *MARKS,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.support.checkout_urls"),
]

SHOP_SCRIPT = Path(__file__).parents[2] / "example_project/tourshop/static/tourshop/page.js"


# The types.


@pytest.fixture
def compile_page(workshop: Path, run_node: Callable[..., str]) -> Callable[..., str]:
    """Return the compiler's complaints about the element and these sources, given by name."""

    def run(compiler: str = "tsc", **sources: str) -> str:
        (workshop / "sources").mkdir(exist_ok=True)
        for name, text in sources.items():
            (workshop / "sources" / name.replace("_", ".")).write_text(text)
        return run_node(compiler, "--project", "tsconfig.page.json")

    return run


def test_api_s_types_are_made_of_its_description(workshop: Path, run_node: Callable[..., str]) -> None:
    told = run_node("openapi-typescript", str(DOCUMENT), "--output", "made.d.ts")
    kept = STATIC / "openapi.d.ts"
    again = f"npx openapi-typescript {DOCUMENT.name} --output {kept}"
    assert kept.read_text() == (workshop / "made.d.ts").read_text(), f"{told}\nMake it anew: {again}"


def test_element_s_script_keeps_to_its_types(compile_page: Callable[..., str], workshop: Path) -> None:
    assert compile_page() == ""
    script = workshop / "octo-payment.js"
    wrong = (
        script.read_text().replace("payment.uuid)", "payment.uid)").replace('enter("ready")', 'enter("redy")')
    )
    script.write_text(wrong)
    found = compile_page()
    assert "Property 'uid' does not exist" in found
    assert "'\"redy\"' is not assignable to parameter of type 'OctoPaymentState'" in found


TYPES = """
import type {Appearance as StripeAppearance} from "@stripe/stripe-js";
import {OctoPayment, type Appearance} from "octo-payment";
import {OctoPayment as Written} from "./written.js";

const element: OctoPayment = new Written();
const statics: typeof OctoPayment = Written;
type Undeclared = Exclude<keyof Written, keyof OctoPayment>;
const nothing: [Undeclared] extends [never] ? true : Undeclared = true;
const appearance = (given: Appearance): StripeAppearance => given;

document.querySelector("octo-payment")?.addEventListener("octo-payment-paid", ({detail}) => {
  const id: number | undefined = detail.payment?.id;
  console.log(id, element, statics, nothing, appearance);
});
"""


def test_declared_types_are_those_of_the_script(compile_page: Callable[..., str], workshop: Path) -> None:
    script = (workshop / "octo-payment.js").read_text().replace('from "./', 'from "../')
    assert compile_page(written_js=script, types_ts=TYPES) == ""
    wrong = script.replace("async pay() {", "async payNow() {")
    assert "pay" in compile_page(written_js=wrong, types_ts=TYPES)


def test_demo_s_script_is_written_for_the_element_s_types(compile_page: Callable[..., str]) -> None:
    script = SHOP_SCRIPT.read_text()
    assert compile_page(page_js=script) == ""
    wrong = script.replace("payment.payable", "payment.payabel").replace("booking.status]", "booking.state]")
    found = compile_page(page_js=wrong)
    assert "Property 'payabel' does not exist" in found
    assert "Property 'state' does not exist" in found


# The recipes.


REACT = """
import {createRoot} from "react-dom/client";
import {Checkout} from "./Checkout";

const main = document.querySelector("main");
const booking = Number(document.querySelector("octo-payment").payable.split(":")[1]);
createRoot(main).render(<Checkout booking={booking} onPaid={() => { document.title = "Thank you"; }} />);
"""
VUE = """
import {createApp} from "vue";
import Checkout from "./Checkout";

const booking = Number(document.querySelector("octo-payment").payable.split(":")[1]);
createApp(Checkout, {booking, onPaid: () => { document.title = "Thank you"; }}).mount("main");
"""


def pay_by_recipe(checkout: Checkout, script: str) -> None:
    """Replace the page's own element with the recipe's bundle, and pay with that."""
    checkout.page.route(
        "**/recipe.js", lambda route: route.fulfill(body=script, content_type="text/javascript")
    )
    checkout.open(script="/recipe.js")
    sync_api.expect(checkout.page.get_by_role("heading", name="Pay")).to_have_count(0)
    checkout.becomes("ready")
    checkout.pay(PAYS)
    checkout.becomes("paid")
    sync_api.expect(checkout.page).to_have_title("Thank you")


def test_react_s_recipe_compiles_and_pays(
    checkout: Checkout,
    compile_page: Callable[..., str],
    bundle: Callable[[str], str],
    workshop: Path,
) -> None:
    recipe = get_block("tsx")
    assert compile_page(Checkout_tsx=recipe) == ""
    assert "payabel" in compile_page(Checkout_tsx=recipe.replace("payable=", "payabel="))
    (workshop / "Checkout.tsx").write_text(recipe)
    (workshop / "main.jsx").write_text(REACT)
    pay_by_recipe(checkout, bundle("main.jsx"))


def test_vue_s_recipe_compiles_and_pays(
    checkout: Checkout,
    compile_page: Callable[..., str],
    bundle: Callable[[str], str],
    workshop: Path,
    run_node: Callable[..., str],
) -> None:
    recipe = get_block("vue")
    assert compile_page("vue-tsc", Checkout_vue=recipe) == ""
    assert "bookign" in compile_page("vue-tsc", Checkout_vue=recipe.replace("${booking}", "${bookign}"))
    (workshop / "Checkout.vue").write_text(recipe)
    assert run_node("vue-compile.cjs", "Checkout.vue", "Checkout.ts") == ""
    (workshop / "main.js").write_text(VUE)
    pay_by_recipe(checkout, bundle("main.js"))


# Accessibility.

LOOKS = [
    pytest.param(
        {"locale": language, "color_scheme": scheme, "viewport": {"width": width, "height": 800}},
        id=f"{language}-{scheme}-{width}",
    )
    for language in ("en", "de")
    for scheme in ("light", "dark")
    for width in (375, 1280)
]


def test_axe_finds_what_is_wrong(checkout: Checkout, find_violations: Callable[[Page], list[str]]) -> None:
    checkout.open_form()
    checkout.page.evaluate("document.querySelector('octo-payment').shadowRoot.append(new Image())")
    (found,) = find_violations(checkout.page)
    assert found.startswith("image-alt")


@pytest.mark.parametrize("context_options", LOOKS)
def test_element_has_no_violation_of_accessibility(
    checkout: Checkout, find_violations: Callable[[Page], list[str]], context_options: dict[str, Any]
) -> None:
    page = checkout.page
    english = context_options["locale"] == "en"
    found: dict[str, list[str]] = {}

    def look(state: str) -> None:
        checkout.becomes(state.partition(" ")[0])
        found[state] = find_violations(page)

    waiting: list[Route] = []
    page.route("**/bookings/payments", lambda route: waiting.append(route), times=1)
    checkout.open(lang=context_options["locale"], more="express", currency="usd")
    look("loading")
    waiting[0].continue_()
    look("ready")
    labels = (
        ("Card number", "Expiration date", "CVC")
        if english
        else ("Kartennummer", "Ablaufdatum", "Prüfziffer")
    )
    for label, value in zip(labels, (IS_DECLINED, "1234", "123"), strict=True):
        page.get_by_label(label).press_sequentially(value)
    checkout.button.click()
    checkout.error.wait_for()
    look("ready after a decline")
    page.get_by_label("US bank account" if english else "US-Bankkonto").check()
    checkout.button.click()
    look("processing")
    checkout.stripe.settle(checkout.intents()[0]["id"])
    look("paid")
    answer_create(
        checkout, (422, {"errorMessage": "Full."}, {}), (422, {"utcExpiresAt": "2020-01-01T00:00:00Z"}, {})
    )
    checkout.open(lang=context_options["locale"])
    look("failed")
    checkout.button.click()
    look("expired")
    assert found == {state: [] for state in found}
    assert len(found) == 7


@pytest.mark.parametrize("context_options", LOOKS)
def test_demo_has_no_violation_of_accessibility(
    browser: Browser,
    demo: Demo,
    find_violations: Callable[[Page], list[str]],
    context_options: dict[str, Any],
) -> None:
    page = browser.new_page(**context_options)
    page.set_default_timeout(30_000)
    page.goto(demo.url)
    found: dict[str, list[str]] = {}

    def look(step: str) -> None:
        page.locator(f"#{step}").wait_for()
        # Playwright's own waiting needs eval, which the page's policy forbids.
        while page.evaluate("document.getAnimations().length"):
            page.wait_for_timeout(20)
        found[step] = find_violations(page)

    look("choose")
    page.locator("#booking-form button").click()
    page.locator("octo-payment[state=ready]").wait_for()
    look("pay")
    for field, value in {"number": PAYS, "expiry": "1234", "cvc": "123"}.items():
        page.locator(f"octo-payment input[name={field}]").press_sequentially(value)
    page.locator("octo-payment[state=ready] [part=button]").click()
    look("confirmed")
    page.locator("#cancel").click()
    look("cancellation")
    page.locator("#refund-form [type=submit]").click()
    look("cancelled")
    assert found == {step: [] for step in found}
    assert len(found) == 5
