"""Cancelling a booking by the terms of its sale: what goes back, what is kept, and what no race changes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, localcontext
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.exceptions import ConfigurationError, GatewayError, UnprocessableError
from octo_stripe_gateway.models import Concern, PayableLock, Payment, Refund
from octo_stripe_gateway.services.payment_links import find_payment_link
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.shop.models import Booking, Voucher
from tests.support.api import GatewayApi
from tests.support.ledger import assert_sums_equal, later
from tests.support.receivers import listening
from tests.support.threads import needs_row_locks, run_and_disconnect, run_together, wait_for_locks

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = 9000
SOON, LATER = dt.timedelta(days=1), dt.timedelta(days=30)
HALF = Decimal("0.5")


@pytest.fixture
def set_terms(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what goes back, by how far ahead its time ends."""

    def set_terms(*terms: tuple[dt.timedelta, Any]) -> None:
        told = [(timezone.now() + ahead, share) for ahead, share in terms]
        monkeypatch.setattr(Booking, "get_refund_terms", lambda _self: told, raising=False)

    set_terms((SOON, HALF))
    return set_terms


@pytest.fixture
def booking(set_terms: Any) -> Booking:
    return Booking.objects.create(price=PRICE, currency="usd")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_installments(self: Booking) -> list[tuple[str, int, dt.datetime]]:
        late = timezone.now() - SOON
        return [("deposit", self.price // 3, late), ("balance", self.price - self.price // 3, late)]

    monkeypatch.setattr(Booking, "get_installments", get_installments, raising=False)


def pay(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> Payment:
    body = {"payable": {"type": "booking", "id": booking.pk}}
    return Payment.objects.get(pk=api.paid(stripe, body)["id"])


def list_refunded(stripe: StripeEmulator) -> list[int]:
    live = (each for each in stripe.refunds.values() if each["status"] not in {"failed", "canceled"})
    return [each["amount"] for each in live]


def cancel(booking: Booking, **options: Any) -> tuple[int, int]:
    """Preview a cancellation and make it, and return what went back and what is kept: the same in both."""
    preview = services.cancel_payable(booking, preview=True, **options)
    assert services.cancel_payable(booking, **options) == preview
    return preview.amount, preview.kept


# What goes back.


@pytest.mark.parametrize(
    ("terms", "given"),
    [
        ([(SOON, HALF)], 4500),
        ([(SOON, 1), (LATER, HALF)], 9000),
        ([(-SOON, 1), (LATER, HALF)], 4500),
        ([(-LATER, 1), (-SOON, HALF)], 0),
        ([], 0),
        ([(SOON, Decimal("0.33333"))], 2999),
        ([(SOON, Decimal(1) / 3)], 2999),
        ([(SOON, 0)], 0),
    ],
)
def test_first_term_that_lies_ahead_counts(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, set_terms: Any, terms: Any, given: int
) -> None:
    set_terms(*terms)
    pay(api, stripe, booking)
    with localcontext(prec=5):
        assert cancel(booking) == (given, PRICE - given)
    assert sum(list_refunded(stripe)) == given
    assert cancel(booking) == (0, PRICE - given)
    assert sum(list_refunded(stripe)) == given


def test_links_lead_nowhere_afterwards(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    link = services.create_payment_link(booking)
    pay(api, stripe, booking)
    services.cancel_payable(booking)
    assert find_payment_link(link.rpartition("/")[2]) is None


@pytest.mark.parametrize(("early", "given"), [(dt.timedelta(microseconds=1), 4500), (dt.timedelta(), 0)])
def test_term_ends_at_its_moment(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    monkeypatch: pytest.MonkeyPatch,
    early: dt.timedelta,
    given: int,
) -> None:
    pay(api, stripe, booking)
    (until, _share) = booking.get_refund_terms()[0]  # type: ignore[attr-defined]
    monkeypatch.setattr(timezone, "now", lambda: until - early)
    assert services.cancel_payable(booking, preview=True).amount == given


@pytest.mark.parametrize(
    ("currency", "price", "given"), [("jpy", 1001, 500), ("isk", 100_100, 50_000), ("kwd", 10_010, 5_000)]
)
def test_what_goes_back_is_a_step_that_stripe_takes(
    api: GatewayApi, stripe: StripeEmulator, set_terms: Any, currency: str, price: int, given: int
) -> None:
    booking = Booking.objects.create(price=price, currency=currency)
    pay(api, stripe, booking)
    assert cancel(booking) == (given, price - given)
    assert list_refunded(stripe) == [given]


@pytest.mark.usefixtures("in_parts")
def test_latest_payment_goes_back_first(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    deposit, balance = pay(api, stripe, booking), pay(api, stripe, booking)
    assert cancel(booking) == (4500, 4500)
    for payment, kept in ((deposit, 3000), (balance, 1500)):
        payment.refresh_from_db()
        assert (payment.amount_kept, payment.amount_held) == (kept, kept)


@pytest.mark.usefixtures("in_parts")
def test_share_is_of_the_price_and_not_of_what_is_paid(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    pay(api, stripe, booking)
    assert cancel(booking) == (0, 3000)
    # No more is kept than there was, whatever the terms say.
    assert PayableLock.objects.get().amount_kept == 3000


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("waives_first", [False, True])
def test_waived_terms_keep_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, waives_first: bool
) -> None:
    pay(api, stripe, booking), pay(api, stripe, booking)
    if not waives_first:
        cancel(booking)
    cancel(booking, waive=True)
    assert sum(list_refunded(stripe)) == PRICE
    assert cancel(booking) == (0, 0)
    assert booking.payments.get_dues().kept == 0


def test_without_terms_a_person_decides(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(Booking, "get_refund_terms")
        pay(api, stripe, booking)
    for preview in (True, False):
        with pytest.raises(UnprocessableError, match="no cancellation terms"):
            services.cancel_payable(booking, preview=preview)
    assert services.get_dues(booking).kept is None
    assert cancel(booking, waive=True) == (PRICE, 0)


def test_what_has_no_price_has_no_share_of_it() -> None:
    with pytest.raises(UnprocessableError, match="no price"):
        services.cancel_payable(Voucher.objects.create())


@pytest.mark.parametrize(
    "terms",
    [
        [(SOON, 0.5)],
        [(SOON, "0.5")],
        [(SOON, True)],
        [(SOON, Decimal("1.01"))],
        [(SOON, Decimal("-0.1"))],
        [(SOON, Decimal("NaN"))],
        [(LATER, 1), (SOON, HALF)],
    ],
)
def test_terms_that_are_none_are_refused_before_stripe_is_asked(
    stripe: StripeEmulator, booking: Booking, set_terms: Any, terms: Any
) -> None:
    set_terms(*terms)
    with pytest.raises(ConfigurationError, match=r"^Booking\.get_refund_terms: pairs"):
        services.create_payment(payable=booking)
    assert not stripe.payment_intents


@pytest.mark.parametrize("until", [dt.datetime(2030, 1, 1), dt.date(2030, 1, 1), "2030-01-01", None])  # noqa: DTZ001
def test_terms_end_at_a_time(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(Booking, "get_refund_terms", lambda _self: [(until, HALF)])
    with pytest.raises(ConfigurationError, match=r"^Booking\.get_refund_terms: pairs"):
        services.create_payment(payable=booking)


# Terms as they were at the sale.


def test_terms_of_the_sale_count(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, set_terms: Any
) -> None:
    pay(api, stripe, booking)
    set_terms((SOON, 0))
    assert cancel(booking) == (4500, 4500)


@pytest.mark.usefixtures("in_parts")
def test_terms_of_the_first_payment_count(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, set_terms: Any
) -> None:
    pay(api, stripe, booking)
    set_terms((SOON, 0))
    pay(api, stripe, booking)
    assert cancel(booking) == (4500, 4500)


@pytest.mark.parametrize(("price", "given"), [(18_000, 4500), (6000, 6000), (0, PRICE)])
def test_price_of_the_sale_counts_unless_it_fell(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, price: int, given: int
) -> None:
    pay(api, stripe, booking)
    booking.price = price
    booking.save()
    assert cancel(booking) == (given, PRICE - given)


def test_repeat_when_the_next_term_counts_gives_nothing_more(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, set_terms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_terms((SOON, HALF), (LATER, Decimal("0.9")))
    pay(api, stripe, booking)
    cancel(booking)
    now = timezone.now() + 2 * SOON
    monkeypatch.setattr(timezone, "now", lambda: now)
    assert cancel(booking) == (0, 4500)
    assert list_refunded(stripe) == [4500]


# What is kept.


def test_nothing_is_due_of_what_is_canceled(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    cancel(booking)
    balance = api.retrieve(payment.pk).json()["balance"]
    assert (balance["due"], balance["kept"], balance["surplus"], balance["refunded"]) == (0, 4500, 0, 4500)
    answer = api.create({"payable": {"type": "booking", "id": booking.pk}})
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, "It was canceled.")


def test_what_is_kept_is_refunded_by_no_mistake(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    cancel(booking)
    assert api.retrieve(payment.pk).json()["refundable"] is False
    for body in (None, {"amount": 4500}, {"amount": 1}):
        answer = api.refund(payment.pk, body)
        assert (answer.status_code, "terms keep" in answer.json()["errorMessage"]) == (422, True)
    assert services.refund_payable(booking) == []
    assert list_refunded(stripe) == [4500]


def test_unpaid_booking_is_paid_no_more(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    assert cancel(booking) == (0, 0)
    assert services.get_dues(booking).due == booking.payments.get_amount_due() == 0
    assert api.create({"payable": {"type": "booking", "id": booking.pk}}).status_code == 422


@pytest.mark.parametrize("capture_method", ["automatic", "manual"])
def test_open_payments_of_any_owner_are_canceled(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch, capture_method: str
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    for owner in ("key:viator", "auth.user:1"):
        caller = services.Caller(owner)
        created = services.create_payment(payable=booking, capture_method=capture_method, caller=caller)
    if capture_method == "manual":
        stripe.confirm(created.payment.intent_id)
        services.complete_payment(created.payment)
    services.cancel_payable(booking)
    assert {each["status"] for each in stripe.payment_intents.values()} == {"canceled"}
    assert {each.status for each in Payment.objects.all()} == {"canceled"}


def test_open_payment_that_stripe_does_not_cancel_is_canceled_later(
    stripe: StripeEmulator, booking: Booking
) -> None:
    created = services.create_payment(payable=booking)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/cancel", times=1))
    services.cancel_payable(booking)
    assert stripe.payment_intents[created.payment.intent_id]["status"] != "canceled"
    run_upkeep(limit=100)
    assert Payment.objects.get().status == "canceled"


def test_money_that_comes_after_it_goes_back(stripe: StripeEmulator, booking: Booking) -> None:
    created = services.create_payment(payable=booking)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/cancel", times=1))
    services.cancel_payable(booking)
    stripe.confirm(created.payment.intent_id)
    with pytest.raises(GatewayError, match="was canceled"):
        services.complete_payment(created.payment)
    assert list_refunded(stripe) == [PRICE]
    assert services.get_dues(booking).received == 0


def test_hold_that_stripe_does_not_release_is_not_captured(
    stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    payment = services.create_payment(payable=booking, capture_method="manual").payment
    stripe.confirm(payment.intent_id)
    services.complete_payment(payment)
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/cancel", times=1))
    services.cancel_payable(booking)
    asked = len(stripe.requests)
    with pytest.raises(UnprocessableError, match="canceled"):
        services.capture_payment(payment)
    assert len(stripe.requests) == asked
    run_upkeep(limit=100)
    assert stripe.payment_intents[payment.intent_id]["status"] == "canceled"


@pytest.mark.usefixtures("in_parts")
def test_nobody_is_reminded_of_what_is_canceled(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    other = Booking.objects.create(price=PRICE, currency="usd")
    pay(api, stripe, booking), pay(api, stripe, other)
    services.cancel_payable(booking, waive=True)
    PayableLock.objects.update(next_update_at=timezone.now())
    reminded: list[Any] = []
    with listening(signals.installment_due, lambda payable_lock, **_: reminded.append(payable_lock.payable)):
        run_upkeep(limit=100)
    assert reminded == [other]


# Disputes, failures, surplus.


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize(("won", "given"), [(True, 4500), (False, 1500)])
def test_nothing_goes_back_under_an_open_dispute(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, set_terms: Any, won: bool, given: int
) -> None:
    deposit = pay(api, stripe, booking)
    pay(api, stripe, booking)
    dispute = stripe.open_dispute(deposit.intent_id)
    api.deliver(stripe)
    for preview in (True, False):
        with pytest.raises(UnprocessableError, match="disputed"):
            services.cancel_payable(booking, preview=preview)
    assert list_refunded(stripe) == []
    assert services.get_dues(booking).kept == 4500
    stripe.close_dispute(dispute["id"], won=won)
    api.deliver(stripe)
    assert cancel(booking) == (given, 4500)
    assert sum(list_refunded(stripe)) == given


def test_refund_that_fails_later_calls_an_operator(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    cancel(booking)
    refund_id = Refund.objects.get().stripe_refund_id or ""
    stripe.settle_refund(refund_id, status="failed", reason="lost_or_stolen_card")
    api.deliver(stripe)
    run_upkeep(limit=100)
    assert services.get_dues(booking).surplus == 4500
    assert {each.code for each in Concern.objects.open()} == {"refund_failed", "payable_overpaid"}
    assert services.refund_payment(payment).amount_held == 4500


def test_price_that_fell_leaves_a_surplus(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    payment = pay(api, stripe, booking)
    Booking.objects.update(price=6000)
    assert api.retrieve(payment.pk).json()["balance"]["surplus"] == 3000
    run_upkeep(limit=100)
    (concern,) = Concern.objects.open()
    assert (concern.code, concern.parameters["amount"]) == ("payable_overpaid", 3000)
    services.refund_payment(payment, amount=3000)
    run_upkeep(limit=100)
    assert not Concern.objects.open().exists()
    assert api.retrieve(payment.pk).json()["balance"]["surplus"] == 0


# At the same time.


@needs_row_locks
@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("waives", [False, True])
def test_many_cancellations_at_once_are_one(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, waives: bool
) -> None:
    pay(api, stripe, booking), pay(api, stripe, booking)
    works: list[Callable[[], Any]] = [
        lambda: services.cancel_payable(Booking.objects.get()) for _each in range(6)
    ]
    if waives:
        works[0] = lambda: services.cancel_payable(Booking.objects.get(), waive=True)
    run_together(works)
    assert sum(list_refunded(stripe)) == (PRICE if waives else 4500)
    assert services.get_dues(booking).surplus == 0
    run_upkeep(limit=100)
    assert not Concern.objects.open().exists()


@needs_row_locks
def test_payment_and_cancellation_at_once_end_in_one_of_two_ways(
    api: GatewayApi, stripe: StripeEmulator, set_terms: Any
) -> None:
    for _each in range(4):
        booking = Booking.objects.create(price=PRICE, currency="usd")
        created = services.create_payment(payable=booking)
        stripe.confirm(created.payment.intent_id)

        def complete(payment: Payment = created.payment) -> Any:
            try:
                return services.complete_payment(payment)
            except GatewayError:
                return None

        def cancel_it(pk: int = booking.pk) -> Any:
            return services.cancel_payable(Booking.objects.get(pk=pk))

        works: list[Callable[[], Any]] = [complete, cancel_it, complete]
        run_together(works)
        run_upkeep(limit=100)
        dues = services.get_dues(booking)
        held = Payment.objects.get(pk=created.payment.pk).amount_held
        # Paid in time, or all of it back.
        assert (held, dues.kept) in {(4500, 4500), (0, 0)}
        assert (dues.due, dues.surplus) == (0, 0)


@needs_row_locks
@pytest.mark.parametrize("is_won", [True, False])
@pytest.mark.parametrize("first", ["dispute", "cancellation"])
def test_nothing_goes_back_of_what_is_disputed_at_the_same_time(
    first: str, is_won: bool, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    dispute = stripe.open_dispute(payment.intent_id)

    def deliver() -> None:
        assert api.post_event(*stripe.signed("charge.dispute.created")).status_code == 200

    def cancel_it() -> None:
        with pytest.raises(GatewayError):
            services.cancel_payable(Booking.objects.get())

    works = [deliver, cancel_it] if first == "dispute" else [cancel_it, deliver]
    with ThreadPoolExecutor(2) as pool:
        with transaction.atomic():
            Payment.objects.select_for_update().get()
            runs = []
            for number, work in enumerate(works, start=1):
                runs.append(pool.submit(run_and_disconnect, work))
                wait_for_locks(number)
        for run in runs:
            run.result(60)
    assert services.get_dues(booking).kept == 4500
    assert_ends(dispute, is_won=is_won, given=4500 if is_won else 0, stripe=stripe, api=api)


@needs_row_locks
@pytest.mark.parametrize("is_won", [True, False])
@pytest.mark.parametrize("asked", ["before", "after"])
def test_dispute_that_opens_while_stripe_is_asked_for_the_refund(
    asked: Any, is_won: bool, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)

    def cancel_it() -> bool:
        try:
            return bool(services.cancel_payable(Booking.objects.get()))
        except GatewayError:
            return False

    with ThreadPoolExecutor(1) as pool, stripe.hold("POST", "/v1/refunds", when=asked) as hold:
        run = pool.submit(run_and_disconnect, cancel_it)
        hold.wait_until_reached()
        dispute = stripe.open_dispute(payment.intent_id)
        # While it isn't answered, a repeat asks for no other.
        api.deliver(stripe, "charge.dispute.created")
        assert not cancel_it()
        hold.release()
        assert run.result(60) is (asked == "after")
    given = 4500 if asked == "after" or is_won else 0
    assert_ends(dispute, is_won=is_won, given=given, stripe=stripe, api=api)


@needs_row_locks
@pytest.mark.parametrize("asked", ["before", "after"])
def test_hold_that_is_captured_while_it_is_canceled_goes_back(
    asked: Any, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    payment = services.create_payment(payable=booking, capture_method="manual").payment
    stripe.confirm(payment.intent_id)
    payment = services.complete_payment(payment)

    def capture() -> None:
        with pytest.raises(GatewayError):
            services.capture_payment(payment)

    with ThreadPoolExecutor(1) as pool, stripe.hold("POST", ".*/capture", when=asked) as hold:
        run = pool.submit(run_and_disconnect, capture)
        hold.wait_until_reached()
        services.cancel_payable(booking)
        hold.release()
        run.result(60)
    run_upkeep(limit=100)
    assert sum(list_refunded(stripe)) == (PRICE if asked == "after" else 0)
    dues = services.get_dues(booking)
    assert (dues.received, dues.due, dues.surplus, dues.kept) == (0, 0, 0, 0)
    assert not Concern.objects.open().exists()
    assert_sums_equal(stripe)


@needs_row_locks
@pytest.mark.parametrize("asked", ["before", "after"])
def test_refund_that_is_under_way_is_part_of_what_goes_back(
    asked: Any, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    payment = pay(api, stripe, booking)
    with ThreadPoolExecutor(2) as pool, stripe.hold("POST", "/v1/refunds", when=asked) as hold:
        refund = pool.submit(run_and_disconnect, lambda: services.refund_payment(payment, amount=1000))
        hold.wait_until_reached()
        cancellation = pool.submit(run_and_disconnect, lambda: services.cancel_payable(booking))
        while PayableLock.ledger.get_kept(booking) is None:
            time.sleep(0.01)
        hold.release()
        for each in (refund, cancellation):
            each.result(60)
    services.cancel_payable(booking)
    run_upkeep(limit=100)
    assert sum(list_refunded(stripe)) == 4500
    assert services.get_dues(booking).surplus == 0
    assert_sums_equal(stripe)


def assert_ends(dispute: Any, *, is_won: bool, given: int, stripe: StripeEmulator, api: GatewayApi) -> None:
    """Check that nothing more goes back until a dispute is decided, and then what the terms give."""
    before, booking = list_refunded(stripe), Booking.objects.get()
    api.deliver(stripe)
    run_upkeep(limit=100)
    with pytest.raises(UnprocessableError, match="disputed"):
        services.cancel_payable(booking)
    assert list_refunded(stripe) == before
    with later(stripe):
        stripe.close_dispute(dispute["id"], won=is_won)
    api.deliver(stripe)
    cancel(booking)
    run_upkeep(limit=100)
    assert sum(list_refunded(stripe)) == given
    dues = services.get_dues(booking)
    assert (dues.kept, dues.due, dues.surplus) == (4500 if is_won else 0, 0, 0)
    assert_sums_equal(stripe)
