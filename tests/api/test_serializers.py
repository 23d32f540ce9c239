"""The parts of a payment's JSON that the views' tests don't reach."""

from __future__ import annotations

import datetime as dt

import pytest

from octo_stripe_gateway.api.serializers import PaymentSerializer
from octo_stripe_gateway.stripe.currencies import get_precision
from octo_stripe_gateway.stripe.times import format_utc
from octo_stripe_gateway.testing.factories import PaymentFactory


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00Z"),
        (dt.datetime(2026, 1, 1, 0, 0, 0, 999999, tzinfo=dt.UTC), "2026-01-01T00:00:00Z"),
        (
            dt.datetime(2026, 1, 1, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "2025-12-31T23:30:00Z",
        ),
    ],
)
def test_time_is_utc_with_a_z_and_no_fraction(moment: dt.datetime | None, text: str | None) -> None:
    assert format_utc(moment) == text


@pytest.mark.parametrize(
    ("currency", "precision"), [("usd", 2), ("jpy", 0), ("bhd", 3), ("isk", 2), ("ugx", 2), ("huf", 2)]
)
def test_precision_is_that_of_stripe_s_minor_unit(currency: str, precision: int) -> None:
    assert get_precision(currency) == precision


@pytest.mark.parametrize(
    ("received", "refunded", "reserved", "refundable"),
    [(2000, 0, 0, True), (2000, 1999, 0, True), (2000, 1500, 500, False), (2000, 0, 2000, False)],
)
def test_payment_is_refundable_while_something_is_left(
    received: int, refunded: int, reserved: int, refundable: bool
) -> None:
    payment = PaymentFactory.build(
        paid=True, amount_received=received, amount_refunded=refunded, amount_reserved=reserved
    )
    assert PaymentSerializer(payment).data["refundable"] is refundable


def test_live_payment_is_not_in_test_mode() -> None:
    assert PaymentSerializer(PaymentFactory.build(livemode=True)).data["test_mode"] is False
