"""What each fact changes, over rows in memory. Every order of facts is checked in `test_orders`."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from octo_stripe_gateway.ledger.facts import (
    Accepted,
    AmountRequested,
    AmountTaken,
    ConcernSettled,
    CreationRefused,
    RefundRefused,
    RefundReserved,
    Rejected,
)
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import TIE_PAUSE, apply, may_reverse
from octo_stripe_gateway.models import Dispute, Refund
from tests.support.objects import (
    SECOND,
    make_declined_intent,
    make_intent,
    make_paid_intent,
)
from tests.support.rows import NOW, hear, make_rows
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

MOMENT = dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)
REJECTED = Rejected("host", {"words": "The tour is full."})


def paid(**changes: Any) -> Any:
    return snap_intent(make_paid_intent(**changes))


def list_codes(rows: Rows) -> list[str]:
    return [concern.code for concern in rows.concerns if concern.is_open]


def get_dispute(rows: Rows) -> Dispute:
    assert rows.disputes
    return rows.disputes[0]


def get_refund(rows: Rows) -> Refund:
    assert rows.refunds
    return rows.refunds[0]


# The intent.


@pytest.mark.parametrize(
    ("stripe_object", "status"),
    [
        (make_intent(), "pending"),
        (make_intent(status="requires_action"), "pending"),
        (make_intent(status="processing"), "pending"),
        (make_intent(status="something_new"), "pending"),
        (make_declined_intent(), "failed"),
        (make_intent(status="requires_capture", amount_capturable=2000), "authorized"),
        (make_paid_intent(), "paid"),
        (make_intent(status="canceled"), "canceled"),
        (make_intent(status="canceled", cancellation_reason="abandoned"), "canceled"),
        (make_intent(status="canceled", cancellation_reason="expired"), "expired"),
    ],
)
def test_status_follows_the_intent(stripe_object: Any, status: str) -> None:
    assert make_rows(snap_intent(stripe_object)).payment.status == status


def test_late_decline_does_not_undo_a_success() -> None:
    payment = make_rows(paid(), snap_intent(make_declined_intent(), second=60)).payment
    assert (payment.status, payment.failure_code, payment.failed_at) == ("paid", "", None)


def test_decline_is_cleared_by_the_next_attempt() -> None:
    rows = make_rows(snap_intent(make_declined_intent()))
    assert rows.payment.failed_at == MOMENT
    hear(rows, snap_intent(make_intent(status="requires_action"), second=1))
    assert (rows.payment.status, rows.payment.failure_code) == ("pending", "")
    assert not rows.payment.failed_at


@pytest.mark.parametrize(
    "earlier", [make_intent(), make_intent(status="requires_action"), make_intent(status="processing")]
)
def test_authorization_is_undone_by_no_earlier_state(earlier: Any) -> None:
    held = snap_intent(make_intent(status="requires_capture", amount_capturable=2000))
    payment = make_rows(held, snap_intent(earlier, second=1), capture_method="manual").payment
    assert (payment.status, payment.amount_capturable) == ("authorized", 2000)


@pytest.mark.parametrize("seconds", list(itertools.permutations((0, 5, 9))))
def test_confirmation_is_dated_by_the_earliest_snapshot_in_any_order(seconds: tuple[int, ...]) -> None:
    facts = [snap_intent(make_paid_intent(), second=second) for second in seconds]
    assert make_rows(*facts).payment.confirmed_at == MOMENT


@pytest.mark.parametrize("charges", list(itertools.permutations((None, "ch_1"))))
def test_event_that_names_no_charge_blanks_none(charges: tuple[str | None, ...]) -> None:
    facts = [
        snap_intent(make_paid_intent(latest_charge=charge), second=second)
        for second, charge in enumerate(charges)
    ]
    assert make_rows(*facts).payment.stripe_charge_id == "ch_1"


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({"id": "pi_2"}, {"id": ["pi_1", "pi_2"]}),
        ({"currency": "eur"}, {"currency": ["usd", "eur"]}),
        ({"livemode": True}, {"livemode": [False, True]}),
    ],
)
def test_intent_that_contradicts_the_row_is_not_applied(changes: Any, differences: Any) -> None:
    rows = make_rows(paid(**changes))
    assert (rows.contradiction, rows.payment.intent_status) == ("intent_differs", "")
    assert rows.concerns[0].parameters == {"differences": differences}


def test_partial_capture_is_the_hosts_to_judge() -> None:
    rows = make_rows(paid(amount_received=1), capture_method="manual")
    assert (rows.payment.status, rows.payment.amount_received, list_codes(rows)) == ("paid", 1, [])


@pytest.mark.parametrize("declines", [("a", "b"), ("b", "a")])
def test_two_words_of_one_second_have_the_payment_synced_once_more(declines: tuple[str, str]) -> None:
    facts = [snap_intent(make_declined_intent(code)) for code in declines]
    payment = make_rows(*facts).payment
    assert (payment.tied_as_of, payment.next_check_at) == (SECOND, NOW + TIE_PAUSE)
    rows = hear(Rows(payment), snap_intent(make_declined_intent("a"), second=1))
    assert (rows.payment.failure_code, rows.payment.tied_as_of) == ("a", 0)


@pytest.mark.parametrize(
    ("facts", "is_open"),
    [
        ([snap_refund(status="pending"), snap_refund()], True),
        ([snap_refund(), snap_refund()], False),
        ([snap_refund(status="pending"), snap_refund(second=1)], False),
        ([snap_dispute(), snap_dispute(status="won")], True),
        ([snap_dispute(), snap_dispute(status="won", second=1)], False),
    ],
)
def test_refund_or_dispute_that_changes_within_a_second_is_synced_once_more(
    facts: list[Any], is_open: bool
) -> None:
    assert bool(make_rows(paid(), *facts).payment.tied_as_of) is is_open


def test_receipt_is_kept_as_it_was_first_and_card_as_it_is_now() -> None:
    def charge(last4: str, receipt: str, second: int) -> Any:
        details = {"type": "card", "card": {"brand": "visa", "last4": last4}}
        return snap_charge(
            second=second,
            paid=True,
            payment_method_details=details,
            receipt_url=f"https://stripe.test/{receipt}",
        )

    payment = make_rows(paid(), charge("4242", "a", 0), charge("1111", "b", 1)).payment
    assert (payment.card_last4, payment.receipt_url) == ("1111", "https://stripe.test/a")


def test_requested_amount_is_taken_only_from_a_snapshot_later_than_its_request() -> None:
    rows = make_rows(snap_intent(make_intent()))
    apply(rows, AmountRequested(2500), now=MOMENT + dt.timedelta(seconds=10))
    hear(rows, snap_intent(make_intent(amount=2500), second=5))
    assert (rows.payment.amount, rows.payment.amount_requested) == (2000, 2500)
    hear(rows, snap_intent(make_intent(amount=2500), second=11))
    assert (rows.payment.amount, rows.payment.amount_requested) == (2500, None)


def test_answer_about_the_amount_counts_whatever_the_clocks_say() -> None:
    rows = make_rows(snap_intent(make_intent()))
    apply(rows, AmountRequested(2500), now=MOMENT + dt.timedelta(seconds=10))
    hear(rows, AmountTaken(snap_intent(make_intent(amount=2500), second=5)))
    assert (rows.payment.amount, rows.payment.amount_requested) == (2500, None)


def test_another_amount_that_the_host_accepts_is_the_payments_amount() -> None:
    rows = make_rows(paid(amount=2500, amount_received=2500), Accepted(), payable_type_id=1)
    assert (rows.payment.amount, rows.payment.status, list_codes(rows)) == (2500, "paid", [])


def test_rejected_payment_is_failed_until_its_money_went_back() -> None:
    rows = make_rows(paid(), REJECTED)
    payment = rows.payment
    assert (payment.status, payment.confirmed_at, payment.needs_reversal) == ("failed", None, True)
    hear(rows, snap_refund(amount=2000))
    assert (payment.status, payment.needs_reversal) == ("refunded", False)


def test_creation_that_stripe_refused_is_settled() -> None:
    refused = CreationRefused("amount_too_small", "Too small.")
    payment = make_rows(refused, stripe_payment_intent_id=None).payment
    assert (payment.status, payment.next_check_at) == ("failed", None)


# Refunds.


@pytest.mark.parametrize(
    ("fact", "code", "name"),
    [
        (snap_charge(payment_intent="pi_2"), "charge_differs", "payment_intent_id"),
        (snap_charge(currency="eur"), "charge_differs", "currency"),
        (snap_charge(livemode=True), "charge_differs", "livemode"),
        (snap_refund(payment_intent="pi_2"), "refund_differs", "payment_intent_id"),
        (snap_refund(currency="eur"), "refund_differs", "currency"),
        (snap_dispute(payment_intent="pi_2"), "dispute_differs", "payment_intent_id"),
        (snap_dispute(livemode=True), "dispute_differs", "livemode"),
    ],
)
def test_what_contradicts_the_row_is_not_applied(fact: Any, code: str, name: str) -> None:
    rows = make_rows(paid(), fact)
    assert (rows.contradiction, rows.refunds, rows.disputes) == (code, [], [])
    assert list(rows.concerns[0].parameters["differences"]) == [name]


def test_refund_of_another_amount_than_reserved_is_not_applied() -> None:
    refund = Refund(amount=500)
    rows = make_rows(paid(), RefundReserved(refund))
    hear(rows, snap_refund(amount=400, metadata={"octo_refund": str(refund.uuid)}))
    assert (rows.contradiction, refund.is_reserved) == ("refund_differs", True)


def test_dispute_may_be_of_another_currency() -> None:
    assert make_rows(paid(), snap_dispute(currency="eur")).contradiction == ""


def test_refunds_are_counted_once_beside_the_charges_total() -> None:
    rows = make_rows(paid(), snap_charge(amount_refunded=500))
    assert (rows.payment.amount_refunded, rows.payment.status) == (500, "paid")
    assert hear(rows, snap_refund()).payment.amount_refunded == 500


def test_refund_that_failed_before_the_total_was_taken_is_not_in_it() -> None:
    failed = snap_refund(status="failed", second=1)
    rows = make_rows(paid(), failed, snap_charge(amount_refunded=300, second=2))
    assert rows.payment.amount_refunded == 300


def test_refund_that_failed_after_the_total_was_taken_frees_its_amount() -> None:
    rows = make_rows(paid(), snap_charge(amount_refunded=500, second=1))
    assert hear(rows, snap_refund(status="failed", second=1)).payment.amount_refunded == 0


@pytest.mark.parametrize("totals", [(500, 800), (800, 500)])
def test_largest_total_of_a_second_is_its_last(totals: tuple[int, int]) -> None:
    rows = make_rows(paid(), *(snap_charge(amount_refunded=total) for total in totals))
    assert rows.payment.charge_amount_refunded == 800


def test_nothing_is_refunded_before_it_is_known_to_be_received() -> None:
    rows = make_rows(snap_refund(amount=2000), snap_charge(amount_refunded=2000))
    assert (rows.payment.amount_refunded, rows.payment.status) == (0, "pending")
    hear(rows, paid())
    assert (rows.payment.amount_refunded, rows.payment.status) == (2000, "refunded")
    assert rows.payment.refunded_at == NOW


def test_reserved_amounts_are_gone_but_not_refunded() -> None:
    payment = make_rows(paid(), snap_refund(), RefundReserved(Refund(amount=700))).payment
    assert (payment.amount_refunded, payment.amount_reserved, payment.amount_refundable) == (500, 700, 800)


def test_full_refund_that_fails_makes_the_payment_paid_again() -> None:
    rows = make_rows(paid(), snap_refund(amount=2000))
    assert rows.payment.status == "refunded"
    hear(rows, snap_refund(amount=2000, status="failed", second=9))
    payment = rows.payment
    assert (payment.status, payment.refunded_at, payment.amount_refundable) == ("paid", None, 2000)


def test_refund_that_was_given_up_counts_again_when_stripe_made_it_after_all() -> None:
    refund = Refund(id=1, amount=500)
    rows = make_rows(paid(), RefundReserved(refund), RefundRefused(1, "abandoned", ""))
    assert (refund.status, refund.failure_reason, rows.payment.amount_reserved) == ("failed", "abandoned", 0)
    hear(rows, snap_refund(metadata={"octo_refund": str(refund.uuid)}))
    assert (refund.status, refund.failure_reason, refund.is_live) == ("succeeded", "", True)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_latest_word_of_a_refund_counts_whatever_came_first(order: tuple[int, ...]) -> None:
    """A refund that failed may go on, so no status is final."""
    facts = [
        snap_refund(status="pending"),
        snap_refund(status="failed", failure_reason="unknown", second=5),
        snap_refund(second=9),
    ]
    rows = make_rows(paid(), *(facts[place] for place in order))
    refund = get_refund(rows)
    assert (refund.status, refund.failure_reason, refund.status_as_of) == ("succeeded", "", SECOND + 9)
    assert list_codes(rows) == []


@pytest.mark.parametrize(
    ("status", "failure_reason", "code"),
    [
        ("failed", "expired_or_canceled_card", "refund_failed"),
        ("canceled", "", "refund_canceled"),
        # The bank may have given the customer the money by the dispute.
        ("failed", "charge_for_pending_refund_disputed", "refund_canceled"),
    ],
)
def test_refund_that_ends_without_the_customer_having_the_money_is_told(
    status: str, failure_reason: str, code: str
) -> None:
    rows = make_rows(paid(), snap_refund())
    hear(rows, snap_refund(status=status, failure_reason=failure_reason, second=1))
    assert list_codes(rows) == [code]
    assert rows.concerns[0].parameters == {"amount": 500, "failure_reason": failure_reason}
    assert rows.payment.amount_refunded == 0


def test_rejected_money_is_not_sent_again_after_a_refund_failed_later() -> None:
    rows = make_rows(paid(), REJECTED)
    assert may_reverse(rows)
    hear(rows, snap_refund(amount=2000), snap_refund(amount=2000, status="failed", second=1))
    assert not may_reverse(rows)
    assert (list_codes(rows), rows.payment.next_check_at) == (["refund_failed"], None)
    hear(rows, ConcernSettled(1, by="anna", reason="Paid by bank."))
    assert not may_reverse(rows)


def test_refund_for_lack_of_balance_is_repeated_a_few_times() -> None:
    rows = make_rows(paid(), REJECTED)
    for number in range(1, 4):
        assert may_reverse(rows)
        failed = {"id": f"re_{number}", "amount": 2000, "failure_reason": "insufficient_funds"}
        hear(rows, snap_refund(status="failed", second=number, **failed))
    assert not may_reverse(rows)
    assert list_codes(rows) == ["refund_failed"]


def test_hold_that_stripe_would_not_release_needs_nobody_once_it_is_canceled() -> None:
    held = snap_intent(make_intent(status="requires_capture", amount_capturable=2000))
    rows = make_rows(held, REJECTED)
    hear(rows, RefundRefused(None, "payment_intent_unexpected_state", "No."))
    assert list_codes(rows) == ["reversal_refused"]
    hear(rows, snap_intent(make_intent(status="canceled"), second=1))
    assert list_codes(rows) == []


def test_refusal_for_lack_of_balance_is_tried_again_and_any_other_waits_for_a_person() -> None:
    rows = make_rows(paid(), REJECTED, RefundReserved(Refund(id=1, amount=2000)))
    hear(rows, RefundRefused(1, "insufficient_balance_for_refund", "Insufficient funds."))
    assert (may_reverse(rows), list_codes(rows)) == (True, [])
    hear(rows, RefundRefused(None, "charge_already_refunded", "Refunded."))
    assert (may_reverse(rows), list_codes(rows)) == (False, ["reversal_refused"])


def test_nothing_rejected_is_refunded_while_a_dispute_is_open_or_after_it_was_lost() -> None:
    rows = make_rows(paid(), REJECTED, snap_dispute())
    assert not may_reverse(rows)
    hear(rows, snap_dispute(status="lost", second=1))
    assert not may_reverse(rows)
    assert list_codes(rows) == ["money_held"]
    assert rows.concerns[0].parameters == {"amount": 1500}
    hear(rows, snap_dispute(status="won", second=2))
    assert may_reverse(rows)


# Disputes.


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_lost_dispute_that_goes_on_is_open_again_in_any_order(
    order: tuple[int, ...],
) -> None:
    facts = [
        snap_dispute(),
        snap_dispute(status="under_review", second=1),
        snap_dispute(status="lost", second=2),
        snap_dispute(status="appeal_under_review", second=3),
    ]
    rows = make_rows(paid(), *(facts[place] for place in order))
    dispute = get_dispute(rows)
    assert (dispute.status, dispute.status_as_of, dispute.is_open) == (
        "appeal_under_review",
        SECOND + 3,
        True,
    )
    assert (rows.payment.disputed, rows.payment.amount_lost) == (True, 0)


@pytest.mark.parametrize("status", ["needs_response", "under_review", "warning_needs_response", "unheard_of"])
def test_dispute_is_open_until_it_is_decided(status: str) -> None:
    rows = make_rows(paid(), snap_dispute(status=status))
    assert get_dispute(rows).is_open
    assert rows.payment.disputed is True


@pytest.mark.parametrize("status", ["won", "lost", "warning_closed", "prevented"])
def test_decided_dispute_is_over(status: str) -> None:
    assert make_rows(paid(), snap_dispute(status=status)).payment.disputed is False


@pytest.mark.parametrize(
    ("status", "blocks"),
    [
        ("needs_response", True),
        ("under_review", True),
        ("appeal_needs_response", True),
        ("unheard_of", True),
        ("warning_needs_response", False),
        ("warning_under_review", False),
        ("warning_closed", False),
        ("won", False),
        ("lost", False),
    ],
)
def test_dispute_blocks_refunds_while_it_is_open_and_no_inquiry(status: str, blocks: bool) -> None:
    assert make_rows(paid(), snap_dispute(status=status)).payment.refunds_blocked is blocks


def test_payment_is_disputed_while_one_of_several_is_open() -> None:
    rows = make_rows(paid(), snap_dispute(status="won"), snap_dispute(id="dp_2"))
    assert rows.payment.disputed is True
    assert hear(rows, snap_dispute(id="dp_2", status="won", second=1)).payment.disputed is False


def test_what_is_lost_is_gone_and_what_is_won_is_not() -> None:
    lost, won = snap_dispute(amount=300, status="lost"), snap_dispute(id="dp_2", status="won")
    payment = make_rows(paid(), lost, won).payment
    assert payment.amount_lost == 300
    assert (payment.amount_held, payment.amount_refundable, payment.status) == (1700, 1700, "paid")


def test_loss_in_another_currency_blocks_refunds_until_a_person_enters_its_amount() -> None:
    rows = make_rows(paid(), snap_dispute(amount=700, currency="eur", status="lost"))
    payment = rows.payment
    assert (payment.amount_lost, payment.refunds_blocked, payment.is_refundable) == (0, True, False)
    assert list_codes(rows) == ["loss_in_other_currency"]
    assert rows.concerns[0].parameters == {"amount": 700, "currency": "eur"}
    hear(rows, ConcernSettled(1, by="anna", reason="As on the statement.", amount=800))
    assert (payment.amount_lost, payment.refunds_blocked, payment.amount_refundable) == (800, False, 1200)
    hear(rows, snap_dispute(amount=700, currency="eur", status="won", second=5))
    assert (payment.amount_lost, payment.amount_refundable) == (0, 2000)


def test_loss_that_is_heard_of_before_the_payment_counts_from_then_on() -> None:
    rows = make_rows(snap_dispute(status="lost"))
    assert (rows.payment.amount_lost, rows.payment.losses_total) == (0, 500)
    assert hear(rows, paid()).payment.amount_lost == 500


# What is to be asked next.


@pytest.mark.parametrize(
    ("stripe_object", "settled"),
    [
        (make_intent(), False),
        (make_declined_intent(), False),
        (make_intent(status="processing"), False),
        (make_intent(status="requires_capture"), False),
        (make_intent(status="canceled"), True),
        (make_paid_intent(), True),
    ],
)
def test_payment_is_checked_until_stripe_will_not_change_it(stripe_object: Any, settled: bool) -> None:
    payment = make_rows(snap_intent(stripe_object), accepted_at=NOW).payment
    assert (payment.next_check_at is None) is settled


def test_payment_is_checked_again_while_a_refund_is_under_way() -> None:
    rows = make_rows(paid(), Accepted())
    assert rows.payment.next_check_at is None
    assert hear(rows, RefundReserved(Refund(id=1, amount=500))).payment.next_check_at
    hear(rows, RefundRefused(1, "refused", ""))
    assert rows.payment.next_check_at is None
    assert hear(rows, snap_refund(status="pending")).payment.next_check_at
    assert hear(rows, snap_refund(second=1)).payment.next_check_at is None


def test_payment_is_checked_while_a_dispute_is_open() -> None:
    rows = make_rows(paid(), Accepted(), snap_dispute())
    assert rows.payment.next_check_at
    assert hear(rows, snap_dispute(status="won", second=1)).payment.next_check_at is None


def test_payment_is_checked_while_the_host_has_not_accepted_it() -> None:
    rows = make_rows(paid())
    assert rows.payment.next_check_at
    assert hear(rows, Accepted()).payment.next_check_at is None


def test_payment_is_checked_while_it_is_rejected_with_money_held() -> None:
    rows = make_rows(paid(), REJECTED)
    assert rows.payment.next_check_at
    assert hear(rows, snap_refund(amount=2000)).payment.next_check_at is None


@pytest.mark.parametrize(
    "facts",
    [
        [snap_dispute(status="warning_needs_response"), snap_dispute(second=1)],
        [snap_dispute(status="won")],
        [snap_dispute(status="won"), snap_dispute(second=1)],
        [snap_refund()],
        [snap_refund(), snap_refund(status="canceled", second=1)],
    ],
)
def test_books_are_asked_about_each_movement(facts: list[Any]) -> None:
    rows = make_rows(paid(), *facts[:-1])
    rows.remember()
    rows.payment.next_booking_at = None
    assert hear(rows, facts[-1]).payment.next_booking_at == NOW


@pytest.mark.parametrize(
    ("facts", "is_asked"),
    [
        ([snap_charge(amount_refunded=500)], True),
        ([snap_refund(id="re_9", amount=7, second=1)], True),
        ([paid(amount_received=2001, second=1)], True),
        ([snap_dispute(status="warning_needs_response", second=5)], True),
        ([snap_dispute(status="warning_needs_response")], False),
        ([Accepted()], False),
        ([ConcernSettled(9, by="anna", reason="Known.")], False),
    ],
)
def test_books_are_asked_only_where_money_may_have_moved(facts: list[Any], is_asked: bool) -> None:
    rows = make_rows(paid(), snap_dispute(status="warning_needs_response"))
    hear(rows, snap_refund(id="re_9", amount=7, status="pending"))
    rows.remember()
    rows.payment.next_booking_at, rows.payment.bookings = None, 7
    hear(rows, *facts)
    expected = (NOW, 0) if is_asked else (None, 7)
    assert (rows.payment.next_booking_at, rows.payment.bookings) == expected


def test_books_are_asked_once_a_person_says_how_much_was_lost() -> None:
    rows = make_rows(paid(), snap_dispute(amount=700, currency="eur", status="lost"))
    rows.remember()
    rows.payment.next_booking_at = None
    settled = ConcernSettled(1, by="anna", reason="Known.", amount=800)
    assert hear(rows, settled).payment.next_booking_at == NOW


@pytest.mark.parametrize(
    ("first", "second", "is_asked"),
    [
        (make_intent(), make_declined_intent(), False),
        (make_intent(status="processing"), make_declined_intent(), True),
        (make_intent(status="processing"), make_intent(status="processing"), True),
        (make_intent(), make_intent(status="processing"), True),
    ],
)
def test_books_are_asked_about_a_bank_debit_whenever_it_may_have_failed(
    first: Any, second: Any, is_asked: bool
) -> None:
    rows = make_rows(snap_intent(first))
    rows.remember()
    rows.payment.next_booking_at = None
    assert bool(hear(rows, snap_intent(second, second=5)).payment.next_booking_at) is is_asked


@pytest.mark.parametrize(("tied_as_of", "is_asked"), [(SECOND, True), (0, False)])
def test_books_are_asked_about_what_comes_after_a_tie(tied_as_of: int, is_asked: bool) -> None:
    rows = make_rows(snap_intent(make_declined_intent()))
    rows.payment.tied_as_of = tied_as_of
    rows.remember()
    rows.payment.next_booking_at = None
    assert hear(rows, Rejected("host", {})).payment.next_booking_at is None
    hear(rows, snap_intent(make_intent(status="requires_action"), second=3))
    assert bool(rows.payment.next_booking_at) is is_asked


@pytest.mark.parametrize(
    ("facts", "second"),
    [
        ([snap_refund(status="pending", second=7), snap_refund(second=7)], 7),
        ([snap_dispute(second=8), snap_dispute(status="won", second=8)], 8),
        ([paid(), snap_refund(status="pending"), snap_refund()], 0),
    ],
)
def test_tie_is_as_late_as_the_latest_word(facts: list[Any], second: int) -> None:
    assert make_rows(paid(), *facts).payment.tied_as_of == SECOND + second


# Totals and concerns about them.


def test_losses_of_several_disputes_add_up() -> None:
    lost = [snap_dispute(id=f"dp_{number}", amount=300, status="lost") for number in (1, 2)]
    assert make_rows(paid(), *lost).payment.amount_lost == 600


def test_losses_in_another_currency_add_up_once_all_are_known() -> None:
    lost = [
        snap_dispute(id=f"dp_{number}", amount=100 * number, currency="eur", status="lost")
        for number in (1, 2)
    ]
    rows = make_rows(paid(), *lost)
    assert [(each.object_id, each.parameters["amount"]) for each in rows.concerns] == [
        ("dp_1", 100),
        ("dp_2", 200),
    ]
    hear(rows, ConcernSettled(2, by="anna", reason="Known.", amount=220))
    assert (rows.payment.amount_lost, rows.payment.refunds_blocked) == (220, True)
    hear(rows, ConcernSettled(1, by="anna", reason="Known.", amount=110))
    assert (rows.payment.amount_lost, rows.payment.refunds_blocked) == (330, False)


def test_loss_in_another_currency_that_is_won_after_all_needs_nobody() -> None:
    rows = make_rows(paid(), snap_dispute(currency="eur", status="lost"))
    hear(rows, snap_dispute(currency="eur", status="won", second=1))
    assert list_codes(rows) == []


@pytest.mark.parametrize(("received", "refunded", "status"), [(0, 0, "paid"), (1, 1, "refunded")])
def test_payment_is_refunded_once_all_that_was_received_is(received: int, refunded: int, status: str) -> None:
    facts = [paid(amount_received=received), *([snap_refund(amount=refunded)] if refunded else [])]
    assert make_rows(*facts, capture_method="manual").payment.status == status


def test_payment_has_concerns_for_ever_once_it_had_one() -> None:
    rows = make_rows(paid())
    assert rows.payment.has_concerns is False
    hear(rows, paid(currency="eur"), snap_intent(make_paid_intent(), second=1))
    assert (rows.payment.has_concerns, list_codes(rows)) == (True, [])


def test_rejected_hold_is_failed() -> None:
    held = snap_intent(make_intent(status="requires_capture", amount_capturable=2000))
    payment = make_rows(held, REJECTED, capture_method="manual").payment
    assert (payment.status, payment.needs_reversal) == ("failed", True)


def test_refunded_and_lost_never_exceed_what_was_received() -> None:
    lost = snap_dispute(amount=2000, status="lost")
    payment = make_rows(paid(), snap_refund(amount=1500), lost).payment
    assert (payment.amount_refunded, payment.amount_lost, payment.amount_held) == (1500, 500, 0)


@pytest.mark.parametrize(("loaded", "forgiven"), [("refunds", 500), ("disputes", 300), ("none", 7)])
def test_what_is_forgiven_follows_what_is_loaded(loaded: str, forgiven: int) -> None:
    rows = make_rows(paid(), snap_refund(), snap_dispute(amount=300, status="lost"))
    get_dispute(rows).amount_forgiven, rows.payment.amount_forgiven = 300, 7
    only = Rows(
        rows.payment,
        refunds=rows.refunds if loaded == "refunds" else None,
        disputes=rows.disputes if loaded == "disputes" else None,
    )
    assert hear(only, Accepted()).payment.amount_forgiven == forgiven


def test_failed_refund_is_told_beside_one_that_went_well() -> None:
    rows = make_rows(paid(), snap_refund(), snap_refund(id="re_2", amount=1, status="failed"))
    assert [(each.code, each.object_id) for each in rows.concerns] == [("refund_failed", "re_2")]


def test_each_refund_that_failed_is_told_with_its_moment() -> None:
    rows = make_rows(paid(), REJECTED)
    hear(
        rows,
        snap_refund(status="failed", failure_reason="insufficient_funds"),
        snap_refund(id="re_2", status="failed", failure_reason="lost_or_stolen_card", second=4),
    )
    assert [(each.code, each.object_id, each.as_of) for each in rows.concerns] == [
        ("refund_failed", "re_2", SECOND + 4)
    ]


def test_refused_refund_that_stripe_never_had_did_not_fail_later() -> None:
    rows = make_rows(paid(), RefundReserved(Refund(id=1, amount=5)), RefundRefused(1, "refused", "No."))
    assert list_codes(rows) == []


def test_refund_that_only_an_old_event_reported_needs_nobody() -> None:
    listed = {"data": [], "has_more": False}
    rows = make_rows(paid(), snap_refund(), snap_charge(refunds=listed, second=9))
    assert (get_refund(rows).failure_reason, list_codes(rows)) == ("not_at_stripe", [])


@pytest.mark.parametrize(
    ("stripe_object", "columns", "parameters"),
    [
        (make_paid_intent(amount=2500, amount_received=2500), {}, {"amount": 2000, "seen": 2500}),
        (make_paid_intent(amount_received=1500), {}, {"amount": 2000, "seen": 1500}),
        (make_paid_intent(amount_received=1500), {"capture_method": "manual"}, None),
        (
            make_paid_intent(amount=2500),
            {"capture_method": "manual"},
            {"amount": 2000, "seen": 2500},
        ),
        (make_paid_intent(amount=2500, amount_received=2500), {"payable_type_id": 1}, None),
        (make_paid_intent(amount=2500, amount_received=2500), {"amount_requested": 2500}, None),
        (make_intent(amount=2500), {}, None),
    ],
)
def test_money_that_nobody_asked_for_is_told(stripe_object: Any, columns: Any, parameters: Any) -> None:
    rows = make_rows(snap_intent(stripe_object), amount_as_of=SECOND + 5, **columns)
    told = [(each.code, each.object_id, each.parameters) for each in rows.concerns]
    assert told == ([("money_beyond_row", "pi_1", parameters)] if parameters else [])


def test_money_that_nobody_asked_for_is_told_until_stripe_says_otherwise() -> None:
    rows = make_rows(paid(amount=2500, amount_received=2500), snap_intent(make_paid_intent(), second=1))
    assert (len(rows.concerns), list_codes(rows)) == (1, [])


def test_amount_of_the_very_second_of_its_request_is_not_taken() -> None:
    rows = make_rows(snap_intent(make_intent()))
    apply(rows, AmountRequested(2500), now=MOMENT + dt.timedelta(seconds=10))
    hear(rows, snap_intent(make_intent(amount=2500), second=10))
    assert (rows.payment.amount, rows.payment.amount_requested) == (2000, 2500)
