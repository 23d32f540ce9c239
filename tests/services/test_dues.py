"""A booking's money as a whole: never paid twice, deposits and balances, price changes, refunds."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe as sdk
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from octo_stripe_gateway import services, signals, upkeep
from octo_stripe_gateway.exceptions import (
    ConfigurationError,
    GatewayError,
    NothingDueError,
    UnprocessableError,
)
from octo_stripe_gateway.models import Concern, PayableLock, Payment, StripeRequest
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import Fault, StripeApiError, StripeEmulator
from octo_stripe_gateway.upkeep.deadlines import OVERDUE_REVIEW
from octo_stripe_gateway.webhooks import inbox
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.properties import try_property
from tests.support.receivers import listening

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = 9000
DUE = dt.datetime(2027, 5, 1, tzinfo=dt.UTC)
OWNED = Caller(owner="key:viator")


@pytest.fixture
def booking(db: None) -> Booking:
    return Booking.objects.create(price=PRICE, currency="usd")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Split a booking into deposit and balance: a third now, the rest later."""

    def get_installments(self: Booking) -> list[tuple[str, int, dt.datetime | None]]:
        deposit = self.price // 3
        return [("deposit", deposit, None), ("balance", self.price - deposit, DUE)]

    monkeypatch.setattr(Booking, "get_installments", get_installments, raising=False)


def body(booking: Booking, **fields: Any) -> dict[str, Any]:
    return {"payable": {"type": "booking", "id": booking.pk}, **fields}


def pay(api: GatewayApi, stripe: StripeEmulator, booking: Booking, **fields: Any) -> Any:
    return api.paid(stripe, body(booking, **fields))


@pytest.fixture
def make_late(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def make_late() -> None:
        late = timezone.now() - dt.timedelta(days=1)
        monkeypatch.setattr(f"{__name__}.DUE", late)
        PayableLock.objects.update(next_due_at=late)

    return make_late


def get_held(stripe: StripeEmulator) -> int:
    """Return what Stripe has received minus what it has refunded."""
    charges = stripe.charges.values()
    return sum(charge["amount_captured"] - charge["amount_refunded"] for charge in charges)


# What is asked for.


def test_a_reload_ends_on_the_same_intent(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    first, second = (api.create(body(booking)) for _each in range(2))
    assert {first.status_code, second.status_code} == {201}
    for name in ("id", "stripePaymentIntentId", "stripeClientSecret"):
        assert first.json()[name] == second.json()[name]
    assert len(stripe.payment_intents) == 1


def test_a_forgotten_key_ends_on_the_same_intent_and_both_stand_for_it(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    answers = [api.create(body(booking), **{"Idempotency-Key": key}) for key in ("one", "two", "one", "two")]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stripe.payment_intents) == 1


def test_a_uuid_of_ones_own_replaces_the_open_intent(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    first = api.create(body(booking)).json()
    own = "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"
    second = api.create(body(booking, uuid=own)).json()
    assert second["uuid"] == own
    assert stripe.payment_intents[first["stripePaymentIntentId"]]["status"] == "canceled"
    assert api.create(body(booking, uuid=own)).json()["id"] == second["id"]
    assert api.retrieve(first).json()["status"] == "CANCELLED"


def test_a_uuid_that_comes_too_late_is_told_so(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    first = api.create(body(booking)).json()
    stripe.confirm(first["stripePaymentIntentId"])
    answer = api.create(body(booking, uuid="a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"))
    assert answer.status_code == 409
    assert api.retrieve(first).json()["status"] == "CONFIRMED"


def test_what_is_paid_is_not_asked_for_again(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    paid = pay(api, stripe, booking)
    answer = api.create(body(booking))
    settled = {
        "price": PRICE,
        "received": PRICE,
        "refunded": 0,
        "forgiven": 0,
        "kept": None,
        "surplus": 0,
        "due": 0,
        "currency": "usd",
        "nextDueAt": None,
    }
    assert (answer.status_code, answer.json()["balance"]) == (422, settled)
    assert api.retrieve(paid).json()["balance"] == settled


@pytest.mark.parametrize(("amount", "status"), [(PRICE, 201), (PRICE - 1, 422), (1, 422)])
def test_an_amount_must_be_what_is_due(
    amount: int, status: int, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    assert api.create(body(booking, amount=amount)).status_code == status


def test_what_is_at_the_bank_is_waited_for(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    payment = api.create(body(booking)).json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method="pm_usBankAccount_success")
    api.complete(payment)
    answer = api.create(body(booking))
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "60")


def test_a_partial_refund_may_be_due_again(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    api.refund(pay(api, stripe, booking), {"amount": 500, "dueAgain": True})
    assert api.create(body(booking)).json()["amount"] == 500


# Prices that change.


def test_an_open_intent_follows_the_price(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    first = api.create(body(booking)).json()
    Booking.objects.update(price=PRICE + 500)
    second = api.create(body(booking)).json()
    assert (second["id"], second["amount"]) == (first["id"], PRICE + 500)
    assert stripe.payment_intents[first["stripePaymentIntentId"]]["amount"] == PRICE + 500
    stripe.confirm(first["stripePaymentIntentId"])
    assert api.complete(first).json()["status"] == "CONFIRMED"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert not Concern.objects.exists()


@pytest.mark.parametrize("by", ["key", "uuid"])
def test_a_repeated_create_follows_the_price(
    by: str, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    """Otherwise a page that keeps its key or uuid would let its customer pay what is then rejected."""
    own = "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"
    asked = body(booking) if by == "key" else body(booking, uuid=own)
    headers = {"Idempotency-Key": "one"} if by == "key" else {}
    first = api.create(asked, **headers).json()
    Booking.objects.update(price=PRICE + 500)
    second = api.create(asked, **headers)
    assert (second.status_code, second.json()["id"]) == (201, first["id"])
    assert second.json()["amount"] == PRICE + 500
    stripe.confirm(first["stripePaymentIntentId"])
    assert api.complete(first).json()["status"] == "CONFIRMED"
    assert api.create(asked, **headers).json()["status"] == "CONFIRMED"


def test_an_intent_that_stripe_does_not_change_is_replaced(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    first = api.create(body(booking)).json()
    Booking.objects.update(price=PRICE + 500)
    stripe.add_fault(Fault(path=f"/v1/payment_intents/{first['stripePaymentIntentId']}$", status=400))
    second = api.create(body(booking)).json()
    assert (second["id"] != first["id"], second["amount"]) == (True, PRICE + 500)
    assert stripe.payment_intents[first["stripePaymentIntentId"]]["status"] == "canceled"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unanswered_change_of_the_amount_is_finished(
    when: Any, api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    first = api.create(body(booking)).json()
    Booking.objects.update(price=PRICE + 500)
    path = f"/v1/payment_intents/{first['stripePaymentIntentId']}$"
    stripe.add_fault(Fault(kind="reset", path=path, when=when))
    assert api.create(body(booking)).status_code == 503
    services.sync_payment(Payment.objects.get())
    row = Payment.objects.get()
    assert (row.amount, row.amount_requested, row.has_concerns) == (PRICE + 500, None, False)
    assert not StripeRequest.objects.open().exists()


def test_money_for_the_old_price_goes_back(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    payment = api.create(body(booking)).json()
    stripe.confirm(payment["stripePaymentIntentId"])
    Booking.objects.update(price=PRICE + 500)
    answer = api.create(body(booking))
    assert (answer.status_code, answer.json()["amount"]) == (201, PRICE + 500)
    assert api.retrieve(payment).json()["failure"]["message"] == "The price has changed."
    assert get_held(stripe) == 0


# Money that arrives all the same.


def test_of_two_owners_one_pays(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    ours = services.create_payment(payable=booking)
    theirs = services.create_payment(payable=booking, caller=OWNED)
    assert ours.payment != theirs.payment
    for created in (ours, theirs):
        stripe.confirm(created.payment.stripe_payment_intent_id or "")
    answers = [api.complete(created.payment.pk) for created in (ours, theirs)]
    assert [answer.status_code for answer in answers] == [200, 422]
    assert answers[1].json()["errorMessage"] == "It is paid already."
    assert get_held(stripe) == PRICE
    assert len(stripe.refunds) == 1


def test_of_two_holds_one_stays(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    heard: list[int] = []
    monkeypatch.setattr(
        Booking, "on_payment_authorized", lambda _self, payment: heard.append(payment.pk), raising=False
    )
    holds = [
        services.create_payment(payable=booking, capture_method="manual", caller=caller).payment
        for caller in (Caller(), OWNED)
    ]
    for hold in holds:
        stripe.confirm(hold.stripe_payment_intent_id or "")
    answers = [api.complete(hold.pk) for hold in holds]
    assert [answer.status_code for answer in answers] == [200, 422]
    assert answers[1].json()["errorMessage"] == "It is being paid already."
    assert heard == [holds[0].pk]
    assert sum(intent["amount_capturable"] for intent in stripe.payment_intents.values()) == PRICE
    assert api.capture(holds[0].pk).json()["status"] == "CONFIRMED"
    assert get_held(stripe) == PRICE


@pytest.mark.parametrize("event", ["price", "paid"])
def test_a_hold_that_would_be_rejected_is_not_captured(
    event: str, api: GatewayApi, stripe: StripeEmulator, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Capturing and then refunding it would cost the customer days, and the merchant Stripe's fee."""
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    theirs = services.create_payment(payable=booking, caller=OWNED).payment
    hold = api.authorized(stripe, body(booking, amount=PRICE, currency="usd"))
    if event == "price":
        Booking.objects.update(price=PRICE + 500)
    else:
        stripe.confirm(theirs.stripe_payment_intent_id or "")
        services.complete_payment(theirs)
    answer = api.capture(hold)
    message = "The price has changed." if event == "price" else "It is paid already."
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, message)
    assert get_held(stripe) == (0 if event == "price" else PRICE)
    assert stripe.refunds == {}
    assert api.cancel(hold).json()["status"] == "CANCELLED"


def test_money_in_another_currency_is_not_asked_for_again(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    """A price can't be compared with money in another currency: whoever changed it has to decide."""
    theirs = services.create_payment(payable=booking, caller=OWNED).payment
    paid = pay(api, stripe, booking)
    Booking.objects.update(currency="eur")
    answer = api.create(body(booking))
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, "It is paid in another currency.")
    Booking.objects.update(currency="usd")
    stripe.confirm(theirs.stripe_payment_intent_id or "")
    assert api.complete(theirs.pk).status_code == 422
    Booking.objects.update(currency="eur")
    api.refund(paid)
    assert api.create(body(booking)).json()["currency"] == "eur"


needs_row_locks = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="SQLite has no row locks and one writer at a time"
)


def together(works: list[Callable[[GatewayApi], Any]]) -> Counter[int]:
    """Run all works at once, each in a thread with its own connection, and count the statuses."""

    def run(work: Callable[[GatewayApi], Any]) -> int:
        try:
            while (status := int(work(GatewayApi(Client())).status_code)) == 409:
                pass
            return status
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return Counter(pool.map(run, works))


@needs_row_locks
def test_sixteen_tabs_open_one_intent_and_pay_it_once(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    assert together([lambda api: api.create(body(booking))] * 16) == {201: 16}
    (intent_id,) = stripe.payment_intents
    stripe.confirm(intent_id)
    payment = Payment.objects.get()
    assert together([lambda api: api.complete(payment.pk)] * 16) == {200: 16}
    assert get_held(stripe) == PRICE


@needs_row_locks
def test_of_sixteen_payers_exactly_one_stays(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    created = [
        services.create_payment(payable=booking, caller=Caller(owner=f"key:{number}")) for number in range(16)
    ]
    for one in created:
        stripe.confirm(one.payment.stripe_payment_intent_id or "")
    works: list[Callable[[GatewayApi], Any]] = [
        (lambda api, pk=one.payment.pk: api.complete(pk))  # type: ignore[misc]
        for one in created
    ]
    assert together(works) == {200: 1, 422: 15}
    assert get_held(stripe) == PRICE
    assert len(stripe.refunds) == 15


@needs_row_locks
def test_a_price_change_races_the_tabs(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    def raise_price(_api: GatewayApi) -> Any:
        Booking.objects.update(price=PRICE + 500)
        return api.retrieve(1)

    api.create(body(booking))
    works: list[Callable[[GatewayApi], Any]] = [lambda api: api.create(body(booking))] * 8
    statuses = together([*works[:4], raise_price, *works[4:]])
    assert statuses[201] == 8
    assert api.create(body(booking)).json()["amount"] == PRICE + 500
    opened = [one for one in stripe.payment_intents.values() if one["status"] != "canceled"]
    assert [one["amount"] for one in opened] == [PRICE + 500]


# Parts.


def test_deposit_and_balance(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    settled: list[Payment] = []
    with listening(signals.payable_paid, lambda payment, **_: settled.append(payment)):
        deposit = pay(api, stripe, booking)
        assert (deposit["purpose"], deposit["amount"]) == ("deposit", 3000)
        assert deposit["balance"]["due"] == 6000
        assert deposit["balance"]["nextDueAt"] == "2027-05-01T00:00:00Z"
        assert settled == []
        balance = pay(api, stripe, booking)
    assert (balance["purpose"], balance["balance"]["due"]) == ("balance", 0)
    assert [payment.pk for payment in settled] == [balance["id"]]
    assert api.create(body(booking)).status_code == 422


@pytest.mark.parametrize(
    ("purpose", "amount"), [("deposit", 3000), ("balance", 6000), ("full", 9000), ("tip", None)]
)
def test_a_purpose_names_what_is_paid(
    purpose: str,
    amount: int | None,
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
) -> None:
    answer = api.create(body(booking, purpose=purpose))
    assert answer.status_code == (201 if amount else 422)
    assert answer.json().get("amount") == amount


def test_full_after_the_deposit_is_the_rest(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking)
    rest = pay(api, stripe, booking, purpose="full")
    assert (rest["amount"], rest["balance"]["due"]) == (6000, 0)


def test_a_part_is_not_paid_twice(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking, purpose="deposit")
    with pytest.raises(NothingDueError):
        services.create_payment(payable=booking, purpose="deposit")


def test_parts_that_do_not_add_up_are_an_error(booking: Booking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Booking, "get_installments", lambda _self: [("deposit", 1, None), ("balance", 1, None)], raising=False
    )
    with pytest.raises(ConfigurationError, match="add up"):
        services.create_payment(payable=booking)


@pytest.mark.parametrize("name", ["", None, 1, gettext_lazy("Due"), "full", "balance"])
def test_part_whose_name_is_not_found_again_is_an_error(
    name: Any, booking: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its money would be taken, and then sent back as paid for something else."""
    parts = [(name, 3000, None), ("balance", 6000, None)]
    monkeypatch.setattr(Booking, "get_installments", lambda _self: parts, raising=False)
    with pytest.raises(ConfigurationError, match="names of their own"):
        services.create_payment(payable=booking)


def test_the_host_learns_whether_that_was_all(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, int]] = []

    def hear(self: Booking, payment: Payment) -> None:
        assert payment.dues
        heard.append((payment.purpose, payment.dues.due))

    monkeypatch.setattr(Booking, "on_payment_completed", hear, raising=False)
    pay(api, stripe, booking)
    pay(api, stripe, booking)
    assert heard == [("deposit", 6000), ("balance", 0)]


def test_overdue_parts_are_found(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking)
    assert not PayableLock.objects.overdue(now=DUE - dt.timedelta(days=1)).exists()
    (overdue,) = PayableLock.objects.overdue(now=DUE + dt.timedelta(days=1))
    assert (overdue.payable_id, overdue.amount_due) == (str(booking.pk), 6000)
    pay(api, stripe, booking)
    assert not PayableLock.objects.overdue(now=DUE + dt.timedelta(days=1)).exists()


def remind() -> int:
    """Remind of what is due, as if a while had gone by since the last time."""
    PayableLock.objects.update(claimed_until=None)
    return upkeep.work_off(upkeep.INSTALLMENTS, limit=10)["installments"]


def test_an_installment_that_is_due_is_reminded_of_once(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
    make_late: Callable[[], None],
) -> None:
    pay(api, stripe, booking)
    assert remind() == 0
    make_late()
    heard: list[tuple[Any, int]] = []

    def hear(payable_lock: PayableLock, **_: Any) -> None:
        heard.append((payable_lock.payable, payable_lock.amount_due))
        if len(heard) == 1:
            raise ValueError

    with listening(signals.installment_due, hear):
        assert [remind() for _each in range(3)] == [0, 1, 0]
    assert heard == [(booking, 6000)] * 2


def test_nothing_is_due_of_what_is_given_up(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
    make_late: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = Booking.objects.create(price=PRICE, currency="usd")
    for each in (booking, gone):
        pay(api, stripe, each)
    make_late()
    Booking.objects.filter(pk=gone.pk).delete()
    past = timezone.now() - dt.timedelta(hours=1)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: past, raising=False)
    heard: list[str] = []
    with listening(signals.installment_due, lambda payable_lock, **_: heard.append(payable_lock.payable_id)):
        assert remind() == 0
    assert heard == []
    assert set(PayableLock.objects.values_list("amount_due", "next_due_at")) == {(0, None)}


def test_what_was_reminded_of_and_then_given_up_is_not_overdue_for_ever(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
    make_late: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pay(api, stripe, booking)
    make_late()
    assert remind() == 1
    PayableLock.objects.update(reminded_at=timezone.now() - OVERDUE_REVIEW * 2)
    assert remind() == 0
    assert PayableLock.objects.overdue(now=timezone.now()).exists()
    PayableLock.objects.update(reminded_at=timezone.now() - OVERDUE_REVIEW * 2)
    monkeypatch.setattr(Booking, "get_payment_amount", lambda _self: (0, "usd"))
    monkeypatch.setattr(Booking, "get_installments", lambda _self: [], raising=False)
    assert remind() == 0
    assert not PayableLock.objects.overdue(now=timezone.now()).exists()


def test_payable_that_fails_does_not_stop_the_other_reminders(
    api: GatewayApi,
    stripe: StripeEmulator,
    booking: Booking,
    in_parts: None,
    make_late: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Booking.objects.create(price=PRICE, currency="usd")
    for each in (broken, booking):
        pay(api, stripe, each)
    make_late()
    price = Booking.get_payment_amount

    def fail_for_one(self: Booking) -> tuple[int, str]:
        if self.pk == broken.pk:
            raise KeyError("a bug")
        return price(self)

    monkeypatch.setattr(Booking, "get_payment_amount", fail_for_one)
    assert remind() == 1


# For the host's code.


def test_a_relation_knows_what_is_due_without_a_query_each(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking
) -> None:
    pay(api, stripe, booking)
    for _each in range(4):
        Booking.objects.create(price=PRICE, currency="usd")
    with CaptureQueriesContext(connection) as queries:
        bookings = Booking.objects.prefetch_related("payments").order_by("pk")
        due = [each.payments.get_amount_due() for each in bookings]
    assert due == [0, PRICE, PRICE, PRICE, PRICE]
    assert len(queries) <= 3


# Refunds of the whole.


def test_a_payable_is_refunded_over_its_payments_the_latest_first(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking)
    pay(api, stripe, booking)
    key = Caller(idempotency_key="cancellation")
    for _each in range(3):
        refunded = services.refund_payable(booking, amount=7000, caller=key)
    assert [payment.purpose for payment in refunded] == ["balance", "deposit"]
    assert [refund["amount"] for refund in stripe.refunds.values()] == [6000, 1000]
    services.refund_payable(booking)
    services.refund_payable(booking)
    assert get_held(stripe) == 0


def test_a_refund_of_the_whole_that_broke_off_goes_on(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking)
    pay(api, stripe, booking)
    key = Caller(idempotency_key="cancellation")
    stripe.add_fault(Fault(kind="reset", path="/v1/refunds", when="after"))
    with pytest.raises(GatewayError):
        services.refund_payable(booking, amount=7000, caller=key)
    services.refund_payable(booking, amount=7000, caller=key)
    assert [refund["amount"] for refund in stripe.refunds.values()] == [6000, 1000]


def test_a_dispute_keeps_no_other_payment_from_going_back(
    api: GatewayApi, stripe: StripeEmulator, booking: Booking, in_parts: None
) -> None:
    pay(api, stripe, booking)
    disputed = pay(api, stripe, booking)
    stripe.open_dispute(disputed["stripePaymentIntentId"])
    api.deliver(stripe, "charge.dispute.created")
    with pytest.raises(UnprocessableError, match="more than is left"):
        services.refund_payable(booking, amount=3001)
    assert stripe.refunds == {}
    with pytest.raises(UnprocessableError, match="disputed"):
        services.refund_payable(booking)
    assert [refund["amount"] for refund in stripe.refunds.values()] == [3000]


def test_more_than_is_held_is_not_refunded(api: GatewayApi, stripe: StripeEmulator, booking: Booking) -> None:
    pay(api, stripe, booking)
    with pytest.raises(UnprocessableError):
        services.refund_payable(booking, amount=PRICE + 1)
    assert stripe.refunds == {}


# Whatever happens.


class Story:
    """A payable's random history: anything that customers, host, staff and Stripe may do."""

    VERBS = ("create", "create_own", "price", "confirm", "decline", "complete", "refund", "cancel", "deliver")

    def __init__(self, stripe: StripeEmulator) -> None:
        stripe.reset()
        self.stripe = stripe
        self.booking = Booking.objects.create(price=PRICE, currency="usd")
        self.client = sdk.StripeClient("sk_test_gateway", base_addresses={"api": stripe.url})

    def run(self, steps: list[tuple[str, int]]) -> None:
        for verb, number in steps:
            try:
                getattr(self, verb)(number)
            except (GatewayError, StripeApiError, IndexError):
                # A step that is impossible at that point is refused, and changes nothing.
                continue

    def pick(self, number: int) -> Payment:
        payments = list(self.booking.payments.order_by("pk"))
        picked: Payment = payments[number % max(1, len(payments))]
        return picked

    def create(self, number: int) -> None:
        purpose = ("", "deposit", "full")[number % 3]
        services.create_payment(
            payable=self.booking, purpose=purpose, caller=Caller(owner=f"key:{number % 2}")
        )

    def create_own(self, number: int) -> None:
        import uuid

        services.create_payment(payable=self.booking, uuid=uuid.uuid4(), caller=Caller(owner="key:0"))

    def price(self, number: int) -> None:
        self.booking.price = PRICE + 300 * (number % 4)
        self.booking.save()

    def confirm(self, number: int) -> None:
        self.stripe.confirm(self.pick(number).stripe_payment_intent_id or "")

    def decline(self, number: int) -> None:
        intent_id = self.pick(number).stripe_payment_intent_id or ""
        self.stripe.confirm(intent_id, payment_method="pm_card_chargeDeclined")

    def complete(self, number: int) -> None:
        services.complete_payment(self.pick(number))

    def refund(self, number: int) -> None:
        services.refund_payment(self.pick(number), amount=100 * (1 + number))

    def cancel(self, number: int) -> None:
        services.cancel_payment(self.pick(number))

    def deliver(self, number: int) -> None:
        events = self.stripe.events
        for event in random.Random(number).sample(events, min(len(events), 3)):
            inbox.receive_event(event.payload)

    def end(self) -> None:
        """Deliver all of Stripe's events in some order, then reconcile once more."""
        for event in random.Random(7).sample(self.stripe.events, len(self.stripe.events)):
            inbox.receive_event(event.payload)
        for payment in Payment.objects.all():
            services.sync_payment(payment)


@try_property(few=15, many=80)
@given(steps=st.lists(st.tuples(st.sampled_from(Story.VERBS), st.integers(0, 7)), min_size=4, max_size=14))
def test_held_never_exceeds_the_price_and_each_excess_goes_back_once(
    stripe: StripeEmulator, in_parts: None, steps: list[tuple[str, int]]
) -> None:
    StripeRequest.objects.all().delete()
    for payment in Payment.objects.all():
        payment.refunds.all().delete()
    Payment.objects.all().delete()
    story = Story(stripe)
    story.run(steps)
    story.end()
    highest = PRICE + 900
    accepted = [payment for payment in Payment.objects.all() if payment.accepted_at]
    assert sum(payment.amount_held for payment in accepted) <= highest
    assert get_held(stripe) == sum(payment.amount_held for payment in accepted)
    rejected = [payment for payment in Payment.objects.all() if payment.rejection_code]
    for payment in rejected:
        assert payment.amount_held == 0
        assert (
            sum(refund.amount for refund in payment.refunds.all() if refund.is_live)
            == payment.amount_received
        )
    balance = services.get_dues(story.booking)
    assert balance.received - balance.refunded == get_held(stripe)
