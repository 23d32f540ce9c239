"""Executes every example in the README and the docs, and checks that they leave nothing out."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import shutil
import subprocess
import sys
import unittest
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from inspect import getmembers, isclass, isgeneratorfunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import CacheHandler
from django.core.checks import WARNING
from django.core.management import get_commands, load_command_class
from django.db import OperationalError
from django.db.utils import ConnectionHandler
from django.dispatch import Signal
from django.test import Client, RequestFactory
from django.test.utils import isolate_apps
from django.urls import include, path
from django.utils import timezone
from rest_framework.exceptions import PermissionDenied

from octo_stripe_gateway import conf, exceptions, services, signals
from octo_stripe_gateway.api import errors
from octo_stripe_gateway.api.serializers import OCTO_STATUSES
from octo_stripe_gateway.doctor import checks
from octo_stripe_gateway.exceptions import PaymentRejectedError
from octo_stripe_gateway.ledger import facts
from octo_stripe_gateway.ledger.rules import NEEDS
from octo_stripe_gateway.models import Payment, WebhookEvent, compute_dues
from octo_stripe_gateway.services.payment_links import get_link_owner
from octo_stripe_gateway.signals import payment_created, payment_succeeded
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.events import signed_event
from octo_stripe_gateway.webhooks import handlers, inbox
from octo_stripe_gateway.webhooks.handlers import OLDER_EVENT_TYPES, SNAPSHOTS
from tests.cluster.queues import QUEUES
from tests.shop.models import Booking, Ticket
from tests.support.api import GatewayApi
from tests.support.checks import list_messages
from tests.support.docs import FOLDER, PAGES, ROOT, get_block, get_blocks, get_names, run
from tests.support.reference import render as render_reference

APP = "octo_stripe_gateway"
VOLATILE = re.compile(r"\A((pi|re)_\w+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|[0-9a-f-]{36})\Z")
COMMAND = re.compile(r"^(?:[\d*]+ .*&& )?(?:python )?manage\.py (\w+)(.*?)(?= &|$)", re.MULTILINE)

pytestmark = pytest.mark.django_db


def get_exchanges(page: str) -> list[tuple[str, str]]:
    pairs = re.findall(r"```http\n(.*?)```\n\n```json\n(.*?)```", PAGES[page], re.DOTALL)
    assert len(pairs) == len(get_blocks("http", page=page)) == len(get_blocks("json", page=page))
    return pairs


class Reader:
    """Sends a page's requests one after another, as a reader trying them would."""

    def __init__(self, client: Client, stripe: StripeEmulator) -> None:
        self.client = client
        self.stripe = stripe
        self.first: dict[str, Any] = {}
        self.intents: dict[str, str] = {}

    def send(self, text: str) -> Any:
        head, _blank, body = text.partition("\n\n")
        request, *lines = head.splitlines()
        method, path = request.split()
        headers = dict(line.split(": ") for line in lines)
        assert bool(body) is (headers.pop("Content-Type", None) == "application/json"), text
        path = re.sub(r"/payments/1(?=/|$)", f"/payments/{self.first.get('id')}", path)
        intent = self.intents.get(path.split("/")[3] if path.count("/") > 2 else "", "")
        if intent and path.endswith("/complete"):
            self.pay(intent)
        body = re.sub(r"pi_\w+", intent, body)
        response = self.client.generic(method, path, body, content_type="application/json", headers=headers)
        self.remember(response.json())
        return response

    def pay(self, intent: str) -> None:
        if self.stripe.payment_intents[intent]["status"] != "succeeded":
            self.stripe.confirm(intent, payment_method="pm_card_visa")

    def remember(self, answer: Any) -> None:
        self.first = self.first or answer
        for name in ("id", "uuid"):
            if name in answer:
                self.intents[str(answer[name])] = answer["stripePaymentIntentId"]


def is_as_shown(actual: Any, shown: Any) -> bool:
    if isinstance(shown, dict) and isinstance(actual, dict):
        return shown.keys() == actual.keys() and all(is_as_shown(actual[name], shown[name]) for name in shown)
    if isinstance(shown, list) and isinstance(actual, list):
        return len(shown) == len(actual) and all(map(is_as_shown, actual, shown))
    if isinstance(shown, str) and isinstance(actual, str) and VOLATILE.match(shown):
        return bool(VOLATILE.match(actual))
    return bool(actual == shown)


@pytest.mark.parametrize("page", [page for page in PAGES if get_blocks("http", page=page)])
def test_requests_are_answered_as_shown(
    page: str, client: Client, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(API_GATEWAY_KEY="key-for-my-laptop")
    reader = Reader(client, stripe)
    for request, shown in get_exchanges(page):
        status, _newline, text = shown.partition("\n")
        response = reader.send(request)
        body, expected = response.json(), json.loads(text)
        assert response.status_code == int(status), (request, body)
        answers, wanted = (each if isinstance(each, list) else [each] for each in (body, expected))
        assert len(answers) == len(wanted), (request, body)
        for answer, parts in zip(answers, wanted, strict=True):
            # A reader goes on from the real answer.
            told = answer | {"id": 1 if answer.get("id") == reader.first["id"] else answer.get("id")}
            differing = [name for name in parts if not is_as_shown(told.get(name), parts[name])]
            assert differing == [], (request, answer)


def test_the_creation_shown_has_every_key(client: Client, stripe: StripeEmulator) -> None:
    request, shown = get_exchanges("api.md")[0]
    answer = Reader(client, stripe).send(request.replace("key-for-my-laptop", "gateway-key")).json()
    assert json.loads(shown.partition("\n")[2]).keys() == answer.keys()


def test_the_installation_is_two_settings_and_a_route() -> None:
    settings = run(get_block("python", "INSTALLED_APPS +="), INSTALLED_APPS=[])
    assert settings["INSTALLED_APPS"] == ["octo_stripe_gateway"]
    routes = run(get_block("python", 'include("octo_stripe_gateway.urls")'), urlpatterns=[])["urlpatterns"]
    assert routes[0].url_patterns


def get_commands_of_ours() -> list[str]:
    return sorted(name for name, app in get_commands().items() if app == APP)


def get_signals() -> list[str]:
    return sorted(name for name, _signal in getmembers(signals, lambda each: isinstance(each, Signal)))


def get_checks() -> list[str]:
    named = set(re.findall(r'"([EW]\d{3})"', Path(checks.__file__).read_text()))
    return sorted(named | {"E009", "E010", "E011", "E012", "I001"})


def get_codes() -> list[str]:
    raised = {each.code for _name, each in getmembers(exceptions, isclass) if hasattr(each, "code")}
    return sorted(raised | set(errors.CODES.values()) | {"BAD_REQUEST"})


def get_options(command: str) -> list[str]:
    """Return a command's options beyond Django's own."""
    plain, own = load_command_class("django.core", "check"), load_command_class(APP, command)
    known = {each for action in plain.create_parser("", "")._actions for each in action.option_strings}
    options = {each for action in own.create_parser("", "")._actions for each in action.option_strings}
    return sorted(options - known)


def get_words(*models: str) -> list[str]:
    """Return the managers' public methods beyond Django's own."""
    words = set()
    for model in models:
        manager: Any = apps.get_model(APP, model).objects
        classes = [*type(manager).__mro__, *manager._queryset_class.__mro__]
        ours = (each for each in classes if each.__module__.startswith(APP))
        words |= {name for each in ours for name in vars(each) if not name.startswith("_")}
    return sorted(words - {"instance"})


OTHERS = [model.__name__ for model in apps.get_app_config(APP).get_models() if model is not Payment]


@pytest.mark.parametrize(
    ("page", "heading", "column", "names"),
    [
        ("operations.md", "## Settings", 0, sorted(conf.DEFAULTS)),
        ("operations.md", "## Commands", 0, get_commands_of_ours()),
        ("operations.md", "## System checks", 0, get_checks()),
        ("payables.md", "## Signals", 0, get_signals()),
        ("payables.md", "## Queries", 0, get_words("Payment")),
        ("payables.md", "## Queries of the other models", 1, get_words(*OTHERS)),
        ("testing.md", "## On your laptop", 0, get_options("stripe_emulator")),
        ("api.md", "## Statuses", 0, sorted(OCTO_STATUSES.values())),
        ("api.md", "## Statuses", 1, sorted(Payment.Status.values)),
        ("webhooks.md", "# Stripe's events", 0, sorted(WebhookEvent.Status.values)),
    ],
)
def test_a_table_names_all_that_there_is_once(page: str, heading: str, column: int, names: list[str]) -> None:
    assert sorted(get_names(page, heading, column=column)) == names


def test_the_reference_is_as_the_docstrings_are() -> None:
    pytest.importorskip("griffe", reason="griffelib, of the extra `docs`, isn't installed")
    assert PAGES["services.md"] == render_reference(), "run `python -m tests.support.reference`"


def test_every_fact_is_in_the_architecture_s_table() -> None:
    named = set(get_names("architecture.md", "## Facts, and what each changes"))
    own = {name for name, each in vars(facts).items() if getattr(each, "__module__", "") == facts.__name__}
    assert named == own | {fact.__name__ for fact in NEEDS}


def list_operations() -> list[str]:
    """Return the services that call Stripe: they refuse to run inside a transaction."""
    public = {name: getattr(getattr(services, name), "__wrapped__", None) for name in services.__all__}
    return [name for name, inner in public.items() if inner and not isgeneratorfunction(inner)]


@pytest.mark.parametrize("name", list_operations())
def test_an_operation_names_its_errors_and_the_rule_it_follows(name: str) -> None:
    told = str(getattr(services, name).__doc__)
    assert re.search(r"\bRaises\s", told)
    assert "https://docs." in told


def test_every_error_code_is_in_the_table() -> None:
    assert set(get_names("api.md", "## Errors", column=1)) == {"error", *get_codes()}


def test_the_events_to_subscribe_are_those_that_are_handled() -> None:
    listed = re.findall(r"<!-- events -->\n```\n(.*?)```", PAGES["webhooks.md"], re.DOTALL)[0].split()
    assert listed == sorted(SNAPSHOTS.keys() - OLDER_EVENT_TYPES)


def test_every_setting_and_command_named_is_one_of_ours() -> None:
    text = "".join(PAGES.values())
    ours = {*get_commands_of_ours(), *get_commands()} | {"demo", "migrate"}
    assert {name for name, _options in list_commands(text)} - ours == set()
    assert set(re.findall(r"`(?:E|W|I)\d{3}`", text)) == {f"`{each}`" for each in get_checks()}


def list_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Return the commands of `manage.py` in a text's shell lines, with their arguments."""
    for line in re.findall(r"manage\.py ([a-z_]+[^&`\n]*)", text):
        name, *arguments = line.split()
        yield name, arguments


@pytest.mark.parametrize("page", PAGES)
def test_commands_take_the_options_shown(page: str) -> None:
    for block in [*get_blocks("sh", page=page), *get_blocks("crontab", page=page)]:
        for name, arguments in list_commands(block):
            app = get_commands().get(name, "")
            if app == APP:
                parser: ArgumentParser = load_command_class(app, name).create_parser("manage.py", name)
                parser.parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else FOLDER
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _hash, anchor = target.partition("#")
        found = (folder / path).resolve() if path else folder / page
        assert found.exists(), target
        assert not anchor or anchor in list_anchors(found.read_text()), target


def list_anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the sites that show Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 250
    links = set(re.findall(r"octo_stripe_gateway/docs/([\w.]+)", PAGES["README.md"]))
    assert links == PAGES.keys() - {"README.md"}


def test_the_readme_supports_what_the_package_does() -> None:
    listed = dict(re.findall(r"^\| (Python|Django) \| (.*) \|$", PAGES["README.md"], re.MULTILINE))
    assert listed.keys() == {"Python", "Django"}
    for name, versions in listed.items():
        kind = {"Python": "Programming Language :: Python", "Django": "Framework :: Django"}[name]
        claimed = re.findall(rf'"{kind} :: (\d+\.\d+)"', ROOT.joinpath("pyproject.toml").read_text())
        assert versions.split(", ") == claimed


def test_no_sentence_is_there_twice() -> None:
    seen: dict[str, str] = {}
    for page, text in PAGES.items():
        prose = re.sub(r"```.*?```|<https://[^>]+>", "", text, flags=re.DOTALL)
        for sentence in re.split(r"(?<=[.:])\s+|\n\n|\|", " ".join(prose.split("\n"))):
            words = sentence.strip()
            if len(words) > 50:
                assert words not in seen, (page, seen[words], words)
                seen[words] = page


@isolate_apps("tests.shop")
def test_a_model_says_its_price_and_has_the_last_word() -> None:
    booking = run(get_block("python", "class Booking(models.Model)"))["Booking"](customer_id=1, price=900)
    assert booking.get_payment_amount() == (900, "usd")
    booking.save = lambda: None
    booking.on_payment_completed(None)
    assert booking.is_confirmed
    booking.is_expired = True
    with pytest.raises(PaymentRejectedError, match="expired"):
        booking.on_payment_completed(None)


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
    create, _newline, rest = get_block("python", "created = services.create_payment(payable").partition(
        "services.complete"
    )
    with django_capture_on_commit_callbacks(execute=True):
        names = run(create, booking=booking)
    with django_capture_on_commit_callbacks(execute=True):
        run("services.complete" + rest, **names)
    assert (payment_created.disconnect(pay), payment_succeeded.disconnect(receiver)) == (True, True)
    assert confirmed == [booking]
    assert booking.payments.get().amount_refunded == 500


def test_pay_links_are_made_and_revoked_as_shown(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = run(get_block("python", "class Excursion:"))["Excursion"].get_payment_owner
    monkeypatch.setattr(Booking, "get_payment_owner", owner, raising=False)
    monkeypatch.setattr(Booking, "customer_id", 7, raising=False)
    parts = [("deposit", 500, None), ("balance", 1500, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    booking = Booking.objects.create(price=2000)
    assert get_link_owner(booking) == "auth.user:7"
    make, _newline, revoke = get_block("python", "create_payment_link").partition("services.revoke")
    names = run(make, booking=booking)
    assert client.get(names["link"]).status_code == 200
    run("services.revoke" + revoke, **names)
    assert client.get(names["link"]).status_code == 404


@isolate_apps("tests.shop")
def test_a_booking_is_cancelled_by_its_terms(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    safari = run(get_block("python", "class Safari(models.Model)"))["Safari"]
    departs_at = timezone.now() + dt.timedelta(days=10)
    monkeypatch.setattr(Booking, "departs_at", departs_at, raising=False)
    monkeypatch.setattr(Booking, "get_refund_terms", safari.get_refund_terms, raising=False)
    booking = Booking.objects.create(price=9000)
    created = services.create_payment(payable=booking)
    stripe.confirm(created.payment.intent_id)
    services.complete_payment(created.payment)
    preview = run(get_block("python", "preview=True"), booking=booking)["preview"]
    assert (preview.amount, preview.kept) == (4500, 4500)
    assert [refund["amount"] for refund in stripe.refunds.values()] == [4500, 4500]


@isolate_apps("tests.shop")
def test_a_model_says_its_installments_and_its_deadline() -> None:
    now = timezone.now()
    cruise = run(get_block("python", "class Cruise(models.Model)"))["Cruise"](
        price=9000, held_until=now, departs_at=now
    )
    assert compute_dues(cruise, []).due == 0
    balance = compute_dues(cruise, [], at=now - dt.timedelta(seconds=1))
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
    run(get_block("python", "get_dues()"), booking=booking)
    assert capsys.readouterr().out == "full 1000 None\n"
    assert [refund["amount"] for refund in stripe.refunds.values()] == [7000, 2000]


def test_the_admin_shown_refunds_payables() -> None:
    shown = run(get_block("python", "class CruiseAdmin"))["CruiseAdmin"](Booking, AdminSite())
    assert [operation.name for operation in shown.operations] == [
        "refund_payments",
        "cancel_payable",
        "make_link",
    ]
    assert shown.check() == []


@pytest.fixture
def shown(stripe: StripeEmulator, configure: Callable[..., None], settings: Any) -> dict[str, Any]:
    """Mount the README's example for a page, with its settings."""
    module = ModuleType("payments")
    vars(module).update(run(get_block("python", "check_csrf")))
    configured = run(get_block("python", '"REQUIRE_PAYABLE"'))["OCTO_STRIPE_GATEWAY"]
    assert configured["IDENTIFY_CALLER"] == "shop.payments.authenticate"
    configure(**configured | {"IDENTIFY_CALLER": module.authenticate})
    host = ModuleType("urls")
    vars(host)["urlpatterns"] = [path("bookings/", include(module))]
    settings.ROOT_URLCONF = host
    return vars(module)


@pytest.mark.parametrize(("logged_in", "csrf", "allowed"), [(1, 1, True), (1, 0, False), (0, 1, False)])
def test_the_authentication_shown_checks_session_and_csrf(
    logged_in: bool, csrf: bool, allowed: bool, shown: dict[str, Any]
) -> None:
    token = "a" * 32
    request = RequestFactory().post("/", headers={"X-CSRFToken": token} if csrf else {})
    request.COOKIES["csrftoken"] = token
    request.user = User(username="visitor") if logged_in else AnonymousUser()
    with nullcontext() if csrf else pytest.raises(PermissionDenied):
        assert shown["authenticate"](request).is_authenticated is allowed


def test_the_authentication_shown_keeps_customers_apart(
    stripe: StripeEmulator, shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [User.objects.create(username=name) for name in ("ann", "bob")]
    booking = Booking.objects.create()
    monkeypatch.setattr(Booking, "customer_id", users[0].pk, raising=False)
    clients = [Client(enforce_csrf_checks=True) for _each in users]
    for each, user in zip(clients, users, strict=True):
        each.force_login(user)
        each.cookies["csrftoken"] = "a" * 32
    ann, bob = (GatewayApi(each, key="") for each in clients)
    token = {"X-CSRFToken": "a" * 32}
    body = {"payable": {"type": "booking", "id": booking.pk}}
    nothing = bob.create({"payable": {"type": "booking", "id": booking.pk + 1}}, **token)
    assert nothing.status_code == 400
    assert bob.create(body, **token).content == nothing.content
    assert ann.create({"amount": 2000}, **token).status_code == 400
    payment = ann.create(body, **token).json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_card_visa")
    completed = ann.request("PATCH", f"/payments/{payment['id']}/complete", **token)
    assert completed.json()["status"] == "CONFIRMED"
    assert bob.retrieve(payment).status_code == 404
    assert bob.cancel(payment, **token).status_code == 404
    assert {each.refund(payment, **token).status_code for each in (ann, bob)} == {403}
    assert stripe.refunds == {}


def test_the_keys_shown_are_of_three_callers(configure: Callable[..., None]) -> None:
    configure(**run(get_block("python", '"klook"'))["OCTO_STRIPE_GATEWAY"])
    assert [message for message in list_messages() if message.level >= WARNING] == []
    keys = conf.gateway_settings.api_gateway_keys
    assert {name: len(own) for name, own in keys.items()} == {"": 1, "viator": 1, "klook": 2}


def test_the_hook_shown_refuses_a_hold() -> None:
    seat: Any = run(get_block("python", "class Seat"))["Seat"]()
    seat.is_taken = False
    seat.on_payment_authorized(None)
    with pytest.raises(PaymentRejectedError, match="taken"):
        seat.on_payment_authorized(None)


@pytest.mark.django_db
def test_the_hook_shown_rejects_what_the_database_refuses() -> None:
    Ticket.objects.create(code="1")
    tour: Any = run(get_block("python", "class Tour:"))["Tour"]()
    tour.places, tour.number = Mock(create=lambda number: Ticket.objects.create(code=number)), "1"
    with pytest.raises(PaymentRejectedError, match="taken"):
        tour.on_payment_completed(None)
    assert Ticket.objects.count() == 1


def test_the_handler_shown_is_registered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    run(get_block("python", "@register"))
    body, _signature = signed_event("invoice.paid", {"id": "in_1", "object": "invoice"})
    assert inbox.receive_event(json.loads(body)).status == "processed"
    assert capsys.readouterr().out == "in_1 None\n"


@pytest.mark.parametrize(("currency", "account"), [("jpy", ""), ("eur", "acct_lyon")])
def test_the_choice_of_accounts_shown_is_used(
    currency: str, account: str, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    stripe.connect_account("acct_lyon")
    shown = run(get_block("python", '"sk_test_tokyo"'))["OCTO_STRIPE_GATEWAY"]
    choose = run(get_block("python", "def choose_account"))["choose_account"]
    configure(**shown | {"CHOOSE_ACCOUNT": choose})
    assert services.create_payment(2000, currency=currency).payment.stripe_account == account


def test_the_tests_shown_pass(client: Client, stripe: StripeEmulator) -> None:
    shown = run(get_block("python", "def test_a_booking_is_confirmed(db"))
    fixtures = {"client": client, "db": None, "stripe": stripe}
    tests = [test for name, test in shown.items() if name.startswith("test_")]
    for test in tests:
        test(*(fixtures[name] for name in signature(test).parameters))
    assert len(tests) == 4


def test_the_tests_shown_of_what_goes_wrong_pass(
    client: Client, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired: set[int] = set()

    def complete(booking: Booking, _payment: Payment) -> None:
        if booking.pk in expired:
            raise PaymentRejectedError("Your hold on these places has expired.")

    # As the README's booking has it.
    kept = property(lambda booking: booking.pk in expired, lambda booking, _value: expired.add(booking.pk))
    monkeypatch.setattr(Booking, "is_expired", kept, raising=False)
    monkeypatch.setattr(Booking, "on_payment_completed", complete, raising=False)
    shop = ModuleType("shop.models")
    vars(shop)["Booking"] = Booking
    monkeypatch.setitem(sys.modules, "shop.models", shop)
    shown = run(get_block("python", "def test_a_lost_event_is_made_up_for"))
    tests = [test for name, test in shown.items() if name.startswith("test_")]
    for test in tests:
        stripe.reset()
        test(client=client, db=None, stripe=stripe, booking=Booking.objects.create())
    assert len(tests) == 3


def test_the_test_case_shown_passes() -> None:
    shown = run(get_block("python", "class BookingTests(TestCase)"))["BookingTests"]
    result = unittest.defaultTestLoader.loadTestsFromTestCase(shown).run(unittest.TestResult())
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


def test_the_fault_shown_is_outlived(stripe: StripeEmulator) -> None:
    created = services.create_payment(2000)
    stripe.confirm(str(created.payment.stripe_payment_intent_id))
    payment = services.complete_payment(created.payment)
    shown = run(get_block("python", "def refund_though_stripe_is_down"))
    assert shown["refund_though_stripe_is_down"](stripe, payment).status == "refunded"
    assert len(stripe.refunds) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_emulator_is_commanded_as_shown(stripe: StripeEmulator) -> None:
    services.create_payment(2000)
    script = get_block("sh", "/_emulator/requests").replace("http://127.0.0.1:8421", stripe.url)
    for line in script.splitlines():
        done = subprocess.run([*shlex.split(line), "--fail"], capture_output=True, check=True)
        assert json.loads(done.stdout)
    (charge,) = stripe.charges.values()
    assert (charge["amount_refunded"], charge["disputed"]) == (500, True)


def test_every_block_of_python_is_executed_here() -> None:
    source = "".join(each.read_text() for each in Path(__file__).parent.rglob("test_*.py"))
    named = re.findall(r'get_block\("python", (?:"([^"]+)"|\'([^\']+)\')\)', source)
    markers = ["".join(pair) for pair in named] + ["pytest_plugins", '"AUTHENTICATION_CLASSES"']
    assert [block for block in get_blocks("python") if not any(each in block for each in markers)] == []


def test_the_booking_views_shown_pay_and_confirm(stripe: StripeEmulator, rf: RequestFactory) -> None:
    booking = Booking.objects.create()
    shown = run(
        get_block("python", "class CreateView(CardPaymentMixin"),
        make_booking=lambda _body: booking,
        get_booking=lambda _uuid: booking,
    )
    for view in (shown["CreateView"], shown["ConfirmView"]):
        view.permission_classes = view.authentication_classes = ()
        view.get_owner = lambda _self: ""
    created = shown["CreateView"].as_view()(rf.post("/", {}, "application/json")).data["cardPayment"]
    stripe.confirm(created["stripe"]["paymentIntent"]["id"])
    body = {"cardPayment": {"gateway": "stripe"}}
    answer = shown["ConfirmView"].as_view()(rf.post("/", body, "application/json"), uuid="1")
    assert (answer.status_code, answer.data["cardPayment"]["paid"]) == (200, 2000)


def test_the_viewset_shown_has_a_company_s_users_share_their_payments(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    shown = run(get_block("python", "class CompanyPayments"))["urlpatterns"]
    routes = {route.name: route.callback for route in shown}
    for number, company in enumerate((1, 1, 2, None)):
        user: Any = User(pk=number, username=str(number))
        user.company_id = company
        configure(IDENTIFY_CALLER=lambda _request, caller=user: caller)
        if number == 0:
            request = RequestFactory().post("/", {"amount": 2000}, content_type="application/json")
            payment = routes["payment-list"](request).data
            assert Payment.objects.get().owner == "company:1"
        answer = routes["payment-detail"](RequestFactory().get("/"), id=str(payment["id"]))
        assert answer.status_code == {1: 200, 2: 404, None: 403}[company]


def test_what_a_refund_forgives_is_changed_as_shown(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create(price=9000, currency="usd")
    created = services.create_payment(payable=booking)
    stripe.confirm(str(created.payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    payment = services.complete_payment(created.payment)
    run(get_block("python", "services.forgive"), payment=payment)
    assert booking.payments.get_amount_due() == 9000


def test_replica_that_is_down_takes_no_reads_down() -> None:
    namespace = run(get_block("python", "class ReadsFromReplica"))
    router, tried = namespace["ReadsFromReplica"](), []

    class Replica:
        is_down = True

        def ensure_connection(self) -> None:
            tried.append(self.is_down)
            if self.is_down:
                raise OperationalError

    namespace["connections"] = {"replica": Replica()}
    assert [router.db_for_read(Payment) for _each in range(3)] == ["default"] * 3
    assert tried == [True]
    router.is_down_until, Replica.is_down = 0.0, False
    assert [router.db_for_read(Payment), router.db_for_write(Payment)] == ["replica", "default"]
    assert router.db_for_read(Booking) == "default"


def test_cache_and_database_of_many_nodes_can_be_used() -> None:
    caches = run(get_block("python", "socket_timeout"))["CACHES"]
    cache: Any = CacheHandler(caches)["default"]
    assert cache._options["socket_timeout"] == 1
    databases = run(get_block("python", "DISABLE_SERVER_SIDE_CURSORS"))["DATABASES"]
    assert ConnectionHandler(databases)["default"].get_connection_params()["connect_timeout"] == 2
    run(get_block("python", "shop.routers"), DATABASES=databases)
    assert ConnectionHandler(databases)["replica"].get_connection_params()["port"] == "5432"
    queue = run(get_block("python", "RQ_QUEUES"), REDIS=caches["default"]["OPTIONS"])
    assert (queue["RQ_QUEUES"]["default"]["URL"], queue["TASKS"]["default"]["BACKEND"]) == (
        "redis://10.0.0.5/1",
        QUEUES["rq"].backend,
    )


def test_settings_behind_a_balancer_are_read(settings: Any, rf: RequestFactory) -> None:
    for name, value in run(get_block("python", "SECURE_PROXY_SSL_HEADER")).items():
        if name.isupper():
            setattr(settings, name, value)
    request = rf.get("/", headers={"X-Forwarded-Proto": "https"})
    assert request.is_secure()
    assert settings.REST_FRAMEWORK["NUM_PROXIES"] == 1


def test_celery_is_told_where_the_task_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "celery", Mock())
    (place,) = run(get_block("python", "from celery"))["app"].conf.imports
    assert import_module(place).process_due_events.module_path.startswith(place)


def test_a_refund_leaves_the_application_fee_as_shown(stripe: StripeEmulator) -> None:
    seller = stripe.connect_account("acct_1Seller")
    params = {"application_fee_amount": 200, "transfer_data": {"destination": seller}}
    created = services.create_payment(2000, currency="usd", stripe_params=params)
    stripe.confirm(str(created.payment.stripe_payment_intent_id), payment_method="pm_card_visa")
    payment = services.complete_payment(created.payment)
    run(get_block("python", "refund_application_fee"), payment=payment)
    (fee,) = stripe.application_fees.values()
    assert fee["amount_refunded"] == 0
