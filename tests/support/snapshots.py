"""Snapshots of the objects from `tests.support.objects`, dated some seconds after the first."""

from __future__ import annotations

from typing import Any

from octo_stripe_gateway.stripe.snapshots import (
    ChargeSnapshot,
    DisputeSnapshot,
    PaymentIntentSnapshot,
    RefundSnapshot,
)
from tests.support.objects import SECOND, make_charge, make_dispute, make_refund


def snap_intent(stripe_object: Any, *, second: int = 0) -> PaymentIntentSnapshot:
    return PaymentIntentSnapshot.from_object(stripe_object, as_of=SECOND + second)


def snap_charge(*, second: int = 0, **changes: Any) -> ChargeSnapshot:
    return ChargeSnapshot.from_object(make_charge(**changes), as_of=SECOND + second)


def snap_refund(*, second: int = 0, **changes: Any) -> RefundSnapshot:
    return RefundSnapshot.from_object(make_refund(**changes), as_of=SECOND + second)


def snap_dispute(*, second: int = 0, **changes: Any) -> DisputeSnapshot:
    return DisputeSnapshot.from_object(make_dispute(**changes), as_of=SECOND + second)
