from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.snapshots import ChargeSnapshot, PaymentIntentSnapshot, RefundSnapshot
from octo_stripe_gateway.testing.factories import RefundFactory
from tests.support.objects import SECOND, make_charge, make_intent, make_paid_intent, make_refund

pytestmark = pytest.mark.django_db

AS_OF = SECOND


def apply_intent(payment: Payment, stripe_object: Any) -> str:
    return services.apply_payment_intent(
        payment, PaymentIntentSnapshot.from_object(stripe_object, as_of=AS_OF)
    )


def test_answer_brings_charge_and_refunds_along(payment: Payment) -> None:
    refunds = {"data": [make_refund(), make_refund(id="re_2", status="failed")]}
    charge = make_charge(amount_refunded=500, refunds=refunds, disputed=True)
    assert apply_intent(payment, make_paid_intent(latest_charge=charge)) == ""
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.disputed) == ("paid", 500, True)
    assert set(payment.refunds.values_list("stripe_refund_id", "status")) == {
        ("re_1", "succeeded"),
        ("re_2", "failed"),
    }


def test_refund_known_before_the_success_counts_from_then_on(payment: Payment) -> None:
    services.apply_refund(payment, RefundSnapshot.from_object(make_refund(), as_of=AS_OF))
    services.apply_charge(payment, ChargeSnapshot.from_object(make_charge(amount_refunded=500), as_of=AS_OF))
    assert payment.amount_refunded == 0
    apply_intent(payment, make_paid_intent())
    payment.refresh_from_db()
    assert payment.amount_refunded == 500


def test_reserved_refund_is_found_by_the_uuid_in_its_metadata(payment: Payment) -> None:
    reserved = RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    refund = make_refund(metadata={"octo_refund": str(reserved.uuid)})
    services.apply_refund(payment, RefundSnapshot.from_object(refund, as_of=AS_OF))
    reserved.refresh_from_db()
    assert (reserved.stripe_refund_id, reserved.status) == ("re_1", "succeeded")
    assert payment.refunds.count() == 1


@pytest.mark.parametrize("uuid", ["not a uuid", "", "4d3f6cb3-3f53-4a3c-9b0e-0f2b5d8f8a11"])
def test_refund_of_an_unknown_uuid_gets_a_row_of_its_own(payment: Payment, uuid: str) -> None:
    RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
    refund = make_refund(metadata={"octo_refund": uuid})
    services.apply_refund(payment, RefundSnapshot.from_object(refund, as_of=AS_OF))
    assert payment.refunds.count() == 2


def test_mismatching_charge_of_a_matching_intent_is_left_out(payment: Payment) -> None:
    charge = make_charge(currency="eur", amount_refunded=500, refunds={"data": [make_refund()]})
    assert "currency" in apply_intent(payment, make_paid_intent(latest_charge=charge))
    payment.refresh_from_db()
    assert (payment.status, payment.amount_refunded, payment.refunds.count()) == ("paid", 0, 0)
    assert payment.mismatch.startswith("charge ch_1: currency")


def test_mismatching_intent_changes_nothing_but_the_note(payment: Payment) -> None:
    names = [field.attname for field in Payment._meta.concrete_fields]
    before = Payment.objects.values_list(*names).get()
    assert apply_intent(payment, make_paid_intent(amount=1))
    after = Payment.objects.values_list(*names).get()
    changed = {name for name, was, is_now in zip(names, before, after, strict=True) if was != is_now}
    assert changed == {"mismatch", "updated_at"}


def test_intent_of_another_id_is_never_taken(payment: Payment) -> None:
    apply_intent(payment, make_intent(id="pi_2", status="canceled"))
    payment.refresh_from_db()
    assert (payment.stripe_payment_intent_id, payment.status) == ("pi_1", "pending")


def test_lock_gives_the_row_as_it_is_now(payment: Payment) -> None:
    Payment.objects.update(failure_message="changed meanwhile")
    with services.lock_payment(payment) as locked:
        assert locked.failure_message == "changed meanwhile"
