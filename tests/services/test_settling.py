from __future__ import annotations

from typing import Any

import pytest

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import BadRequestError
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.models import Concern, PaymentChange
from octo_stripe_gateway.testing.factories import ConcernFactory

pytestmark = pytest.mark.django_db

make_concern: Any = ConcernFactory


def settle(concern: Concern, **values: Any) -> Concern:
    with acting(source=PaymentChange.Source.PYTHON, actor="ann"):
        return services.settle_concern(concern, **values)


@pytest.mark.parametrize("has_payment", [True, False])
def test_one_concern_is_settled_by_name_and_reason(has_payment: bool) -> None:
    concern = make_concern() if has_payment else make_concern(payment=None)
    other = make_concern(payment=concern.payment, object_id="re_2")
    settled = settle(concern, reason="Paid in cash.")
    assert (settled.is_open, settled.settled_by, settled.reason) == (False, "ann", "Paid in cash.")
    other.refresh_from_db()
    assert other.is_open


@pytest.mark.parametrize("has_payment", [True, False])
def test_what_is_settled_stays_as_it_is(has_payment: bool) -> None:
    concern = make_concern() if has_payment else make_concern(payment=None)
    settle(concern, reason="Paid in cash.")
    assert settle(concern, reason="Paid by bank.").reason == "Paid in cash."


@pytest.mark.parametrize("values", [{"reason": ""}, {"reason": " "}, {"reason": "Done.", "amount": 5}])
def test_settling_takes_a_reason_and_an_amount_only_of_a_loss(values: Any) -> None:
    concern = make_concern()
    with pytest.raises(BadRequestError):
        settle(concern, **values)
    concern.refresh_from_db()
    assert concern.is_open


def test_settled_loss_counts_as_lost() -> None:
    known = {"amount": 1700, "currency": "eur"}
    concern = make_concern(code="loss_in_other_currency", object_id="du_1", parameters=known)
    payment = concern.payment
    payment.disputes.create(
        stripe_dispute_id="du_1", amount=1700, currency="eur", status="lost", status_as_of=1
    )
    for amount in (None, -1, "x"):
        with pytest.raises(BadRequestError):
            settle(concern, reason="Lost.", amount=amount)
    settle(concern, reason="Lost.", amount=1850)
    payment.refresh_from_db()
    assert (payment.amount_lost, payment.amount_refundable) == (1850, 150)
    (change,) = payment.changes.all()
    assert change.changes["amount_lost"] == [0, 1850]
