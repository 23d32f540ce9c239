"""The commands that operators schedule with cron."""

from __future__ import annotations

import datetime as dt
import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.doctor.examination import find_missing_events, get_last_event
from octo_stripe_gateway.exceptions import StripeError
from octo_stripe_gateway.management.output import Progress
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.services import reconciliation
from octo_stripe_gateway.services.idempotency import ANYONE
from octo_stripe_gateway.services.syncing import sync_listed
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import WebhookEventFactory
from tests.shop.models import Booking

pytestmark = pytest.mark.django_db

Run = Callable[..., str]


class Output(io.StringIO):
    """A command's output, which may be a terminal."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.fixture
def run() -> Run:
    """Run a command, and return what it writes; progress and errors go to `run.errors`."""

    def run(*args: str) -> str:
        out, run.errors = Output(), Output()  # type: ignore[attr-defined]
        call_command(*args, stdout=out, stderr=run.errors)  # type: ignore[attr-defined]
        return out.getvalue()

    return run


def create_paid(stripe: StripeEmulator, count: int) -> list[Payment]:
    """Create payments that are paid at Stripe but not yet on their rows."""
    payments = [services.create_payment(2000, currency="usd").payment for _ in range(count)]
    for payment in payments:
        stripe.confirm(payment.stripe_payment_intent_id or "")
    return payments


def get_statuses() -> list[str]:
    return list(Payment.objects.order_by("pk").values_list("status", flat=True))


def test_now_skips_the_pauses_of_maintenance(stripe: StripeEmulator, run: Run) -> None:
    (payment,) = create_paid(stripe, 1)
    failed, received = WebhookEventFactory.create(failed=True, payment=payment), WebhookEventFactory.create()
    WebhookEvent.objects.update(retry_at=timezone.now() + dt.timedelta(hours=1))
    done = json.loads(run("maintain_payments"))
    assert (done["payments"], done["events"], payment.status) == ({}, {}, "pending")
    done = json.loads(run("maintain_payments", "--now"))
    assert done["payments"]["changed"] == 1
    assert done["events"] == {"processed": 2}
    assert Payment.objects.get(pk=payment.pk).status == "paid"
    assert {*WebhookEvent.objects.values_list("pk", "status")} == {
        (failed.pk, "processed"),
        (received.pk, "processed"),
    }


def test_now_repeats_requests_of_payments_that_are_not_due(stripe: StripeEmulator, run: Run) -> None:
    (payment,) = create_paid(stripe, 1)
    services.complete_payment(payment)
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds"))
    with pytest.raises(StripeError):
        services.refund_payment(payment, amount=500)
    Payment.objects.update(next_check_at=None)
    run("maintain_payments", "--now")
    assert Payment.objects.get().amount_refunded == 500


def test_dry_run_prints_differences_and_changes_nothing(stripe: StripeEmulator, run: Run) -> None:
    create_paid(stripe, 2)
    asked = len(stripe.requests)
    out = Output()
    with pytest.raises(CommandError, match="Not everything here is as it is at Stripe"):
        call_command("reconcile_payments", "--from", "2020-01-01", "--dry-run", stdout=out)
    assert out.getvalue().splitlines()[-1] == "2 payments checked, 2 would change, 2 unknown here"
    assert out.getvalue().count("amount_received 0 -> 2000") == 2
    assert get_statuses() == ["pending"] * 2
    assert {request.method for request in stripe.requests[asked:]} == {"GET"}


def test_period_finds_what_was_missed_of_a_settled_payment(stripe: StripeEmulator, run: Run) -> None:
    (payment,) = create_paid(stripe, 1)
    services.complete_payment(payment)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=700)
    assert run("reconcile_payments", "--to", "2020-01-01").strip() == "0 payments checked, 0 changed"
    assert "0 payments checked" in run("reconcile_payments", "--from", "2100-01-01T00:00:00Z")
    output = run("reconcile_payments", "--from", "2020-01-01")
    assert "amount_refunded 0 -> 700" in output
    # The refund is no second payment, and nothing is adopted that nobody asked for.
    assert output.splitlines()[-1] == "1 payment checked, 1 changed, 1 added"
    assert "1 payment checked, 0 changed" in run("reconcile_payments", "--to", "2100-01-01")


@pytest.mark.parametrize("command", ["reconcile_payments", "export_payments"])
@pytest.mark.parametrize("since", ["2026-02-01", "2026-03-01"])
def test_period_that_ends_before_it_begins_is_refused(run: Run, command: str, since: str) -> None:
    with pytest.raises(CommandError, match=f"--from {since} isn't before --to 2026-02-01"):
        run(command, "--from", since, "--to", "2026-02-01")


def test_period_is_required(run: Run) -> None:
    with pytest.raises(CommandError, match="which period"):
        run("reconcile_payments")


@pytest.mark.parametrize("command", ["reconcile_payments", "export_payments"])
@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", "2026-02-30", "12:00"])
def test_moment_that_is_neither_a_date_nor_a_time_is_refused(run: Run, command: str, moment: str) -> None:
    with pytest.raises(CommandError, match="neither a date nor a time"):
        run(command, "--from", moment)


def test_failure_of_one_payment_stops_no_other(
    stripe: StripeEmulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = create_paid(stripe, 3)

    def fail_with_second(payment: Payment, *args: Any, **options: Any) -> Any:
        if payment == payments[1]:
            raise KeyError("a bug")
        return sync_listed(payment, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(reconciliation, "sync_listed", fail_with_second)
        with pytest.raises(CommandError, match="Not everything here is as it is at Stripe"):
            run("reconcile_payments", "--from", "2020-01-01")
    assert get_statuses() == ["paid"] * 3, "what moved in the balance tells of it too"
    assert str(payments[1].uuid) in run.errors.getvalue()  # type: ignore[attr-defined]
    assert "3 payments checked, 0 changed" in run("reconcile_payments", "--from", "2020-01-01")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(
    is_terminal: bool, stripe: StripeEmulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_paid(stripe, 2)
    monkeypatch.setattr(Output, "is_terminal", is_terminal)
    run("reconcile_payments", "--from", "2020-01-01")
    shown = run.errors.getvalue()  # type: ignore[attr-defined]
    last = shown.splitlines()[-1] if is_terminal else shown
    assert last.startswith("payments: 2 of 2, " if is_terminal else "")
    assert bool(shown) == is_terminal
    assert "\x1b" not in shown


def test_progress_says_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Output, "is_terminal", True)
    stream = Output()
    moments = iter([0.0, 0.05, 10.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    progress = Progress(OutputWrapper(stream))
    for done in (1, 2, 100, 200):
        progress.show("events", done, 200)
    first, second, last = stream.getvalue().splitlines()
    assert first == "events: 1 of 200, 10 a second, 0:00:20 left"
    assert second == "events: 100 of 200, 10 a second, 0:00:10 left"
    assert last.rstrip() == "events: 200 of 200, 10 a second"
    assert len(last) == len(second), "nothing of the line before is left"


@pytest.mark.parametrize("batch_size", ["2", "1000"])
def test_pruning_deletes_old_finished_events_only(run: Run, batch_size: str) -> None:
    old = timezone.now() - dt.timedelta(days=91)
    WebhookEventFactory.create_batch(4, processed=True)
    WebhookEventFactory.create(status="ignored")
    kept = [WebhookEventFactory.create(failed=True), WebhookEventFactory.create()]
    WebhookEvent.objects.update(received_at=old)
    kept.append(WebhookEventFactory.create(processed=True))
    assert "5 events deleted" in run("prune_records", "--batch-size", batch_size)
    assert set(WebhookEvent.objects.all()) == set(kept)
    assert "0 events deleted" in run("prune_records")


def test_pruning_keeps_the_newest_event(run: Run) -> None:
    for event in WebhookEventFactory.create_batch(2, processed=True):
        Payment.objects.filter(pk=event.pk).update(accepted_at=timezone.now() - dt.timedelta(hours=1))
    assert "1 event deleted" in run("prune_records", "--event-days", "0")
    assert get_last_event()
    assert not list(find_missing_events(timezone.now() - dt.timedelta(minutes=15)))


@pytest.fixture
def payments(stripe: StripeEmulator) -> list[Payment]:
    """Payments of Ann's and of nobody, of which one is for a booking."""
    booking = Booking.objects.create(pk=7, price=2000, currency="usd")
    owners = (services.Caller("auth.user:1"), services.Caller("auth.user:2"), ANYONE)
    create = partial(services.create_payment, 2000, currency="usd", metadata={"guest": "Ann"})
    return [
        *(create(caller=caller).payment for caller in owners),
        create(payable=booking, caller=owners[0]).payment,
    ]


@pytest.mark.parametrize(
    ("args", "erased"),
    [
        (["--owner", "auth.user:1"], {0, 3}),
        (["--payable", "booking:7"], {3}),
        (["--payable", "shop.booking:7", "--owner", "auth.user:2"], {1, 3}),
        (["--owner", "auth.user:9"], set()),
    ],
)
def test_data_is_erased_by_owner_and_payable(
    args: list[str], erased: set[int], payments: list[Payment], run: Run
) -> None:
    dry = run("erase_payment_data", *args, "--dry-run")
    assert Payment.objects.filter(metadata={}).count() == 0
    assert all((str(payment.uuid) in dry) == (number in erased) for number, payment in enumerate(payments))
    run("erase_payment_data", *args, "--no-input")
    assert {*Payment.objects.filter(metadata={})} == {payments[number] for number in erased}


@pytest.mark.parametrize(("answer", "left"), [("yes", 3), ("y", 4), ("", 4)])
def test_erasing_asks_first(
    answer: str, left: int, payments: list[Payment], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    with suppress(CommandError):
        run("erase_payment_data", str(payments[0].uuid))
    assert Payment.objects.exclude(metadata={}).count() == left


@pytest.mark.parametrize("args", [[], ["--payable", "tour:7"], ["--payable", "shop.Nothing:7"]])
def test_erasing_without_a_choice_is_refused(args: list[str], run: Run) -> None:
    with pytest.raises(CommandError):
        run("erase_payment_data", "--no-input", *args)
