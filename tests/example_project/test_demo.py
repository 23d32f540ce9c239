"""The demo shop over HTTP: who is let in, and what one command starts and stops."""

from __future__ import annotations

import datetime as dt
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.cases import one_in
from tests.support.demo import Demo, get_free_ports, run_command, run_demo

pytest_plugins = ["tests.support.demo_plugin"]

KEY = {"Authorization": "Bearer demo-key"}
OLD_TOWN = 2450


class Visitor:
    """A browser without a display: it keeps cookies, and the CSRF token from the page."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.session = requests.Session()
        self.call("GET", "/")

    def call(self, method: str, path: str, body: Any = None, **headers: str | None) -> requests.Response:
        token = self.session.cookies.get("tourshop_csrf")
        sent = {"X-CSRFToken": token, **headers}
        return self.session.request(method, self.demo.url + path, json=body, headers=sent, timeout=60)

    def book(self, **chosen: Any) -> Any:
        tomorrow = dt.date.today() + dt.timedelta(days=1)  # noqa: DTZ011 - the visitor's own day
        body = {"tour": 1, "people": 2, "date": tomorrow.isoformat(), **chosen}
        return self.call("POST", "/bookings", body)

    def create(self, booking: Any, **more: Any) -> requests.Response:
        body = {"payable": {"type": "booking", "id": booking["reference"]}, **more}
        return self.call("POST", "/bookings/payments", body)

    def find(self, reference: str) -> Any:
        bookings = self.call("GET", "/bookings").json()["bookings"]
        return next(booking for booking in bookings if booking["reference"] == reference)


@pytest.fixture
def make_visitor(demo: Demo) -> Iterator[Callable[[], Visitor]]:
    visitors: list[Visitor] = []

    def make() -> Visitor:
        visitors.append(Visitor(demo))
        return visitors[-1]

    yield make
    for visitor in visitors:
        visitor.session.close()


@pytest.fixture
def visitor(make_visitor: Callable[[], Visitor]) -> Visitor:
    return make_visitor()


def test_visitor_books_pays_and_is_refunded(demo: Demo, visitor: Visitor) -> None:
    booking = visitor.book().json()
    assert (booking["status"], booking["amount"], booking["currency"]) == ("PENDING", 2 * OLD_TOWN, "eur")
    payment = visitor.create(booking).json()
    assert (payment["amount"], payment["status"]) == (2 * OLD_TOWN, "PENDING")
    demo.pay(payment)
    completed = visitor.call("PATCH", f"/bookings/payments/{payment['uuid']}/complete").json()
    assert completed["status"] == "CONFIRMED"
    assert visitor.find(booking["reference"])["status"] == "CONFIRMED"
    refunded = visitor.call("POST", f"/bookings/payments/{payment['uuid']}/refund", {}).json()
    assert refunded["status"] == "REFUNDED"
    found = visitor.find(booking["reference"])
    assert (found["status"], found["totalRefunded"]) == ("CANCELLED", 2 * OLD_TOWN)


def test_webhook_alone_confirms_the_booking(demo: Demo, visitor: Visitor) -> None:
    booking = visitor.book().json()
    demo.pay(visitor.create(booking).json())
    deadline = time.monotonic() + 5
    while visitor.find(booking["reference"])["status"] != "CONFIRMED":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_part_refunded_leaves_the_booking_confirmed(demo: Demo, visitor: Visitor) -> None:
    booking = visitor.book().json()
    payment = visitor.create(booking).json()
    demo.pay(payment)
    visitor.call("PATCH", f"/bookings/payments/{payment['uuid']}/complete")
    visitor.call("POST", f"/bookings/payments/{payment['uuid']}/refund", {"amount": 100})
    found = visitor.find(booking["reference"])
    assert (found["status"], found["totalRefunded"]) == ("CONFIRMED", 100)


@pytest.mark.parametrize("token", [None, "x" * 32])
def test_browser_without_the_csrf_token_is_refused(visitor: Visitor, token: str | None) -> None:
    booking = visitor.book().json()
    body = {"payable": {"type": "booking", "id": booking["reference"]}}
    answer = visitor.call("POST", "/bookings/payments", body, **{"X-CSRFToken": token})
    assert answer.status_code == 403
    assert answer.json()["error"] == "FORBIDDEN"
    assert visitor.call("POST", "/bookings", {}, **{"X-CSRFToken": token}).status_code == 403


def test_stranger_is_refused(demo: Demo, visitor: Visitor) -> None:
    assert visitor.call("GET", "/bookings/payments/1").status_code == 401
    assert visitor.call("POST", "/bookings/payments", {"amount": 100}).status_code == 401
    assert visitor.call("GET", "/bookings").json() == {"bookings": []}


def test_other_visitors_neither_see_nor_pay_nor_refund(
    demo: Demo, visitor: Visitor, make_visitor: Callable[[], Visitor]
) -> None:
    booking = visitor.book().json()
    payment = visitor.create(booking).json()
    other = make_visitor()
    other.book()
    path = f"/bookings/payments/{payment['uuid']}"
    assert other.create(booking).status_code == 400
    assert other.create({"reference": "UNKNOWN1"}).status_code == 400
    refused = [
        other.call("GET", path),
        other.call("GET", f"/bookings/payments/{payment['id']}"),
        other.call("PATCH", f"{path}/complete"),
        other.call("POST", f"{path}/refund", {}),
        other.call("POST", f"{path}/cancel", {}),
    ]
    assert {answer.status_code for answer in refused} == {404}
    assert {answer.json()["error"] for answer in refused} == {"INVALID_PAYMENT_ID"}
    assert len(other.call("GET", "/bookings").json()["bookings"]) == 1


@pytest.mark.parametrize("tampered", [{"amount": 1}, {"amount": 2 * OLD_TOWN, "currency": "jpy"}])
def test_visitor_does_not_choose_the_price(visitor: Visitor, tampered: dict[str, Any]) -> None:
    answer = visitor.create(visitor.book().json(), **tampered)
    assert answer.status_code == 422
    assert answer.json()["error"] == "UNPROCESSABLE_ENTITY"


def test_visitor_pays_for_bookings_only(visitor: Visitor) -> None:
    visitor.book()
    answer = visitor.call("POST", "/bookings/payments", {"amount": 100, "currency": "usd"})
    assert answer.status_code == 400
    assert "payable" in answer.json()["errorMessage"]


def test_booking_is_paid_once(demo: Demo, visitor: Visitor) -> None:
    booking = visitor.book().json()
    body = {"payable": {"type": "booking", "id": booking["reference"]}}
    key = {"Idempotency-Key": booking["reference"]}
    first, again = (visitor.call("POST", "/bookings/payments", body, **key).json() for _ in range(2))
    assert first["stripeClientSecret"] == again["stripeClientSecret"]
    demo.pay(first)
    visitor.call("PATCH", f"/bookings/payments/{first['uuid']}/complete")
    assert visitor.create(booking).status_code == 422


@pytest.mark.parametrize(
    "chosen",
    [
        {"people": 0},
        {"people": 9},
        {"tour": 99},
        {"date": "2020-01-01"},
        {"date": "9999-01-01"},
        {"date": ""},
    ],
)
def test_impossible_booking_is_refused_in_words(visitor: Visitor, chosen: dict[str, Any]) -> None:
    answer = visitor.book(**chosen)
    assert answer.status_code == 400
    assert answer.json()["errorMessage"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_malformed_booking_is_refused(visitor: Visitor, body: bytes) -> None:
    headers = {"X-CSRFToken": visitor.session.cookies["tourshop_csrf"], "Content-Type": "application/json"}
    answer = visitor.session.post(f"{visitor.demo.url}/bookings", data=body, headers=headers, timeout=60)
    assert answer.status_code == 400


def test_page_says_what_it_is_and_gives_nothing_away(demo: Demo) -> None:
    answer = requests.get(demo.url, timeout=60)
    assert "Test mode: local Stripe emulator" in answer.text
    assert "4242 4242 4242 4242" in answer.text
    assert f'src="{demo.emulator_url}/stripe.js"' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", answer.text)
    for secret in ("demo-key", "sk_test", "whsec", "_secret_"):
        assert secret not in answer.text


def test_curl_with_the_api_key_does_the_same(demo: Demo) -> None:
    payments = f"{demo.url}/bookings/payments"
    body = {"amount": 2000, "currency": "usd"}
    created = requests.post(payments, json=body, headers=KEY, timeout=60)
    assert created.status_code == 201, created.text
    payment = created.json()
    confirmed = requests.post(
        f"{demo.emulator_url}/v1/payment_intents/{payment['stripePaymentIntentId']}/confirm",
        auth=("sk_test_octoStripeGatewayEmulator", ""),
        data={"payment_method": "pm_card_visa", "return_url": demo.url},
        timeout=60,
    )
    assert confirmed.json()["status"] == "succeeded"
    path = f"{payments}/{payment['id']}"
    assert requests.get(path, headers=KEY, timeout=60).status_code == 200
    completed = requests.patch(f"{path}/complete", headers=KEY, timeout=60)
    assert completed.json()["status"] == "CONFIRMED"
    refunded = requests.post(f"{path}/refund", headers=KEY, timeout=60)
    assert refunded.json()["status"] == "REFUNDED"


def test_wrong_api_key_is_refused(demo: Demo) -> None:
    wrong = {"Authorization": "Bearer demo-keys"}
    answer = requests.get(f"{demo.url}/bookings/payments/1", headers=wrong, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (403, "FORBIDDEN")


def test_client_secret_in_the_address_is_not_logged(demo: Demo) -> None:
    address = f"{demo.url}/returned?payment=x&payment_intent_client_secret=pi_1_secret_2"
    requests.get(address, timeout=60)
    # The line may come after the answer.
    demo.wait_for('"GET /returned HTTP')
    assert "_secret_" not in demo.log.read_text()


@pytest.mark.slow
def test_second_start_goes_on_where_the_first_one_stopped(demo_directory: Path) -> None:
    with run_demo(demo_directory) as demo:
        visitor = Visitor(demo)
        paid, unpaid = visitor.book().json(), visitor.book().json()
        payment, open_payment = visitor.create(paid).json(), visitor.create(unpaid).json()
        demo.pay(payment)
        visitor.call("PATCH", f"/bookings/payments/{payment['uuid']}/complete")
        demo.stop(signal.SIGINT)
    assert not (demo_directory / "postgres" / "postmaster.pid").exists()
    with run_demo(demo_directory) as visitor.demo:
        assert visitor.find(paid["reference"])["status"] == "CONFIRMED"
        assert visitor.find(unpaid["reference"])["status"] == "PENDING"
        visitor.demo.pay(open_payment)
        path = f"/bookings/payments/{open_payment['uuid']}/complete"
        assert visitor.call("PATCH", path).json()["status"] == "CONFIRMED"
        refund = visitor.call("POST", f"/bookings/payments/{payment['uuid']}/refund", {}).json()
        assert refund["status"] == "REFUNDED"
        visitor.session.close()
        visitor.demo.stop()


@pytest.mark.slow
def test_what_another_emulator_was_to_be_paid_for_is_given_up(demo_directory: Path) -> None:
    with run_demo(demo_directory) as demo:
        visitor = Visitor(demo)
        booking = visitor.book().json()
        demo.stop()
    (demo_directory / "stripe.json").unlink()
    with run_demo(demo_directory) as visitor.demo:
        assert visitor.find(booking["reference"])["status"] == "CANCELLED"
        visitor.session.close()
        visitor.demo.stop()


@pytest.mark.slow
def test_with_keys_the_shop_is_at_stripe_itself(tmp_path: Path) -> None:
    keys = {
        "STRIPE_API_KEY": "sk_test_own",
        "STRIPE_PUBLISHABLE_KEY": "pk_test_own",
        "STRIPE_WEBHOOK_SECRET": "whsec_own",
    }
    with run_demo(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/db.sqlite3", **keys) as demo:
        page = requests.get(demo.url, timeout=60).text
        assert "Stripe test mode" in page
        assert 'src="https://js.stripe.com/' in page
        answer = requests.get(f"{demo.url}/bookings/payments/1", headers=KEY, timeout=60)
        assert answer.status_code == 403
        demo.stop()


@pytest.mark.parametrize("option", one_in(2, ["--port", "--emulator-port"]))
def test_taken_port_is_named_with_its_option(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = dict(zip(("--port", "--emulator-port"), map(str, get_free_ports()), strict=True))
        ports[option] = str(taken.getsockname()[1])
        arguments = [part for pair in ports.items() for part in pair]
        ended = run_command("demo", *arguments, DATABASE_URL="sqlite://:memory:")
    assert ended.returncode == 1
    assert f"Port {ports[option]} is already in use. Choose another with {option}." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_some_of_stripes_keys_are_not_enough() -> None:
    ended = run_command("demo", DATABASE_URL="sqlite://:memory:", STRIPE_API_KEY="sk_test_own")
    assert ended.returncode == 1
    assert "set STRIPE_PUBLISHABLE_KEY and STRIPE_WEBHOOK_SECRET as well" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_other_commands_work() -> None:
    ended = run_command("makemigrations", "tourshop", "--check", DATABASE_URL="sqlite://:memory:")
    assert ended.returncode == 0, ended.stdout
    assert "WARNINGS" not in ended.stderr
