"""Checks live answers by what others publish for Node: OCTO's schemas and types, TypeScript's compiler."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe as sdk

from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.support.answers import Answer, Recorder, record_answers
from tests.support.api import GatewayApi
from tests.support.demo import Demo, run_demo
from tests.support.node import DOCUMENT, NODE
from tests.support.octo import find_faults

pytest_plugins = ["tests.support.node_plugin"]
pytestmark = [pytest.mark.slow, pytest.mark.django_db]

CAPABLE = {"Octo-Capabilities": "octo/cardPayments"}
ERRORS = {
    "BAD_REQUEST": "zErrorBadRequest",
    "FORBIDDEN": "zErrorForbidden",
    "INTERNAL_SERVER_ERROR": "zErrorInternalServerError",
    "UNAUTHORIZED": "zErrorUnauthorized",
    "UNPROCESSABLE_ENTITY": "zErrorUnprocessableEntity",
}

Check = Callable[[list[tuple[str, Any]]], list[str | None]]


@pytest.fixture
def check(packages: Path) -> Check:
    """Return each named schema's complaint about a value, None if it has none."""
    script = packages / "check.cjs"
    shutil.copy(NODE / "check.cjs", script)

    def run(cases: list[tuple[str, Any]]) -> list[str | None]:
        given = json.dumps([{"schema": schema, "value": value} for schema, value in cases])
        done = subprocess.run(["node", script], input=given, capture_output=True, text=True, check=True)
        answers: list[str | None] = json.loads(done.stdout)
        return answers

    return run


@pytest.fixture
def compile_sources(packages: Path, tmp_path: Path) -> Callable[[], str]:
    """Return the compiler's complaints about the sources in a directory."""
    shutil.copy(NODE / "tsconfig.json", tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")

    def run() -> str:
        command = ["node_modules/.bin/tsc", "--project", "."]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout

    return run


@pytest.fixture
def compile_types(compile_sources: Callable[[], str], tmp_path: Path) -> Callable[[], str]:
    """Return the same, with types generated from the API's document beside the sources."""
    make = ["node_modules/.bin/openapi-typescript", str(DOCUMENT), "--output", "api.ts"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    return compile_sources


def collect_errors(api: GatewayApi, stripe: StripeEmulator) -> list[Any]:
    """Provoke an error of each code."""
    payment = api.paid(stripe)
    answers = [
        api.create({}),
        api.create({"amount": 1, "currency": "usd"}),
        api.retrieve(0),
        api.request("GET", "/payments/1/nope"),
        api.request("DELETE", "/payments"),
        api.refund(payment, {"amount": 9999}),
        api.complete(payment, {"cardPayment": {"gateway": "adyen"}}),
        api.complete(payment, {"cardPayment": {"currency": "eur"}}),
    ]
    stripe.add_fault(Fault(status=500))
    answers.append(api.create())
    for api.key in ("", "wrong"):
        answers.append(api.create())
    return [answer.json() for answer in answers]


@pytest.mark.parametrize("strict", [False, True])
def test_every_error_is_octo_s(
    strict: bool, check: Check, api: GatewayApi, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(STRICT_OCTO=strict)
    errors = collect_errors(api, stripe)
    assert ERRORS.keys() < {error["error"] for error in errors}
    assert check([(ERRORS.get(error["error"], "zBaseError"), error) for error in errors]) == [None] * len(
        errors
    )


def test_another_shape_of_error_would_be_found(check: Check) -> None:
    shapes: list[Any] = [{"detail": "no"}, {"error": "BAD_REQUEST"}, {"error": 1, "errorMessage": "no"}]
    assert None not in check([("zErrorBadRequest", shape) for shape in shapes])


def test_capabilities_are_octo_s_but_for_the_id_that_its_list_lacks(check: Check, api: GatewayApi) -> None:
    capabilities = api.request("GET", "/capabilities").json()
    assert check([("capability", each) for each in capabilities]) == [None]
    (without,) = check([("zCapability", each) for each in capabilities])
    assert without is not None
    assert "octo/cardPayments" in without


@pytest.mark.parametrize("schema", ["orderCardPaymentBodySchema", "bookingCardPaymentBodySchema"])
def test_confirmation_that_we_accept_is_octo_s(
    schema: str, check: Check, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create(**CAPABLE).json()
    stripe.confirm(payment["stripePaymentIntentId"])
    body = {
        "cardPayment": {"gateway": "stripe", "stripe": {"paymentIntent": payment["stripePaymentIntentId"]}}
    }
    assert check([(schema, body)]) == [None]
    assert api.complete(payment, body).json()["status"] == "CONFIRMED"


def test_confirmation_of_another_shape_is_neither_ours_nor_octo_s(
    check: Check, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    bodies: list[Any] = [
        {"cardPayment": {"gateway": 1}},
        {"cardPayment": {"stripe": {"paymentIntent": 1}}},
        {"cardPayment": {"stripe": "pi_1"}},
    ]
    assert None not in check([("orderCardPaymentBodySchema", body) for body in bodies])
    assert {api.complete(payment, body).status_code for body in bodies} == {400}


def collect_card_payments(api: GatewayApi, stripe: StripeEmulator) -> list[Any]:
    """Return the `cardPayment` of every answer of ours, in every state of a payment."""

    def ask(method: str, path: str, body: Any = None) -> Any:
        answer = api.request(method, f"/payments{path}", body, **CAPABLE)
        answers.append(answer.json())
        assert answer.status_code in (200, 201), answer.json()
        return answers[-1]

    def create(**body: Any) -> Any:
        return ask("POST", "", {"amount": 2000, "currency": "usd", **body})

    answers: list[Any] = []
    for given in ({}, {"currency": "kwd"}, {"currency": "jpy", "purpose": "balance"}):
        body = {**given, "uuid": str(uuid.uuid4())}
        paid = create(**body)
        create(**body)
        ask("GET", f"/{paid['uuid']}")
        stripe.confirm(paid["stripePaymentIntentId"])
        ask("PATCH", f"/{paid['uuid']}/complete")
        ask("GET", f"/{paid['uuid']}")
        ask("POST", f"/{paid['uuid']}/refund", {"amount": 500})
        ask("POST", f"/{paid['uuid']}/refund", {})
        ask("GET", f"/{paid['uuid']}")
    held = create(captureMethod="manual")
    stripe.confirm(held["stripePaymentIntentId"])
    ask("PATCH", f"/{held['uuid']}/complete")
    ask("POST", f"/{held['uuid']}/capture", {"amount": 1500})
    ask("POST", f"/{create()['uuid']}/cancel")
    processing = create()
    stripe.confirm(processing["stripePaymentIntentId"], payment_method="pm_usBankAccount")
    ask("PATCH", f"/{processing['uuid']}/complete")
    return [answer["cardPayment"] for answer in answers]


def reveal(card_payments: list[Any]) -> list[Any]:
    """Give each object the secret that only the answers to a create have: elsewhere it is null, as we say."""
    intents = [each["stripe"]["paymentIntent"] for each in card_payments]
    secrets = {each["id"]: each["clientSecret"] for each in intents if each["clientSecret"]}
    for each in intents:
        each["clientSecret"] = secrets[each["id"]]
    return card_payments


# OCTO's whole type has required fields of type never for the other gateways, which no object can have.
CARD_PAYMENTS = """
import type { CardPayment, CardPaymentGateway } from "octo-types-1/dist/types/CardPayment";
import type { components } from "octo-stripe-gateway";
type Possible<T> = { [Name in keyof T as [T[Name]] extends [never] ? never : Name]: T[Name] };
type Octo = Omit<Possible<CardPayment<CardPaymentGateway.Stripe>>, "gateway">
  & { gateway: `${CardPaymentGateway.Stripe}` };
"""


def write_card_payments(path: Path, card_payments: list[Any]) -> None:
    """Write each object as a constant that has to be of OCTO's type, and of the one that we describe."""
    lines = [
        f'const c{at} = {json.dumps(each)}; export const o{at}: Octo = {{...c{at}, gateway: "stripe"}}; '
        f'export const d{at}: components["schemas"]["GatewayCardPayment"] = {{...c{at}, gateway: "stripe", '
        f'source: "ECOM"}};'
        for at, each in enumerate(card_payments)
    ]
    path.write_text("\n".join([CARD_PAYMENTS, *lines]))


def test_every_card_payment_is_of_octo_s_types(
    compile_types: Callable[[], str], tmp_path: Path, api: GatewayApi, stripe: StripeEmulator
) -> None:
    live = reveal(collect_card_payments(api, stripe))
    assert [find_faults(each) for each in live] == [[]] * len(live)
    assert {(each["gateway"], each["source"]) for each in live} == {("stripe", "ECOM")}
    write_card_payments(tmp_path / "live.ts", live)
    assert compile_types() == ""
    del live[3]["stripe"]["paymentIntent"]["amount"]
    live[4]["balance"] = "0"
    write_card_payments(tmp_path / "live.ts", live)
    found = compile_types()
    assert "Property 'amount' is missing" in found
    assert "Type 'string' is not assignable to type 'number'" in found
    assert (find_faults(live[3]), find_faults(live[4])) == (["stripe.paymentIntent.amount"], ["balance"])


def test_every_card_payment_of_the_example_s_bookings_and_carts_is_of_octo_s_types(
    compile_types: Callable[[], str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with run_demo(tmp_path_factory.mktemp("demo")) as demo:
        live = reveal(collect_from_example(demo))
    assert [find_faults(each) for each in live] == [[]] * len(live)
    write_card_payments(tmp_path / "live.ts", live)
    assert compile_types() == ""


def collect_from_example(demo: Demo) -> list[Any]:
    """Book, pay and confirm as a reseller does, one booking and a cart, and return every `cardPayment`."""

    def ask(method: str, path: str, /, **body: Any) -> Any:
        headers = {"Authorization": "Bearer demo-key"}
        answer = requests.request(method, f"{demo.url}/octo/{path}", json=body, headers=headers, timeout=60)
        answers.append(answer.json())
        assert answer.status_code == 200, answer.json()
        return answers[-1]

    def pay(answer: Any) -> None:
        demo.pay({"stripePaymentIntentId": answer["cardPayment"]["stripe"]["paymentIntent"]["id"]})

    def book() -> Any:
        tomorrow = dt.datetime.now(tz=dt.UTC).date() + dt.timedelta(days=1)
        return ask("POST", "bookings", tour=1, people=2, date=tomorrow.isoformat())

    answers: list[Any] = []
    single = book()
    ask("GET", f"bookings/{single['uuid']}")
    pay(single)
    ask("POST", f"bookings/{single['uuid']}/confirm", cardPayment={"gateway": "stripe"})
    ask("GET", f"bookings/{single['uuid']}")
    cart = ask("POST", "orders", bookings=[book()["uuid"], book()["uuid"]])
    pay(cart)
    ask("POST", f"orders/{cart['id']}/confirm")
    shown = [*answers, *(booking for answer in answers for booking in answer.get("bookings", []))]
    return [answer["cardPayment"] for answer in shown]


CLIENT = """
import type { components } from "./api";
type Schemas = components["schemas"];
export const getWait = (error: Schemas["GatewayError"]): number | string | undefined =>
  error.error === "TOO_MANY_REQUESTS" ? error.retryAfter
  : error.error === "INVALID_PAYMENT_ID" ? error.paymentId
  : undefined;
export const getSecret = (created: Schemas["GatewayCreatedPayment"]): string =>
  created.publishableKey + created.stripePaymentIntentId + created.stripeClientSecret
  + created.cardPayment?.stripe.paymentIntent.clientSecret.trim();
"""


def test_client_tells_errors_apart_and_checks_no_null_of_a_created_payment(
    compile_types: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "client.ts").write_text(CLIENT)
    assert compile_types() == ""
    (tmp_path / "client.ts").write_text(CLIENT.replace("GatewayCreatedPayment", "GatewayPayment"))
    assert "stripeClientSecret" in compile_types()
    (tmp_path / "client.ts").write_text(CLIENT.replace('"TOO_MANY_REQUESTS"', '"FORBIDDEN"'))
    assert "Property 'retryAfter' does not exist" in compile_types()


def write_answers(path: Path, answers: list[Answer]) -> None:
    """Write each answer as a literal of its type, so that even a field that the type lacks is an error."""
    lines = [f"export const a{at}: {name} = {json.dumps(value)};" for at, (name, value) in enumerate(answers)]
    path.write_text("\n".join(['import Stripe from "stripe";', *lines]))


def test_emulator_answers_what_the_pinned_version_of_stripe_s_api_does(
    compile_sources: Callable[[], str], tmp_path: Path, stripe: StripeEmulator, packages: Path
) -> None:
    assert sdk.api_version in (packages / "node_modules/stripe/cjs/apiVersion.js").read_text()
    answers = record_answers(stripe)
    write_answers(tmp_path / "answers.ts", answers)
    assert compile_sources() == ""


def test_wrong_answers_would_be_found(
    compile_sources: Callable[[], str], tmp_path: Path, stripe: StripeEmulator
) -> None:
    name, intent = "Stripe.PaymentIntent", Recorder(stripe).pay()
    stripe.refund(intent["id"])
    told = next(event.payload for event in stripe.events if event.type == "charge.refunded")
    without, surprising = copy.deepcopy(told), copy.deepcopy(told)
    del without["data"]["object"]["captured"]
    surprising["data"]["object"]["surprise"] = 1
    answers: list[Answer] = [
        (name, {field: value for field, value in intent.items() if field != "managed_payments"}),
        (name, intent | {"surprise": 1}),
        (name, intent | {"amount": "2000"}),
        ("Stripe.Event", without),
        ("Stripe.Event", surprising),
        ("Stripe.Event", told | {"type": "refund.created"}),
    ]
    write_answers(tmp_path / "answers.ts", answers)
    found = compile_sources()
    assert {int(line) for line in re.findall(r"answers\.ts\((\d+),", found)} == set(range(2, 8))
    for message in (
        "'managed_payments' is missing",
        """'"surprise"' does not exist""",
        "not assignable to type 'number'",
    ):
        assert message in found
