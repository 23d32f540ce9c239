"""`manage.py stripe_doctor` names each broken set-up rightly, and finds nothing in a healthy one."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import stripe as sdk
from django.core.cache.backends.base import BaseCache
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import override_script_prefix
from django.urls import include, path
from django.utils import timezone
from django.utils.translation import get_language, override

from octo_stripe_gateway import doctor, services
from octo_stripe_gateway.doctor import accounts, examination
from octo_stripe_gateway.models import Installation, Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import (
    ConcernFactory,
    PaymentFactory,
    StripeRequestFactory,
    WebhookEventFactory,
)
from octo_stripe_gateway.upkeep import run_upkeep
from octo_stripe_gateway.webhooks import handlers
from tests.shop.models import Booking
from tests.support.docs import get_names, get_rows
from tests.support.objects import read_rows

pytestmark = pytest.mark.django_db

URL = "https://shop.example.com/bookings/webhooks"
HOUR = dt.timedelta(hours=1)
# One old enough to be reported, one too young.
LONG_AGO, JUST_NOW = HOUR * 2, dt.timedelta(minutes=5)
RESTRICTED = "rk_test_gateway"

urlpatterns = [path("bookings/", include("octo_stripe_gateway.urls"))]


class LostCache(BaseCache):
    """A cache that doesn't answer."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        raise ConnectionError

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        raise ConnectionError


class Shop(NamedTuple):
    """A healthy host, for the tests to break."""

    stripe: StripeEmulator
    configure: Callable[..., None]
    settings: Any
    patch: pytest.MonkeyPatch
    endpoint: dict[str, Any]

    def update_endpoint(self, **params: Any) -> None:
        stripe_client.update_webhook_endpoint("", self.endpoint["id"], **params)


@pytest.fixture
def shop(
    stripe: StripeEmulator,
    configure: Callable[..., None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    settings.ROOT_URLCONF = __name__
    endpoint = create_endpoint()
    register_domain("shop.example.com")
    clock = stripe.clock
    yield Shop(stripe, configure, settings, monkeypatch, endpoint)
    stripe.clock = clock
    stripe.accept_keys(None)


def create_endpoint(**params: Any) -> dict[str, Any]:
    version = stripe_client.get_api_version()
    wanted = {"url": URL, "enabled_events": handlers.list_event_types(), "api_version": version}
    return stripe_client.create_webhook_endpoint("", **wanted | params)


def register_domain(name: str, *, connected: str = "") -> dict[str, Any]:
    return stripe_client.register_payment_method_domain(Origin("", connected, livemode=False), name)


def diagnose(*args: str) -> dict[str, Any]:
    """Run the command, and return its JSON diagnoses by code."""
    report = run_json(*args)
    return {each["code"]: each for each in report["diagnoses"]}


def run_json(*args: str) -> Any:
    out = io.StringIO()
    failed = False
    try:
        call_command("stripe_doctor", "--json", *args, stdout=out)
    except CommandError:
        failed = True
    report = json.loads(out.getvalue())
    assert failed == bool(report["diagnoses"]) != report["healthy"]
    return report


# Stripe's names for what its dashboard calls so.
RESOURCES = {
    "PaymentIntents": "payment_intent",
    "Charges and Refunds": "charge",
    "Disputes": "dispute",
    "Balance Transaction Sources": "balance_transaction_source",
    "Webhook Endpoints": "webhook",
    "Payment Method Domains": "payment_method_domain",
}
DOCTOR = 4


# By the code of the diagnosis, how to break a set-up.


def misconfigure(shop: Shop) -> None:
    shop.configure(CURRENCY="dollars")


def leave_out_the_routes(shop: Shop) -> None:
    shop.settings.ROOT_URLCONF = "django.contrib.auth.urls"


def leave_out_a_migration(shop: Shop) -> None:
    MigrationRecorder(connection).record_unapplied("octo_stripe_gateway", "0001_initial_ledger")


def lose_the_database(shop: Shop) -> None:
    def fail() -> None:
        raise OperationalError("connection refused")

    shop.patch.setattr(connection, "ensure_connection", fail)


def copy_the_database(shop: Shop) -> None:
    named = {"octo_installation": Installation.ledger.get_own().name}
    shop.update_endpoint(metadata=named)
    create_endpoint(url="https://staging.example.com/webhooks", metadata=named)


def throttle_in_each_process(shop: Shop) -> None:
    shop.configure(THROTTLE_RATES={"create": "5/minute"})


def lose_the_cache(shop: Shop) -> None:
    shop.configure(THROTTLE_RATES={"create": "5/minute"})
    shop.settings.CACHES = {"default": {"BACKEND": f"{__name__}.LostCache"}}


def forget_the_key(shop: Shop) -> None:
    shop.configure(STRIPE_API_KEY=None)


def roll_the_key(shop: Shop) -> None:
    shop.stripe.accept_keys({"pk_test_gateway"})


def lose_stripe(shop: Shop) -> None:
    shop.configure(STRIPE_API_BASE="http://127.0.0.1:9")


def fail_in_the_middle(shop: Shop) -> None:
    shop.stripe.add_fault(Fault(method="GET", path="/v1/webhook_endpoints", times=None))


def mix_the_keys(shop: Shop) -> None:
    shop.configure(STRIPE_PUBLISHABLE_KEY="pk_live_gateway")


def forget_the_publishable_key(shop: Shop) -> None:
    shop.configure(STRIPE_PUBLISHABLE_KEY=None)


def roll_the_publishable_key(shop: Shop) -> None:
    shop.stripe.accept_keys({"sk_test_gateway"})


def restrict_the_key(shop: Shop) -> None:
    shop.stripe.restrict(RESTRICTED, "rak_payment_intent_write", "rak_webhook_read", "rak_charge_read")
    shop.configure(STRIPE_API_KEY=RESTRICTED)


def set_the_clock_wrong(shop: Shop) -> None:
    clock = shop.stripe.clock
    shop.stripe.clock = lambda: clock() + 600


def forget_the_secret(shop: Shop) -> None:
    shop.configure(STRIPE_WEBHOOK_SECRET=None)


def move_the_endpoint(shop: Shop) -> None:
    shop.update_endpoint(url="https://shop.example.com/payments/webhooks")


def disable_the_endpoint(shop: Shop) -> None:
    shop.update_endpoint(disabled=True)


def send_too_few_events(shop: Shop) -> None:
    shop.update_endpoint(enabled_events=["charge.refunded"])


def send_another_version(shop: Shop) -> None:
    shop.update_endpoint(url="https://shop.example.com/elsewhere")
    create_endpoint(api_version="2024-06-20")


def double_the_endpoint(shop: Shop) -> None:
    create_endpoint(api_version="2024-06-20")


def send_thin_events(shop: Shop) -> None:
    client = sdk.StripeClient("sk_test_gateway", base_addresses={"api": shop.stripe.url})
    client.v2.core.event_destinations.create(
        params={
            "name": "thin",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": ["v1.payment_intent.succeeded"],
            "webhook_endpoint": {"url": URL},
        }
    )


def leave_out_connected_accounts(shop: Shop) -> None:
    PaymentFactory.create(stripe_account="acct_lyon")


def miss_events(shop: Shop) -> None:
    make_paid(ago=LONG_AGO)


def miss_events_since(shop: Shop) -> None:
    make_paid(ago=LONG_AGO)
    make_event("processed", ago=LONG_AGO * 2)


def leave_an_event(shop: Shop) -> None:
    make_event("received", ago=LONG_AGO)


def leave_a_request(shop: Shop) -> None:
    request = StripeRequestFactory.create()
    type(request).objects.update(created_at=timezone.now() - LONG_AGO)


def leave_a_change(shop: Shop) -> None:
    make_change(ago=LONG_AGO, deliver_at=timezone.now())


def never_maintain(shop: Shop) -> None:
    PaymentFactory.create(next_check_at=timezone.now() - LONG_AGO)


def never_book(shop: Shop) -> None:
    PaymentFactory.create(next_booking_at=timezone.now() - LONG_AGO)


def wait_for_booking(shop: Shop) -> None:
    PaymentFactory.create(next_booking_at=timezone.now() + LONG_AGO, bookings=20)


def fail_a_refund(shop: Shop) -> None:
    ConcernFactory.create(payment__next_check_at=None, payment__accepted_at=None)
    ConcernFactory.create(settled=True, payment__next_check_at=None, payment__accepted_at=None)


def fail_an_event(shop: Shop) -> None:
    ConcernFactory.create(payment=None, code="event_failed", object_id="evt_1")


def have_an_old_concern(shop: Shop) -> None:
    ConcernFactory.create(payment=None, code="gone")


def make_paid(*, ago: dt.timedelta) -> Payment:
    moment = timezone.now() - ago
    return PaymentFactory.create(paid=True, accepted_at=moment, next_check_at=None)


def make_event(status: str, *, ago: dt.timedelta) -> WebhookEvent:
    event = WebhookEventFactory.create(status=status)
    WebhookEvent.objects.filter(pk=event.pk).update(received_at=timezone.now() - ago)
    return event


def make_change(*, ago: dt.timedelta, **columns: Any) -> PaymentChange:
    payment = PaymentFactory.create(paid=True, next_check_at=None, accepted_at=None)
    change = PaymentChange(payment=payment, source="webhook", **{"changes": {}} | columns)
    change.save()
    PaymentChange.objects.filter(pk=change.pk).update(created_at=timezone.now() - ago)
    return change


def move_the_site(shop: Shop) -> None:
    shop.update_endpoint(url=URL.replace("shop", "new"))


def fail_to_verify_the_domain(shop: Shop) -> None:
    shop.update_endpoint(url=URL.replace(".com", ".invalid"))
    register_domain("shop.example.invalid")


def pay_a_seller(shop: Shop) -> None:
    PaymentFactory.create(stripe_account=shop.stripe.connect_account("acct_1seller"), next_check_at=None)
    create_endpoint(connect=True, metadata={"octo_stripe_gateway": "connect"})
    shop.update_endpoint(metadata={"octo_stripe_gateway": "account"})


BROKEN: list[tuple[Callable[[Shop], None], str]] = [
    (misconfigure, "settings_wrong"),
    (leave_out_the_routes, "routes_missing"),
    (leave_out_a_migration, "migrations_missing"),
    (lose_the_database, "database_unreachable"),
    (copy_the_database, "installation_shared"),
    (throttle_in_each_process, "cache_unshared"),
    (lose_the_cache, "cache_unreachable"),
    (forget_the_key, "key_missing"),
    (roll_the_key, "key_refused"),
    (lose_stripe, "stripe_unreachable"),
    (fail_in_the_middle, "stripe_unreachable"),
    (mix_the_keys, "keys_of_two_modes"),
    (forget_the_publishable_key, "publishable_key_missing"),
    (roll_the_publishable_key, "publishable_key_refused"),
    (restrict_the_key, "permissions_missing"),
    (set_the_clock_wrong, "clock_skewed"),
    (forget_the_secret, "webhook_secret_missing"),
    (move_the_endpoint, "endpoint_missing"),
    (disable_the_endpoint, "endpoint_disabled"),
    (send_too_few_events, "endpoint_events_missing"),
    (send_another_version, "endpoint_version_wrong"),
    (double_the_endpoint, "endpoint_doubled"),
    (send_thin_events, "endpoint_thin"),
    (leave_out_connected_accounts, "connect_endpoint_missing"),
    (move_the_site, "wallet_domain_missing"),
    (pay_a_seller, "wallet_domain_missing"),
    (fail_to_verify_the_domain, "wallet_domain_inactive"),
    (miss_events, "events_missing"),
    (miss_events_since, "events_missing"),
    (leave_an_event, "events_waiting"),
    (leave_a_request, "requests_open"),
    (leave_a_change, "changes_undelivered"),
    (never_maintain, "checks_overdue"),
    (never_book, "books_overdue"),
    (wait_for_booking, "books_overdue"),
]
CONCERNED: list[tuple[Callable[[Shop], None], str]] = [
    (fail_a_refund, "refund_failed"),
    (fail_an_event, "event_failed"),
    (have_an_old_concern, "gone"),
]


@pytest.mark.parametrize(("break_it", "code"), BROKEN + CONCERNED)
def test_broken_set_up_is_named_rightly(shop: Shop, break_it: Callable[[Shop], None], code: str) -> None:
    break_it(shop)
    found = diagnose()
    assert list(found) == [code]
    assert found[code]["message"].endswith((".", ")"))
    assert found[code]["action"].endswith(".")


def test_what_is_found_is_said_in_english_whoever_asks(shop: Shop) -> None:
    leave_an_event(shop)
    have_an_old_concern(shop)
    ConcernFactory.create(payment=None, code="event_failed", object_id="evt_1")
    english = diagnose()
    with override("de"):
        german = diagnose()
        assert get_language() == "de"
    assert len(german) == 3
    for code, found in german.items():
        assert (found["message"], found["action"]) == (english[code]["message"], english[code]["action"])


def find_codes() -> set[str]:
    sources = [module.read_text() for module in Path(doctor.__file__).parent.glob("*.py")]
    written = re.findall(r"""(?:code=|diagnose\(\s*)"([a-z_]+)""", "".join(sources))
    return {*written, *examination.FROM_CHECKS.values()}


def test_missing_routes_are_reported_even_with_a_host(shop: Shop) -> None:
    leave_out_the_routes(shop)
    assert "routes_missing" in diagnose("--host", "shop.example.com")


def test_address_without_a_route_is_reported_until_an_event_has_come(shop: Shop) -> None:
    shop.settings.ALLOWED_HOSTS = [".example.com"]
    url = "https://shop.example.com/payments/webhooks"
    shop.update_endpoint(url=url)
    found = diagnose("--url", url)
    assert list(found) == ["url_unserved"]
    assert "/bookings/webhooks" in found["url_unserved"]["action"]
    # A proxy may lead it here by another path.
    make_event("processed", ago=JUST_NOW)
    assert diagnose("--url", url) == {}


@pytest.mark.parametrize("url", [URL, f"{URL}/", "https://another.test/payments/webhooks"])
def test_address_with_a_route_or_of_another_site_is_believed(url: str, shop: Shop) -> None:
    shop.settings.ALLOWED_HOSTS = [".example.com"]
    assert "url_unserved" not in diagnose("--url", url)


def test_address_is_told_from_the_prefix_of_the_server(shop: Shop) -> None:
    shop.settings.ALLOWED_HOSTS = ["*"]
    with override_script_prefix("/shop/"):
        assert "url_unserved" not in diagnose("--url", URL.replace("/bookings", "/shop/bookings"))


def test_stripe_that_answers_some_calls_is_reported_once(shop: Shop) -> None:
    for path_ in ("/v1/payment_method_domains", "/v2/core/event_destinations"):
        shop.stripe.add_fault(Fault(method="GET", path=path_, times=None))
    assert [each["code"] for each in run_json()["diagnoses"]] == ["stripe_unreachable"]


def test_laptop_is_told_to_start_the_emulator(shop: Shop) -> None:
    shop.settings.DEBUG = True
    shop.settings.OCTO_STRIPE_GATEWAY = {"STRIPE_API_BASE": "http://127.0.0.1:9"}
    assert "stripe_emulator" in diagnose()["stripe_unreachable"]["action"]


def test_every_diagnosis_has_a_broken_set_up() -> None:
    # Tested separately, since the emulator takes no live key, and since it takes an address.
    assert find_codes() - {"accounts_of_two_modes", "url_unserved"} == {code for _break, code in BROKEN}


def test_every_diagnosis_is_in_the_docs() -> None:
    assert sorted(get_names("operations.md", "## Finding out what is wrong")) == sorted(find_codes())


def test_healthy_set_up_needs_nothing(shop: Shop) -> None:
    make_event("processed", ago=JUST_NOW)
    make_paid(ago=JUST_NOW)
    report = run_json()
    assert report["diagnoses"] == []
    assert 290 <= report["lastEventSeconds"] <= 330
    assert abs(report["clockSkewSeconds"][""]) <= 5
    assert dt.datetime.fromisoformat(report["utcExaminedAt"]).utcoffset() == dt.timedelta()


def test_what_has_not_waited_for_long_is_left_out(shop: Shop) -> None:
    make_event("received", ago=JUST_NOW)
    StripeRequestFactory.create()
    make_change(ago=JUST_NOW, deliver_at=timezone.now())
    assert diagnose() == {}
    waiting = {"events_waiting", "requests_open", "changes_undelivered"}
    assert waiting <= diagnose("--older-than", "0").keys()


def test_arriving_events_are_not_reported_missing(shop: Shop) -> None:
    make_paid(ago=LONG_AGO)
    make_event("processed", ago=LONG_AGO + dt.timedelta(seconds=1))
    assert diagnose() == {}


def test_backlog_has_its_size_and_age(shop: Shop) -> None:
    for ago in (LONG_AGO, LONG_AGO * 2):
        make_event("received", ago=ago)
    found = diagnose()["events_waiting"]
    assert found["count"] == 2
    assert abs(found["oldestSeconds"] - 4 * 3600) < 60
    assert "since 4" in found["message"]


def test_waiting_events_blame_the_worker_where_there_is_one(shop: Shop) -> None:
    leave_an_event(shop)
    assert "maintain_payments" in diagnose()["events_waiting"]["action"]
    shop.configure(WEBHOOK_PROCESSING="task")
    assert "worker" in diagnose()["events_waiting"]["action"]


def test_message_names_what_a_restricted_key_lacks(shop: Shop) -> None:
    restrict_the_key(shop)
    message = diagnose()["permissions_missing"]["message"]
    assert message == (
        "The restricted key lacks: Charges and Refunds: write, Disputes: read,"
        " Balance Transaction Sources: read, Payment Method Domains: read."
    )
    shop.stripe.restrict(RESTRICTED)
    found = diagnose()
    assert found["permissions_missing"]["count"] == len(accounts.PERMISSIONS)
    assert list(found) == ["permissions_missing"]


def pay_with_the_key(shop: Shop) -> Payment:
    booking = Booking.objects.create()
    services.create_payment_link(booking)
    payment = services.create_payment(payable=booking).payment
    shop.stripe.confirm(payment.intent_id)
    return services.complete_payment(payment)


def refund_with_the_key(shop: Shop) -> None:
    assert services.refund_payment(pay_with_the_key(shop), amount=500).amount_refunded == 500
    services.cancel_payable(Booking.objects.get(), waive=True)
    assert services.get_dues(Booking.objects.get()).received == 2000
    assert Payment.objects.get().status == "refunded"


def book_with_the_key(shop: Shop) -> None:
    pay_with_the_key(shop)
    assert run_upkeep(limit=10, threads=1)["books"] == {"booked": 1}


def set_up_with_the_key(*, warns: bool) -> None:
    errors = io.StringIO()
    call_command("stripe_setup", url="https://new.example.com/bookings/webhooks", stderr=errors)
    assert ("could not be registered" in errors.getvalue()) is warns


# What the table of permissions is for, by its rows.
FEATURES: list[Callable[[Shop], Any]] = [
    pay_with_the_key,
    refund_with_the_key,
    book_with_the_key,
    lambda _shop: call_command("reconcile_payments", "--from", "2026-01-01"),
    lambda _shop: run_json(),
    lambda _shop: set_up_with_the_key(warns=True),
    lambda _shop: set_up_with_the_key(warns=False),
]


@pytest.mark.parametrize("row", range(len(FEATURES)))
def test_restricted_key_with_the_permissions_of_a_feature_is_enough(shop: Shop, row: int) -> None:
    told = get_permissions()
    assert len(told) == len(FEATURES)
    shop.stripe.restrict(RESTRICTED, *told[row])
    shop.configure(STRIPE_API_KEY=RESTRICTED)
    FEATURES[row](shop)
    if row == DOCTOR:
        assert diagnose() == {}
        for each in told[row]:
            shop.stripe.restrict(RESTRICTED, *(told[row] - {each}))
            assert diagnose()["permissions_missing"]["count"] == 1


def get_permissions() -> list[set[str]]:
    """Return what the guide says that each feature needs, as Stripe's API calls it."""
    told: list[set[str]] = []
    for _feature, needed in get_rows("operations.md", "### Restricted keys")[2:]:
        pairs = re.findall(r"([A-Z][\w ]+): (read|write)", needed)
        names = {f"rak_{RESOURCES[name]}_{verb}" for name, verb in pairs}
        told.append(names.union(*told) if "the above" in needed else names)
    return [{each for each in row if each.replace("_read", "_write") not in row - {each}} for row in told]


def test_nothing_is_changed(shop: Shop) -> None:
    for break_it in (double_the_endpoint, leave_an_event, fail_a_refund):
        break_it(shop)
    before = read_all(shop.stripe)
    asked = len(shop.stripe.requests)
    diagnose()
    assert {request.method for request in shop.stripe.requests[asked:]} == {"GET"}
    shop.stripe.restrict(RESTRICTED, "rak_payment_intent_write", "rak_charge_write")
    shop.configure(STRIPE_API_KEY=RESTRICTED)
    diagnose()
    assert read_all(shop.stripe) == before


def read_all(stripe: StripeEmulator) -> Any:
    rows = [read_rows(model) for model in (Payment, PaymentChange, WebhookEvent)]
    return rows, stripe.webhook_endpoints, stripe.payment_intents, stripe.refunds


def test_endpoint_made_by_hand_may_be_for_connected_accounts(shop: Shop) -> None:
    for kind in ("account", "connect"):
        create_endpoint(connect=kind == "connect", metadata={"octo_stripe_gateway": kind})
    assert diagnose() == {}
    create_endpoint(metadata={"octo_stripe_gateway": "account"})
    assert list(diagnose()) == ["endpoint_doubled"]


def test_only_the_endpoint_at_the_given_address_counts(shop: Shop) -> None:
    assert diagnose("--host", "shop.example.com") == {}
    assert list(diagnose("--host", "staging.example.com")) == ["endpoint_missing"]
    assert list(diagnose("--url", "https://shop.example.com/x")) == ["endpoint_missing"]


def test_each_account_is_examined(shop: Shop) -> None:
    tokyo = shop.stripe.add_account()
    shop.configure(STRIPE_ACCOUNTS={"tokyo": {"STRIPE_API_KEY": tokyo.secret_key}})
    report = run_json()
    found = {(each["account"], each["code"]) for each in report["diagnoses"]}
    assert found == {
        ("tokyo", "publishable_key_missing"),
        ("tokyo", "webhook_secret_missing"),
        ("tokyo", "endpoint_missing"),
    }
    assert set(report["clockSkewSeconds"]) == {"", "tokyo"}


def test_other_installations_on_the_same_account_are_fine(shop: Shop) -> None:
    shop.update_endpoint(metadata={"octo_installation": Installation.ledger.get_own().name})
    create_endpoint(url="https://another.example.com/webhooks", metadata={"octo_installation": "another"})
    assert diagnose() == {}


def test_accounts_of_two_modes_are_reported(shop: Shop) -> None:
    shop.configure(STRIPE_ACCOUNTS={"live": {"STRIPE_API_KEY": "sk_live_gateway"}}, SIGNING_KEY="k" * 22)
    # The emulator takes no live key.
    assert {*diagnose()} == {
        "accounts_of_two_modes",
        "key_refused",
        "publishable_key_missing",
        "webhook_secret_missing",
    }


def test_account_without_a_name_is_left_out_where_only_named_ones_have_keys(shop: Shop) -> None:
    named = {
        "STRIPE_API_KEY": "sk_test_gateway",
        "STRIPE_PUBLISHABLE_KEY": "pk_test_gateway",
        "STRIPE_WEBHOOK_SECRET": "whsec_named",
    }
    nameless = dict.fromkeys(named)
    shop.configure(STRIPE_ACCOUNTS={"tours": named}, **nameless)
    assert diagnose() == {}


def test_other_installation_s_intents_are_not_ours(shop: Shop) -> None:
    shop.stripe.wait_for_deliveries()
    stripe_client._ask(Origin(), "post", "/v1/payment_intents", params={"amount": 2000, "currency": "usd"})
    assert diagnose() == {}


def test_intent_whose_row_has_not_heard_its_id_is_known(shop: Shop) -> None:
    services.create_payment(2000, currency="usd")
    Payment.objects.update(stripe_payment_intent_id=None)
    assert diagnose() == {}


def test_built_in_keys_need_no_endpoint(shop: Shop) -> None:
    base = shop.settings.OCTO_STRIPE_GATEWAY["STRIPE_API_BASE"]
    shop.settings.DEBUG = True
    shop.settings.OCTO_STRIPE_GATEWAY = {"STRIPE_API_BASE": base, "THROTTLE_RATES": {"create": "5/minute"}}
    shop.stripe.reset()
    assert diagnose() == {}


def test_report_for_people_says_what_to_do(shop: Shop) -> None:
    disable_the_endpoint(shop)
    make_event("processed", ago=JUST_NOW)
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 thing needs doing"):
        call_command("stripe_doctor", stdout=out)
    first, second, last = out.getvalue().splitlines()
    assert first == f"endpoint_disabled: The webhook endpoint {shop.endpoint['id']} is disabled."
    assert second.startswith("  See in Stripe's dashboard")
    assert last.startswith("The last event came")


def test_healthy_report_for_people_says_so(shop: Shop) -> None:
    out = io.StringIO()
    call_command("stripe_doctor", stdout=out)
    assert out.getvalue() == "Nothing needs doing.\n"


def test_no_secret_is_shown(shop: Shop) -> None:
    out = io.StringIO()
    for break_it in (roll_the_publishable_key, double_the_endpoint, forget_the_secret):
        break_it(shop)
    with pytest.raises(CommandError):
        call_command("stripe_doctor", "--json", stdout=out)
    for secret in ("sk_test_gateway", "whsec_gateway", "gateway-key"):
        assert secret not in out.getvalue()
