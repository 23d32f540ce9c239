"""The commands over HTTP, and the page of a challenge."""

from __future__ import annotations

import graphlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as sdk

from octo_stripe_gateway.testing import emulator
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.emulator.trigger import RECIPES
from tests.testing.emulator.conftest import AMOUNT, PAID

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.testing.emulator.conftest import Endpoint


@pytest.fixture
def command(stripe: StripeEmulator) -> Callable[..., Any]:
    def command(url: str, /, *, method: str = "POST", answers: int = 200, **body: Any) -> Any:
        address = f"{stripe.url}/_emulator{url}"
        response = requests.request(method, address, json=body, timeout=60)
        assert response.status_code == answers, response.text
        return response.json()

    return command


def test_it_introduces_itself(command: Callable[..., Any], stripe: StripeEmulator) -> None:
    settings = command("", method="GET")
    assert settings["url"] == stripe.url
    assert settings["test_cards"][0]["number"] == "4242424242424242"


def test_it_shows_its_logs_and_forgets_them(command: Callable[..., Any], api: Any) -> None:
    api.payment_intents.create(params=AMOUNT)
    assert [one["path"] for one in command("/requests", method="GET")] == ["/v1/payment_intents"]
    assert [one["type"] for one in command("/events", method="GET")] == ["payment_intent.created"]
    command("/reset")
    assert command("/events", method="GET") == []


def test_events_are_commanded(
    command: Callable[..., Any], api: Any, stripe: StripeEmulator, endpoint: Endpoint
) -> None:
    command("/webhook", url=endpoint.url, secret="whsec_test")
    command("/withhold", types=["payment_intent.*"])
    api.payment_intents.create(params=AMOUNT)
    released = command("/release", order="reversed", copies=2)
    stripe.wait_for_deliveries()
    deliveries = command(f"/events/{released[0]['id']}/deliver", copies=2)
    assert [delivery["status"] for delivery in deliveries] == [200, 200]
    assert endpoint.types() == ["payment_intent.created"] * 4
    command("/webhook")
    assert stripe.webhook_url is None


def test_faults_are_commanded(command: Callable[..., Any], api: Any) -> None:
    command("/faults", kind="status", status=503, path="/v1/payment_intents", times=None)
    with pytest.raises(sdk.APIError):
        api.payment_intents.create(params=AMOUNT)
    command("/faults", method="DELETE")
    key: Any = {"idempotency_key": "k"}
    first = api.payment_intents.create(params=AMOUNT, options=key)
    command("/idempotency_keys/forget")
    assert api.payment_intents.create(params=AMOUNT, options=key).id != first.id


def test_accounts_and_balances_are_commanded(
    command: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    tokyo = command("/accounts", account="acct_1Tokyo")
    assert tokyo["id"] == "acct_1Tokyo"
    client = connect(tokyo["secret_key"]).v1
    intent = client.payment_intents.create(params=PAID)
    command("/balance", refunds="refused")
    with pytest.raises(sdk.InvalidRequestError, match="Insufficient funds"):
        client.refunds.create(params={"payment_intent": intent.id})
    command("/balance", refunds="enough")
    assert client.refunds.create(params={"payment_intent": intent.id}).status == "succeeded"
    command("/balance", refunds="many", answers=400)


def test_permissions_are_commanded(command: Callable[..., Any], connect: Callable[..., Any]) -> None:
    command("/permissions", key="rk_test_x", permissions=["rak_charge_read"])
    connect("rk_test_x").v1.charges.list()
    with pytest.raises(sdk.PermissionError):
        connect("rk_test_x").v1.payment_intents.list()


def test_the_endpoints_version_is_commanded(command: Callable[..., Any], api: Any) -> None:
    command("/webhook", api_version="2024-06-20")
    api.payment_intents.create(params=AMOUNT)
    (event,) = command("/events", method="GET")
    assert event["payload"]["api_version"] == "2024-06-20"


def test_a_payment_is_commanded(command: Callable[..., Any], api: Any) -> None:
    intent = api.payment_intents.create(params=AMOUNT)
    path = f"/payment_intents/{intent.id}"
    challenged = command(f"{path}/confirm", payment_method="pm_card_authenticationRequired")
    assert challenged["status"] == "requires_action"
    assert command(f"{path}/authenticate", succeed=False)["status"] == "requires_payment_method"
    assert command(f"{path}/confirm", payment_method="pm_usBankAccount")["status"] == "processing"
    assert command(f"{path}/settle", succeed=True)["status"] == "succeeded"
    refund = command(f"{path}/refund", amount=500)
    settled = command(f"/refunds/{refund['id']}/settle", status="failed")
    assert settled["status"] == "failed"
    dispute = command(f"{path}/dispute", reason="fraudulent")
    assert command(f"/disputes/{dispute['id']}/close", won=False)["status"] == "lost"
    warning = command(f"{path}/fraud_warning", fraud_type="misc")
    assert (warning["fraud_type"], warning["actionable"]) == ("misc", False)
    late = api.payment_intents.create(params={**PAID, "payment_method": "pm_card_emulator_booksLate"})
    assert command(f"/payment_intents/{late.id}/book")["balance_transaction"]
    held = api.payment_intents.create(params={**PAID, "capture_method": "manual"})
    assert command(f"/payment_intents/{held.id}/expire")["cancellation_reason"] == "expired"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nothing", {}, 404),
        ("/faults", {"kinds": "reset"}, 400),
        ("/faults", {"kind": "rest"}, 400),
        ("/faults", {"when": "later"}, 400),
        ("/faults", {"path": "*"}, 400),
        ("/payment_intents/pi_x/confirm", {}, 400),
        ("/events/evt_x/deliver", {}, 400),
    ],
)
def test_a_wrong_command_says_what_is_wrong(
    command: Callable[..., Any], path: str, body: Any, status: int
) -> None:
    assert command(path, answers=status, **body)["error"]["message"]


def test_a_step_out_of_order_is_answered_as_the_api_does(command: Callable[..., Any], api: Any) -> None:
    intent = api.payment_intents.create(params=AMOUNT)
    error = command(f"/payment_intents/{intent.id}/settle", answers=400)["error"]
    assert error["code"] == "payment_intent_unexpected_state"


class TestBrowser:
    """The only command for a page: the challenge of an intent whose secret it has."""

    @pytest.fixture
    def intent(self, api: Any) -> Any:
        params: Any = {
            **PAID,
            "payment_method": "pm_card_authenticationRequired",
            "return_url": "http://shop.test/done?tour=1",
        }
        return api.payment_intents.create(params=params)

    def test_it_meets_a_challenge_with_the_secret(
        self, stripe: StripeEmulator, intent: sdk.PaymentIntent
    ) -> None:
        url = f"{stripe.url}/_emulator/payment_intents/{intent.id}/authenticate"
        headers = {"Origin": "http://shop.test"}
        assert requests.options(url, headers=headers, timeout=60).status_code == 204
        wrong = requests.post(url, json={"client_secret": "x"}, headers=headers, timeout=60)
        assert wrong.status_code == 403
        body = {"client_secret": intent.client_secret, "succeed": True}
        answer = requests.post(url, json=body, headers=headers, timeout=60)
        assert answer.json()["status"] == "succeeded"

    def test_it_commands_nothing_else(self, stripe: StripeEmulator, intent: sdk.PaymentIntent) -> None:
        response = requests.post(
            f"{stripe.url}/_emulator/reset",
            json={"client_secret": intent.client_secret},
            headers={"Origin": "http://shop.test"},
            timeout=60,
        )
        assert response.status_code == 403
        assert intent.id in stripe.payment_intents

    @pytest.mark.parametrize(("outcome", "redirect_status"), [("complete", "succeeded"), ("fail", "failed")])
    def test_the_page_of_a_challenge_returns_to_the_shop(
        self, intent: sdk.PaymentIntent, outcome: str, redirect_status: str
    ) -> None:
        assert intent.next_action is not None
        assert intent.next_action.redirect_to_url is not None
        url = str(intent.next_action.redirect_to_url.url)
        assert "20.00" in requests.get(url, timeout=60).text
        response = requests.post(url, data={"outcome": outcome}, timeout=60, allow_redirects=False)
        assert response.status_code == 303
        assert response.headers["Location"] == (
            f"http://shop.test/done?tour=1&payment_intent={intent.id}&payment_intent_client_secret="
            f"{intent.client_secret}&redirect_status={redirect_status}"
        )
        assert requests.get(url, timeout=60).status_code == 409
        assert requests.get(url.split("?")[0], timeout=60).status_code == 404

    @pytest.mark.parametrize(
        ("return_url", "before", "after"),
        [
            ("http://shop.test/done#/paid", "http://shop.test/done?", "#/paid"),
            ("http://shop.test/?tour=1#/paid?a=b", "http://shop.test/?tour=1&", "#/paid?a=b"),
            ("http://shop.test/?tour=a%20b", "http://shop.test/?tour=a%20b&", ""),
        ],
    )
    def test_what_a_challenge_adds_to_the_address_is_no_part_of_its_fragment(
        self, return_url: str, before: str, after: str, api: Any
    ) -> None:
        params: Any = {**PAID, "payment_method": "pm_card_authenticationRequired", "return_url": return_url}
        intent: Any = api.payment_intents.create(params=params)
        url = intent.next_action.redirect_to_url.url
        response = requests.post(url, data={"outcome": "complete"}, timeout=5, allow_redirects=False)
        assert response.headers["Location"] == (
            f"{before}payment_intent={intent.id}&payment_intent_client_secret={intent.client_secret}"
            f"&redirect_status=succeeded{after}"
        )

    def test_a_card_declined_after_its_challenge_returns_as_failed(
        self, api: Any, intent: sdk.PaymentIntent
    ) -> None:
        card = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
        params: Any = {"payment_method": card, "return_url": "http://shop.test/done"}
        again: Any = api.payment_intents.confirm(intent.id, params=params)
        response = requests.post(
            again.next_action.redirect_to_url.url,
            data={"outcome": "complete"},
            timeout=60,
            allow_redirects=False,
        )
        assert response.headers["Location"].endswith("redirect_status=failed")


def test_it_calls_the_newest_intent_the_latest(
    command: Callable[..., Any], api: Any, stripe: StripeEmulator
) -> None:
    command("/payment_intents/latest/confirm", answers=400)
    _older, newer = (api.payment_intents.create(params=AMOUNT).id for _number in range(2))
    assert command("/payment_intents/latest/confirm")["id"] == newer
    assert sorted(each["status"] for each in stripe.payment_intents.values()) == [
        "requires_payment_method",
        "succeeded",
    ]


@pytest.mark.parametrize("event_type", sorted(RECIPES))
def test_an_event_is_brought_about_by_name(
    command: Callable[..., Any], stripe: StripeEmulator, event_type: str
) -> None:
    event = command("/trigger", type=event_type)
    assert event["payload"] == stripe.event(event["id"]).payload
    assert event["payload"]["type"] == event_type


def test_an_event_is_brought_about_for_a_payment_that_is_there(
    command: Callable[..., Any], api: Any, stripe: StripeEmulator
) -> None:
    intent = api.payment_intents.create(params=AMOUNT)
    failed = command("/trigger", type="payment_intent.payment_failed", payment_intent="latest")
    assert failed["payload"]["data"]["object"]["id"] == intent.id
    refunded = stripe.trigger("charge.refunded", payment_intent=api.payment_intents.create(params=PAID).id)
    assert refunded.payload["data"]["object"]["amount_refunded"] == 2000
    assert len(stripe.payment_intents) == 2


def test_an_event_that_can_t_be_brought_about_is_an_error(command: Callable[..., Any], api: Any) -> None:
    error = command("/trigger", type="invoice.paid", answers=400)["error"]
    assert "is none of charge.captured, " in error["message"]
    paid = api.payment_intents.create(params=PAID)
    error = command("/trigger", type="charge.succeeded", payment_intent=paid.id, answers=400)["error"]
    assert f"{paid.id} is succeeded: there was no charge.succeeded" in error["message"]


def test_a_hold_is_captured_or_canceled_on_command(command: Callable[..., Any], api: Any) -> None:
    held = {**PAID, "capture_method": "manual"}
    captured = command(f"/payment_intents/{api.payment_intents.create(params=held).id}/capture", amount=500)
    assert (captured["status"], captured["amount_received"]) == ("succeeded", 500)
    canceled = command(f"/payment_intents/{api.payment_intents.create(params=held).id}/cancel")
    assert canceled["status"] == "canceled"


def test_no_module_imports_one_that_imports_it() -> None:
    folder = Path(emulator.__file__).parent
    imports = {
        path.stem: set(re.findall(r"testing\.emulator\.(\w+) import", path.read_text()))
        for path in folder.glob("*.py")
    }
    graphlib.TopologicalSorter(imports).prepare()
