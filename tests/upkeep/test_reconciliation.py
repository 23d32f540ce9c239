"""Once a night what is young is compared with Stripe, and an operator hears of each difference."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.models import BalanceTransaction, Concern, Installation, Payment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.upkeep.reconciliation import get_next_night
from tests.support.ledger import lose_payment

pytestmark = pytest.mark.django_db


def run_night() -> dict[str, int]:
    """Let a night come, and return what upkeep says of it."""
    upkeep.run_upkeep(limit=100, threads=1)
    Installation.objects.update(reconcile_at=timezone.now())
    return upkeep.run_upkeep(limit=100, threads=1)["reconciliation"]


def pay(stripe: StripeEmulator, **options: Any) -> Payment:
    payment = services.create_payment(2000, currency="usd", **options).payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    services.complete_payment(payment)
    Payment.objects.filter(next_booking_at__isnull=False).update(next_booking_at=timezone.now())
    upkeep.run_upkeep(limit=100, threads=1)
    return Payment.objects.get(pk=payment.pk)


def list_open() -> list[tuple[str, int | None, str]]:
    rows = Concern.objects.filter(settled_at=None).order_by("pk")
    return list(rows.values_list("code", "payment", "object_id"))


def test_lost_refund_of_a_settled_and_booked_payment_is_found(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    assert (payment.next_check_at, payment.next_booking_at) == (None, None)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=500)
    assert run_night() == {"reconciled": 1}
    payment.refresh_from_db()
    assert (payment.amount_refunded, payment.net) == (500, 1412)
    assert list_open() == [("found_late", payment.pk, str(payment.uuid))]
    concern = Concern.objects.get(code="found_late")
    assert concern.parameters["differences"]["amount_refunded"] == [0, 500]
    assert run_night() == {"reconciled": 1}
    assert Concern.objects.count() == 1


def test_movement_that_nobody_announced_is_booked_and_reported(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    BalanceTransaction.objects.all().delete()
    run_night()
    movement = BalanceTransaction.objects.get()
    assert list_open() == [("moved_unnoticed", payment.pk, movement.stripe_balance_transaction_id)]


def test_difference_that_is_not_applied_is_reported_once(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    Payment.objects.update(currency="eur")
    assert run_night() == {"reconciled": 1}
    payment.refresh_from_db()
    assert payment.has_concerns
    assert [(code, about) for code, about, _object_id in list_open()] == [("intent_differs", payment.pk)]


@contextmanager
def long_ago(stripe: StripeEmulator) -> Iterator[None]:
    """Have what happens here be three months old."""
    clock = stripe.clock
    stripe.clock = lambda: clock() - 90 * 86_400
    yield
    stripe.clock = clock
    Payment.objects.update(created_at=timezone.now() - dt.timedelta(days=90))


def test_lost_dispute_of_an_old_payment_is_found_by_its_money(stripe: StripeEmulator) -> None:
    with long_ago(stripe):
        payment = pay(stripe)
    stripe.open_dispute(payment.intent_id)
    assert run_night() == {"reconciled": 1}
    payment.refresh_from_db()
    assert payment.disputed
    assert ("found_late", payment.pk) in {(code, about) for code, about, _object_id in list_open()}


@pytest.mark.parametrize("end", ["open", "lost", "won"])
def test_dispute_is_found_by_its_money_while_the_books_are_due(end: str, stripe: StripeEmulator) -> None:
    with long_ago(stripe):
        payment = pay(stripe)
    dispute = stripe.open_dispute(payment.intent_id)
    if end != "open":
        stripe.close_dispute(dispute["id"], won=end == "won")
    run_night_while_the_books_are_due()
    assert [each.status for each in payment.disputes.all()] == [stripe.disputes[dispute["id"]]["status"]]


def test_lost_appeal_is_found_by_its_money_while_the_books_are_due(stripe: StripeEmulator) -> None:
    with long_ago(stripe):
        payment = pay(stripe)
        dispute = stripe.open_dispute(payment.intent_id)
        stripe.close_dispute(dispute["id"], won=True)
        services.sync_payment(payment)
        upkeep.run_upkeep(limit=100, threads=1)
    stripe.reopen_dispute(dispute["id"])
    stripe.close_dispute(dispute["id"], won=False)
    run_night_while_the_books_are_due()
    assert [each.status for each in payment.disputes.all()] == [stripe.disputes[dispute["id"]]["status"]]


def test_failed_refund_is_found_by_its_money_while_the_books_are_due(stripe: StripeEmulator) -> None:
    with long_ago(stripe):
        payment = pay(stripe)
        services.refund_payment(payment)
        upkeep.make_due()
        upkeep.run_upkeep(limit=100, threads=1)
    [refund] = stripe.refunds
    stripe.settle_refund(refund, status="failed")
    run_night_while_the_books_are_due()
    assert payment.refunds.get().status == "failed"


def run_night_while_the_books_are_due() -> None:
    Payment.objects.update(next_booking_at=timezone.now() + dt.timedelta(hours=6))
    run_night()
    upkeep.run_upkeep(limit=100, threads=1)


@pytest.mark.parametrize("adopts", [False, True])
def test_payment_that_has_no_row_is_reported_or_adopted(
    adopts: bool, stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    configure(RECONCILE_ADOPTS=adopts)
    payment = services.create_payment(2000, currency="usd").payment
    Payment.objects.get().stripe_requests.all().delete()
    Payment.objects.get().changes.all().delete()
    Payment.objects.all().delete()
    assert run_night() == {"reconciled": 1}
    unknown = ("unknown_here", None, payment.stripe_payment_intent_id)
    assert (unknown in list_open()) is not adopts
    assert Payment.objects.exists() is adopts
    if not adopts:
        configure(RECONCILE_ADOPTS=True)
        run_night()
        assert unknown not in list_open()


def test_payment_that_stripe_does_not_know_is_reported(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    Payment.objects.update(stripe_payment_intent_id="pi_of_another_account")
    run_night()
    assert ("unknown_at_stripe", payment.pk) in {(code, about) for code, about, _object_id in list_open()}


def test_unsettled_payment_is_no_concern_of_reconciliation(stripe: StripeEmulator) -> None:
    payment = services.create_payment(2000, currency="usd").payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    assert run_night() == {"reconciled": 1}
    assert Payment.objects.get().status == "paid"
    assert list_open() == []


def test_night_comes_once(stripe: StripeEmulator) -> None:
    upkeep.run_upkeep(limit=100, threads=1)
    planned = Installation.objects.get().reconcile_at
    assert planned
    assert dt.timedelta(0) < planned - timezone.now() <= dt.timedelta(days=1)
    assert upkeep.run_upkeep(limit=100, threads=1)["reconciliation"] == {}
    Installation.objects.update(reconcile_at=timezone.now())
    assert upkeep.run_upkeep(limit=100, threads=1)["reconciliation"] == {"reconciled": 1}
    assert upkeep.run_upkeep(limit=100, threads=1)["reconciliation"] == {}
    assert Installation.objects.get().reconcile_at == planned


def test_hour_is_the_hosts(settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    noon = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
    assert get_next_night(noon) == dt.datetime(2026, 11, 30, 14, tzinfo=dt.UTC)
    assert get_next_night(get_next_night(noon)) == dt.datetime(2026, 12, 1, 14, tzinfo=dt.UTC)


def test_missed_nights_are_caught_up_on(stripe: StripeEmulator) -> None:
    ago = timezone.now() - dt.timedelta(days=5)
    clock = stripe.clock
    stripe.clock = lambda: clock() - 5 * 86_400
    pay(stripe)
    stripe.clock = clock
    Payment.objects.update(created_at=ago)
    Payment.objects.update(intent_status="processing", status="pending", next_check_at=None)
    Installation.objects.update(reconciled_until=ago - dt.timedelta(hours=1))
    run_night()
    assert Payment.objects.get().status == "paid"


@pytest.mark.parametrize(("hours", "found"), [(47, True), (49, False)])
def test_each_night_looks_at_two_days(hours: int, found: bool, stripe: StripeEmulator) -> None:
    """The night before may have failed in part."""
    clock = stripe.clock
    stripe.clock = lambda: clock() - hours * 3600
    payment = services.create_payment(2000, currency="usd").payment
    stripe.clock = clock
    lose_payment(payment)
    Installation.objects.update(reconciled_until=timezone.now() - dt.timedelta(hours=24))
    began = timezone.now()
    run_night()
    assert bool(list_open()) is found
    reconciled_until = Installation.objects.get().reconciled_until
    assert reconciled_until
    assert began <= reconciled_until <= timezone.now()


def test_zero_days_turn_reconciliation_off(stripe: StripeEmulator, configure: Callable[..., None]) -> None:
    configure(RECONCILE_DAYS=0)
    assert run_night() == {}


def test_list_that_can_not_be_read_is_reported(
    stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    pay(stripe)
    stripe.add_fault(Fault("status", method="GET", path="/v1/refunds", status=500, times=None))
    assert run_night() == {"failed": 1}
    assert "could not be compared" in caplog.text
