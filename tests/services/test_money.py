"""Attacks on the money: what is rejected goes back, a price is a price, nothing is lost silently."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services, signals, upkeep
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    OperationInProgressError,
    PaymentRejectedError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.models import (
    Payment,
    Refund,
    StripeRequest,
    WebhookEvent,
)
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from octo_stripe_gateway.webhooks import handlers, inbox
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import (
    assert_ledger_equals,
    later,
    list_concerns,
    settle_all,
    sync_due,
    sync_unsettled,
)
from tests.support.objects import make_charge, make_event, make_intent, make_paid_intent, sign
from tests.support.receivers import listening

pytestmark = pytest.mark.django_db(transaction=True)

OLD_VERSION = "2024-06-20"


@pytest.fixture
def booking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Booking]:
    """Make a booking whose class has these hooks for one test."""

    def make(**hooks: Any) -> Booking:
        for name, hook in hooks.items():
            monkeypatch.setattr(Booking, name, hook, raising=False)
        return Booking.objects.create(price=2000, currency="usd")

    return make


def reject(booking: Booking, payment: Payment) -> None:
    raise PaymentRejectedError("The tour is full.")


def pay_for(booking: Booking, *, api: GatewayApi, stripe: StripeEmulator, card: str = "pm_card_visa") -> Any:
    payment = api.create({"payable": {"type": "booking", "id": booking.pk}}).json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method=card)
    return payment


def get_payment() -> Payment:
    return Payment.objects.get()


def let_pauses_pass() -> None:
    Payment.objects.exclude(next_check_at=None).update(next_check_at=timezone.now())


# 1. A rejected payment's money goes back.


def test_rejected_money_that_stripe_cannot_return_yet_is_returned_later(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    alarms: list[str] = []
    stripe.drain_balance()
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    with listening(
        signals.payment_needs_attention, lambda payment, **_: alarms.extend(list_concerns(payment))
    ):
        assert api.complete(payment).status_code == 422
    row = get_payment()
    assert (row.status, row.amount_held, row.amount_reserved) == ("failed", 2000, 0)
    assert row in Payment.objects.rejected_with_money_held()
    assert alarms == ["money_held"]

    asked = len(stripe.requests)
    sync_due()
    assert len(stripe.requests) == asked, "its pause is not over"
    let_pauses_pass()
    sync_due()
    assert get_payment().amount_held == 2000
    stripe.top_up_balance()
    let_pauses_pass()
    sync_due()
    assert get_payment().status == "refunded"
    assert get_payment().next_check_at is None
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]
    assert list_concerns(get_payment()) == []


def test_pauses_between_attempts_to_return_money_grow_up_to_a_day(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    stripe.drain_balance()
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    api.complete(payment)
    pauses = []
    for _each in range(12):
        let_pauses_pass()
        sync_due()
        pauses.append(get_payment().next_check_at - timezone.now())  # type: ignore[operator]
    assert pauses[0] < pauses[1] < pauses[5] <= pauses[-1] <= dt.timedelta(days=1)
    assert dt.timedelta(hours=23) < pauses[-1]


def test_rejected_money_is_refunded_by_hand_as_well(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    stripe.drain_balance()
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    api.complete(payment)
    stripe.top_up_balance()
    shown = api.retrieve(payment).json()
    assert (shown["status"], shown["refundable"]) == ("FAILED", True)
    assert shown["failure"] == {"code": "rejected", "message": "The tour is full."}
    assert api.refund(payment).json()["status"] == "REFUNDED"


def test_failed_refund_of_a_rejected_payment_waits_for_a_person(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    api.complete(payment)
    (refund,) = stripe.refunds.values()
    stripe.settle_refund(refund["id"], status="failed", reason="lost_or_stolen_card")
    api.deliver(stripe, "refund.failed")
    assert get_payment().amount_held == 2000
    assert list_concerns(get_payment()) == ["refund_failed"]
    for settle in (False, True):
        if settle:
            settle_all(get_payment(), reason="Paid by bank.")
        let_pauses_pass()
        services.sync_payment(get_payment())
        assert [each["status"] for each in stripe.refunds.values()] == ["failed"]
    # Whoever asks for it still gets it.
    assert api.refund(payment).json()["status"] == "REFUNDED"


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_usBankAccount_success"])
def test_money_that_comes_after_months_is_looked_at_soon(
    card: str, api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    """The next check of a forgotten cart is far away, but its money must not wait for that."""
    payment = api.create(
        {"payable": {"type": "booking", "id": booking(on_payment_completed=reject).pk}}
    ).json()
    Payment.objects.update(checks=14, next_check_at=timezone.now() + dt.timedelta(days=100))
    stripe.drain_balance()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method=card)
    api.complete(payment)
    row = get_payment()
    assert row.next_check_at
    assert row.next_check_at < timezone.now() + dt.timedelta(hours=1)
    assert row.checks == 0


def test_only_what_is_held_is_returned(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    stripe.refund(payment["stripePaymentIntentId"], amount=500)
    assert api.complete(payment).status_code == 422
    assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [500, 1500]
    assert get_payment().status == "refunded"


def test_what_is_left_after_a_dashboard_refund_goes_back(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    """The event knows of no refund: Stripe refuses a full one, and after a check the rest is returned."""
    payment = pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe)
    succeeded = stripe.signed("payment_intent.succeeded")
    stripe.refund(payment["stripePaymentIntentId"], amount=500)
    assert api.post_event(*succeeded).status_code == 200
    let_pauses_pass()
    sync_due()
    assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [500, 1500]
    assert get_payment().status == "refunded"


# 2. What does not count as acceptance.


def test_a_rejection_without_a_reason_rejects(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    def reject_silently(booking: Booking, payment: Payment) -> None:
        raise PaymentRejectedError

    payment = pay_for(booking(on_payment_completed=reject_silently), api=api, stripe=stripe)
    assert api.complete(payment).json()["errorMessage"] == "The payment was rejected."
    assert get_payment().status == "refunded"


@pytest.mark.parametrize("words", ["Full:\0", "Full:\ud800"])
def test_a_reason_that_no_database_can_store_rejects(
    words: str, api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    def reject(booking: Booking, payment: Payment) -> None:
        raise PaymentRejectedError(words)

    answer = api.complete(pay_for(booking(on_payment_completed=reject), api=api, stripe=stripe))
    assert (answer.status_code, answer.json()["errorMessage"][:5]) == (422, "Full:")
    assert get_payment().status == "refunded"


def test_a_payable_that_is_gone_rejects(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    expired = booking()
    payment = pay_for(expired, api=api, stripe=stripe)
    expired.delete()
    assert {answer.status_code for answer in api.deliver(stripe)} == {200}
    assert get_payment().rejection_code == "payable_gone"
    assert api.retrieve(payment).json()["status"] == "REFUNDED"


@pytest.mark.parametrize("price", [100_000, 1000])
def test_a_price_that_changed_meanwhile_rejects(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking], price: int
) -> None:
    payment = pay_for(booking(), api=api, stripe=stripe)
    Booking.objects.update(price=price)
    answer = api.complete(payment)
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, "The price has changed.")
    assert get_payment().status == "refunded"


def test_money_that_went_back_before_it_was_heard_of_confirms_nothing(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    asked: list[int] = []
    one = booking(on_payment_completed=lambda _booking, payment: asked.append(payment.pk))
    payment = pay_for(one, api=api, stripe=stripe)
    stripe.refund(payment["stripePaymentIntentId"])
    answer = api.complete(payment)
    assert (answer.status_code, answer.json()["errorMessage"]) == (422, "The money has gone back already.")
    assert (get_payment().status, get_payment().accepted_at, asked) == ("refunded", None, [])
    assert_ledger_equals(stripe)


# 3. Hooks and receivers that touch the payment.


def save(booking: Booking, payment: Payment) -> None:
    payment.metadata["seat"] = "7"
    payment.save()


def refresh(booking: Booking, payment: Payment) -> None:
    payment.refresh_from_db()


def wipe(booking: Booking, payment: Payment) -> None:
    payment.amount_received = 0
    payment.status = "pending"
    payment.save()


@pytest.mark.parametrize("hook", [save, refresh, wipe])
def test_a_hook_that_touches_the_payment_does_no_harm(
    hook: Any, api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    payment = pay_for(booking(on_payment_completed=hook), api=api, stripe=stripe)
    assert api.complete(payment).json()["status"] == "CONFIRMED"
    assert_ledger_equals(stripe)
    assert get_payment().metadata == ({"seat": "7"} if hook is save else {})


def test_a_receivers_stale_save_undoes_nothing(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stale = get_payment()
    api.refund(payment, {"amount": 1500})
    stale.reseller_reference = "ORDER-7"
    stale.amount_refunded = 0
    stale.save()
    stale.save(update_fields=["amount_refunded"])
    row = get_payment()
    assert (row.amount_refunded, row.reseller_reference) == (1500, "ORDER-7")


# 4. The price is the price.


def test_a_priced_payable_is_not_held_unless_it_says_so(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    body = {"payable": {"type": "booking", "id": booking().pk}, "captureMethod": "manual"}
    assert api.create(body).status_code == 422
    assert stripe.payment_intents == {}


@pytest.mark.parametrize("answer", [False, lambda _booking: False], ids=["attribute", "method"])
def test_a_payable_that_says_no_is_not_held(
    answer: Any, api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    one = booking(allows_manual_capture=answer)
    body = {"payable": {"type": "booking", "id": one.pk}, "captureMethod": "manual"}
    assert api.create(body).status_code == 422


def test_a_hold_confirms_nothing_until_it_is_captured_in_full(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    heard: list[str] = []
    one = booking(
        allows_manual_capture=True,
        on_payment_authorized=lambda _booking, _payment: heard.append("authorized"),
        on_payment_completed=lambda _booking, _payment: heard.append("completed"),
    )
    payment = api.authorized(
        stripe, {"payable": {"type": "booking", "id": one.pk}, "amount": 2000, "currency": "usd"}
    )
    assert (payment["status"], payment["amountReceived"], heard) == ("ON_HOLD", 0, ["authorized"])
    assert api.capture(payment, {"amount": 1}).status_code == 422
    captured = api.capture(payment).json()
    assert (captured["status"], captured["amountReceived"]) == ("CONFIRMED", 2000)
    assert heard == ["authorized", "completed"]


def test_less_than_the_price_captured_elsewhere_is_never_confirmed(
    api: GatewayApi, stripe: StripeEmulator, booking: Callable[..., Booking]
) -> None:
    import stripe as sdk

    one = booking(allows_manual_capture=True)
    body = {"payable": {"type": "booking", "id": one.pk}, "amount": 2000, "currency": "usd"}
    payment = api.authorized(stripe, body)
    client = sdk.StripeClient("sk_test_gateway", base_addresses={"api": stripe.url})
    client.v1.payment_intents.capture(payment["stripePaymentIntentId"], params={"amount_to_capture": 1})
    assert api.complete(payment).json()["errorMessage"] == "Less than the price was received."
    assert get_payment().confirmed_at is None


# 5. Parameters that would get past the ledger.


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 1},
        {"currency": "jpy"},
        {"confirm": True},
        {"confirmation_method": "manual"},
        {"off_session": True},
        {"capture_method": "manual"},
        {"payment_method_options": {"card": {"capture_method": "manual"}}},
        {"metadata": {"octo_payment": "another"}},
        {"metadata": {"octo_owner": "another"}},
        {"idempotency_key": "mine"},
        {"stripe_account": "acct_mine"},
        {"api_key": "sk_test_mine"},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_the_ledger_decides_is_no_parameter(params: Any, stripe: StripeEmulator) -> None:
    with pytest.raises(BadRequestError, match=r"is decided by the ledger|A key is reserved"):
        services.create_payment(2000, currency="usd", stripe_params=params)
    assert not Payment.objects.exists()
    assert stripe.requests == []


# 6. Events of other API versions.


def test_a_released_rest_told_by_an_old_endpoint_is_no_refund(
    api: GatewayApi, stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = api.authorized(stripe)
    monkeypatch.setattr(stripe, "webhook_api_version", OLD_VERSION)
    api.capture(payment, {"amount": 1500})
    answers = [api.post_event(*stripe.signed(event, api_version=OLD_VERSION)) for event in stripe.events]
    assert {answer.status_code for answer in answers} == {200}
    row = get_payment()
    assert (row.status, row.amount_received, row.amount_refunded) == ("paid", 1500, 0)
    waiting = WebhookEvent.objects.filter(status="received")
    assert {event.type for event in waiting} == {"charge.refunded", "charge.refund.updated"}
    assert waiting[0].error_parameters == {"version": OLD_VERSION}

    clock = stripe.clock
    monkeypatch.setattr(stripe, "clock", lambda: clock() + 2)
    sync_due()
    upkeep.make_due()
    upkeep.work_off(upkeep.EVENTS, limit=100)
    assert not WebhookEvent.objects.filter(status="received").exists()
    assert get_payment().amount_refunded == 0
    assert_ledger_equals(stripe)


def test_a_sync_puts_right_what_an_old_event_had_spoilt(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.authorized(stripe)
    api.capture(payment, {"amount": 1500})
    row = get_payment()
    spoilt = {"amount_refunded": 500, "charge_amount_refunded": 500, "refunds_total": 500}
    Payment.objects.update(**spoilt)
    Refund.objects.create(
        payment=row, amount=500, status="succeeded", stripe_refund_id="re_released", stripe_created=1
    )
    services.sync_payment(get_payment())
    assert get_payment().amount_refunded == 0
    assert Refund.objects.get().status == "canceled"


# 7. Ours, paid, and unknown here.


def test_our_paid_intent_without_a_row_fails_loudly(
    api: GatewayApi, stripe: StripeEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[WebhookEvent] = []
    api.paid_at_stripe(stripe)
    StripeRequest.objects.all().delete()
    Payment.objects.all().delete()
    with listening(signals.payment_unknown, lambda event, **_: heard.append(event)):
        assert [answer.status_code for answer in api.deliver(stripe, "payment_intent.succeeded")] == [500]
    event = WebhookEvent.objects.get()
    assert (event.status, event.payment_intent_id) == ("failed", next(iter(stripe.payment_intents)))
    assert heard == [event]
    assert any(record.levelname == "ERROR" for record in caplog.records)


# 8. What may still move money has no age limit.


@pytest.mark.parametrize("card", ["pm_usBankAccount_success", "pm_card_pendingRefund"])
def test_money_on_its_way_is_looked_at_however_old(
    card: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json()
    stripe.confirm(payment["stripePaymentIntentId"], payment_method=card)
    api.complete(payment)
    if card == "pm_card_pendingRefund":
        api.refund(payment)
    age = timezone.now() - dt.timedelta(days=40)
    Payment.objects.update(created_at=age, next_check_at=age, checks=30)
    if card == "pm_card_pendingRefund":
        (refund,) = stripe.refunds
        stripe.settle_refund(refund, status="failed")
    else:
        stripe.settle(payment["stripePaymentIntentId"])
    with later(stripe):
        sync_due()
    assert (get_payment().status, get_payment().open_refunds) == ("paid", 0)


def test_an_abandoned_cart_is_asked_about_ever_more_rarely(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.create()
    pauses = []
    for _each in range(13):
        let_pauses_pass()
        asked = len(stripe.requests)
        sync_due()
        sync_due()
        assert len(stripe.requests) == asked + 1
        pauses.append(get_payment().next_check_at - timezone.now())  # type: ignore[operator]
    assert pauses == sorted(pauses)
    assert pauses[-1] > dt.timedelta(days=3)


def test_a_refused_refund_makes_the_ledger_look(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    stripe.refund(payment["stripePaymentIntentId"], amount=1800)
    assert api.refund(payment, {"amount": 500}).status_code == 400
    assert get_payment().amount_refunded == 1800
    assert api.refund(payment, {"amount": 200}).json()["status"] == "REFUNDED"


def test_a_refund_that_was_made_by_hand_meanwhile_is_not_repeated(
    api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.unanswered_refund(stripe, {"amount": 500})
    stripe.refund(payment["stripePaymentIntentId"], amount=500)
    sync_unsettled()
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500]
    row = get_payment()
    assert (row.amount_refunded, row.amount_reserved) == (500, 0)
    assert list_concerns(row) == ["refund_made_elsewhere"]
    assert StripeRequest.objects.get(kind="refund").state == "abandoned"


# 9. Clocks.


def test_an_answer_dated_after_it_was_read_undoes_no_authorization(payment: Payment) -> None:
    Payment.objects.update(capture_method="manual")
    held = make_intent(status="requires_capture", amount_capturable=2000)
    inbox.receive_event(make_event("payment_intent.amount_capturable_updated", held))
    inbox.receive_event(
        make_event(
            "payment_intent.requires_action", make_intent(status="requires_action"), created=1_900_000_000
        )
    )
    assert get_payment().status == "authorized"


def test_a_host_without_time_zones_is_served(settings: Any, api: GatewayApi, stripe: StripeEmulator) -> None:
    settings.USE_TZ = False
    payment = api.paid(stripe)
    assert payment["status"] == "CONFIRMED"
    assert api.refund(payment).json()["utcRefundedAt"].endswith("Z")
    sync_unsettled()


# 11. Erasure.


def test_erasure_waits_for_what_has_no_answer(api: GatewayApi, stripe: StripeEmulator) -> None:
    stripe.add_fault(Fault(kind="reset", path="/v1/payment_intents"))
    body = {"amount": 2000, "metadata": {"guest": "Ada"}, "uuid": "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"}
    assert api.create(body).status_code == 503
    with pytest.raises(OperationInProgressError):
        services.erase_personal_data(get_payment())
    assert api.create(body).status_code == 201
    services.erase_personal_data(get_payment())
    assert "Ada" not in str(StripeRequest.objects.get().parameters)
    assert get_payment().metadata == {}


def test_erasure_forgets_where_it_was_shipped(stripe: StripeEmulator) -> None:
    shipping = {"name": "Ada", "address": {"line1": "1 Main St"}}
    created = services.create_payment(2000, currency="usd", stripe_params={"shipping": shipping})
    services.erase_personal_data(created.payment)
    assert StripeRequest.objects.get().parameters == {
        "amount": 2000,
        "currency": "usd",
        "automatic_payment_methods": {"enabled": True},
        "capture_method": "automatic",
        "metadata": sign(created.payment),
    }


# 12. Odds and ends.


def test_an_event_that_names_no_charge_blanks_none(payment: Payment) -> None:
    inbox.receive_event(make_event("payment_intent.succeeded", make_paid_intent()))
    told = make_paid_intent(latest_charge=None)
    inbox.receive_event(make_event("payment_intent.succeeded", told, created=1_900_000_000))
    assert get_payment().stripe_charge_id == "ch_1"


def test_a_thin_event_reaches_its_host_handler(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    handlers.register("v2.core.account.updated")(lambda event, payment: heard.append((event.type, payment)))
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v2.core.account.updated",
        "created": "2026-11-24T12:00:00.000Z",
        "livemode": False,
        "related_object": {"id": "acct_1", "type": "v2.core.account"},
    }
    assert inbox.receive_event(thin).status == "processed"
    assert heard == [("v2.core.account.updated", None)]


def test_a_host_handler_does_not_get_a_mismatched_event(
    payment: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(handlers, "HOST_HANDLERS", {})
    handlers.register("payment_intent.succeeded")(lambda event, _payment: heard.append(event))
    inbox.receive_event(make_event("payment_intent.succeeded", make_paid_intent(currency="eur")))
    assert heard == []


@pytest.mark.parametrize("differs", [{"currency": "eur"}])
def test_an_intent_that_differs_is_not_attached_by_its_uuid(db: None, differs: Any) -> None:
    row = PaymentFactory.create(stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    intent = make_paid_intent(metadata={"octo_payment": str(row.uuid)}, **differs)
    inbox.receive_event(make_event("payment_intent.succeeded", intent))
    row.refresh_from_db()
    assert (row.stripe_payment_intent_id, row.status) == (None, "pending")
    assert row.concerns.exists()


def test_an_operator_settles_a_mismatch_with_a_reason(payment: Payment) -> None:
    inbox.receive_event(make_event("charge.refunded", make_charge(currency="eur")))
    assert list_concerns(get_payment()) == ["charge_differs"]
    settle_all(get_payment(), reason="Checked with the bank.")
    assert list_concerns(get_payment()) == []
    assert get_payment().changes.latest("pk").changes["settled"] == ["", "Checked with the bank."]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unpaid", "The payment is not paid, so there is nothing to refund."),
        ("refunded", "All of the payment is refunded, or being refunded, already."),
        ("disputed", "The payment is disputed: Stripe takes no refund until that is decided."),
    ],
)
def test_what_cannot_be_refunded_says_what_is_true(
    state: str, message: str, api: GatewayApi, stripe: StripeEmulator
) -> None:
    payment = api.create().json() if state == "unpaid" else api.paid(stripe)
    if state == "refunded":
        api.refund(payment)
    if state == "disputed":
        stripe.open_dispute(payment["stripePaymentIntentId"])
        answers = api.deliver(stripe, "charge.dispute.created")
        assert [answer.json()["status"] for answer in answers] == ["processed"]
    with pytest.raises(UnprocessableError, match=message):
        services.refund_payment(get_payment())


def test_a_refund_that_failed_after_it_succeeded_alarms(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = api.paid(stripe)
    api.refund(payment, {"amount": 500})
    (refund,) = stripe.refunds
    stripe.settle_refund(refund, status="failed")
    heard: list[str] = []
    with listening(
        signals.payment_needs_attention, lambda payment, **_: heard.extend(list_concerns(payment))
    ):
        assert [answer.json()["status"] for answer in api.deliver(stripe, "refund.failed")] == ["processed"]
    assert heard == ["refund_failed"]


def test_stripes_refusal_of_a_refund_names_no_other_error(api: GatewayApi, stripe: StripeEmulator) -> None:
    api.paid(stripe)
    stripe.drain_balance()
    with pytest.raises(StripeRefusedError, match="Insufficient funds"):
        services.refund_payment(get_payment())
    assert StripeRequest.objects.get(kind="refund").http_status == 400
