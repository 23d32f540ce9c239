"""Every example of the README is executed here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser, User
from django.core.checks import WARNING
from django.core.management import get_commands
from django.test import Client, RequestFactory
from django.test.utils import isolate_apps
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from octo_stripe_gateway import checks, conf, inbox, services
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.inbox import HANDLERS, OLDER_EVENT_TYPES
from octo_stripe_gateway.models import Payment, compute_balance
from octo_stripe_gateway.signals import payment_created, payment_succeeded
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from tests.shop.models import Booking
from tests.support.api import GatewayApi

README = Path(__file__).parent.parent.joinpath("README.md").read_text()
VOLATILE = re.compile(r"\A(pi_\w+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[0-9a-f-]{36})\Z")

pytestmark = pytest.mark.django_db


def get_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def get_block(language: str, containing: str) -> str:
    (block,) = (block for block in get_blocks(language) if containing in block)
    return block


def run(block: str, **names: Any) -> dict[str, Any]:
    namespace = {"__name__": "tests.shop.readme", **names}
    exec(compile(block, "README.md", "exec"), namespace)
    return namespace


def get_exchanges() -> list[tuple[str, str]]:
    pairs = re.findall(r"```http\n(.*?)```\n\n```json\n(.*?)```", README, re.DOTALL)
    assert len(pairs) == len(get_blocks("http")) == len(get_blocks("json"))
    return pairs


class Reader:
    """Sends the README's requests one after another, as one who tries them would."""

    def __init__(self, client: Client, stripe: StripeEmulator) -> None:
        self.client = client
        self.stripe = stripe
        self.first: dict[str, Any] = {}

    def send(self, text: str) -> Any:
        head, _blank, body = text.partition("\n\n")
        request, *lines = head.splitlines()
        method, path = request.split()
        if path.endswith("/payments/1/complete"):
            self.stripe.confirm(self.first["stripePaymentIntentId"], payment_method="pm_card_visa")
        response = self.client.generic(
            method,
            re.sub(r"/payments/1(?=/|$)", f"/payments/{self.first.get('id')}", path),
            body,
            content_type="application/json",
            headers=dict(line.split(": ") for line in lines),
        )
        self.first = self.first or response.json()
        return response


def is_as_shown(actual: Any, shown: Any) -> bool:
    if isinstance(shown, dict) and isinstance(actual, dict):
        return shown.keys() == actual.keys() and all(is_as_shown(actual[name], shown[name]) for name in shown)
    if isinstance(shown, str) and isinstance(actual, str) and VOLATILE.match(shown):
        return bool(VOLATILE.match(actual))
    return bool(actual == shown)


def test_requests_are_answered_as_shown(
    client: Client, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(API_GATEWAY_KEY="a-long-random-key")
    reader = Reader(client, stripe)
    for request, shown in get_exchanges():
        status, _newline, text = shown.partition("\n")
        response = reader.send(request)
        answer, expected = dict(response.json()), json.loads(text)
        assert response.status_code == int(status), (request, answer)
        answer["id"] = 1 if answer.get("id") == reader.first["id"] else answer.get("id")
        differing = [name for name in expected if not is_as_shown(answer.get(name), expected[name])]
        assert differing == [], (request, answer)


def test_the_creation_shown_has_every_key(client: Client, stripe: StripeEmulator) -> None:
    request, shown = get_exchanges()[0]
    answer = Reader(client, stripe).send(request.replace("a-long-random-key", "gateway-key")).json()
    assert json.loads(shown.partition("\n")[2]).keys() == answer.keys()


def test_the_installation_is_two_settings_and_a_route() -> None:
    settings = run(get_block("python", "INSTALLED_APPS +="), INSTALLED_APPS=[])
    assert settings["INSTALLED_APPS"] == ["octo_stripe_gateway"]
    routes = run(get_block("python", 'include("octo_stripe_gateway.urls")'), urlpatterns=[])["urlpatterns"]
    assert routes[0].url_patterns


def test_the_settings_table_is_complete() -> None:
    table = README.partition("## Settings")[2].partition("## Webhooks")[0]
    assert set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) == conf.DEFAULTS.keys()


def test_the_events_to_subscribe_are_those_that_are_handled() -> None:
    listed = re.findall(r"<!-- events -->\n```\n(.*?)```", README, re.DOTALL)[0].split()
    assert listed == sorted(HANDLERS.keys() - OLDER_EVENT_TYPES)


def test_the_commands_exist() -> None:
    table = README.partition("## Operations")[2].partition("### Setting up Stripe")[0]
    ours = {name for name, app in get_commands().items() if app == "octo_stripe_gateway"}
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == ours


def test_the_table_of_checks_is_complete() -> None:
    table = README.partition("### System checks")[2].partition("## Security")[0]
    source = Path(checks.__file__).read_text()
    named = set(re.findall(r'"([EW]\d{3})"', source)) | {"E009", "E010", "E011", "E012", "I001"}
    assert set(re.findall(r"`([EWI]\d{3})`", table)) == named


@isolate_apps("tests.shop")
def test_a_model_says_its_price() -> None:
    booking = run(get_block("python", "class Booking(models.Model)"))["Booking"](price=900)
    assert booking.get_payment_amount() == (900, "usd")


def test_services_and_signals_are_used_as_shown(
    stripe: StripeEmulator,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    confirmed: list[Booking] = []
    monkeypatch.setattr(Booking, "confirm", lambda booking: confirmed.append(booking), raising=False)
    booking = Booking.objects.create()

    def pay(payment: Payment, **_kwargs: Any) -> None:
        stripe.confirm(str(payment.stripe_payment_intent_id), payment_method="pm_card_visa")

    receiver = run(get_block("python", "@receiver"))["confirm_booking"]
    payment_created.connect(pay)
    create, _newline, rest = get_block("python", "create_payment(payable").partition("services.complete")
    with django_capture_on_commit_callbacks(execute=True):
        names = run(create, booking=booking)
    with django_capture_on_commit_callbacks(execute=True):
        run("services.complete" + rest, **names)
    assert (payment_created.disconnect(pay), payment_succeeded.disconnect(receiver)) == (True, True)
    assert confirmed == [booking]
    assert booking.payments.get().amount_refunded == 500


@isolate_apps("tests.shop")
def test_a_model_says_its_installments_and_its_deadline() -> None:
    now = timezone.now()
    cruise = run(get_block("python", "class Cruise(models.Model)"))["Cruise"](
        price=9000, held_until=now, departs_at=now
    )
    balance = compute_balance(cruise, [])
    assert [(part.name, part.amount) for part in balance.outstanding] == [
        ("deposit", 1800),
        ("balance", 7200),
    ]
    assert cruise.get_payment_deadline() == now
    cruise.is_confirmed = True
    assert cruise.get_payment_deadline() is None


def test_the_balance_shown_is_read_and_given_back(
    stripe: StripeEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    booking = Booking.objects.create(price=9000)
    created = services.create_payment(payable=booking)
    stripe.confirm(str(created.payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    services.complete_payment(created.payment)
    Booking.objects.filter(pk=booking.pk).update(price=10000)
    booking.refresh_from_db()
    run(get_block("python", "get_balance()"), booking=booking)
    assert capsys.readouterr().out == "full 1000 None\n"
    assert [refund["amount"] for refund in stripe.refunds.values()] == [7000, 2000]


def test_the_admin_shown_refunds_payables() -> None:
    shown = run(get_block("python", "class CruiseAdmin"))["CruiseAdmin"](Booking, AdminSite())
    assert [operation.name for operation in shown.operations] == ["refund_payments"]
    assert shown.check() == []


@pytest.mark.parametrize(("logged_in", "csrf", "allowed"), [(1, 1, True), (1, 0, False), (0, 1, False)])
def test_the_authentication_shown_checks_session_and_csrf(logged_in: bool, csrf: bool, allowed: bool) -> None:
    authenticate = run(get_block("python", "check_csrf"))["authenticate"]
    token = "a" * 32
    request = RequestFactory().post("/", headers={"X-CSRFToken": token} if csrf else {})
    request.COOKIES["csrftoken"] = token
    request.user = User(username="visitor") if logged_in else AnonymousUser()
    with nullcontext() if csrf else pytest.raises(PermissionDenied):
        assert authenticate(request).is_authenticated is allowed


def test_the_authentication_shown_keeps_customers_apart(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    authenticate = run(get_block("python", "check_csrf"))["authenticate"]
    configure(AUTHENTICATE=authenticate)
    clients = [Client(enforce_csrf_checks=True) for _each in range(2)]
    for name, each in zip(("ann", "bob"), clients, strict=True):
        each.force_login(User.objects.create(username=name))
        each.cookies["csrftoken"] = "a" * 32
    ann, bob = (GatewayApi(each, key="") for each in clients)
    token = {"X-CSRFToken": "a" * 32}
    payment = ann.create(**token).json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa")
    assert (
        ann.request("PATCH", f"/payments/{payment['id']}/complete", **token).json()["status"] == "CONFIRMED"
    )
    assert bob.retrieve(payment).status_code == 404
    assert bob.cancel(payment, **token).status_code == 404
    assert {each.refund(payment, **token).status_code for each in (ann, bob)} == {403}
    assert stripe.refunds == {}


def test_the_keys_shown_are_of_three_callers(configure: Callable[..., None]) -> None:
    configure(**run(get_block("python", '"viator"'))["OCTO_STRIPE_GATEWAY"])
    assert [message for message in checks.check_settings() if message.level >= WARNING] == []
    keys = conf.gateway_settings.api_gateway_keys
    assert {name: len(own) for name, own in keys.items()} == {"": 1, "viator": 1, "klook": 2}


def test_the_hook_shown_refuses() -> None:
    hold: Any = run(get_block("python", "class Hold"))["Hold"]()
    hold.expired = False
    hold.on_payment_completed(None)
    hold.expired = True
    with pytest.raises(PaymentRejectedError, match="expired"):
        hold.on_payment_completed(None)


def test_the_handler_shown_is_registered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inbox, "HOST_HANDLERS", {})
    run(get_block("python", "@register"))
    body, _signature = signed_event("invoice.paid", {"id": "in_1", "object": "invoice"})
    assert inbox.receive_event(json.loads(body)).status == "processed"
    assert capsys.readouterr().out == "in_1 None\n"


@pytest.mark.parametrize(("currency", "account"), [("jpy", ""), ("eur", "acct_lyon")])
def test_the_choice_of_accounts_shown_is_used(
    currency: str, account: str, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    shown = run(get_block("python", '"STRIPE_ACCOUNTS"'))["OCTO_STRIPE_GATEWAY"]
    choose = run(get_block("python", "def choose_account"))["choose_account"]
    configure(**shown | {"STRIPE_ACCOUNT": choose})
    assert services.create_payment(2000, currency=currency).payment.stripe_account == account


def test_the_tests_shown_pass(client: Client, stripe: StripeEmulator) -> None:
    shown = run(get_block("python", "def test_a_booking"))
    shown["test_a_booking_is_confirmed"](None, client, stripe)
    shown["test_a_forged_event_is_refused"](None, client, stripe)
    shown["test_a_row_without_stripe"](None)


def test_every_block_of_python_is_executed_here() -> None:
    source = Path(__file__).read_text()
    named = re.findall(r'get_block\("python", (?:"([^"]+)"|\'([^\']+)\')\)', source)
    markers = ["".join(pair) for pair in named] + [
        "pytest_plugins",
        '{"AUTHENTICATE"',
        '"AUTHENTICATION_CLASSES"',
    ]
    assert [block for block in get_blocks("python") if not any(each in block for each in markers)] == []


def test_the_viewset_shown_has_a_companys_users_share_their_payments(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    routes = run(get_block("python", "class BookingPaymentViewSet"))["urlpatterns"]
    for number, company in enumerate((1, 1, 2)):
        user: Any = User(pk=number, username=str(number))
        user.company_id = company
        configure(AUTHENTICATE=lambda _request, caller=user: caller)
        if number == 0:
            request = RequestFactory().post("/", {"amount": 2000}, content_type="application/json")
            payment = routes[0].callback(request).data
            assert Payment.objects.get().owner == "company:1"
        answer = routes[1].callback(RequestFactory().get("/"), id=str(payment["id"]))
        assert answer.status_code == (200 if company == 1 else 404)
