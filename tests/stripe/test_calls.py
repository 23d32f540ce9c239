"""How often Stripe is asked: its limit of about 100 requests a second is the first wall that a host meets."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.ledger import claims as due
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi

pytestmark = pytest.mark.django_db

COUNT = 40


def make_due() -> None:
    moment = timezone.now() - dt.timedelta(seconds=1)
    Payment.objects.exclude(next_check_at=None).update(next_check_at=moment)
    Payment.objects.exclude(next_booking_at=None).update(next_booking_at=moment)


class Calls:
    """What Stripe was asked since the last time, by the beginning of the path."""

    def __init__(self, stripe: StripeEmulator) -> None:
        self.stripe, self.seen = stripe, len(stripe.requests)

    def take(self) -> list[tuple[str, str]]:
        new = self.stripe.requests[self.seen :]
        self.seen += len(new)
        return [(each.method, "/".join(each.path.split("/")[:3])) for each in new]


@pytest.fixture
def calls(stripe: StripeEmulator) -> Calls:
    return Calls(stripe)


@pytest.mark.parametrize("is_priced", [True, False])
@pytest.mark.parametrize("hears_first", [True, False])
def test_a_payment_asks_stripe_twice_at_most(
    is_priced: bool, hears_first: bool, api: GatewayApi, stripe: StripeEmulator, calls: Calls
) -> None:
    body: dict[str, Any] = {"amount": 2000, "currency": "eur"}
    if is_priced:
        body = {"payable": {"type": "booking", "id": Booking.objects.create(price=2000).pk}}
    payment = api.create(body).json()
    assert calls.take() == [("POST", "/v1/payment_intents")]
    stripe.confirm(payment["stripePaymentIntentId"])
    if hears_first:
        assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    for _each in range(3):
        assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert calls.take() == ([] if hears_first else [("GET", "/v1/payment_intents")])


def test_upkeep_asks_by_lists(stripe: StripeEmulator, calls: Calls) -> None:
    payments = [services.create_payment(2000, currency="usd").payment for _each in range(COUNT)]
    for payment in payments[: COUNT // 2]:
        stripe.confirm(payment.stripe_payment_intent_id or "")
    assert len(calls.take()) == COUNT
    make_due()
    done = upkeep.run_upkeep(limit=1000, threads=1)
    assert done["payments"] == {"changed": COUNT // 2, "unchanged": COUNT // 2}
    assert done["books"] == {"booked": COUNT // 2}
    assert calls.take() == [("GET", "/v1/payment_intents"), ("GET", "/v1/balance_transactions")]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that upkeep makes, which take no time here."""
    pauses: list[float] = []
    monkeypatch.setattr("octo_stripe_gateway.ledger.claims.time.sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("count", [3, COUNT])
def test_upkeep_slows_down_once_stripe_has_too_many_requests(
    count: int, stripe: StripeEmulator, calls: Calls, pauses: list[float]
) -> None:
    for _each in range(count):
        services.create_payment(2000, currency="usd")
    make_due()
    stripe.add_fault(Fault("status", method="GET", status=429, times=3))
    calls.take()
    done = upkeep.run_upkeep(limit=1000, threads=1)["payments"]
    assert done["unanswered"] == 3
    assert done.get("unchanged", 0) == (0 if count == 3 else COUNT)
    assert pauses == [1.0, 2.0] + ([] if count == 3 else [4.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125])
    assert len(calls.take()) == (3 if count == 3 else 4)


def test_whole_run_slows_down(stripe: StripeEmulator, pauses: list[float]) -> None:
    paid, _open = (services.create_payment(2000, currency="usd").payment for _each in range(2))
    stripe.confirm(paid.intent_id)
    services.complete_payment(paid)
    make_due()
    stripe.add_fault(Fault("status", method="GET", status=429, times=1))
    done = upkeep.run_upkeep(limit=1000, threads=1)
    assert (done["payments"], done["books"]) == ({"unanswered": 1}, {"booked": 1})
    assert pauses == [1.0, 1.0]


def test_upkeep_is_as_fast_as_before_after_a_while(pauses: list[float]) -> None:
    pace = due.Pace()
    for _each in range(9):
        pace.slow_down()
    assert pace.pause == due.LONGEST_PAUSE
    for _each in range(9):
        pace.speed_up()
    pace.wait()
    assert (pace.pause, pauses) == (0.0, [])


def test_upkeep_leaves_stripe_alone_that_never_has_time(
    stripe: StripeEmulator, calls: Calls, pauses: list[float]
) -> None:
    for _each in range(COUNT):
        services.create_payment(2000, currency="usd")
    make_due()
    stripe.add_fault(Fault("status", method="GET", status=429, times=None))
    calls.take()
    upkeep.run_upkeep(limit=1000, threads=1)
    assert len(calls.take()) == due.MOST_UNANSWERED
    assert sum(pauses) < 300
    stripe.clear_faults()
    assert upkeep.run_upkeep(limit=1000, threads=1)["payments"] == {"unchanged": COUNT}
