"""What the host, operators and we ourselves say, over rows in memory."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from octo_stripe_gateway.ledger import concerns as kinds
from octo_stripe_gateway.ledger.facts import (
    Accepted,
    Adopted,
    AdoptionConfirmed,
    AmountRefused,
    AmountRequested,
    Authorized,
    Booked,
    CanceledUnasked,
    CaptureReminded,
    ConcernSettled,
    CreationRefused,
    DeadlineKept,
    Erased,
    EventOfAnother,
    ExpiryDropped,
    Forgiven,
    FoundLate,
    FraudWarned,
    OpenElsewhere,
    PartRefused,
    RefundRefused,
    RefundReserved,
    Rejected,
    ReversalFailed,
    SyncNeeded,
)
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import may_reverse
from octo_stripe_gateway.models import BalanceTransaction, Refund
from octo_stripe_gateway.models.payments import FIRST_CHECK_AFTER
from octo_stripe_gateway.stripe.snapshots import CardSnapshot, FraudWarningSnapshot
from tests.support.objects import SECOND, make_declined_intent, make_intent, make_paid_intent
from tests.support.rows import NOW, hear, make_rows
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

LATER = NOW + dt.timedelta(hours=1)
PAID = snap_intent(make_paid_intent())
HELD = snap_intent(make_intent(status="requires_capture", amount_capturable=2000))
REJECTED = Rejected("host", {"words": "The tour is full."})


def list_concerns(rows: Rows) -> list[tuple[str, str, dict[str, Any]]]:
    return [(each.code, each.object_id, each.parameters) for each in rows.concerns if each.is_open]


# The host's word.


@pytest.mark.parametrize(
    ("columns", "amount"),
    [
        ({"payable_type_id": 1}, 1500),
        ({}, 2000),
        ({"payable_type_id": 1, "capture_method": "manual"}, 2000),
    ],
)
def test_only_what_a_payable_asked_for_follows_what_was_paid(columns: Any, amount: int) -> None:
    rows = make_rows(snap_intent(make_paid_intent(amount=1500, amount_received=1500)), Accepted(), **columns)
    assert (rows.payment.amount, rows.payment.accepted_at) == (amount, NOW)


@pytest.mark.parametrize(
    ("price", "notes"), [(None, {}), (0, {"payable paid": [None, 0]}), (7, {"payable paid": [None, 7]})]
)
def test_payable_is_paid_where_the_host_says_so(price: int | None, notes: Any) -> None:
    assert make_rows(PAID, Accepted(settled_price=price)).notes == notes


def test_host_has_heard_of_the_hold() -> None:
    assert make_rows(HELD, Authorized()).payment.authorized_at == NOW


# Refunds.


def test_refusal_frees_that_refunds_amount_and_no_other() -> None:
    refunds = [Refund(id=1, amount=500), Refund(id=2, amount=300)]
    rows = make_rows(PAID, *(RefundReserved(each) for each in refunds))
    hear(rows, RefundRefused(1, "refused", "No."))
    assert (refunds[0].status, refunds[0].failure_reason, refunds[1].is_reserved) == (
        "failed",
        "refused",
        True,
    )
    assert (rows.payment.amount_reserved, list_concerns(rows)) == (300, [])


def test_refusal_of_what_stripe_has_made_meanwhile_frees_nothing() -> None:
    refund = Refund(id=1, amount=500)
    rows = make_rows(PAID, RefundReserved(refund), snap_refund(metadata={"octo_refund": str(refund.uuid)}))
    hear(rows, RefundRefused(1, "refused", "No."))
    assert (refund.status, rows.payment.amount_refunded) == ("succeeded", 500)


@pytest.mark.parametrize(("message", "shown"), [("Gone.", "Gone."), ("", "charge_disputed")])
def test_refused_reversal_is_a_persons_with_its_amount(message: str, shown: str) -> None:
    rows = make_rows(PAID, REJECTED, RefundReserved(Refund(id=1, amount=2000)))
    hear(rows, RefundRefused(1, "charge_disputed", message))
    assert list_concerns(rows) == [("reversal_refused", "", {"amount": 2000, "message": shown})]


def test_refused_reversal_ends_once_another_amount_is_held() -> None:
    rows = make_rows(PAID, REJECTED, RefundReserved(Refund(id=1, amount=2000)))
    hear(rows, RefundRefused(1, "charge_already_refunded", "Refunded."), PAID)
    assert not may_reverse(rows)
    hear(rows, snap_refund(amount=500))
    assert (may_reverse(rows), rows.concerns[0].settled_at) == (True, NOW)


def test_refund_made_elsewhere_is_told_and_one_given_up_is_not() -> None:
    rows = make_rows(PAID, REJECTED)
    hear(rows, RefundRefused(7, "abandoned", ""))
    assert list_concerns(rows) == []
    hear(rows, RefundRefused(7, "made_elsewhere", ""))
    assert list_concerns(rows) == [("refund_made_elsewhere", "7", {})]


@pytest.mark.parametrize(
    ("reason", "has_warning", "concerns"),
    [
        ("fraudulent", True, [("fraud_refund_refused", "", {"message": "No."})]),
        ("fraudulent", False, []),
        ("duplicate", True, []),
    ],
)
def test_refused_refund_after_a_warning_is_told(reason: str, has_warning: bool, concerns: Any) -> None:
    rows = make_rows(PAID)
    rows.warnings = frozenset({("issfr_1", "misc")} if has_warning else ())
    hear(rows, RefundRefused(1, "charge_disputed", "No.", reason=reason))
    assert list_concerns(rows) == concerns


def test_refused_part_is_told_until_nothing_is_left_to_refund() -> None:
    rows = make_rows(PAID, PartRefused(700, message="No."))
    told = [("refund_refused", "", {"amount": 700, "message": "No."})]
    assert list_concerns(rows) == told
    assert list_concerns(hear(rows, snap_refund(amount=1999))) == told
    assert list_concerns(hear(rows, snap_refund(id="re_2", amount=1))) == []


def test_money_that_could_not_go_back_is_told() -> None:
    rows = make_rows(PAID, REJECTED, snap_refund(), ReversalFailed())
    assert list_concerns(rows) == [("money_held", "", {"amount": 1500})]
    assert list_concerns(hear(rows, snap_refund(id="re_2", amount=1500))) == []
    assert list_concerns(make_rows(PAID, ReversalFailed())) == []


def test_hold_is_voided_whatever_was_refused() -> None:
    rows = make_rows(HELD, REJECTED, RefundRefused(None, "refused", "No."), capture_method="manual")
    assert [code for code, *_ in list_concerns(rows)] == ["reversal_refused"]
    assert may_reverse(rows)


def test_what_one_refund_or_dispute_forgives_can_be_changed() -> None:
    rows = make_rows(PAID, snap_refund(), snap_dispute(amount=300, status="lost"))
    assert rows.refunds
    assert rows.disputes
    refund, dispute = rows.refunds[0], rows.disputes[0]
    refund.pk = dispute.pk = 1
    rows.refunds.append(Refund(id=2, amount=100))
    hear(rows, Forgiven(refund, amount=400))
    assert (refund.amount_forgiven, rows.refunds[1].amount_forgiven) == (400, None)
    hear(rows, Forgiven(dispute, amount=30))
    assert (refund.amount_forgiven, dispute.amount_forgiven, rows.payment.amount_forgiven) == (400, 30, 430)


# Creation, cancellation, deadlines.


@pytest.mark.parametrize(("code", "shown"), [("amount_too_small", "amount_too_small"), ("", "refused")])
def test_refused_creation_says_why(code: str, shown: str) -> None:
    payment = make_rows(CreationRefused(code, "Too small."), stripe_payment_intent_id=None).payment
    assert (payment.status, payment.failure_code, payment.failure_message) == ("failed", shown, "Too small.")
    assert payment.failed_at == NOW
    payment = make_rows(CreationRefused(code, "Too small.")).payment
    assert (payment.status, payment.failure_code) == ("pending", "")


def test_payment_without_an_intent_is_canceled_unasked() -> None:
    payment = make_rows(CanceledUnasked(), stripe_payment_intent_id=None).payment
    assert (payment.status, payment.intent_status, payment.canceled_at) == ("canceled", "canceled", NOW)


def test_deadline_is_the_hosts_and_expiry_may_be_dropped() -> None:
    rows = make_rows(DeadlineKept(LATER, is_past=True))
    assert (rows.payment.expires_at, rows.payment.is_expiring) == (LATER, True)
    hear(rows, ExpiryDropped())
    assert (rows.payment.expires_at, rows.payment.is_expiring) == (LATER, False)


def test_payment_that_stays_open_elsewhere_is_told_once() -> None:
    rows = make_rows(OpenElsewhere())
    assert list_concerns(rows) == [("open_elsewhere", "", {})]
    hear(rows, ConcernSettled(1, by="anna", reason="Canceled by hand."), OpenElsewhere())
    assert list_concerns(rows) == []


def test_refused_amount_is_not_waited_for() -> None:
    rows = make_rows(AmountRequested(2500))
    assert (rows.payment.amount_requested, rows.payment.amount_as_of) == (2500, int(NOW.timestamp()))
    assert hear(rows, AmountRefused()).payment.amount_requested is None


def test_host_is_reminded_of_a_hold_once() -> None:
    assert make_rows(HELD, CaptureReminded()).payment.capture_reminded_at == NOW
    rows = make_rows(HELD, CaptureReminded(), capture_reminded_at=LATER)
    assert rows.payment.capture_reminded_at == LATER


def test_doubt_is_over_with_the_next_answer_of_stripes() -> None:
    rows = make_rows(PAID, Accepted(), SyncNeeded())
    assert (rows.payment.tied_as_of, rows.payment.next_check_at) == (1, NOW)
    rows = make_rows(PAID, Accepted(), SyncNeeded(), tied_as_of=SECOND + 9)
    assert rows.payment.tied_as_of == SECOND + 9


# Adoption and erasure.


def test_adopted_payment_is_as_old_as_its_intent() -> None:
    rows = make_rows(Adopted("pi_1", created=SECOND))
    assert rows.payment.created_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)
    assert rows.notes == {"adopted": ["", "pi_1"]}


@pytest.mark.parametrize("code", ["adopted", "payable_unknown"])
def test_confirmed_adoption_counts(code: str) -> None:
    rows = make_rows(awaits_operator=True)
    rows.now = NOW
    rows.open_concern(kinds.KINDS[code], name="")
    rows.open_concern(kinds.OPEN_ELSEWHERE)
    hear(rows, PAID, AdoptionConfirmed())
    assert rows.payment.awaits_operator is False
    assert rows.payment.status == "paid"
    assert [each for each, *_ in list_concerns(rows)] == ["open_elsewhere"]


def test_erasure_leaves_codes_and_amounts() -> None:
    rows = make_rows(
        snap_intent(make_declined_intent()), metadata={"name": "Ann"}, reseller_reference="Ann-1"
    )
    payment = rows.payment
    payment.card_last4, payment.receipt_url = "4242", "https://stripe.test/a"
    payment.rejection_code, payment.rejection_parameters = "host", {"words": "Ann", "amount": 7}
    hear(rows, PartRefused(5, message="Ann"), FoundLate(kinds.FOUND_LATE, "pi_1", {"name": "Ann", "at": 1}))
    hear(rows, ConcernSettled(2, by="anna", reason="Ann called."), Erased())
    assert (payment.metadata, payment.reseller_reference, payment.erased_at) == ({}, "", NOW)
    assert (payment.failure_message, payment.card_last4, payment.receipt_url) == ("", "", "")
    assert (payment.failure_code, payment.rejection_parameters) == ("card_declined", {"amount": 7})
    assert [(each.parameters, each.reason) for each in rows.concerns] == [
        ({"amount": 5}, ""),
        ({"at": 1}, "…"),
    ]
    card = CardSnapshot(brand="visa", last4="4242", receipt_url="https://stripe.test/b")
    assert hear(rows, Booked((), cards=[card])).payment.card_last4 == ""


# Books.


def move(amount: int, *, kind: str = "charge", minute: int = 0, currency: str = "usd") -> BalanceTransaction:
    return BalanceTransaction(
        stripe_balance_transaction_id=f"txn_{amount}",
        reporting_category=kind,
        fee=amount // 10,
        net=amount,
        currency=currency,
        exchange_rate=Decimal(minute),
        moved_at=NOW + dt.timedelta(minutes=minute),
    )


def test_books_sum_up_in_the_currency_of_the_payment_itself() -> None:
    moved = [
        move(-500, kind="refund", minute=1, currency="eur"),
        move(-100, kind="refund", minute=9),
        move(2000, minute=7),
        move(50, minute=8, currency="eur"),
    ]
    payment = make_rows(PAID, Booked(moved)).payment
    assert (payment.settlement_currency, payment.exchange_rate) == ("usd", Decimal(7))
    assert (payment.fee, payment.net) == (190, 1900)


def test_of_movements_without_a_payment_the_first_tells_the_currency() -> None:
    moved = [move(-2, kind="refund", minute=2, currency="eur"), move(-1, kind="refund", minute=1)]
    assert make_rows(PAID, Booked(moved)).payment.settlement_currency == "usd"


def test_books_are_asked_again_as_planned() -> None:
    rows = make_rows(PAID)
    rows.remember()
    hear(rows, Booked((), is_planned=True, again_at=LATER))
    hear(rows, Booked((), is_planned=True, again_at=LATER))
    assert (rows.payment.next_booking_at, rows.payment.bookings) == (LATER, 2)
    hear(rows, Booked([move(5)]))
    assert (rows.payment.next_booking_at, rows.payment.bookings, rows.payment.net) == (LATER, 2, 5)
    hear(rows, Booked((), is_planned=True))
    assert (rows.payment.next_booking_at, rows.payment.bookings, rows.payment.net) == (None, 0, 5)


def test_cards_come_with_the_books() -> None:
    card = CardSnapshot(brand="visa", last4="4242", receipt_url="https://stripe.test/a")
    payment = make_rows(PAID, Booked((), cards=[None, card])).payment
    assert (payment.card_brand, payment.card_last4, payment.receipt_url) == (
        "visa",
        "4242",
        "https://stripe.test/a",
    )


# What others found, and operators say.


def test_event_of_another_account_is_told_and_changes_nothing() -> None:
    rows = make_rows(EventOfAnother("evt_1", as_of=SECOND))
    assert list_concerns(rows) == [("event_of_another", "", {"event": "evt_1"})]
    (concern,) = rows.concerns
    assert (rows.contradiction, concern.as_of) == ("event_of_another", SECOND)
    assert (concern.payment, concern.opened_at) == (rows.payment, NOW)


def test_late_finding_is_told_about_its_object() -> None:
    rows = make_rows(FoundLate(kinds.FOUND_LATE, "re_1", {"status": ["", "paid"]}))
    assert list_concerns(rows) == [("found_late", "re_1", {"status": ["", "paid"]})]


def test_person_settles_one_concern() -> None:
    rows = make_rows(PAID, OpenElsewhere(), PartRefused(5, message="No."))
    hear(rows, ConcernSettled(2, by="anna", reason="Paid in cash.", amount=5))
    first, second = rows.concerns
    assert (first.is_open, second.settled_at, second.settled_by) == (True, NOW, "anna")
    assert (second.reason, second.amount) == ("Paid in cash.", 5)
    assert rows.notes == {"settled": ["", "Paid in cash."]}
    rows.remember()
    hear(rows, ConcernSettled(2, by="bob", reason="Again."))
    assert (second.settled_by, rows.notes) == ("anna", {})


def warn(warning: str = "issfr_1", *, refunds: bool = False, **changes: Any) -> FraudWarned:
    said = {
        "id": warning,
        "fraud_type": "misc",
        "actionable": True,
        "livemode": False,
        "payment_intent": "pi_1",
    }
    return FraudWarned(FraudWarningSnapshot.from_object(said | changes, as_of=SECOND), refunds=refunds)


@pytest.mark.parametrize(
    ("facts", "warning", "is_told"),
    [
        ([PAID, Accepted()], warn(), True),
        ([PAID, Accepted()], warn(refunds=True), False),
        ([PAID, Accepted()], warn(actionable=False), False),
        ([PAID, Accepted(), snap_refund(amount=2000)], warn(), False),
        ([], warn(refunds=True), True),
    ],
)
def test_warning_of_fraud_calls_a_person_where_no_refund_follows(
    facts: list[Any], warning: FraudWarned, is_told: bool
) -> None:
    rows = make_rows(*facts, warning)
    assert list_concerns(rows) == [("fraud_warned", "issfr_1", {"fraud_type": "misc"})] * is_told
    assert rows.is_warned
    assert rows.notes["fraud warning"] == [None, {"warning": "issfr_1", "type": "misc"}]


def test_warning_that_is_on_record_says_nothing_new() -> None:
    rows = make_rows(PAID, Accepted())
    rows.warnings = frozenset({("issfr_1", "misc")})
    hear(rows, warn())
    assert (rows.is_warned, rows.notes, list_concerns(rows)) == (False, {}, [])
    assert hear(rows, warn(fraud_type="other")).is_warned


@pytest.mark.parametrize("changes", [{"payment_intent": "pi_2"}, {"livemode": True}])
def test_warning_of_another_payment_is_not_taken(changes: Any) -> None:
    rows = make_rows(PAID, Accepted(), warn(**changes))
    assert (rows.contradiction, rows.is_warned, rows.notes) == ("fraud_warning_differs", False, {})


def test_warning_before_the_intent_is_known_is_taken() -> None:
    assert make_rows(warn(), stripe_payment_intent_id=None).is_warned


def test_payment_that_is_new_is_asked_for_soon() -> None:
    assert make_rows(snap_charge(), next_check_at=None).payment.next_check_at == NOW + FIRST_CHECK_AFTER
