"""An operator confirms adopted money in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking
from tests.support.ledger import lose_payment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.support.admin_urls")]


@pytest.mark.parametrize(("price", "status"), [(2000, "paid"), (2500, "refunded")])
def test_operator_confirms_what_was_adopted(
    stripe: StripeEmulator, client: Client, price: int, status: str
) -> None:
    booking = Booking.objects.create()
    payment = services.create_payment(payable=booking).payment
    stripe.confirm(payment.intent_id)
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    Booking.objects.update(price=price)
    client.force_login(User.objects.create_superuser("ada"))
    url = f"/admin/octo_stripe_gateway/payment/{adopted.pk}/confirm/"
    page: Any = client.get(url)
    assert page.status_code == 200
    answer = client.post(url, {"key": page.context["form"]["key"].value()})
    assert answer.status_code == 302
    assert Payment.objects.get().status == status
    assert client.get(url).status_code == 302
