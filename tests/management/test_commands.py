"""The commands that operators schedule with cron."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.management.commands import reconcile_payments
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import WebhookEventFactory

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


def test_reconciling_finds_unsettled_payments_and_nothing_the_second_time(
    stripe: StripeEmulator, run: Run
) -> None:
    (payment,) = create_paid(stripe, 1)
    assert run("reconcile_payments").strip() == "0 payments checked, 0 changed, 0 failed"
    assert run("reconcile_payments", "--older-than", "0").splitlines() == [
        f"{payment.uuid}: status pending -> paid",
        f"{payment.uuid}: amount_received 0 -> 2000",
        "1 payments checked, 1 changed, 0 failed",
    ]
    assert get_statuses() == ["paid"]
    assert run("reconcile_payments", "--older-than", "0").strip() == "0 payments checked, 0 changed, 0 failed"


def test_unpaid_payments_are_asked_about_ever_more_rarely(stripe: StripeEmulator, run: Run) -> None:
    services.create_payment(2000, currency="usd")
    pauses = []
    for _each in range(4):
        now = timezone.now()
        Payment.objects.update(next_check_at=now)
        assert run("reconcile_payments").startswith("1 payments checked")
        assert run("reconcile_payments").startswith("0 payments checked")
        next_check_at = Payment.objects.get().next_check_at
        assert next_check_at
        pauses.append(round((next_check_at - now) / FIRST_CHECK_AFTER))
    assert pauses == [1, 2, 4, 8]


def test_held_money_is_asked_about_once_a_day_at_least(stripe: StripeEmulator, run: Run) -> None:
    payment = services.create_payment(2000, currency="usd", capture_method="manual").payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    services.complete_payment(payment)
    now = timezone.now()
    old = now - dt.timedelta(days=100)
    Payment.objects.update(created_at=old, next_check_at=old, checks=15)
    assert run("reconcile_payments").startswith("1 payments checked")
    next_check_at = Payment.objects.get().next_check_at
    assert next_check_at
    assert now < next_check_at < now + dt.timedelta(days=2)


def test_dry_run_prints_the_difference_and_only_asks(stripe: StripeEmulator, run: Run) -> None:
    create_paid(stripe, 2)
    asked = len(stripe.requests)
    output = run("reconcile_payments", "--older-than", "0", "--dry-run")
    assert "2 payments checked, 2 would change, 0 failed" in output
    assert output.count("amount_received 0 -> 2000") == 2
    assert get_statuses() == ["pending"] * 2
    assert {request.method for request in stripe.requests[asked:]} == {"GET"}


def test_range_finds_what_a_settled_payment_missed(stripe: StripeEmulator, run: Run) -> None:
    (payment,) = create_paid(stripe, 1)
    services.complete_payment(payment)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=700)
    assert "0 payments checked" in run("reconcile_payments", "--older-than", "0")
    assert "0 payments checked" in run("reconcile_payments", "--to", "2020-01-01")
    assert "0 payments checked" in run("reconcile_payments", "--from", "2100-01-01T00:00:00Z")
    output = run("reconcile_payments", "--from", "2020-01-01")
    assert "amount_refunded 0 -> 700" in output
    assert "1 payments checked, 0 changed" in run("reconcile_payments", "--to", "2100-01-01")


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", "12:00"])
def test_time_that_is_none_is_refused(run: Run, moment: str) -> None:
    with pytest.raises((CommandError, ValueError)):
        run("reconcile_payments", "--from", moment)


def test_trouble_with_one_payment_stops_no_other(stripe: StripeEmulator, run: Run) -> None:
    payments = create_paid(stripe, 3)
    path = f"/v1/payment_intents/{payments[1].stripe_payment_intent_id}"
    stripe.add_fault(Fault("status", method="GET", path=path, status=500))
    with pytest.raises(CommandError, match="1 payments could not be reconciled"):
        run("reconcile_payments", "--older-than", "0")
    assert get_statuses() == ["paid", "pending", "paid"]
    assert str(payments[1].uuid) in run.errors.getvalue()  # type: ignore[attr-defined]
    assert "1 changed" in run("reconcile_payments", "--older-than", "0")


def test_fault_of_ours_with_one_payment_stops_no_other(
    stripe: StripeEmulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = create_paid(stripe, 2)
    reconcile = services.reconcile_payment

    def fail_with_first(payment: Payment, **options: Any) -> Any:
        if payment == payments[0]:
            raise KeyError("a bug")
        return reconcile(payment, **options)

    monkeypatch.setattr(reconcile_payments, "reconcile_payment", fail_with_first)
    with pytest.raises(CommandError):
        run("reconcile_payments", "--older-than", "0")
    assert get_statuses() == ["pending", "paid"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_shown_to_who_watches(
    is_terminal: bool, stripe: StripeEmulator, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_paid(stripe, 2)
    monkeypatch.setattr(Output, "is_terminal", is_terminal)
    run("reconcile_payments", "--older-than", "0")
    progress = ["1 checked", "2 checked"] if is_terminal else []
    assert run.errors.getvalue().split("\r")[:-1] == progress  # type: ignore[attr-defined]


def test_failed_and_stuck_events_are_processed(run: Run) -> None:
    failed, stuck, fresh = (
        WebhookEventFactory.create(failed=True),
        WebhookEventFactory.create(),
        WebhookEventFactory.create(),
    )
    WebhookEvent.objects.filter(pk=stuck.pk).update(received_at=timezone.now() - dt.timedelta(minutes=6))
    assert run("process_webhook_events").strip() == "2 processed"
    statuses = dict(WebhookEvent.objects.values_list("pk", "status"))
    assert statuses == {failed.pk: "processed", stuck.pk: "processed", fresh.pk: "received"}
    assert run("process_webhook_events", "--older-than", "0").strip() == "1 processed"
    assert run("process_webhook_events", "--older-than", "0").strip() == "nothing to do"


def test_event_that_fails_again_stops_no_other_and_is_told_by_the_exit_code(run: Run) -> None:
    bad = WebhookEventFactory.create(failed=True, payload={"id": "evt_bad"})
    good = WebhookEventFactory.create(failed=True)
    with pytest.raises(CommandError, match="failed again"):
        run("process_webhook_events")
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.status, bad.attempts) == ("failed", 2)
    assert bad.error_parameters["message"] == "The event has no object."
    assert good.status == "processed"
    assert f"event {bad.pk}: " in run.errors.getvalue()  # type: ignore[attr-defined]


def test_event_that_is_gone_meanwhile_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from octo_stripe_gateway.management.commands import process_webhook_events as command

    WebhookEventFactory.create_batch(2, failed=True)

    def delete_all(event: WebhookEvent) -> WebhookEvent:
        WebhookEvent.objects.all().delete()
        event.status = WebhookEvent.Status.PROCESSED
        return event

    monkeypatch.setattr(command, "process_event", delete_all)
    assert run("process_webhook_events").strip() == "1 deleted, 1 processed"


@pytest.mark.parametrize("batch_size", ["2", "1000"])
def test_pruning_deletes_old_finished_events_only(run: Run, batch_size: str) -> None:
    old = timezone.now() - dt.timedelta(days=91)
    WebhookEventFactory.create_batch(4, processed=True)
    WebhookEventFactory.create(status="ignored")
    kept = [WebhookEventFactory.create(failed=True), WebhookEventFactory.create()]
    WebhookEvent.objects.update(received_at=old)
    kept.append(WebhookEventFactory.create(processed=True))
    assert run("prune_webhook_events", "--batch-size", batch_size).strip() == "5 events deleted"
    assert set(WebhookEvent.objects.all()) == set(kept)
    assert run("prune_webhook_events").strip() == "0 events deleted"
    assert run("prune_webhook_events", "--days", "0").strip() == "1 events deleted"
    assert Payment.objects.count() == 8
