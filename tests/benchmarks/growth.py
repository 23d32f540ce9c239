"""Measures what a payable's given-up payments, and a payment's refunds, add to the time of a request."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from octo_stripe_gateway.models import Payment, Refund
from tests.benchmarks.cases import make_payments
from tests.benchmarks.hand.models import Booking
from tests.benchmarks.report import Check
from tests.benchmarks.worker import Sent, Site

TIMES = 10
PAYMENTS, REFUNDS = (1, 10, 100, 1000), (0, 200)


def check_growth(*, rounds: int) -> list[Check]:
    """Compare the largest number of each with the smallest, all of them in turns."""
    site = Site()

    def read(payments: list[Payment]) -> list[Sent]:
        return [site.make("GET", f"/bookings/payments/{each.pk}") for each in payments]

    def pay(payments: list[Payment]) -> list[Sent]:
        return [
            site.deliver(each.stripe_payment_intent_id or "", who="ours", uuid=str(each.uuid))
            for each in payments
        ]

    work: tuple[tuple[str, Sequence[int], float, Callable[[int], list[Sent]]], ...] = (
        ("event, by payments given up", PAYMENTS, 1.3, lambda size: pay(make_payables(size))),
        ("read, by payments given up", PAYMENTS, 1.3, lambda size: read(make_payables(size))),
        ("read, by refunds", REFUNDS, 1.5, lambda size: read(make_refunded(size))),
    )
    return [_check(site, name, sizes, most, make, rounds) for name, sizes, most, make in work]


def _check(
    site: Site, name: str, sizes: Sequence[int], most: float, make: Callable[[int], list[Sent]], rounds: int
) -> Check:
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _round in range(rounds):
        for size in sizes:
            times[size].append(sum(site.time(make(size)).values()))
    ratios = [last / first for first, last in zip(times[sizes[0]], times[sizes[-1]], strict=True)]
    ratio = statistics.median(ratios)
    shown = ", ".join(f"{size:,}: {statistics.median(times[size]):,.0f} µs" for size in sizes)
    return Check(name, f"{ratio:.2f}: {shown}", f"≤ {most}", ratio <= most / 0.95)


def make_payables(payments: int) -> list[Payment]:
    """Make bookings with so many payments, all but the last canceled, and return the last ones."""
    last = []
    for _each in range(TIMES):
        booking = Booking.objects.create()
        canceled = {"payable": booking, "status": "canceled", "intent_status": "canceled"}
        make_payments(payments - 1, **canceled)
        last += make_payments(1, payable=booking)
    return last


def make_refunded(refunds: int) -> list[Payment]:
    """Make paid payments with so many refunds."""
    held = {"status": "paid", "intent_status": "succeeded", "amount_received": 2000}
    paid = make_payments(TIMES, **held, amount_refunded=refunds, refunds_total=refunds)
    Refund.objects.bulk_create(
        Refund(payment=each, amount=1, status="succeeded", stripe_refund_id=f"re_{each.pk}_{number}")
        for each in paid
        for number in range(refunds)
    )
    return paid
