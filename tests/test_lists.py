from __future__ import annotations

import pytest

from octo_stripe_gateway.lists import filter_by_index
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.factories import PaymentFactory

pytestmark = pytest.mark.django_db


def test_finds_what_filter_finds_newest_first() -> None:
    euros = PaymentFactory.create_batch(3, currency="eur")
    for currency in ("eu", "euq", "eus", "eur"):
        PaymentFactory.create(currency=currency)
    found = filter_by_index(Payment.objects.filter(amount=2000), column="currency", value="eur")
    assert list(found) == list(Payment.objects.filter(currency="eur").order_by("-pk"))
    assert set(euros) < set(found)


def test_finds_nothing_of_what_nobody_has() -> None:
    PaymentFactory.create(currency="eur")
    assert not filter_by_index(Payment.objects.all(), column="currency", value="")
    assert not filter_by_index(Payment.objects.all(), column="currency", value="xxx")
