"""Payments whose time has run out, and holds that are about to."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from octo_stripe_gateway import services, signals, upkeep
from octo_stripe_gateway.exceptions import GatewayError, PaymentRejectedError
from octo_stripe_gateway.models import Payment, StripeRequest
from octo_stripe_gateway.services.deadlines import expire_payment
from octo_stripe_gateway.testing.emulator import Fault, StripeApiError, StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import assert_ledger_equals
from tests.support.receivers import listening
from tests.support.threads import LONGEST_WAIT, needs_row_locks, run_and_disconnect, run_together

pytestmark = pytest.mark.django_db(transaction=True)

Held = Callable[..., Any]


@pytest.fixture
def deadline() -> dict[str, dt.datetime]:
    """Until when the places are held, under `at`."""
    return {}


@pytest.fixture
def held(api: GatewayApi, monkeypatch: pytest.MonkeyPatch, deadline: dict[str, dt.datetime]) -> Held:
    """Create a payment for a booking whose places are held for an hour, and let that hour pass."""
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: deadline["at"], raising=False)

    def create(*, pays: StripeEmulator | None = None, by: str = "pm_card_visa", **body: Any) -> Any:
        deadline["at"] = timezone.now() + dt.timedelta(hours=1)
        booking = Booking.objects.create(currency="usd")
        payment = api.create({"payable": {"type": "booking", "id": booking.pk}, **body}).json()
        if pays:
            pays.confirm(payment["stripePaymentIntentId"], payment_method=by)
        # Stripe's moments have whole seconds.
        deadline["at"] = timezone.now() - dt.timedelta(microseconds=0 if pays else 1_000_000)
        Payment.objects.update(expires_at=deadline["at"])
        return payment

    return create


def expire() -> int:
    """Expire what is due, as if a while had gone by since the last time."""
    Payment.objects.update(claimed_until=None)
    return upkeep.work_off(upkeep.EXPIRIES, limit=100)["expired"]


def test_the_deadline_is_shown(api: GatewayApi, stripe: StripeEmulator, held: Held) -> None:
    assert held()["utcExpiresAt"].endswith("Z")


def test_a_payment_expires_at_stripe_and_tells_the_host(
    api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held()
    heard: list[int] = []
    with listening(signals.payment_expired, lambda payment, **_: heard.append(payment.pk)):
        assert expire() == 1
        assert expire() == 0
    assert heard == [payment["id"]]
    assert api.retrieve(payment).json()["status"] == "EXPIRED"
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert Payment.objects.get().status == "expired"


def test_nothing_is_created_after_the_deadline(api: GatewayApi, stripe: StripeEmulator, held: Held) -> None:
    held()
    expire()
    booking = Booking.objects.get()
    answer = api.create({"payable": {"type": "booking", "id": booking.pk}})
    assert (answer.status_code, answer.json()["utcExpiresAt"][-1]) == (422, "Z")
    assert len(stripe.payment_intents) == 1


def test_a_deadline_that_the_host_has_moved_is_followed(
    api: GatewayApi, stripe: StripeEmulator, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = held()
    later = timezone.now() + dt.timedelta(hours=2)
    monkeypatch.setattr(Booking, "get_payment_deadline", lambda _self: later)
    assert expire() == 0
    assert Payment.objects.get().expires_at == later
    assert api.retrieve(payment).json()["status"] == "PENDING"


def test_payment_made_before_it_expires_is_for_the_host_to_accept(
    api: GatewayApi, stripe: StripeEmulator, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        Booking, "on_payment_completed", lambda _self, payment: asked.append(payment.pk), raising=False
    )
    payment = held(pays=stripe)
    assert expire() == 0
    row = Payment.objects.get()
    assert (row.status, row.is_expiring, asked) == ("paid", False, [payment["id"]])
    assert_ledger_equals(stripe)


def test_bank_debit_that_is_processing_is_not_expired(
    api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held(pays=stripe, by="pm_usBankAccount_success")
    api.complete(payment)
    assert expire() == 0
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "processing"
    stripe.settle(payment["stripePaymentIntentId"])
    assert api.complete(payment).json()["status"] == "CONFIRMED"


@pytest.mark.parametrize("when", ["before", "after"])
def test_expiry_without_an_answer_is_finished_by_the_next_run(
    when: Any, api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    payment = held()
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents/.*/cancel", when=when))
    assert expire() == 0
    assert StripeRequest.objects.open().count() == 1
    assert expire() == 1
    assert api.retrieve(payment).json()["status"] == "EXPIRED"
    assert not StripeRequest.objects.open().exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_creation_without_an_answer_leaves_no_intent_that_can_be_paid(
    when: Any, api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents", when=when))
    held()
    assert expire() == 1
    assert {intent["status"] for intent in stripe.payment_intents.values()} == {"canceled"}


def test_hold_shows_its_deadline_and_reminds_a_day_before(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.authorized(stripe)
    row = Payment.objects.get()
    assert row.capture_before
    assert upkeep.work_off(upkeep.CAPTURES, limit=10)["captures"] == 0
    Payment.objects.update(capture_before=timezone.now() + dt.timedelta(hours=23))
    heard: list[int] = []
    with listening(signals.payment_capture_due, lambda payment, **_: heard.append(payment.pk)):
        assert upkeep.work_off(upkeep.CAPTURES, limit=10)["captures"] == 1
        assert upkeep.work_off(upkeep.CAPTURES, limit=10)["captures"] == 0
    assert heard == [payment["id"]]


def test_a_hold_that_ran_out_at_stripe_is_expired(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    stripe.expire(payment["stripePaymentIntentId"])
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert api.retrieve(payment).json()["status"] == "EXPIRED"


def test_a_hook_that_raises_keeps_no_other_payment_from_expiring(
    api: GatewayApi, stripe: StripeEmulator, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(_booking: Booking, _payment: Payment) -> None:
        raise ValueError

    monkeypatch.setattr(Booking, "on_payment_completed", stumble, raising=False)
    paid, unpaid = held(), held()
    stripe.confirm(paid["stripePaymentIntentId"])
    Payment.objects.filter(pk=paid["id"]).update(expires_at=timezone.now() - dt.timedelta(hours=1))
    assert expire() == 1
    assert stripe.payment_intents[unpaid["stripePaymentIntentId"]]["status"] == "canceled"


def test_unreachable_stripe_is_left_alone(api: GatewayApi, stripe: StripeEmulator, held: Held) -> None:
    """Each further call would wait for its time-out, and the next run begins in a minute."""
    for _each in range(12):
        held()
    stripe.add_fault(Fault(status=500, path="/v1/payment_intents/.*/cancel", times=None))
    asked = len(stripe.requests)
    assert expire() == 0
    assert len(stripe.requests) == asked + 10
    stripe.clear_faults()
    assert expire() == 12


def test_payment_of_another_amount_at_stripe_still_expires(
    api: GatewayApi, stripe: StripeEmulator, held: Held
) -> None:
    import stripe as sdk

    payment = held()
    client = sdk.StripeClient("sk_test_gateway", base_addresses={"api": stripe.url})
    client.v1.payment_intents.update(payment["stripePaymentIntentId"], params={"amount": 100})
    assert [expire() for _each in range(3)] == [1, 0, 0]
    assert stripe.payment_intents[payment["stripePaymentIntentId"]]["status"] == "canceled"
    assert StripeRequest.objects.filter(kind="cancel").count() == 1


# On real connections: whoever comes first, Stripe decides.

Asked = list[int]
TOO_LATE = "paid_too_late"
CANCEL = "/v1/payment_intents/.*/cancel"


@pytest.fixture(params=[True, False], ids=["accepts", "rejects"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The payments that the host was asked to accept."""
    asked: Asked = []

    def decide(_booking: Booking, payment: Payment) -> None:
        asked.append(payment.pk)
        if not request.param:
            raise PaymentRejectedError("The places are sold.")

    monkeypatch.setattr(Booking, "on_payment_completed", decide, raising=False)
    return asked


@needs_row_locks
@pytest.mark.parametrize("in_time", [True, False])
@pytest.mark.parametrize("told_by", ["complete", "event"])
def test_host_decides_on_a_payment_made_in_time_while_it_expires(
    told_by: str,
    in_time: bool,
    api: GatewayApi,
    stripe: StripeEmulator,
    held: Held,
    asked: Asked,
    deadline: dict[str, dt.datetime],
) -> None:
    payment = held()
    with stripe.hold("POST", CANCEL, when="before") as hold, ThreadPoolExecutor(1) as pool:
        expiry = pool.submit(run_and_disconnect, expire)
        hold.wait_until_reached()
        stripe.confirm(payment["stripePaymentIntentId"])
        if in_time:
            deadline["at"] = timezone.now()
        tell(payment, by=told_by, api=api, stripe=stripe)
        hold.release()
        assert expiry.result() == 0
    assert asked == ([payment["id"]] if in_time else [])
    assert (Payment.objects.get().rejection_code == TOO_LATE) != in_time
    assert_decided(stripe, asked=asked)


@needs_row_locks
@pytest.mark.parametrize("told_by", ["complete", "event"])
def test_customer_is_not_charged_while_the_payment_expires(
    told_by: str, api: GatewayApi, stripe: StripeEmulator, held: Held, asked: Asked
) -> None:
    payment = held()
    with stripe.hold("POST", CANCEL, when="after") as hold, ThreadPoolExecutor(1) as pool:
        expiry = pool.submit(run_and_disconnect, expire)
        hold.wait_until_reached()
        with pytest.raises(StripeApiError):
            stripe.confirm(payment["stripePaymentIntentId"])
        tell(payment, by=told_by, api=api, stripe=stripe)
        hold.release()
        assert expiry.result() == 1
    assert asked == []
    assert_decided(stripe, asked=asked)


@needs_row_locks
def test_expiries_race_customers_and_events(
    api: GatewayApi,
    stripe: StripeEmulator,
    held: Held,
    asked: Asked,
    deadline: dict[str, dt.datetime],
) -> None:
    payments = [held() for _each in range(5)]
    # Some of the customers pay in time.
    deadline["at"] = timezone.now() + dt.timedelta(milliseconds=500)

    def pay(payment: Any) -> None:
        with suppress(StripeApiError):
            stripe.confirm(payment["stripePaymentIntentId"])
        assert GatewayApi(Client()).complete(payment).status_code in {200, 422}

    def try_to_expire(payment: Any) -> None:
        with suppress(GatewayError):
            expire_payment(Payment.objects.get(pk=payment["id"]))

    def deliver(payment: Any) -> None:
        # Wait until paying or expiring has ended the intent.
        for _each in range(LONGEST_WAIT * 100):
            if has_ended(payment, stripe=stripe):
                break
            time.sleep(0.01)
        tell(payment, by="event", api=GatewayApi(Client()), stripe=stripe)

    works = [partial(work, payment) for payment in payments for work in (pay, try_to_expire, deliver)]
    run_together(works)
    for payment in payments:
        services.sync_payment(Payment.objects.get(pk=payment["id"]))
    assert_decided(stripe, asked=asked)


def tell(payment: Any, *, by: str, api: GatewayApi, stripe: StripeEmulator) -> None:
    """Let the ledger learn how the payment's intent ended."""
    if by == "complete":
        assert api.complete(payment).status_code in {200, 422}
        return
    for event in stripe.events:
        is_end = event.type in {"payment_intent.succeeded", "payment_intent.canceled"}
        if is_end and event.payload["data"]["object"]["id"] == payment["stripePaymentIntentId"]:
            assert api.post_event(*stripe.signed(event)).status_code == 200


def has_ended(payment: Any, *, stripe: StripeEmulator) -> bool:
    intent = stripe.payment_intents[payment["stripePaymentIntentId"]]
    return intent["status"] in {"succeeded", "canceled"}


def assert_decided(stripe: StripeEmulator, *, asked: Asked) -> None:
    """Check that no intent is payable any more, and that money stays only if the host accepted it."""
    assert_ledger_equals(stripe)
    paid = []
    for payment in Payment.objects.all():
        intent = stripe.payment_intents[payment.stripe_payment_intent_id or ""]
        if intent["status"] == "canceled":
            assert (payment.status, intent["amount_received"]) == ("expired", 0)
            continue
        assert intent["status"] == "succeeded"
        assert payment.amount_held == (0 if payment.rejection_code else payment.amount)
        assert bool(payment.accepted_at) != bool(payment.rejection_code)
        paid += [payment.pk] if payment.rejection_code != TOO_LATE else []
    assert sorted(asked) == sorted(paid)
