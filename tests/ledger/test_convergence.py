"""However a history's events are reordered, repeated or lost, the row ends up as Stripe's own record."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stripe as sdk
from django.db import transaction
from django.db.models import QuerySet
from hypothesis import example, given
from hypothesis import strategies as st

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import StripeRefusedError, UnprocessableError
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.stripe.snapshots import CLOSED_DISPUTES
from octo_stripe_gateway.testing.emulator import StripeApiError, StripeEmulator
from octo_stripe_gateway.webhooks import inbox
from tests.support.properties import try_property

pytestmark = pytest.mark.django_db

AMOUNT = 2000
START = 1_800_000_000
FINAL = {"succeeded", "canceled"}
OPEN_REFUND = {"pending", "requires_action"}
WATCHED = (
    "status intent_status confirmed_at amount_refunded amount_reserved amount_received amount_capturable"
).split()
# These columns depend on the order of arrival.
BY_ARRIVAL = set(
    "id accepted_at authorized_at next_check_at checks next_booking_at bookings tied_as_of has_concerns"
    " paid_as_of created_at updated_at failed_at refunded_at".split()
)

CARDS = (
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_authenticationRequired",
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
    "pm_usBankAccount_success",
    "pm_usBankAccount_accountClosed",
    "pm_card_pendingRefund",
)
LOOKS = ("complete", "reconcile", "deliver")
ATTEMPTS = ("attempt", "attempt", "pass_challenge", "fail_challenge", "settle", "fail_settlement")
ENDS = ("pay",) * 4 + ("pay_pending_refunds",) * 3 + ("authorize", "cancel", "cancel_elsewhere")
AFTERMATH = (
    *("refund_elsewhere", "refund", "refund_fails", "refund_elsewhere", "refund"),
    *("refund_all_elsewhere", "refund_succeeds", "refund_asks", "refund_is_canceled"),
    *("refund_elsewhere", "refund", "refund_fails", "dispute", "close_dispute"),
)


def steps(verbs: tuple[str, ...], *, least: int, most: int) -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """Make part of a history: steps of what happens, a number that says how, and the seconds before it."""
    step = st.tuples(st.sampled_from(verbs), st.integers(0, 7), st.sampled_from((0, 0, 1, 5)))
    return st.lists(step, min_size=least, max_size=most)


HISTORIES = st.tuples(
    steps(ATTEMPTS + LOOKS, least=0, most=4),
    steps(ENDS, least=1, most=1),
    steps(AFTERMATH + LOOKS, least=3, most=9),
).map(lambda parts: [step for part in parts for step in part])
# Rare and hard: within one second, with snapshots that rank equal or come in an unusual order.
TWO_DECLINES = [("attempt", 1, 0), ("attempt", 2, 0)]
DECLINE_WITHOUT_CHARGE = [("attempt", 3, 0), ("fail_challenge", 0, 0), ("attempt", 5, 0)]


class History:
    """One payment at Stripe, what happens to it there, and its row."""

    def __init__(self, stripe: StripeEmulator, *, manual: bool) -> None:
        stripe.reset()
        self.stripe = stripe
        self.second = START
        stripe.clock = lambda: self.second
        method = Payment.CaptureMethod.MANUAL if manual else Payment.CaptureMethod.AUTOMATIC
        self.pk = services.create_payment(AMOUNT, currency="usd", capture_method=method).payment.pk
        self.intent_id = self.row.stripe_payment_intent_id or ""
        self.was_paid = False

    @property
    def row(self) -> Payment:
        return Payment.objects.get(pk=self.pk)

    @property
    def refunds(self) -> QuerySet[Refund]:
        """The refunds that exist at Stripe; refused ones don't."""
        return self.row.refunds.exclude(stripe_refund_id=None)

    @property
    def intent(self) -> Any:
        return self.stripe.payment_intents[self.intent_id]

    @property
    def charge(self) -> Any:
        return self.stripe.charges.get(self.intent["latest_charge"] or "", {})

    @property
    def state(self) -> tuple[str, bool]:
        """How the intent stands, and whether the last attempt failed."""
        status = self.intent["status"]
        return status, status == "requires_payment_method" and bool(self.intent["last_payment_error"])

    def run(self, steps: list[tuple[str, int, int]]) -> None:
        for verb, number, seconds in steps:
            self.second += seconds
            with self.watched(), allow_refusals():
                getattr(self, verb)(number)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Check that the row goes through no change that is never allowed."""
        was_paid = self.was_paid
        yield
        row = Payment.objects.values(*WATCHED).get(pk=self.pk)
        self.was_paid = row["intent_status"] == "succeeded"
        if was_paid:
            assert row["status"] in {Payment.Status.PAID, Payment.Status.REFUNDED}
        assert bool(row["confirmed_at"]) == self.was_paid
        assert 0 <= row["amount_refunded"] <= row["amount_received"] <= AMOUNT
        assert 0 <= row["amount_reserved"] <= AMOUNT
        assert row["amount_capturable"] in {0, AMOUNT}

    # What a customer, a bank or a colleague does.

    def attempt(self, number: int) -> None:
        self.stripe.confirm(self.intent_id, CARDS[number])

    def pay(self, number: int) -> None:
        self.stripe.confirm(self.intent_id, "pm_card_visa")
        self.capture(number)

    def pay_pending_refunds(self, number: int) -> None:
        self.stripe.confirm(self.intent_id, "pm_card_pendingRefund")
        self.capture(number)

    def authorize(self, number: int) -> None:
        self.stripe.confirm(self.intent_id, "pm_card_visa")

    def capture(self, number: int) -> None:
        if self.intent["status"] == "requires_capture" and number % 2:
            services.complete_payment(self.row)
            services.capture_payment(self.row, amount=AMOUNT - 100 * number)
        elif self.intent["status"] == "requires_capture":
            self.request("capture", {"amount_to_capture": AMOUNT - 100 * number})

    def pass_challenge(self, number: int) -> None:
        self.stripe.authenticate(self.intent_id)

    def fail_challenge(self, number: int) -> None:
        self.stripe.authenticate(self.intent_id, succeed=False)

    def settle(self, number: int) -> None:
        self.stripe.settle(self.intent_id)

    def fail_settlement(self, number: int) -> None:
        self.stripe.settle(self.intent_id, succeed=False)

    def cancel(self, number: int) -> None:
        services.cancel_payment(self.row)

    def cancel_elsewhere(self, number: int) -> None:
        self.request("cancel", {})

    def refund(self, number: int) -> None:
        services.complete_payment(self.row)
        services.refund_payment(self.row, amount=100 * number or None)

    def refund_elsewhere(self, number: int) -> None:
        self.stripe.refund(self.intent_id, amount=100 + 200 * number)

    def refund_all_elsewhere(self, number: int) -> None:
        self.stripe.refund(self.intent_id)

    def refund_succeeds(self, number: int) -> None:
        self.settle_refund(number, "succeeded")

    def refund_fails(self, number: int) -> None:
        self.settle_refund(number, "failed")

    def refund_asks(self, number: int) -> None:
        self.settle_refund(number, "requires_action", of=OPEN_REFUND)

    def refund_is_canceled(self, number: int) -> None:
        self.settle_refund(number, "canceled", of=OPEN_REFUND)

    def settle_refund(self, number: int, status: Any, *, of: set[str] | None = None) -> None:
        among = [
            refund["id"] for refund in self.stripe.refunds.values() if of is None or refund["status"] in of
        ]
        if among:
            self.stripe.settle_refund(among[number % len(among)], status=status)

    def dispute(self, number: int) -> None:
        if self.intent["status"] == "succeeded" and not self.stripe.disputes:
            self.stripe.open_dispute(self.intent_id, amount=100 + 100 * number)

    def close_dispute(self, number: int) -> None:
        for dispute_id in self.stripe.disputes:
            self.stripe.close_dispute(dispute_id, won=bool(number % 2))

    def request(self, action: str, params: Any) -> None:
        """Change the intent as another program might; the row hears of it only by event."""
        intents = sdk.StripeClient("sk_test_x", base_addresses={"api": self.stripe.url}).v1.payment_intents
        getattr(intents, action)(self.intent_id, params)

    # How the row hears of it.

    def complete(self, number: int) -> None:
        services.complete_payment(self.row)

    def reconcile(self, number: int) -> None:
        services.sync_payment(self.row)

    def deliver(self, number: int) -> None:
        log = self.stripe.events
        self.deliver_all([log[number % len(log)]])

    def deliver_all(self, logged: list[Any]) -> None:
        for event in logged:
            with self.watched():
                inbox.receive_event(event.payload)

    # How it ends.

    def describe_row(self) -> dict[str, Any]:
        """Return every value of the payment and its refunds that snapshots decide."""
        row = self.row
        columns = {
            field.attname: getattr(row, field.attname)
            for field in Payment._meta.concrete_fields
            if field.attname not in BY_ARRIVAL
        }
        names = ("amount", "reason", "status", "status_as_of", "failure_reason", "stripe_created")
        refunds = {each.stripe_refund_id: [getattr(each, name) for name in names] for each in self.refunds}
        return columns | {"refunds": refunds}

    def assert_row_equals_stripe(self) -> None:
        row, charge = self.row, self.charge
        state = (row.intent_status, bool(row.failure_code))
        assert state == self.state
        assert row.status == self.get_expected_status()
        assert row.amount_received == self.intent["amount_received"]
        assert row.amount_capturable == self.intent["amount_capturable"]
        assert row.amount_refunded == charge.get("amount_refunded", 0)
        assert row.amount_reserved == 0
        assert row.stripe_charge_id == charge.get("id", "")
        disputes = {dispute["id"]: dispute["status"] for dispute in self.stripe.disputes.values()}
        assert {each.stripe_dispute_id: each.status for each in row.disputes.all()} == disputes
        assert row.disputed == any(status not in CLOSED_DISPUTES for status in disputes.values())
        assert {each.stripe_refund_id: (each.amount, each.status) for each in self.refunds} == {
            refund_id: (refund["amount"], refund["status"])
            for refund_id, refund in self.stripe.refunds.items()
        }

    def get_expected_status(self) -> str:
        status, declined = self.state
        if status == "succeeded":
            return "refunded" if self.charge["refunded"] else "paid"
        known = {"requires_capture": "authorized", "canceled": "canceled"}
        return known.get(status, "failed" if declined else "pending")

    def sync_once_more(self) -> None:
        """Sync where two words of one second left open which came last, as upkeep does."""
        if self.row.tied_as_of:
            self.second += 2
            self.reconcile(0)


@contextmanager
def allow_refusals() -> Iterator[None]:
    """Skip a step that Stripe or the row doesn't allow at that point."""
    try:
        yield
    except (StripeApiError, StripeRefusedError, UnprocessableError, sdk.InvalidRequestError):
        return


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo what is written; durable transactions may open inside, as in a TestCase."""
    block: Any = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


@pytest.fixture
def stripe_at(stripe: StripeEmulator) -> Iterator[Callable[..., History]]:
    clock = stripe.clock
    yield lambda **kwargs: History(stripe, **kwargs)
    stripe.clock = clock


def shuffled(logged: list[Any], *, seed: int) -> list[Any]:
    """Return all events in random order, some of them several times."""
    chance = random.Random(seed)
    deliveries = logged + chance.choices(logged, k=len(logged) // 3)
    chance.shuffle(deliveries)
    return deliveries


@try_property(few=6, many=150)
@example(steps=TWO_DECLINES, manual=False, seeds=(0, 3))
@example(steps=DECLINE_WITHOUT_CHARGE, manual=False, seeds=(0, 3))
@given(steps=HISTORIES, manual=st.booleans(), seeds=st.tuples(st.integers(0, 999), st.integers(0, 999)))
def test_any_order_of_all_events_ends_at_the_same_row_and_at_stripes_record(
    stripe_at: Callable[..., History], steps: list[Any], manual: bool, seeds: tuple[int, int]
) -> None:
    with rolled_back():
        history = stripe_at(manual=manual)
        history.run(steps)
        was_paid = history.was_paid
        with rolled_back():
            history.deliver_all(shuffled(history.stripe.events, seed=seeds[0]))
            one_end = history.describe_row()
        history.was_paid = was_paid
        history.deliver_all(shuffled(history.stripe.events, seed=seeds[1]))
        assert history.describe_row() == one_end
        history.sync_once_more()
        history.assert_row_equals_stripe()


@try_property(few=6, many=150)
@given(steps=HISTORIES, manual=st.booleans(), seed=st.integers(0, 999))
def test_reconciling_makes_good_for_any_lost_event(
    stripe_at: Callable[..., History], steps: list[Any], manual: bool, seed: int
) -> None:
    with rolled_back():
        history = stripe_at(manual=manual)
        history.run(steps)
        chance = random.Random(seed)
        heard = [event for event in history.stripe.events if chance.random() < 0.5]
        history.deliver_all(shuffled(heard, seed=seed))
        history.second += 2
        history.reconcile(0)
        history.assert_row_equals_stripe()
