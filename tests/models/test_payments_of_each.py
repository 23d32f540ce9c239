"""The host's objects, found by their payments."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Exists

from octo_stripe_gateway.models import payments_of_each
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking, Ticket
from tests.support.docs import get_block

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", [Booking, Ticket])
def test_rows_without_a_paid_payment_are_found_whatever_their_key(model: Any) -> None:
    made = [model.objects.create(**({"code": str(number)} if model is Ticket else {})) for number in range(3)]
    other: Any = Ticket if model is Booking else Booking
    PaymentFactory.create(payable=made[0], status="paid")
    PaymentFactory.create(payable=made[1], status="pending")
    PaymentFactory.create(payable=other(pk=made[2].pk), status="paid")
    paid = Exists(payments_of_each(model).filter(status="paid"))
    assert {*model.objects.exclude(paid)} == {*made[1:]}
    assert {*model.objects.filter(paid)} == {made[0]}


def test_the_query_shown_finds_what_is_unpaid() -> None:
    paid, unpaid = (Booking.objects.create() for _each in range(2))
    PaymentFactory.create(payable=paid, status="paid")
    shown: dict[str, Any] = {"Booking": Booking}
    exec(get_block("python", "payments_of_each"), shown)
    assert list(shown["unpaid"]) == [unpaid]
