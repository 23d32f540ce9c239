"""Which of Stripe's snapshots counts, and what it changes in the rows."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from octo_stripe_gateway.ledger.facts import (
    AmountRequested,
    AmountTaken,
    RefundRegained,
    RefundReserved,
    Regained,
)
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import apply
from octo_stripe_gateway.ledger.said import tells_news
from octo_stripe_gateway.models import Dispute, Refund
from octo_stripe_gateway.stripe.snapshots import BalanceTransactionSnapshot
from tests.support.objects import (
    SECOND,
    make_charge,
    make_declined_intent,
    make_intent,
    make_paid_intent,
    make_payment,
    make_refund,
)
from tests.support.rows import NOW, hear, make_rows
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

MOMENT = dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)


def paid(*, second: int = 0, **changes: Any) -> Any:
    return snap_intent(make_paid_intent(**changes), second=second)


def is_tied(*facts: Any, **columns: Any) -> bool:
    return bool(make_rows(*facts, **columns).payment.tied_as_of)


# The intent.


def test_new_status_begins_the_pauses_between_checks_anew() -> None:
    later = NOW + dt.timedelta(days=30)
    columns = {"checks": 7, "next_check_at": later, "intent_status": "requires_payment_method"}
    payment = make_rows(snap_intent(make_intent()), **columns).payment
    assert (payment.checks, payment.next_check_at) == (7, later)
    payment = make_rows(snap_intent(make_intent(status="requires_action")), **columns).payment
    assert (payment.checks, payment.next_check_at == later) == (0, False)
    payment = make_rows(snap_intent(make_intent()), **columns | {"intent_status": ""}).payment
    assert (payment.checks, payment.next_check_at) == (0, later)


def test_charge_of_a_former_stage_is_forgotten() -> None:
    declined = make_declined_intent(latest_charge="ch_0")
    rows = make_rows(snap_intent(declined), paid(latest_charge=None, second=1))
    assert rows.payment.stripe_charge_id == ""
    rows = make_rows(snap_intent(declined), snap_intent(make_intent(status="requires_action"), second=1))
    assert rows.payment.stripe_charge_id == "ch_0"


def test_charge_is_learned_even_from_an_older_snapshot_of_the_stage() -> None:
    rows = make_rows(paid(latest_charge=None, second=5), paid(latest_charge="ch_1"))
    assert (rows.payment.stripe_charge_id, rows.payment.intent_as_of) == ("ch_1", SECOND + 5)
    hear(rows, snap_intent(make_declined_intent(latest_charge="ch_0"), second=9))
    assert rows.payment.stripe_charge_id == "ch_1"


def test_outcomes_are_dated() -> None:
    canceled = snap_intent(make_intent(status="canceled"), second=3)
    payment = make_rows(canceled, snap_intent(make_intent(status="canceled"), second=9)).payment
    assert (payment.canceled_at, payment.confirmed_at) == (MOMENT + dt.timedelta(seconds=3), None)
    payment = make_rows(snap_intent(make_intent())).payment
    assert (payment.canceled_at, payment.confirmed_at) == (None, None)


def test_bank_debit_is_paid_when_its_processing_began() -> None:
    processing = make_intent(status="processing")
    for order in itertools.permutations([(processing, 3), (processing, 5), (make_paid_intent(), 60)]):
        payment = make_rows(*(snap_intent(each, second=second) for each, second in order)).payment
        if order[0][0] is processing:
            assert payment.paid_as_of == SECOND + min(second for each, second in order if each is processing)
    rows = make_rows(snap_intent(processing), snap_intent(make_declined_intent(), second=9))
    assert rows.payment.paid_as_of == 0


def test_debit_that_is_heard_of_too_late_has_the_books_asked() -> None:
    rows = make_rows(paid(second=9))
    rows.remember()
    rows.payment.next_booking_at = None
    assert hear(rows, snap_intent(make_intent(status="processing"))).payment.next_booking_at == NOW
    rows = make_rows(paid(second=9))
    rows.remember()
    rows.payment.next_booking_at = None
    assert hear(rows, snap_intent(make_declined_intent())).payment.next_booking_at is None


@pytest.mark.parametrize(
    ("first", "second", "tied"),
    [
        (make_intent(), make_declined_intent(), True),
        (make_declined_intent(), make_intent(status="requires_action"), True),
        (make_intent(), make_intent(status="requires_action"), False),
        (make_intent(), make_intent(status="processing"), True),
        (make_intent(status="processing"), make_intent(), True),
        (make_intent(), make_intent(amount=2500), True),
        (make_declined_intent(), make_declined_intent(), False),
        (make_declined_intent(), make_paid_intent(), False),
        (make_paid_intent(), make_paid_intent(latest_charge="ch_2"), False),
    ],
)
def test_two_snapshots_of_a_second_are_tied_where_the_later_is_not_known(
    first: Any, second: Any, tied: bool
) -> None:
    assert is_tied(snap_intent(first), snap_intent(second)) is tied
    assert not is_tied(snap_intent(first), snap_intent(second, second=1))


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({"second": 1}, False),
        ({"second": 0}, True),
        ({"second": 1, "latest_charge": "ch_1"}, True),
        ({"second": 1, "latest_charge": make_charge()}, True),
        ({"second": 1, "latest_charge": make_charge(refunds={"data": [], "has_more": True})}, True),
        ({"second": 1, "latest_charge": make_charge(refunds={"data": [], "has_more": False})}, False),
    ],
)
def test_only_a_later_and_whole_answer_ends_a_tie(changes: dict[str, Any], is_open: bool) -> None:
    rows = make_rows(paid(latest_charge=None), tied_as_of=SECOND)
    answer = paid(**{"latest_charge": None} | changes | {"second": 0})
    hear(rows, replace(answer, as_of=SECOND + changes["second"]))
    assert bool(rows.payment.tied_as_of) is is_open


def test_answer_brings_its_charge_and_disputes() -> None:
    charge = make_charge(amount_refunded=300)
    answer = replace(paid(latest_charge=charge), disputes=(snap_dispute(),))
    rows = make_rows(answer)
    assert (rows.payment.amount_refunded, rows.payment.disputed) == (300, True)


# The amount.


@pytest.mark.parametrize(
    ("status", "second", "amount"),
    [
        ("requires_action", 10, 2000),
        ("requires_action", 11, 2000),
        ("requires_action", 12, 2500),
        ("canceled", 10, 2500),
    ],
)
def test_open_intent_of_before_our_change_keeps_our_amount(status: str, second: int, amount: int) -> None:
    rows = make_rows(intent_amount=2000, amount_as_of=SECOND + 10, intent_as_of=SECOND)
    hear(rows, snap_intent(make_intent(status=status, amount=2500), second=second))
    assert rows.payment.intent_amount == amount


@pytest.mark.parametrize(("as_of", "amount"), [(0, 2500), (1, 2000)])
def test_snapshot_of_no_known_second_is_not_of_before_our_change(as_of: int, amount: int) -> None:
    rows = make_rows(intent_amount=2000, amount_as_of=SECOND)
    hear(rows, snap_intent(make_intent(amount=2500), second=as_of - SECOND))
    assert rows.payment.intent_amount == amount


def test_amount_that_was_asked_for_is_taken_as_soon_as_it_is_seen() -> None:
    rows = make_rows(amount_requested=2500, amount_as_of=SECOND + 10)
    hear(rows, snap_intent(make_intent(amount=2500), second=10))
    assert rows.payment.intent_amount == 2500


@pytest.mark.parametrize(
    ("known", "answered", "intent_amount", "amount_as_of"),
    [(10, 10, 2500, 10), (11, 10, 2500, 10), (12, 10, 2000, 10), (10, 30, 2500, 30), (10, 3, 2000, 8)],
)
def test_our_own_answer_about_the_amount_counts_within_a_second(
    known: int, answered: int, intent_amount: int, amount_as_of: int
) -> None:
    rows = make_rows(snap_intent(make_intent(status="requires_action"), second=known))
    apply(rows, AmountRequested(2500), now=MOMENT + dt.timedelta(seconds=8))
    hear(rows, AmountTaken(snap_intent(make_intent(amount=2500), second=answered)))
    payment = rows.payment
    assert (payment.amount, payment.amount_requested) == (2500, None)
    assert (payment.intent_amount, payment.amount_as_of) == (intent_amount, SECOND + amount_as_of)


def test_answer_to_an_older_amount_request_changes_nothing() -> None:
    rows = make_rows(snap_intent(make_intent(), second=1))
    apply(rows, AmountRequested(2500), now=MOMENT + dt.timedelta(seconds=2))
    hear(rows, AmountTaken(snap_intent(make_intent(amount=2300), second=1)))
    payment = rows.payment
    assert (payment.amount, payment.amount_requested, payment.amount_as_of) == (2000, 2500, SECOND + 2)
    assert payment.intent_amount == 2300


@pytest.mark.parametrize("waits", [True, False])
def test_regained_payment_costs_what_its_intent_does(waits: bool) -> None:
    rows = make_rows(Regained(paid(amount=2500, amount_received=2500), waits=waits))
    assert (rows.payment.amount, rows.payment.awaits_operator) == (2500, waits)
    assert rows.payment.status == ("pending" if waits else "paid")


@pytest.mark.parametrize(
    ("facts", "name", "columns", "code"),
    [
        ([paid], "shop.booking:1", {}, "payable_unknown"),
        ([paid], "shop.booking:1", {"payable_type_id": 1}, "adopted"),
        ([paid], "", {}, "adopted"),
        ([paid], "shop.booking:1", {"awaits_operator": False}, None),
    ],
)
def test_adopted_money_calls_an_operator_once(facts: Any, name: str, columns: Any, code: str | None) -> None:
    metadata = {"octo_payable": name} if name else {}
    rows = make_rows(paid(metadata=metadata), **{"awaits_operator": True} | columns)
    hear(rows, paid(metadata=metadata, second=5))
    told = [(each.code, each.parameters) for each in rows.concerns]
    assert told == ([(code, {"name": name})] if code else [])


@pytest.mark.parametrize(
    ("stripe_object", "is_told"),
    [
        (make_intent(), False),
        (make_intent(status="requires_capture", amount_capturable=2000), True),
        (make_paid_intent(), True),
    ],
)
def test_adopted_payment_without_money_waits_quietly(stripe_object: Any, is_told: bool) -> None:
    assert bool(make_rows(snap_intent(stripe_object), awaits_operator=True).concerns) is is_told


# The charge.


def test_hold_ends_when_the_charge_says() -> None:
    until = {"card": {"capture_before": SECOND + 60}, "type": "card"}
    rows = make_rows(snap_charge(payment_method_details=until), snap_charge(second=1))
    assert rows.payment.capture_before == MOMENT + dt.timedelta(seconds=60)


@pytest.mark.parametrize(
    ("facts", "paid_as_of"),
    [
        ([paid()], SECOND - 5),
        ([paid(latest_charge="ch_2")], 0),
        ([snap_intent(make_declined_intent(latest_charge="ch_1"))], 0),
    ],
)
def test_payment_is_paid_when_its_own_charge_was_made(facts: list[Any], paid_as_of: int) -> None:
    assert make_rows(*facts, snap_charge(created=SECOND - 5)).payment.paid_as_of == paid_as_of


def test_charge_is_booked_provisionally_until_the_books_are() -> None:
    booked = BalanceTransactionSnapshot(
        id="txn_1",
        source_id="ch_1",
        type="charge",
        reporting_category="charge",
        amount=2000,
        fee=88,
        net=1912,
        currency="eur",
        exchange_rate=Decimal("0.9"),
        created=SECOND,
        available_on=SECOND,
        payment_intent_id="pi_1",
        card=None,
    )
    payment = make_rows(paid(), replace(snap_charge(), booked=booked)).payment
    assert (payment.settlement_currency, payment.exchange_rate) == ("eur", Decimal("0.9"))
    assert (payment.fee, payment.net) == (88, 1912)
    columns = {"settlement_currency": "usd", "fee": 1, "net": 2}
    payment = make_rows(paid(), replace(snap_charge(), booked=booked), **columns).payment
    assert (payment.settlement_currency, payment.fee, payment.net) == ("usd", 1, 2)


@pytest.mark.parametrize(
    ("created", "is_complete", "status"),
    [(SECOND, True, "canceled"), (SECOND + 9, True, "succeeded"), (SECOND, False, "succeeded")],
)
def test_refund_that_a_complete_list_lacks_was_never_made(
    created: int, is_complete: bool, status: str
) -> None:
    listed = {"data": [make_refund(id="re_2", amount=100)], "has_more": not is_complete}
    rows = make_rows(paid(), snap_refund(created=created), snap_charge(refunds=listed, second=9))
    assert rows.refunds
    first, second = rows.refunds
    assert (first.status, second.status) == (status, "succeeded")
    if status == "canceled":
        assert (first.status_as_of, first.failure_reason) == (SECOND + 9, "not_at_stripe")


# Refunds.


def test_refund_found_at_stripe_gets_a_row() -> None:
    rows = make_rows(paid(), snap_refund(reason="duplicate", created=SECOND - 1, status="pending"))
    assert rows.refunds
    (refund,) = rows.refunds
    assert (refund.payment, refund.amount, refund.stripe_created) == (rows.payment, 500, SECOND - 1)
    assert (refund.status, refund.reason, refund.stripe_refund_id) == ("pending", "duplicate", "re_1")
    hear(rows, snap_refund(second=1))
    assert (refund.status, refund.reason, refund.status_as_of) == ("succeeded", "duplicate", SECOND + 1)


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_lost_refund_of_ours_gets_its_uuid_back(case: Any) -> None:
    lost = uuid.uuid4()
    metadata = {"octo_refund": case(str(lost)), "octo_request": "f" * 64}
    rows = make_rows(paid(), snap_refund(metadata=metadata))
    assert rows.refunds
    assert (rows.refunds[0].uuid, rows.refunds[0].request_fingerprint) == (lost, "f" * 64)


@pytest.mark.parametrize("where", ["here", "elsewhere", "nowhere"])
def test_uuid_that_another_refund_has_is_not_given_again(where: str) -> None:
    known = Refund(id=1, amount=1, stripe_refund_id="re_0", stripe_created=SECOND)
    rows = make_rows(paid())
    named = "no uuid" if where == "nowhere" else str(known.uuid)
    if where == "here":
        rows.refunds = [known]
    elif where == "elsewhere":
        rows.taken_uuids = frozenset({str(known.uuid)})
    hear(rows, snap_refund(metadata={"octo_refund": named, "octo_request": "f"}))
    assert rows.refunds
    assert str(rows.refunds[-1].uuid) != named
    assert (len(rows.refunds), rows.refunds[-1].request_fingerprint) == (1 + (where == "here"), "")


def test_first_word_of_a_reserved_refund_counts_whatever_its_second() -> None:
    refund = Refund(id=1, amount=500, status_as_of=SECOND + 99, reason="duplicate")
    rows = make_rows(paid(), RefundReserved(refund))
    hear(rows, snap_refund(status="pending", metadata={"octo_refund": str(refund.uuid).upper()}))
    assert (refund.status, refund.status_as_of, refund.reason) == ("pending", SECOND, "duplicate")
    assert rows.payment.tied_as_of == 0
    hear(rows, snap_refund(id="re_1", status="failed", failure_reason="unknown", second=-1))
    assert (refund.status, refund.failure_reason) == ("pending", "")


def test_further_status_of_a_refund_counts_within_a_second() -> None:
    rows = make_rows(paid(), snap_refund(second=5), snap_refund(status="pending", second=5))
    assert rows.refunds
    assert rows.refunds[0].status == "succeeded"


@pytest.mark.parametrize("fact", [snap_refund(), snap_dispute()])
def test_rows_that_are_not_loaded_stay_as_they_are(fact: Any) -> None:
    rows = hear(Rows(make_payment(id=1)), fact)
    assert (rows.refunds, rows.disputes, rows.contradiction) == (None, None, "")


def test_regained_refund_is_of_the_amount_that_was_asked_for_then() -> None:
    refund, other = Refund(id=1, amount=2000), Refund(id=2, amount=7)
    rows = make_rows(paid(), RefundReserved(refund), RefundReserved(other))
    hear(rows, RefundRegained(snap_refund(metadata={"octo_refund": str(refund.uuid)})))
    assert (refund.amount, refund.is_live, other.amount) == (500, True, 7)
    assert (rows.payment.amount_refunded, rows.concerns) == (500, [])


def test_regained_refund_whose_row_is_gone_gets_one() -> None:
    rows = make_rows(paid(), RefundRegained(snap_refund()))
    assert rows.refunds
    assert rows.refunds[0].amount == 500


# Disputes.


def test_dispute_found_at_stripe_gets_a_row() -> None:
    rows = make_rows(paid(), snap_dispute(reason="fraudulent", created=SECOND - 1, evidence_details={}))
    assert rows.disputes
    (dispute,) = rows.disputes
    assert (dispute.payment, dispute.stripe_dispute_id) == (rows.payment, "dp_1")
    assert (dispute.amount, dispute.currency, dispute.reason) == (500, "usd", "fraudulent")
    assert (dispute.status, dispute.stripe_created) == ("needs_response", SECOND - 1)
    details = {"due_by": SECOND + 100}
    hear(rows, snap_dispute(amount=400, evidence_details=details, second=1))
    assert (dispute.amount, dispute.evidence_due_by) == (400, SECOND + 100)
    hear(rows, snap_dispute(amount=300, status="lost", second=-1))
    assert (dispute.amount, dispute.status) == (400, "needs_response")


def test_first_word_of_a_dispute_is_no_tie() -> None:
    rows = make_rows(paid(), snap_dispute(second=-1))
    assert rows.payment.tied_as_of == 0
    assert hear(rows, snap_dispute(second=-1)).payment.tied_as_of == 0


# Ties of refunds and disputes.


def answer(status: str, *, second: int) -> Any:
    """Return an answer with one refund, read at that second."""
    listed = {"data": [make_refund(status=status)], "has_more": False}
    return paid(latest_charge=make_charge(refunds=listed), second=second)


@pytest.mark.parametrize(("second", "tied"), [(4, False), (5, True), (6, False), (3, False)])
def test_event_and_event_are_tied_within_a_second(second: int, tied: bool) -> None:
    rows = make_rows(paid(), snap_refund(status="pending", second=5), snap_refund(second=second))
    assert (rows.payment.tied_as_of == SECOND + 5) is tied
    rows = make_rows(paid(), snap_dispute(second=5), snap_dispute(status="won", second=second))
    assert (rows.payment.tied_as_of == SECOND + 5) is tied


@pytest.mark.parametrize("amounts", [(400, 300), (300, 400)])
def test_amount_of_a_dispute_that_changes_within_a_second_is_tied(amounts: tuple[int, int]) -> None:
    """It is what the shop loses: which of both came last is open, and the first that was heard stays."""
    first, second = (snap_dispute(amount=amount) for amount in amounts)
    rows = make_rows(paid(), first, second)
    assert (rows.payment.tied_as_of, rows.disputes and rows.disputes[0].amount) == (SECOND, amounts[0])


@pytest.mark.parametrize(("second", "tied"), [(3, False), (4, True), (5, True), (6, False)])
def test_answer_may_be_of_a_second_later_than_it_is_dated(second: int, tied: bool) -> None:
    rows = make_rows(paid(), snap_refund(status="pending", second=5), answer("succeeded", second=second))
    assert bool(rows.payment.tied_as_of) is tied
    disputed = replace(
        paid(latest_charge=make_charge(disputed=True, refunds={"data": []}), second=second),
        disputes=(snap_dispute(status="won", second=second),),
    )
    rows = make_rows(paid(), snap_dispute(second=5), disputed)
    assert bool(rows.payment.tied_as_of) is tied


def test_one_tie_of_several_words_is_enough() -> None:
    listed = {
        "data": [make_refund(), make_refund(id="re_2", status="failed", amount=1)],
        "has_more": False,
    }
    rows = make_rows(paid(), snap_refund(status="pending", second=5))
    hear(rows, snap_refund(id="re_2", status="pending", amount=1, second=1))
    hear(rows, paid(latest_charge=make_charge(refunds=listed), second=5))
    assert rows.payment.tied_as_of == SECOND + 5
    rows = make_rows(snap_intent(make_declined_intent()), snap_dispute(second=-9))
    both = replace(
        snap_intent(make_intent(status="requires_action")), disputes=(snap_dispute(status="won", second=5),)
    )
    assert hear(rows, both).payment.tied_as_of > 0


# What contradicts the row.


def differ(second: int, **changes: Any) -> Any:
    return paid(currency="eur", second=second, **changes)


def test_contradiction_is_told_with_its_stage_and_moment() -> None:
    rows = make_rows(differ(3))
    (concern,) = rows.concerns
    assert (concern.object_id, concern.stage, concern.as_of) == ("pi_1", 3, SECOND + 3)
    assert rows.contradiction == "intent_differs"
    older = snap_intent(make_intent(livemode=True), second=9)
    assert concern.parameters == hear(rows, older).concerns[0].parameters
    newer = {"differences": {"currency": ["usd", "gbp"]}}
    assert hear(rows, paid(currency="gbp", second=3)).concerns[0].parameters == newer


@pytest.mark.parametrize(("second", "is_open"), [(2, True), (3, False), (4, False)])
def test_contradiction_ends_with_a_snapshot_no_older_that_agrees(second: int, is_open: bool) -> None:
    rows = make_rows(differ(3), paid(second=second))
    (concern,) = rows.concerns
    assert concern.is_open is is_open
    if not is_open:
        assert concern.as_of == SECOND + second
        assert len(hear(rows, differ(second - 1)).concerns) == 1
        assert len(hear(rows, differ(second)).concerns) == 2


def test_agreement_of_an_earlier_stage_ends_no_contradiction() -> None:
    rows = make_rows(differ(3), snap_intent(make_intent(), second=9))
    assert rows.concerns[0].is_open


def test_contradiction_of_one_refund_is_not_ended_by_another() -> None:
    rows = make_rows(paid(), snap_refund(currency="eur"), snap_refund(id="re_2", second=1))
    assert [(each.object_id, each.is_open) for each in rows.concerns] == [("re_1", True)]
    hear(rows, snap_refund(second=2))
    assert not rows.concerns[0].is_open


@pytest.mark.parametrize("fact", [snap_charge(), snap_dispute(), snap_refund()])
def test_what_comes_before_the_intent_is_known_is_taken(fact: Any) -> None:
    rows = make_rows(fact, stripe_payment_intent_id=None)
    assert (rows.contradiction, rows.concerns) == ("", [])


def test_intent_of_a_row_that_knows_none_is_taken() -> None:
    rows = make_rows(paid(id="pi_9"), stripe_payment_intent_id=None)
    assert rows.payment.stripe_payment_intent_id == "pi_9"


@pytest.mark.parametrize(
    ("snapshot", "is_news"),
    [
        (paid(), False),
        (paid(second=9), False),
        (paid(amount=2500), True),
        (paid(latest_charge="ch_2"), True),
        (snap_intent(make_declined_intent()), True),
    ],
)
def test_snapshot_that_differs_in_more_than_its_moment_is_news(snapshot: Any, is_news: bool) -> None:
    assert tells_news(make_rows(paid()).payment, snapshot) is is_news


def test_known_dispute_is_not_made_again() -> None:
    rows = make_rows(paid())
    rows.disputes = [Dispute(id=1, stripe_dispute_id="dp_1", status="needs_response", status_as_of=SECOND)]
    hear(rows, snap_dispute(status="won", second=1))
    assert [each.status for each in rows.disputes] == ["won"]
