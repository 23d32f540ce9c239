from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import Concern, Payment, PaymentChange
from octo_stripe_gateway.services.acceptance import ask_host
from octo_stripe_gateway.testing.factories import RefundFactory
from tests.support.objects import SECOND, make_charge, make_intent, make_paid_intent, make_refund
from tests.support.snapshots import snap_charge, snap_dispute, snap_intent, snap_refund

pytestmark = pytest.mark.django_db


def hear(payment: Payment, fact: Any) -> str:
    return record(payment, fact, ask=ask_host).contradiction


def apply_intent(payment: Payment, stripe_object: Any, *, second: int = 0) -> str:
    return hear(payment, snap_intent(stripe_object, second=second))


def get_concern(payment: Payment) -> Concern:
    return payment.concerns.get(settled_at=None)


def get_columns() -> dict[str, Any]:
    payment = Payment.objects.get()
    return {field.attname: getattr(payment, field.attname) for field in payment._meta.concrete_fields}


def test_answer_brings_charge_refunds_and_disputes_along(payment: Payment) -> None:
    refunds = {"data": [make_refund(), make_refund(id="re_2", status="failed")]}
    charge = make_charge(amount_refunded=500, refunds=refunds, disputed=True)
    snapshot = snap_intent(make_paid_intent(latest_charge=charge))
    disputes = (snap_dispute(status="lost"), snap_dispute(id="dp_2"))
    assert hear(payment, dataclasses.replace(snapshot, disputes=disputes)) == ""
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
    hear(payment, snap_refund())
    hear(payment, snap_charge(amount_refunded=500))
    assert payment.amount_refunded == 0
    apply_intent(payment, make_paid_intent())
    payment.refresh_from_db()
    assert payment.amount_refunded == 500


def test_reserved_refund_is_found_by_the_uuid_in_its_metadata(payment: Payment) -> None:
    reserved = RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    hear(payment, snap_refund(metadata={"octo_refund": str(reserved.uuid)}))
    reserved.refresh_from_db()
    assert (reserved.stripe_refund_id, reserved.status) == ("re_1", "succeeded")
    assert payment.refunds.count() == 1


@pytest.mark.parametrize("uuid", ["not a uuid", "", "4d3f6cb3-3f53-4a3c-9b0e-0f2b5d8f8a11"])
def test_refund_of_an_unknown_uuid_gets_a_row_of_its_own(payment: Payment, uuid: str) -> None:
    RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    hear(payment, snap_refund(metadata={"octo_refund": uuid}))
    assert payment.refunds.count() == 2


def test_mismatching_charge_of_a_matching_intent_is_left_out(payment: Payment) -> None:
    charge = make_charge(currency="eur", amount_refunded=500, refunds={"data": [make_refund()]})
    assert apply_intent(payment, make_paid_intent(latest_charge=charge)) == "charge_differs"
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.refunds.count()) == ("paid", 0, 0)
    concern = get_concern(payment)
    assert (concern.code, concern.object_id) == ("charge_differs", "ch_1")
    assert concern.parameters == {"differences": {"currency": ["usd", "eur"]}}


def test_mismatching_intent_changes_nothing_but_opens_a_concern(payment: Payment) -> None:
    before = get_columns()
    assert apply_intent(payment, make_paid_intent(currency="eur")) == "intent_differs"
    after = get_columns()
    changed = {name for name, was in before.items() if was != after[name]}
    assert changed == {"has_concerns", "updated_at"}
    assert get_concern(payment).parameters == {"differences": {"currency": ["usd", "eur"]}}


def test_intent_of_another_amount_is_followed_wherever_it_goes(payment: Payment) -> None:
    assert apply_intent(payment, make_intent(amount=2500)) == ""
    assert (payment.intent_amount, payment.amount, payment.status) == (2500, 2000, "pending")
    assert apply_intent(payment, make_intent(amount=2500, status="canceled"), second=1) == ""
    assert (payment.status, payment.concerns.count()) == ("canceled", 0)


def test_another_amount_paid_for_nothing_on_record_is_told(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent(amount=2500, amount_received=2500))
    assert (payment.status, payment.amount_received, payment.amount) == ("paid", 2500, 2000)
    concern = get_concern(payment)
    assert (concern.code, concern.parameters) == ("money_beyond_row", {"amount": 2000, "seen": 2500})
    services.settle_concern(concern, reason="It's a tip.")
    apply_intent(payment, make_paid_intent(amount=2500, amount_received=2500), second=1)
    assert not payment.concerns.filter(settled_at=None).exists()


OTHERS: dict[str, Callable[[Payment], object]] = {
    "charge": lambda payment: hear(payment, snap_charge(currency="eur", second=5)),
    "refund": lambda payment: hear(payment, snap_refund(currency="eur", second=5)),
    "dispute": lambda payment: hear(payment, snap_dispute(livemode=True, second=5)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_contradiction_ends_only_when_its_own_object_agrees(other: str, payment: Payment) -> None:
    OTHERS[other](payment)
    assert get_concern(payment).code == f"{other}_differs"
    apply_intent(payment, make_paid_intent(), second=6)
    assert get_concern(payment).code == f"{other}_differs"
    agreeing = {"charge": snap_charge, "refund": snap_refund, "dispute": snap_dispute}[other]
    hear(payment, agreeing(second=4))
    assert get_concern(payment)
    hear(payment, agreeing(second=6))
    assert not payment.concerns.filter(settled_at=None).exists()
    # An older snapshot that was wrong then does not bring it back.
    OTHERS[other](payment)
    assert payment.concerns.filter(settled_at=None).count() == 0


@pytest.mark.parametrize("other", OTHERS)
def test_contradiction_is_told_though_a_later_intent_agreed(other: str, payment: Payment) -> None:
    apply_intent(payment, make_paid_intent(), second=60)
    OTHERS[other](payment)
    assert get_concern(payment).code == f"{other}_differs"


def test_operator_settles_a_concern_with_a_reason_that_is_on_the_journal(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent(currency="eur"))
    told = {"differences": {"currency": ["usd", "eur"]}}
    with acting(actor="anna"):
        settled = services.settle_concern(get_concern(payment), reason="Refunded by hand.")
    assert (settled.settled_by, settled.reason) == ("anna", "Refunded by hand.")
    changes = PaymentChange.objects.latest("pk").changes
    assert changes == {"settled": ["", "Refunded by hand."], "concern intent_differs": [told, None]}
    # What a person has settled stays settled.
    apply_intent(payment, make_paid_intent(currency="eur"), second=9)
    assert payment.concerns.count() == 1


def test_refund_that_fails_after_it_succeeded_needs_attention(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent())
    hear(payment, snap_refund(status="pending"))
    hear(payment, snap_refund(second=1))
    assert not payment.concerns.exists()
    hear(payment, snap_refund(status="failed", second=2))
    concern = get_concern(payment)
    assert (concern.code, concern.object_id) == ("refund_failed", "re_1")
    assert concern.parameters == {"amount": 500, "failure_reason": ""}
    assert payment.amount_refunded == 0


def test_refund_that_is_not_on_stripes_complete_list_is_none(payment: Payment) -> None:
    """It was a released authorization, which old API versions report as a refund."""
    apply_intent(payment, make_paid_intent())
    hear(payment, snap_refund())
    assert payment.amount_refunded == 500
    listed = make_charge(refunds={"data": [], "has_more": False})
    apply_intent(payment, make_paid_intent(latest_charge=listed), second=9)
    assert payment.amount_refunded == 0
    refund = payment.refunds.get()
    assert (refund.status, refund.failure_reason) == ("canceled", "not_at_stripe")


@pytest.mark.parametrize("listed", [{"data": [], "has_more": True}, None])
def test_refund_that_is_not_on_an_incomplete_list_stays(payment: Payment, listed: Any) -> None:
    apply_intent(payment, make_paid_intent())
    hear(payment, snap_refund())
    apply_intent(payment, make_paid_intent(latest_charge=make_charge(refunds=listed)), second=9)
    assert payment.refunds.get().status == "succeeded"


def test_a_refund_that_only_the_charge_s_total_tells_of_counts(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent(latest_charge=make_charge(amount_refunded=500)))
    assert payment.amount_refunded == 500


def test_a_refund_that_failed_keeps_its_concern(payment: Payment) -> None:
    hear(payment, snap_refund(status="failed"))
    listed = make_charge(refunds={"data": [], "has_more": False})
    apply_intent(payment, make_paid_intent(latest_charge=listed), second=9)
    assert payment.refunds.get().status == "failed"
    assert [(each.code, each.is_open) for each in payment.concerns.all()] == [("refund_failed", True)]


def test_refund_that_was_made_since_the_list_was_read_stays(payment: Payment) -> None:
    apply_intent(payment, make_paid_intent())
    hear(payment, snap_refund(created=SECOND + 10, second=10))
    listed = make_charge(refunds={"data": [], "has_more": False})
    apply_intent(payment, make_paid_intent(latest_charge=listed), second=9)
    assert payment.refunds.get().status == "succeeded"


def test_intent_of_another_id_is_never_applied(payment: Payment) -> None:
    apply_intent(payment, make_intent(id="pi_2", status="canceled"))
    payment.refresh_from_db()
    assert (payment.stripe_payment_intent_id, payment.status) == ("pi_1", "pending")


def test_lock_gives_the_row_as_it_is_now(payment: Payment) -> None:
    Payment.objects.update(failure_message="changed meanwhile")
    with lock_payment(payment) as locked:
        assert locked.failure_message == "changed meanwhile"
