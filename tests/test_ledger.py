from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment, PaymentChange
from octo_stripe_gateway.testing.factories import RefundFactory
from tests.support.objects import SECOND, make_charge, make_intent, make_paid_intent, make_refund
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

pytestmark = pytest.mark.django_db


def apply_intent(payment: Payment, stripe_object: Any, *, second: int = 0) -> str:
    return services.apply_payment_intent(payment, snap_intent(stripe_object, second=second))


def get_columns() -> dict[str, Any]:
    payment = Payment.objects.get()
    return {field.attname: getattr(payment, field.attname) for field in payment._meta.concrete_fields}


def test_answer_brings_charge_refunds_and_disputes_along(payment: Payment) -> None:
    refunds = {"data": [make_refund(), make_refund(id="re_2", status="failed")]}
    charge = make_charge(amount_refunded=500, refunds=refunds, disputed=True)
    snapshot = snap_intent(make_paid_intent(latest_charge=charge))
    disputes = (snap_dispute(status="lost"), snap_dispute(id="dp_2"))
    assert services.apply_payment_intent(payment, dataclasses.replace(snapshot, disputes=disputes)) == ""
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.disputed) == ("paid", 500, True)
    assert set(payment.refunds.values_list("stripe_refund_id", "status")) == {
        ("re_1", "succeeded"),
        ("re_2", "failed"),
    }
    assert set(payment.disputes.values_list("stripe_dispute_id", "status")) == {
        ("dp_1", "lost"),
        ("dp_2", "needs_response"),
    }


def test_refund_known_before_the_success_counts_from_then_on(payment: Payment) -> None:
    services.apply_refund(payment, snap_refund())
    services.apply_charge(payment, snap_charge(amount_refunded=500))
    assert payment.amount_refunded == 0
    apply_intent(payment, make_paid_intent())
    payment.refresh_from_db()
    assert payment.amount_refunded == 500


def test_reserved_refund_is_found_by_the_uuid_in_its_metadata(payment: Payment) -> None:
    reserved = RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    services.apply_refund(payment, snap_refund(metadata={"octo_refund": str(reserved.uuid)}))
    reserved.refresh_from_db()
    assert (reserved.stripe_refund_id, reserved.status) == ("re_1", "succeeded")
    assert payment.refunds.count() == 1


@pytest.mark.parametrize("uuid", ["not a uuid", "", "4d3f6cb3-3f53-4a3c-9b0e-0f2b5d8f8a11"])
def test_refund_of_an_unknown_uuid_gets_a_row_of_its_own(payment: Payment, uuid: str) -> None:
    RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    services.apply_refund(payment, snap_refund(metadata={"octo_refund": uuid}))
    assert payment.refunds.count() == 2


def test_mismatching_charge_of_a_matching_intent_is_left_out(payment: Payment) -> None:
    charge = make_charge(currency="eur", amount_refunded=500, refunds={"data": [make_refund()]})
    assert "currency" in apply_intent(payment, make_paid_intent(latest_charge=charge))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.refunds.count()) == ("paid", 0, 0)
    assert payment.mismatch.startswith("charge ch_1: currency")


def test_mismatching_intent_changes_nothing_but_the_note(payment: Payment) -> None:
    before = get_columns()
    assert apply_intent(payment, make_paid_intent(amount=1))
    after = get_columns()
    changed = {name for name, was in before.items() if was != after[name]}
    assert changed == {"mismatch", "mismatch_as_of", "updated_at"}


def test_mismatch_is_dropped_by_a_later_snapshot_that_agrees(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent(amount=1), second=5)
    apply_intent(payment, make_intent(), second=4)
    assert payment.mismatch
    apply_intent(payment, make_paid_intent(), second=6)
    assert payment.mismatch == ""
    # An older snapshot that was wrong then does not bring the mismatch back.
    apply_intent(payment, make_paid_intent(amount=1), second=5)
    assert payment.mismatch == ""


OTHERS: dict[str, Callable[[Payment], object]] = {
    "charge": lambda payment: services.apply_charge(payment, snap_charge(currency="eur", second=5)),
    "refund": lambda payment: services.apply_refund(payment, snap_refund(currency="eur", second=5)),
    "dispute": lambda payment: services.apply_dispute(payment, snap_dispute(livemode=True, second=5)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_mismatch_of_another_object_is_dropped_only_by_a_snapshot_that_holds_it(
    other: str, payment: Payment
) -> None:
    OTHERS[other](payment)
    assert payment.mismatch.startswith(f"{other} ")
    apply_intent(payment, make_paid_intent(), second=6)
    assert payment.mismatch
    apply_intent(payment, make_paid_intent(latest_charge=make_charge()), second=6)
    assert payment.mismatch == ""


@pytest.mark.parametrize("other", OTHERS)
def test_mismatch_of_another_object_is_told_however_much_later_the_intent_is(
    other: str, payment: Payment
) -> None:
    apply_intent(payment, make_paid_intent(), second=60)
    OTHERS[other](payment)
    assert payment.mismatch.startswith(f"{other} ")


def test_operator_settles_a_mismatch_with_a_reason_that_is_on_the_journal(payment: Payment) -> None:
    Payment.objects.update(mismatch="amount is 1, not 2000", attention="A refund failed.")
    settled = services.settle_attention(payment, reason="Refunded by hand.")
    assert (settled.mismatch, settled.attention) == ("", "")
    payment.refresh_from_db()
    assert (payment.mismatch, payment.attention) == ("", "")
    changes = PaymentChange.objects.get().changes
    assert changes["settled"] == ["", "Refunded by hand."]
    assert changes["mismatch"] == ["amount is 1, not 2000", ""]


def test_refund_that_fails_after_it_succeeded_needs_attention(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent())
    services.apply_refund(payment, snap_refund(status="pending"))
    services.apply_refund(payment, snap_refund(second=1))
    assert payment.attention == ""
    services.apply_refund(payment, snap_refund(status="failed", second=2))
    assert "refund failed" in payment.attention
    assert payment.amount_refunded == 0


def test_refund_that_is_not_on_stripes_complete_list_is_none(payment: Payment) -> None:
    """It was a released authorization, which old API versions report as a refund."""
    apply_intent(payment, make_paid_intent())
    services.apply_refund(payment, snap_refund())
    assert payment.amount_refunded == 500
    listed = make_charge(refunds={"data": [], "has_more": False})
    apply_intent(payment, make_paid_intent(latest_charge=listed), second=9)
    assert payment.amount_refunded == 0
    refund = payment.refunds.get()
    assert (refund.status, refund.failure_reason) == ("canceled", "not_at_stripe")


@pytest.mark.parametrize("listed", [{"data": [], "has_more": True}, None])
def test_refund_that_is_not_on_an_incomplete_list_stays(payment: Payment, listed: Any) -> None:
    apply_intent(payment, make_paid_intent())
    services.apply_refund(payment, snap_refund())
    apply_intent(payment, make_paid_intent(latest_charge=make_charge(refunds=listed)), second=9)
    assert payment.refunds.get().status == "succeeded"


def test_refund_that_was_made_since_the_list_was_read_stays(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent())
    services.apply_refund(payment, snap_refund(created=SECOND + 10, second=10))
    listed = make_charge(refunds={"data": [], "has_more": False})
    apply_intent(payment, make_paid_intent(latest_charge=listed), second=9)
    assert payment.refunds.get().status == "succeeded"


def test_intent_of_another_id_is_never_applied(payment: Payment) -> None:
    apply_intent(payment, make_intent(id="pi_2", status="canceled"))
    payment.refresh_from_db()
    assert (payment.stripe_payment_intent_id, payment.status) == ("pi_1", "pending")


def test_lock_gives_the_row_as_it_is_now(payment: Payment) -> None:
    Payment.objects.update(failure_message="changed meanwhile")
    with services.lock_payment(payment) as locked:
        assert locked.failure_message == "changed meanwhile"
