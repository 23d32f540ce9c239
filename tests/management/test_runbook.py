"""Each incident of the runbook is gone through against the emulator, with the commands that it names."""

from __future__ import annotations

import datetime as dt
import io
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import include, path, reverse
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import UnprocessableError
from octo_stripe_gateway.models import BalanceTransaction, Installation, Payment
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.support import admin_urls
from tests.support.api import GatewayApi
from tests.support.docs import PAGES, get_block, get_section, run
from tests.support.ledger import later, lose_payment, settle_all

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

urlpatterns = [
    *(route for route in admin_urls.urlpatterns if str(route.pattern) == "admin/"),
    path("bookings/", include("octo_stripe_gateway.urls")),
]
SHOP = "https://shop.example.com/bookings/webhooks"
STEP = re.compile(r"```sh\npython manage\.py (.*?)\n```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
LINES = "(?:.*\n)*"
DAY = re.compile(r"2026-11-0([12])(T03:00)?")


class Incident:
    """One section of the runbook: its commands, one after the other, with what they print."""

    def __init__(self, heading: str) -> None:
        self.steps = STEP.findall(get_section("runbook.md", f"## {heading}"))

    def step(self) -> str:
        """Run the next command, compare what it prints with what is shown, and return it."""
        command, shown = self.steps.pop(0)
        printed = run_command(DAY.sub(get_day, command))
        if shown:
            lines = shown.splitlines()
            pattern = "".join(LINES if line == "…" else f"{re.escape(line)}\n" for line in lines)
            assert re.fullmatch(pattern.replace("…", ".*"), printed), printed
        return printed


def get_day(found: re.Match[str]) -> str:
    """Return today for the page's first day, tomorrow for its second, and yesterday for a time of day."""
    days, time = int(found[1]) - 1, found[2] or ""
    day = dt.datetime.now(dt.UTC) + dt.timedelta(days=-1 if time else days)
    return day.date().isoformat() + time


def run_command(line: str) -> str:
    """Return what a command prints to a terminal, its failure included."""
    out = io.StringIO()
    try:
        call_command(*shlex.split(line), stdout=out, stderr=out, no_color=True)
    except CommandError as error:
        out.write(f"CommandError: {error}\n")
    return out.getvalue().replace("\r\n", "\n")


@pytest.fixture(autouse=True)
def utc(settings: Any) -> None:
    """Have the shop's days be UTC's: some of the page's commands name one zone, some the other."""
    settings.TIME_ZONE = "UTC"


@pytest.fixture(autouse=True)
def endpoint(stripe: StripeEmulator) -> Iterator[dict[str, Any]]:
    """Have Stripe send the shop its events, as `stripe_setup` does."""
    run_command("stripe_setup --host shop.example.com")
    (made,) = stripe.webhook_endpoints.values()
    yield made
    stripe.accept_keys(None)


def pay(stripe: StripeEmulator, **options: Any) -> Payment:
    payment = services.create_payment(2000, currency="usd", **options).payment
    stripe.confirm(payment.intent_id, "pm_card_visa")
    return services.complete_payment(payment)


def press(button: str, payment: Payment, **values: str) -> Payment:
    """Press a button of the payment's page that the runbook names, and return the payment."""
    assert f'"{button}"' in PAGES["runbook.md"]
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    page = client.get(reverse("admin:octo_stripe_gateway_payment_change", args=[payment.pk])).content.decode()
    (url,) = re.findall(rf'href="([^"]+)"[^>]*>\s*{button}\s*<', page)
    asked = client.get(url).content.decode()
    key = re.findall(r'name="key" value="([^"]+)"', asked)[0]
    assert client.post(url, {"key": key, **values}).status_code == 302
    payment.refresh_from_db()
    return payment


def test_a_customer_paid_and_sees_pending(stripe: StripeEmulator) -> None:
    incident = Incident("A customer paid and sees pending")
    for payment in (services.create_payment(2000, currency="usd").payment for _each in range(2)):
        stripe.confirm(payment.intent_id, "pm_card_visa")
    assert press("Sync from Stripe", payment).status == "paid"
    incident.step()
    assert {each.status for each in Payment.objects.all()} == {"paid"}
    assert incident.step().startswith("Nothing needs doing.")


def test_a_chargeback_came(stripe: StripeEmulator, api: GatewayApi) -> None:
    incident = Incident("A chargeback came")
    payment = pay(stripe)
    dispute = stripe.open_dispute(payment.intent_id)
    api.deliver(stripe, "charge.dispute.created")
    with pytest.raises(UnprocessableError):
        services.refund_payment(payment)
    call_command("maintain_payments", stdout=io.StringIO())
    incident.step()
    with later(stripe):
        stripe.close_dispute(dispute["id"], won=False)
    api.deliver(stripe, "charge.dispute.closed")
    payment.refresh_from_db()
    assert (payment.disputed, payment.amount_lost) == (False, 2000)


def test_a_refund_failed(stripe: StripeEmulator, api: GatewayApi) -> None:
    incident = Incident("A refund failed")
    payment = pay(stripe)
    services.refund_payment(payment)
    (refund,) = stripe.refunds
    with later(stripe):
        stripe.settle_refund(refund, status="failed")
    api.deliver(stripe, "refund.failed")
    incident.step()
    with later(stripe):
        assert press("Refund", payment, amount="20.00").status == "refunded"
    settle_all(payment, reason="Refunded again.")
    assert "refund_failed" not in run_command("stripe_doctor")


def test_the_endpoint_is_disabled(stripe: StripeEmulator, endpoint: dict[str, Any]) -> None:
    incident = Incident("Stripe's endpoint is disabled")
    payment = pay(stripe)
    stripe_client.update_webhook_endpoint("", endpoint["id"], disabled=True)
    stripe.refund(payment.intent_id, amount=700)
    assert "endpoint_disabled" in run_command("stripe_doctor")
    incident.step()
    incident.step()
    assert " 0 changed" in run_command("reconcile_payments --from 2020-01-01")
    assert run_command("stripe_doctor").startswith("Nothing needs doing.")


def test_keys_and_secrets_are_changed(
    stripe: StripeEmulator, api: GatewayApi, configure: Callable[..., None]
) -> None:
    incident = Incident("A key or secret is changed")
    payment = pay(stripe)
    stripe.accept_keys({"sk_test_new", "pk_test_gateway"})
    assert "key_refused" in run_command("stripe_doctor")
    configure(STRIPE_API_KEY="sk_test_new", STRIPE_WEBHOOK_SECRET=["whsec_gateway", "whsec_new"])
    configure(API_GATEWAY_KEY=["gateway-key", "a-new-key"])
    incident.step()
    event = stripe.event("payment_intent.succeeded")
    for secret in ("whsec_gateway", "whsec_new"):
        assert api.post_event(*stripe.signed(event, secret=secret)).status_code == 200
    assert api.post_event(*stripe.signed(event, secret="whsec_none")).status_code == 400
    for key in ("gateway-key", "a-new-key"):
        assert GatewayApi(api.client, key=key).retrieve(payment.pk).status_code == 200
    assert services.refund_payment(payment).status == "refunded"


def test_a_backup_was_restored(stripe: StripeEmulator) -> None:
    incident = Incident("A backup was restored")
    payment = pay(stripe)
    lose_payment(payment)
    incident.step()
    assert Payment.objects.get().awaits_operator
    incident.step()
    found = Payment.objects.get()
    assert (found.uuid, found.status) == (payment.uuid, "paid")
    again = run_command(f"recover_ledger --from {timezone.now() - dt.timedelta(hours=1):%Y-%m-%dT%H:%M}")
    assert again.endswith("Nothing is left to do.\n")


def test_two_sites_use_one_account(
    stripe: StripeEmulator, endpoint: dict[str, Any], configure: Callable[..., None]
) -> None:
    incident = Incident("Two sites use one Stripe account")
    original = Installation.ledger.get_own().name
    run_command("stripe_setup --host staging.example.com")
    assert "installation_shared" in run_command("stripe_doctor --host shop.example.com")
    configure(INSTALLATION_ID="staging")
    incident.step()
    assert incident.step().startswith("Nothing needs doing.")
    assert stripe.webhook_endpoints[endpoint["id"]]["metadata"]["octo_installation"] == original
    configure(INSTALLATION_ID=None)
    assert run_command("stripe_doctor --host shop.example.com").startswith("Nothing needs doing.")


def test_the_shop_moves_to_another_account(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    incident = Incident("The shop moves to another Stripe account")
    old = pay(stripe)
    stripe.add_account("sk_test_new", "pk_test_new")
    moved = run(get_block("python", '"CHOOSE_ACCOUNT": lambda'))["OCTO_STRIPE_GATEWAY"]
    configure(**moved)
    secret = re.findall(r"whsec_\w+", incident.step())[0]
    moved["STRIPE_ACCOUNTS"]["new"]["STRIPE_WEBHOOK_SECRET"] = secret
    configure(**moved)
    assert run_command("stripe_doctor").startswith("Nothing needs doing.")
    new = pay(stripe)
    assert (old.account, new.account) == ("", "new")
    assert {services.refund_payment(each).status for each in (old, new)} == {"refunded"}


def test_the_books_do_not_close(stripe: StripeEmulator) -> None:
    incident = Incident("A day's books don't close")
    pay(stripe)
    call_command("maintain_payments", stdout=io.StringIO())
    BalanceTransaction.objects.all().delete()
    incident.step()
    (booked,) = stripe.balance_transactions.values()
    amounts = [int(line.split(",")[4]) for line in incident.step().splitlines()[1:]]
    assert sum(amounts) == booked["net"]
    assert " 1 adopted" not in run_command("reconcile_payments --from 2020-01-01")


def test_every_incident_is_gone_through() -> None:
    headings = re.findall(r"^## (.*)$", PAGES["runbook.md"], re.MULTILINE)
    assert re.findall(r'Incident\("([^"]+)"\)', Path(__file__).read_text()) == headings
