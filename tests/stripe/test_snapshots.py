from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)
from tests.support.objects import (
    SECOND,
    make_charge,
    make_declined_intent,
    make_dispute,
    make_intent,
    make_paid_intent,
    make_refund,
)

AS_OF = SECOND
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action", "processing")
READERS: dict[str, tuple[Any, Callable[..., dict[str, Any]]]] = {
    "intent": (PaymentIntentSnapshot, make_intent),
    "charge": (ChargeSnapshot, make_charge),
    "refund": (RefundSnapshot, make_refund),
    "dispute": (DisputeSnapshot, make_dispute),
}

MALFORMED: list[tuple[str, str, tuple[Any, ...]]] = [
    ("intent", "id", (None, 1, "i" * 256)),
    ("intent", "status", (None, 1, [], "s" * 65)),
    ("intent", "amount", (None, "2000", 20.5, True, -1, 2**63)),
    ("intent", "amount_received", ("0", -1, 2**63)),
    ("intent", "amount_capturable", ([], -5)),
    ("intent", "currency", (None, 840)),
    ("intent", "livemode", (None, "false", 0)),
    ("intent", "last_payment_error", ("declined", [1])),
    ("intent", "latest_charge", (7, {"id": 7}, {}, "c" * 256)),
    ("charge", "amount_refunded", (None, -1)),
    ("charge", "livemode", (None,)),
    ("charge", "disputed", ("yes",)),
    ("charge", "refunds", ("none", {"data": {"1": 1}}, {"data": [1]}, {"data": [{}]})),
    ("charge", "refunds", ({"data": [], "has_more": 1},)),
    ("charge", "payment_intent", (1,)),
    ("refund", "amount", (None, "500")),
    ("refund", "created", (None, "now", 10**15)),
    ("refund", "status", (5, "s" * 65)),
    ("refund", "reason", ("r" * 65,)),
    ("dispute", "livemode", (None,)),
    ("dispute", "created", (None, 253_402_300_800)),
    ("dispute", "amount", (None, "500", -1)),
    ("dispute", "currency", (None,)),
    ("dispute", "reason", ("r" * 65,)),
    ("dispute", "evidence_details", ("soon", {"due_by": "soon"}, {"due_by": 253_402_300_800})),
]


def read_intent(as_of: int = AS_OF, **changes: Any) -> PaymentIntentSnapshot:
    return PaymentIntentSnapshot.from_object(make_intent(**changes), as_of=as_of)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, name, values in MALFORMED for value in values],
)
def test_malformed_object_is_an_error(kind: str, name: str, value: Any) -> None:
    snapshot, make = READERS[kind]
    with pytest.raises(BadRequestError, match="no valid"):
        snapshot.from_object(make(**{name: value}), as_of=AS_OF)


@pytest.mark.parametrize("metadata", [None, [], "octo_payment", {"octo_payment": 5}, {"other": "x"}])
def test_metadata_of_another_shape_names_no_payment(metadata: Any) -> None:
    assert read_intent(metadata=metadata).payment_uuid == ""


def test_intent_carries_its_charge_and_refunds_where_expanded() -> None:
    refunds = {"data": [make_refund()], "has_more": True}
    snapshot = read_intent(latest_charge=make_charge(refunds=refunds, amount_refunded=500))
    assert snapshot.charge_id == "ch_1"
    assert snapshot.charge is not None
    assert [refund.id for refund in snapshot.charge.refunds] == ["re_1"]


@pytest.mark.parametrize(
    ("refunds", "complete"),
    [
        (None, False),
        ({}, False),
        ({"data": [], "has_more": True}, False),
        ({"data": [], "has_more": False}, True),
        ({"data": [make_refund()]}, True),
    ],
)
def test_charge_has_all_refunds_where_it_lists_them_to_the_end(refunds: Any, complete: bool) -> None:
    charge = ChargeSnapshot.from_object(make_charge(refunds=refunds), as_of=AS_OF)
    assert charge.has_all_refunds is complete


def test_snapshot_is_not_older_than_what_it_holds() -> None:
    """An answer is dated when the call began, so it may hold objects that are newer."""
    refund, later = make_refund(created=SECOND + 7), SECOND + 5
    charge = make_charge(created=later, refunds={"data": [refund]})
    snapshot = read_intent(latest_charge=charge)
    assert snapshot.charge is not None
    assert (snapshot.as_of, snapshot.charge.as_of) == (later, SECOND + 7)


def test_reference_may_be_an_id_or_an_object() -> None:
    for reference in ("pi_1", {"id": "pi_1"}):
        snapshot = RefundSnapshot.from_object(make_refund(payment_intent=reference), as_of=AS_OF)
        assert snapshot.payment_intent_id == "pi_1"


def test_unknown_status_is_kept() -> None:
    assert read_intent(status="requires_patience").status == "requires_patience"


@pytest.mark.parametrize("status", ["requires_action", "processing", "requires_capture", "succeeded"])
def test_error_of_an_earlier_attempt_is_not_this_ones(status: str) -> None:
    assert read_intent(status=status, last_payment_error={"code": "card_declined"}).failure_code == ""


def test_reason_of_the_bank_says_more_than_stripes_code() -> None:
    error = {"code": "card_declined", "decline_code": "lost_card", "message": "m" * 5000}
    snapshot = read_intent(last_payment_error=error)
    assert (snapshot.failure_code, len(snapshot.failure_message)) == ("lost_card", 5000)


def test_client_secret_is_not_in_the_representation() -> None:
    assert "_secret_" not in repr(read_intent(client_secret="pi_1_secret_abc"))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (make_intent(), make_intent(status="requires_confirmation")),
        (make_intent(status="requires_confirmation"), make_intent(status="requires_action")),
        (make_intent(status="requires_action"), make_intent(status="processing")),
        (make_intent(status="processing"), make_declined_intent()),
        (make_declined_intent(), make_intent(status="requires_capture")),
        (make_intent(status="requires_capture"), make_intent(status="canceled")),
        (make_intent(status="canceled"), make_paid_intent()),
    ],
)
def test_snapshots_of_one_second_are_ordered_as_documented(earlier: Any, later: Any) -> None:
    read = PaymentIntentSnapshot.from_object
    assert read(earlier, as_of=AS_OF).precedence < read(later, as_of=AS_OF).precedence


def test_later_second_holds_among_open_states() -> None:
    declined = PaymentIntentSnapshot.from_object(make_declined_intent(), as_of=AS_OF)
    for status in ("requires_payment_method", "requires_action", "processing"):
        assert read_intent(AS_OF + 1, status=status).precedence > declined.precedence


@pytest.mark.parametrize(
    ("reached", "earlier"),
    [
        ("succeeded", "canceled"),
        *itertools.product(("succeeded", "canceled"), ("requires_capture", *OPEN)),
        *itertools.product(("requires_capture",), OPEN),
    ],
)
def test_intent_never_goes_back_to_an_earlier_stage(reached: str, earlier: str) -> None:
    later = read_intent(AS_OF + 10**9, status=earlier)
    assert later.precedence < read_intent(status=reached).precedence


def test_two_declines_of_one_second_have_an_order_too() -> None:
    lost, stolen = (
        PaymentIntentSnapshot.from_object(make_declined_intent(code), as_of=AS_OF)
        for code in ("lost", "stolen")
    )
    assert lost.precedence != stolen.precedence


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("pending", "requires_action"), ("requires_action", "succeeded"), ("succeeded", "failed")],
)
def test_refund_that_succeeded_may_still_fail_but_nothing_else(earlier: str, later: str) -> None:
    read = RefundSnapshot.from_object
    before, after = (read(make_refund(status=status), as_of=AS_OF) for status in (earlier, later))
    assert before.precedence < after.precedence


@pytest.mark.parametrize("closed", ["won", "lost", "warning_closed", "prevented"])
def test_dispute_may_go_on_after_it_is_closed(closed: str) -> None:
    read = DisputeSnapshot.from_object
    decided = read(make_dispute(status=closed), as_of=AS_OF)
    assert read(make_dispute(status="appeal_under_review"), as_of=AS_OF + 9).precedence > decided.precedence
    assert read(make_dispute(status="under_review"), as_of=AS_OF).precedence < decided.precedence
