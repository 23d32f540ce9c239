"""`manage.py stripe_setup`: the webhook endpoints that Stripe has afterwards."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import include, path

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import StripeRefusedError
from octo_stripe_gateway.models import Installation, Payment
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import handlers

pytestmark = pytest.mark.django_db

URL = "https://shop.example.com/bookings/webhooks"
OLD = "2024-06-20"
OWN = Origin("", "", livemode=False)
Run = Callable[..., str]

urlpatterns = [path("bookings/", include("octo_stripe_gateway.urls"))]


@pytest.fixture(autouse=True)
def routes(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def ignore(*_args: object) -> None:
    """Handle an event by doing nothing."""


@pytest.fixture
def run() -> Run:
    """Run the command for a host, and return what it writes; errors go to `run.errors`."""

    def run(*args: str, host: str = "shop.example.com") -> str:
        out, run.errors = io.StringIO(), io.StringIO()  # type: ignore[attr-defined]
        given = ["--host", host] if host else []
        call_command("stripe_setup", *given, *args, stdout=out, stderr=run.errors)  # type: ignore[attr-defined]
        return out.getvalue()

    return run


def get_endpoints(stripe: StripeEmulator) -> list[dict[str, Any]]:
    return sorted(stripe.webhook_endpoints.values(), key=lambda each: str(each["api_version"]))


def get_writes(stripe: StripeEmulator) -> list[str]:
    return [request.path for request in stripe.requests if request.method == "POST"]


def create_endpoint(**params: Any) -> dict[str, Any]:
    version = stripe_client.get_api_version()
    wanted = {
        "url": URL,
        "enabled_events": handlers.list_event_types(),
        "api_version": version,
        "metadata": {"octo_installation": Installation.ledger.get_own().name},
    }
    return stripe_client.create_webhook_endpoint("", **wanted | params)


def test_endpoint_is_created_once_with_our_events_and_version(stripe: StripeEmulator, run: Run) -> None:
    output = run()
    (endpoint,) = get_endpoints(stripe)
    assert endpoint["url"] == URL
    assert endpoint["enabled_events"] == sorted(handlers.SNAPSHOTS.keys() - {"charge.refund.updated"})
    assert endpoint["api_version"] == stripe_client.get_api_version()
    assert output.count("whsec_") == 1
    again = run()
    assert "is as it should be" in again
    assert "whsec_" not in again
    assert get_endpoints(stripe) == [endpoint]
    assert get_writes(stripe) == ["/v1/webhook_endpoints", "/v1/payment_method_domains"]


def test_endpoint_says_which_installation_it_is_for(stripe: StripeEmulator, run: Run) -> None:
    create_endpoint(metadata={})
    assert "updated" in run()
    (endpoint,) = get_endpoints(stripe)
    assert endpoint["metadata"]["octo_installation"] == str(Installation.objects.get())
    assert "is as it should be" in run()


def test_printed_secret_signs_what_the_endpoint_sends(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None], client: Client
) -> None:
    configure(STRIPE_WEBHOOK_SECRET=None)
    output = run()
    assert "Set it as STRIPE_WEBHOOK_SECRET" in output
    secret = next(line.strip() for line in output.splitlines() if line.strip().startswith("whsec_"))
    configure(STRIPE_WEBHOOK_SECRET=secret)
    payment = PaymentFactory.create(stripe_payment_intent_id=None, status="pending")
    made = services.create_payment(2000, currency="usd").payment
    stripe.confirm(made.stripe_payment_intent_id or "")
    (endpoint,) = get_endpoints(stripe)
    body, signature = stripe.signed("payment_intent.succeeded", endpoint=endpoint["id"])
    answer = client.post(
        "/bookings/webhooks", body, "application/json", headers={"Stripe-Signature": signature}
    )
    assert answer.status_code == 200
    assert Payment.objects.get(pk=made.pk).status == "paid"
    assert Payment.objects.get(pk=payment.pk).status == "pending"


@pytest.mark.django_db(transaction=True)
def test_newcomer_needs_nothing_else(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None], live_server: Any
) -> None:
    configure(STRIPE_WEBHOOK_SECRET=None)
    secret = re.findall(r"whsec_\w+", run(host=live_server.url))[0]
    configure(STRIPE_WEBHOOK_SECRET=secret)
    payment = services.create_payment(2000, currency="usd").payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    stripe.wait_for_deliveries()
    assert Payment.objects.get().status == "paid"
    stripe.refund(payment.stripe_payment_intent_id or "")
    stripe.wait_for_deliveries()
    assert Payment.objects.get().status == "refunded"
    call_command("stripe_doctor", "--host", live_server.url)


def test_dry_run_says_what_would_be_done_and_changes_nothing(stripe: StripeEmulator, run: Run) -> None:
    assert f"would create {URL}" in run("--dry-run")
    assert get_writes(stripe) == []
    endpoint = create_endpoint(enabled_events=["*"])
    asked = len(stripe.requests)
    assert f"would update {endpoint['id']} (enabled_events)" in run("--dry-run")
    assert {request.method for request in stripe.requests[asked:]} == {"GET"}


@pytest.mark.parametrize(
    ("params", "changed"),
    [
        ({"enabled_events": ["charge.refunded"]}, "enabled_events"),
        ({"enabled_events": ["*"]}, "enabled_events"),
        ({"disabled": True}, "status"),
        ({"enabled_events": ["charge.refunded"], "disabled": True}, "enabled_events, status"),
    ],
)
def test_wrong_endpoint_is_updated(stripe: StripeEmulator, run: Run, params: Any, changed: str) -> None:
    disabled = params.pop("disabled", False)
    endpoint = create_endpoint(**params)
    if disabled:
        stripe_client.update_webhook_endpoint("", endpoint["id"], disabled=True)
    output = run()
    assert f"updated {endpoint['id']} ({changed})" in output
    assert "whsec_" not in output
    (found,) = get_endpoints(stripe)
    assert (found["status"], found["enabled_events"]) == ("enabled", handlers.list_event_types())
    assert "is as it should be" in run()


def test_endpoint_of_another_version_is_replaced_and_disabled_when_asked(
    stripe: StripeEmulator, run: Run
) -> None:
    old = create_endpoint(api_version=OLD)
    output = run()
    assert "Make STRIPE_WEBHOOK_SECRET a list with it and the other" in output
    assert f"{old['id']} of API version {OLD} sends the same events" in output
    assert [each["status"] for each in get_endpoints(stripe)] == ["enabled", "enabled"]
    assert f"would disable {old['id']}" in run("--disable-old", "--dry-run")
    assert f"disabled {old['id']}" in run("--disable-old")
    statuses = {each["api_version"]: each["status"] for each in get_endpoints(stripe)}
    assert statuses == {OLD: "disabled", stripe_client.get_api_version(): "enabled"}
    writes = get_writes(stripe)
    assert "sends the same" not in run("--disable-old")
    assert get_writes(stripe) == writes


def test_old_endpoint_is_not_disabled_in_the_run_that_creates_its_successor(
    stripe: StripeEmulator, run: Run
) -> None:
    create_endpoint(api_version=OLD)
    run("--disable-old")
    assert {each["status"] for each in get_endpoints(stripe)} == {"enabled"}


def test_endpoints_of_others_are_left_alone(stripe: StripeEmulator, run: Run) -> None:
    other = create_endpoint(url="https://shop.example.com/other", enabled_events=["charge.refunded"])
    run()
    assert stripe.webhook_endpoints[other["id"]]["enabled_events"] == ["charge.refunded"]
    assert len(stripe.webhook_endpoints) == 2


def test_endpoint_gets_the_events_that_the_host_registered(
    stripe: StripeEmulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    handlers.register("invoice.paid", "v2.core.account.updated")(ignore)
    run()
    (endpoint,) = get_endpoints(stripe)
    assert "invoice.paid" in endpoint["enabled_events"]
    assert "v2.core.account.updated" not in endpoint["enabled_events"]


@pytest.mark.parametrize("reason", ["asked", "endpoint", "payment"])
def test_connected_accounts_have_an_endpoint_of_their_own(
    stripe: StripeEmulator, run: Run, reason: str
) -> None:
    if reason == "payment":
        PaymentFactory.create(stripe_account="acct_lyon")
    if reason == "endpoint":
        create_endpoint(connect=True, metadata={"octo_stripe_gateway": "connect"}, enabled_events=["*"])
    output = run(*(["--connect"] if reason == "asked" else []))
    assert "of connected accounts" in output
    kinds = [each["metadata"]["octo_stripe_gateway"] for each in stripe.webhook_endpoints.values()]
    assert sorted(kinds) == ["account", "connect"]
    again = run(*(["--connect"] if reason == "asked" else []))
    assert again.count("is as it should be") == 2
    assert len(stripe.webhook_endpoints) == 2
    # Only the second endpoint gets events about connected accounts.
    stripe.connect_account("acct_lyon")
    services.create_payment(2000, currency="usd", stripe_account="acct_lyon")
    (connect,) = [
        each["id"]
        for each in stripe.webhook_endpoints.values()
        if each["metadata"]["octo_stripe_gateway"] == "connect"
    ]
    body, _signature = stripe.signed(stripe.events[-1], endpoint=connect)
    assert b"acct_lyon" in body


def test_endpoint_that_may_be_for_connected_accounts_is_left_alone(stripe: StripeEmulator, run: Run) -> None:
    by_hand = create_endpoint(connect=True, enabled_events=["charge.refunded"], api_version=OLD)
    disabled = create_endpoint(connect=True, enabled_events=["charge.refunded"], api_version=OLD)
    stripe_client.update_webhook_endpoint("", disabled["id"], disabled=True)
    PaymentFactory.create(stripe_account="acct_lyon")
    for _each in range(2):
        assert re.findall(r"(we_\w+) was made by hand", run("--disable-old")) == [by_hand["id"]]
    assert len(stripe.webhook_endpoints) == 4
    left = stripe.webhook_endpoints[by_hand["id"]]
    assert (left["status"], left["enabled_events"]) == ("enabled", ["charge.refunded"])


def test_each_account_has_its_own_endpoint_and_place_for_its_secret(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None]
) -> None:
    tokyo, paris = stripe.add_account(), stripe.add_account()
    accounts = {"tokyo": tokyo.secret_key, "paris": paris.secret_key}
    keys = {name: {"STRIPE_API_KEY": key} for name, key in accounts.items()}
    configure(STRIPE_ACCOUNTS=keys, STRIPE_API_KEY=None)
    output = run("--account", "tokyo")
    assert "STRIPE_ACCOUNTS['tokyo']['STRIPE_WEBHOOK_SECRET']" in output
    assert len(stripe.webhook_endpoints) == 1
    output = run()
    assert (output.count("whsec_"), output.count("is as it should be")) == (1, 1)
    assert len(stripe.webhook_endpoints) == 2


def test_failure_of_one_account_stops_no_other(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None]
) -> None:
    tokyo = stripe.add_account()
    configure(STRIPE_ACCOUNTS={"tokyo": {"STRIPE_API_KEY": tokyo.secret_key}})
    stripe.add_fault(Fault(kind="reset", method="GET", path="/v1/webhook_endpoints"))
    with pytest.raises(CommandError, match="the account of the top-level settings"):
        run()
    assert "could not be reached" in run.errors.getvalue()  # type: ignore[attr-defined]
    assert len(stripe.webhook_endpoints) == 1


def test_restricted_key_is_told_what_it_lacks(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None]
) -> None:
    stripe.restrict("rk_test_gateway", "rak_webhook_read")
    configure(STRIPE_API_KEY="rk_test_gateway")
    with pytest.raises(CommandError, match="Not set up"):
        run()
    assert "permission to write webhook endpoints" in run.errors.getvalue()  # type: ignore[attr-defined]


def test_secret_that_is_not_configured_can_be_found(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None]
) -> None:
    endpoint = create_endpoint()
    configure(STRIPE_WEBHOOK_SECRET=None)
    assert f"https://dashboard.stripe.com/test/webhooks/{endpoint['id']}" in run()


@pytest.mark.parametrize(
    ("args", "host", "url"),
    [
        ((), "shop.example.com", URL),
        ((), "https://shop.example.com/", URL),
        ((), "http://127.0.0.1:8000", "http://127.0.0.1:8000/bookings/webhooks"),
        (("--url", "https://shop.example.com/x"), "", "https://shop.example.com/x"),
    ],
)
def test_address_comes_from_the_mount_and_the_host(
    stripe: StripeEmulator, run: Run, args: tuple[str, ...], host: str, url: str
) -> None:
    run(*args, host=host)
    assert [each["url"] for each in get_endpoints(stripe)] == [url]


@pytest.mark.parametrize(
    ("urlconf", "args", "host", "message"),
    [
        (__name__, (), "", "Give --host"),
        ("tests.shop.urls", (), "shop.example.com", "mounted more than once: give --url https://shop"),
        ("django.contrib.auth.urls", (), "shop.example.com", "doesn't include"),
        (__name__, ("--url", "shop.example.com"), "", "is no address"),
    ],
)
def test_ambiguous_address_is_asked_for(
    run: Run, settings: Any, urlconf: str, args: tuple[str, ...], host: str, message: str
) -> None:
    settings.ROOT_URLCONF = urlconf
    with pytest.raises(CommandError, match=message):
        run(*args, host=host)


def test_address_without_a_route_is_doubted(stripe: StripeEmulator, run: Run, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    url = "https://shop.example.com/payments/webhooks"
    assert f"urls.py has no route for {url}" in run("--url", url)
    assert "no route" not in run("--url", URL)


def test_cli_line_can_be_run_as_it_is(run: Run, configure: Callable[..., None]) -> None:
    configure(STRIPE_ACCOUNTS={"old shop": {"STRIPE_API_KEY": "sk_test_old"}})
    own, other = run("--print-cli", host="").splitlines()
    events = ",".join(handlers.list_event_types())
    to = "--forward-to http://127.0.0.1:8000/bookings/webhooks"
    assert own == f"stripe listen --latest --events {events} {to}"
    assert "--project-name 'old shop'" in other
    errors = run.errors.getvalue()  # type: ignore[attr-defined]
    assert "STRIPE_ACCOUNTS['old shop']['STRIPE_WEBHOOK_SECRET']" in errors


def test_built_in_keys_need_no_endpoint(run: Run, settings: Any) -> None:
    settings.DEBUG, settings.OCTO_STRIPE_GATEWAY = True, {}
    assert "the emulator sends its events by itself" in run()


def test_without_a_key_there_is_nothing_to_set_up(run: Run, configure: Callable[..., None]) -> None:
    configure(STRIPE_API_KEY=None)
    with pytest.raises(CommandError, match="no STRIPE_API_KEY"):
        run()


# Wallets.


def get_domains(stripe: StripeEmulator) -> list[tuple[str, bool]]:
    return [(each["domain_name"], each["enabled"]) for each in stripe.payment_method_domains.values()]


def test_domain_is_registered_once_for_each_account(stripe: StripeEmulator, run: Run) -> None:
    seller = stripe.connect_account("acct_1seller")
    PaymentFactory.create(stripe_account=seller)
    output = run()
    assert "registered shop.example.com for wallets\n" in output
    assert f"registered shop.example.com for wallets of {seller}" in output
    assert get_domains(stripe) == [("shop.example.com", True)] * 2
    assert "wallets" not in run()
    assert len(get_domains(stripe)) == 2


def test_dry_run_registers_nothing(stripe: StripeEmulator, run: Run) -> None:
    assert "would register shop.example.com for wallets" in run("--dry-run")
    assert not get_domains(stripe)


@pytest.mark.parametrize("host", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
def test_address_without_a_domain_is_not_registered(stripe: StripeEmulator, run: Run, host: str) -> None:
    run(host=host)
    assert not get_domains(stripe)


def test_domain_that_a_person_disabled_is_left_alone(stripe: StripeEmulator, run: Run) -> None:
    run()
    (domain,) = stripe.payment_method_domains.values()
    path = f"/v1/payment_method_domains/{domain['id']}"
    stripe_client.post(path, origin=OWN, parameters={"enabled": False}, idempotency_key="one")
    assert "does not show apple_pay, google_pay" in run()
    assert get_domains(stripe) == [("shop.example.com", False)]


def test_domain_that_stripe_cannot_verify_is_reported(stripe: StripeEmulator, run: Run) -> None:
    assert "shop.example.invalid does not show apple_pay" in run(host="shop.example.invalid")


def test_key_without_the_permission_is_a_warning(
    stripe: StripeEmulator, run: Run, configure: Callable[..., None]
) -> None:
    configure(STRIPE_API_KEY="rk_test_gateway")
    stripe.restrict("rk_test_gateway", "rak_webhook_write")
    run()
    assert len(get_endpoints(stripe)) == 1
    assert "could not be registered for wallets" in run.errors.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "https://a.example", "a.example/b", "a.example:80", ""]
)
def test_emulator_takes_names_only(stripe: StripeEmulator, name: str) -> None:
    with pytest.raises(StripeRefusedError):
        stripe_client.register_payment_method_domain(OWN, name)
