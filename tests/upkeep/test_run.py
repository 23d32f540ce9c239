"""`maintain_payments` does all that is due, even alongside other runs, and however it is stopped."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.exceptions import StripeError
from octo_stripe_gateway.ledger import claims as due
from octo_stripe_gateway.ledger.claims import Step, Work
from octo_stripe_gateway.models import Payment, PaymentChange, StripeRequest, WebhookEvent
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER
from octo_stripe_gateway.signals import payment_succeeded
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.lists import LEAST_LISTED
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import WebhookEventFactory
from octo_stripe_gateway.upkeep import run_upkeep, syncs
from tests.shop.models import Booking
from tests.support.cases import one_in
from tests.support.threads import needs_row_locks, run_together

pytestmark = pytest.mark.django_db

Counts = dict[str, dict[str, int]]
KINDS = ("events", "payments", "books", "sums", "deadlines", "dues", "changes", "reconciliation")
LISTS = "/v1/payment_intents"
BOOKS = "/v1/balance_transactions"


class Terminal(io.StringIO):
    """An output stream that looks like a terminal."""

    def isatty(self) -> bool:
        return True


def maintain(*args: str) -> Counts:
    """Run the command in this thread, and return what it says."""
    out = io.StringIO()
    call_command("maintain_payments", "--threads", "1", *args, stdout=out, stderr=io.StringIO())
    done: Counts = json.loads(out.getvalue())
    return done


def create_due(stripe: StripeEmulator, count: int, *, card: str = "", **options: Any) -> list[Payment]:
    """Create payments that are due for a check; their rows don't know yet what happened at Stripe."""
    options = {"currency": "usd"} | options
    payments = [services.create_payment(2000, **options).payment for _ in range(count)]
    for payment in payments if card else ():
        stripe.confirm(payment.stripe_payment_intent_id or "", card)
    make_due()
    return payments


def make_due() -> None:
    now = timezone.now() - dt.timedelta(seconds=1)
    Payment.objects.exclude(next_check_at=None).update(next_check_at=now)
    WebhookEvent.objects.exclude(retry_at=None).update(retry_at=now)
    PaymentChange.objects.exclude(deliver_at=None).update(deliver_at=now)


def get_reads(stripe: StripeEmulator) -> list[str]:
    return [request.path for request in stripe.requests if request.method == "GET"]


def get_statuses() -> set[str]:
    return set(Payment.objects.values_list("status", flat=True))


def get_pauses() -> list[int]:
    """Return when each payment is checked next, in units of the first pause from now."""
    moments = Payment.objects.order_by("pk").values_list("next_check_at", flat=True)
    return [round((moment - timezone.now()) / FIRST_CHECK_AFTER) for moment in moments if moment]


def test_nothing_due_is_nothing_done(stripe: StripeEmulator) -> None:
    services.create_payment(2000, currency="usd")
    WebhookEventFactory.create()
    asked = len(stripe.requests)
    done = maintain()
    assert done.pop("seconds") is not None
    assert done == {name: {} for name in KINDS}
    assert len(stripe.requests) == asked


@pytest.mark.parametrize(
    ("card", "options", "status"),
    [
        ("", {}, "pending"),
        ("pm_card_visa", {}, "paid"),
        ("pm_card_visa", {"capture_method": "manual"}, "authorized"),
        ("pm_card_chargeDeclined", {}, "failed"),
        ("pm_card_authenticationRequired", {}, "pending"),
        ("pm_usBankAccount_success", {}, "pending"),
    ],
)
@pytest.mark.parametrize("count", one_in(2, [1, LEAST_LISTED, 2 * LEAST_LISTED]))
def test_due_payments_come_to_how_their_intents_stand(
    stripe: StripeEmulator, count: int, card: str, options: Any, status: str
) -> None:
    create_due(stripe, count, card=card, **options)
    done = maintain()
    assert sum(done["payments"].values()) == count
    assert get_statuses() == {status}
    assert maintain()["payments"] == {}


def test_a_lost_event_is_made_up_for_within_minutes(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = services.create_payment(2000, currency="usd").payment
    stripe.confirm(payment.stripe_payment_intent_id or "", "pm_card_visa")
    later = timezone.now() + dt.timedelta(minutes=3)
    monkeypatch.setattr(timezone, "now", lambda: later)
    assert maintain()["payments"] == {"changed": 1}
    assert get_statuses() == {"paid"}


def test_many_due_payments_take_one_call(stripe: StripeEmulator) -> None:
    payments = create_due(stripe, 20)
    stripe.confirm(payments[3].stripe_payment_intent_id or "")
    stripe.refund(payments[3].stripe_payment_intent_id or "", amount=500)
    assert maintain()["payments"] == {"changed": 1, "unchanged": 19}
    # What was paid and refunded is booked besides.
    assert get_reads(stripe) == [LISTS, BOOKS, BOOKS]
    payments[3].refresh_from_db()
    assert (payments[3].status, payments[3].amount_refunded) == ("paid", 500)


def test_payment_missing_from_the_list_is_asked_for_by_itself(stripe: StripeEmulator) -> None:
    payments = create_due(stripe, 5, card="pm_card_visa")
    intent_ids = [payment.stripe_payment_intent_id or "" for payment in payments]
    for _ in range(11):
        stripe.refund(intent_ids[0], amount=100)
    stripe.open_dispute(intent_ids[1])
    maintain()
    rows = Payment.objects.order_by("pk").values_list("amount_refunded", "disputed")
    assert list(rows)[:3] == [(1100, False), (0, True), (0, False)]
    assert Payment.objects.get(pk=payments[0].pk).refunds.count() == 11


def test_list_of_mostly_foreign_payments_is_given_up(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_client, "PAGE_SIZE", 10)
    wanted = create_due(stripe, 6)
    create_due(stripe, 50)
    Payment.objects.exclude(pk__in=[each.pk for each in wanted]).update(next_check_at=None)
    assert maintain()["payments"] == {"unchanged": 6}
    assert get_reads(stripe).count(LISTS) == 3
    assert len(get_reads(stripe)) == 3 + 6


def test_payments_of_each_account_are_listed_there(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    stripe.connect_account("acct_1")
    create_due(stripe, 6)
    create_due(stripe, 6, stripe_account="acct_1")
    assert maintain()["payments"] == {"unchanged": 12}
    assert get_reads(stripe) == [LISTS, LISTS]


def test_pauses_grow_while_nothing_happens(stripe: StripeEmulator) -> None:
    create_due(stripe, 1)
    create_due(stripe, 6)
    pauses = []
    for _ in range(4):
        make_due()
        maintain()
        pauses.append(set(get_pauses()))
    assert pauses == [{1}, {2}, {4}, {8}]


def test_new_ones_come_first(stripe: StripeEmulator) -> None:
    payments = create_due(stripe, 4)
    Payment.objects.filter(pk=payments[3].pk).update(checks=5)
    upkeep.work_off(upkeep.SYNCS, limit=2)
    assert list_synced() == [payments[1].pk, payments[2].pk]
    upkeep.work_off(upkeep.SYNCS, limit=1)
    assert list_synced() == [payments[0].pk, payments[1].pk, payments[2].pk]


def list_synced() -> list[int]:
    later = Payment.objects.filter(next_check_at__gt=timezone.now())
    return list(later.order_by("pk").values_list("pk", flat=True))


def test_limit_bounds_a_run(stripe: StripeEmulator) -> None:
    create_due(stripe, 3)
    WebhookEventFactory.create_batch(3, failed=True, payment=Payment.objects.first())
    make_due()
    done = maintain("--limit", "2")
    assert (sum(done["payments"].values()), sum(done["events"].values())) == (2, 2)
    assert sum(maintain()["payments"].values()) == 1


class Killed(BaseException):
    """Ends a run as a signal to the process would."""


def test_claims_of_a_run_that_was_killed_end_by_themselves(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_due(stripe, 6)
    with monkeypatch.context() as patch:
        patch.setattr(Work, "_do", kill)
        with pytest.raises(Killed):
            upkeep.work_off(upkeep.SYNCS, limit=10)
    assert maintain()["payments"] == {}
    later = timezone.now() + upkeep.SYNCS.lease
    assert Payment.objects.filter(next_check_at__lte=later, checks=0).count() == 6


def kill(*_args: Any, **_options: Any) -> None:
    raise Killed


def test_run_that_is_interrupted_leaves_the_rest_to_the_next(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = create_due(stripe, 3)
    with monkeypatch.context() as patch:
        patch.setattr(syncs, "sync_payment", lambda payment: kill() if payment == payments[1] else {})
        with pytest.raises(Killed):
            upkeep.work_off(upkeep.SYNCS, limit=10)
    assert maintain()["payments"] == {"unchanged": 2}


def test_pause_does_not_undo_what_an_event_planned(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_due(stripe, 1)

    def hear_of_it(_payment: Payment) -> bool:
        return bool(Payment.objects.update(next_check_at=timezone.now()))

    monkeypatch.setattr(syncs, "sync_payment", hear_of_it)
    upkeep.work_off(upkeep.SYNCS, limit=1)
    assert Payment.objects.get().checks == 0
    assert get_pauses() == [0]


def test_request_without_an_answer_is_repeated(stripe: StripeEmulator) -> None:
    (payment,) = create_due(stripe, 1, card="pm_card_visa", capture_method="manual")
    services.complete_payment(payment)
    stripe.add_fault(Fault("status", method="POST", status=500))
    with pytest.raises(StripeError):
        services.capture_payment(Payment.objects.get(), amount=1500)
    stripe.clear_faults()
    # However rarely the payment itself would be looked at.
    Payment.objects.update(next_check_at=timezone.now() + dt.timedelta(days=3), checks=9)
    assert maintain()["payments"] == {}
    StripeRequest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=11))
    maintain()
    assert get_pauses() == [30]
    make_due()
    assert maintain()["payments"] == {"changed": 1}
    assert (Payment.objects.get().status, Payment.objects.get().amount_received) == ("paid", 1500)
    assert not StripeRequest.objects.open().exists()


def test_request_of_a_settled_payment_is_repeated_too(stripe: StripeEmulator) -> None:
    (payment,) = create_due(stripe, 1, card="pm_card_visa")
    services.complete_payment(payment)
    StripeRequest.objects.create(payment=payment, kind="cancel", parameters={})
    StripeRequest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=11))
    maintain()
    assert StripeRequest.objects.get(kind="cancel").state == "failed"
    assert Payment.objects.get().status == "paid"


def test_request_without_an_answer_is_repeated_though_stripes_list_tells_of_the_payment(
    stripe: StripeEmulator,
) -> None:
    payments = create_due(stripe, LEAST_LISTED + 1)
    StripeRequest.objects.create(payment=payments[0], kind="cancel", parameters={})
    assert maintain()["payments"] == {"changed": 1, "unchanged": LEAST_LISTED}
    assert Payment.objects.get(pk=payments[0].pk).status == "canceled"


def test_request_that_stripe_is_still_processing_waits_for_the_next_run(
    stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    (payment,) = create_due(stripe, 1)
    request = StripeRequest.objects.create(payment=payment, kind="cancel", parameters={})
    stripe.add_fault(Fault("status", path="/v1/payment_intents/.*/cancel", status=409))
    with pytest.raises(CommandError, match="1 payments failed"):
        maintain()
    request.refresh_from_db()
    assert (request.state, request.http_status, request.attempts) == ("open", 409, 1)
    assert not [record for record in caplog.records if record.exc_info]
    make_due()
    assert maintain()["payments"] == {"changed": 1}
    assert get_statuses() == {"canceled"}


def test_rejected_money_goes_back(stripe: StripeEmulator) -> None:
    for _ in range(6):
        create_due(stripe, 1, card="pm_card_visa", payable=Booking.objects.create(), currency="eur")
    Booking.objects.update(price=3000)
    assert maintain()["payments"] == {"changed": 6}
    assert get_statuses() == {"refunded"}
    assert len(stripe.refunds) == 6


def test_failed_and_left_behind_events_are_processed(stripe: StripeEmulator) -> None:
    failed, left = WebhookEventFactory.create(failed=True), WebhookEventFactory.create()
    fresh = WebhookEventFactory.create()
    make_due()
    WebhookEvent.objects.filter(pk=fresh.pk).update(retry_at=timezone.now() + dt.timedelta(minutes=5))
    assert maintain()["events"] == {"processed": 2}
    assert dict(WebhookEvent.objects.values_list("pk", "status")) == {
        failed.pk: "processed",
        left.pk: "processed",
        fresh.pk: "received",
    }
    assert not WebhookEvent.objects.filter(status="processed").exclude(retry_at=None).exists()


def test_event_that_fails_again_waits_as_long_as_it_has_waited(stripe: StripeEmulator) -> None:
    WebhookEventFactory.create(failed=True, payload={"id": "evt_bad"})
    WebhookEvent.objects.update(received_at=timezone.now() - dt.timedelta(hours=2))
    make_due()
    with pytest.raises(CommandError, match="1 events failed"):
        maintain()
    retry_at = WebhookEvent.objects.get().retry_at
    assert retry_at
    assert round((retry_at - timezone.now()) / dt.timedelta(minutes=1)) == 120
    assert maintain()["events"] == {}


def test_undelivered_changes_are_delivered(stripe: StripeEmulator) -> None:
    heard: list[Payment] = []

    def listen(payment: Payment, **kwargs: Any) -> None:
        if not heard:
            heard.append(payment)
            raise ValueError("not now")
        heard.append(payment)

    payment_succeeded.connect(listen, weak=False)
    try:
        create_due(stripe, 1, card="pm_card_visa")
        maintain()
        make_due()
        with pytest.raises(CommandError, match="1 changes failed"):
            maintain()
        make_due()
        assert maintain()["changes"] == {"delivered": 1}
    finally:
        payment_succeeded.disconnect(listen)
    assert len(heard) == 2


def test_changes_name_the_command_as_their_source(stripe: StripeEmulator) -> None:
    create_due(stripe, 1, card="pm_card_visa")
    maintain()
    assert PaymentChange.objects.latest("pk").source == "command"


@pytest.mark.parametrize("broken", [step.name for step in upkeep.STEPS])
def test_step_that_fails_is_reported_and_the_others_run(
    broken: str, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (payment,) = create_due(stripe, 1, card="pm_card_visa")
    WebhookEventFactory.create(failed=True, payment=payment)
    PaymentChange.objects.update(undelivered={"payment_created": []}, deliver_at=timezone.now())
    make_due()

    def fail(_now: dt.datetime) -> None:
        raise ValueError("a bug")

    for step in upkeep.STEPS:
        if step.name == broken:
            monkeypatch.setattr(step, "list_due", fail)
    done = run_upkeep(limit=10, threads=1)
    expected = {"events": "processed", "payments": "changed", "changes": "delivered"}
    if broken != "payments":
        expected["books"] = "booked"
    for name, outcome in expected.items():
        assert ("aborted" if name == broken else outcome) in done[name]
    assert f"could not go on with its {broken}" in caplog.text
    with pytest.raises(CommandError, match=rf"\d {broken} failed"):
        maintain()


def test_failure_of_one_payment_stops_no_other(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = create_due(stripe, 3, card="pm_card_visa")
    reconcile = services.sync_payment

    def fail_with_second(payment: Payment) -> Any:
        if payment == payments[1]:
            raise KeyError("a bug")
        return reconcile(payment)

    monkeypatch.setattr(syncs, "sync_payment", fail_with_second)
    with pytest.raises(CommandError, match="1 payments failed"):
        maintain()
    assert Payment.objects.get(status="pending") == payments[1]
    assert get_pauses() == [1]


def test_unreachable_stripe_is_left_alone(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    create_due(stripe, 8)
    monkeypatch.setattr(due, "MOST_UNANSWERED", 3)
    stripe.add_fault(Fault("status", method="GET", status=503, times=None))
    asked = len(stripe.requests)
    with pytest.raises(CommandError, match="3 payments failed"):
        maintain()
    # The list, and three of those that it was to tell of.
    assert len(stripe.requests) - asked == 4
    stripe.clear_faults()
    assert set(Payment.objects.values_list("checks", flat=True)) == {0}
    make_due()
    assert maintain()["payments"] == {"unchanged": 8}


@pytest.mark.parametrize("count", [1, 6])
def test_lasting_contradiction_is_reported_once(stripe: StripeEmulator, count: int) -> None:
    create_due(stripe, count, card="pm_card_visa")
    Payment.objects.update(currency="eur")
    outcomes = []
    for _ in range(3):
        make_due()
        outcomes.append(maintain()["payments"])
    assert outcomes == [{"changed": count}, {"unchanged": count}, {"unchanged": count}]
    assert PaymentChange.objects.filter(changes__has_key="concern intent_differs").count() == count


def test_terminal_shows_progress_and_a_sentence(stripe: StripeEmulator) -> None:
    create_due(stripe, 2)
    out, errors = Terminal(), Terminal()
    call_command("maintain_payments", "--threads", "1", stdout=out, stderr=errors)
    assert errors.getvalue().splitlines()[-1].startswith("payments: 2 of 2, ")
    assert out.getvalue().startswith("payments: 2 unchanged (")
    out = Terminal()
    call_command("maintain_payments", "--threads", "1", stdout=out, stderr=errors)
    assert out.getvalue().startswith("nothing was due (")


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_runs_at_once_share_the_work(stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "size", 5)
    payments = create_due(stripe, 30, card="pm_card_visa")
    WebhookEventFactory.create_batch(10, failed=True, payment=payments[0])
    make_due()
    runs = [lambda: run_upkeep(limit=100, threads=2)] * 2
    done = run_together(runs)
    assert sum(each["payments"].get("changed", 0) for each in done) == 30
    assert sum(each["events"].get("processed", 0) for each in done) == 10
    assert get_statuses() == {"paid"}
    assert set(WebhookEvent.objects.values_list("attempts", flat=True)) == {2}
