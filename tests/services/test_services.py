"""Each operation against the emulator: what it does, what it refuses, and what repeating it does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    ConfigurationError,
    IdempotencyError,
    PaymentMismatchError,
    StripeRefusedError,
    UnprocessableError,
)
from octo_stripe_gateway.models import Installation, Payment, Refund
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking, Voucher
from tests.support.ledger import later
from tests.support.objects import read_rows

pytestmark = pytest.mark.django_db

KEY = Caller("reseller", "key-1")


@pytest.fixture
def created(stripe: StripeEmulator) -> Payment:
    return services.create_payment(2000, currency="usd").payment


@pytest.fixture
def paid(created: Payment, stripe: StripeEmulator) -> Payment:
    return pay(created, stripe)


@pytest.fixture
def authorized(stripe: StripeEmulator) -> Payment:
    payment = services.create_payment(2000, currency="usd", capture_method="manual").payment
    return pay(payment, stripe)


def pay(payment: Payment, stripe: StripeEmulator, *, card: str = "pm_card_visa") -> Payment:
    stripe.confirm(payment.stripe_payment_intent_id or "", card)
    return services.complete_payment(payment)


def count(stripe: StripeEmulator, path: str) -> int:
    """Count the requests to Stripe that change something."""
    return sum(request.path.endswith(path) for request in stripe.requests if request.method == "POST")


# Create.


def test_creating_reserves_a_row_and_asks_for_its_intent(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    created = services.create_payment(
        2000,
        currency="EUR",
        payable=booking,
        metadata={"tour": "7"},
        reseller_reference="R-1",
        stripe_params={"description": "Tour 7", "metadata": {"guide": "Ada"}},
    )
    payment, secret = created.payment, created.client_secret
    (intent,) = stripe.payment_intents.values()
    assert secret == intent["client_secret"]
    assert (payment.status, payment.stripe_payment_intent_id) == ("pending", intent["id"])
    assert (intent["amount"], intent["currency"], intent["description"]) == (2000, "eur", "Tour 7")
    assert {**intent["metadata"], "octo_signature": "", "octo_request": ""} == {
        "tour": "7",
        "guide": "Ada",
        "octo_payment": str(payment.uuid),
        "octo_payable": f"shop.booking:{payment.payable_id}",
        "octo_purpose": "full",
        "octo_installation": str(Installation.objects.get()),
        "octo_request": "",
        "octo_signature": "",
    }
    row = Payment.objects.get()
    assert (row.payable, row.reseller_reference, row.livemode) == (booking, "R-1", False)
    assert secret not in str(read_rows(Payment))


GUESSED: dict[str, Any] = {
    "description": "Tour 7",
    "receipt_email": "ada@example.com",
    "statement_descriptor_suffix": "TOUR 7",
}


@pytest.mark.parametrize("name", GUESSED)
def test_what_people_guess_goes_to_stripe(stripe: StripeEmulator, name: str) -> None:
    services.create_payment(
        2000, stripe_params={name: "of old", "metadata": {"a": "b"}}, **{name: GUESSED[name]}
    )
    (intent,) = stripe.payment_intents.values()
    assert {each: intent[each] for each in GUESSED} == {**dict.fromkeys(GUESSED), name: GUESSED[name]}
    assert intent["metadata"]["a"] == "b"


def test_what_people_guess_is_part_of_the_request(stripe: StripeEmulator) -> None:
    caller = Caller(idempotency_key="one")
    for _each in range(2):
        services.create_payment(2000, **GUESSED, caller=caller)
    services.create_payment(2000, stripe_params=GUESSED, caller=caller)
    with pytest.raises(IdempotencyError):
        services.create_payment(2000, **{**GUESSED, "description": "Tour 8"}, caller=caller)
    assert len(stripe.payment_intents) == 1


def test_price_comes_from_the_payable(stripe: StripeEmulator) -> None:
    payment = services.create_payment(payable=Booking.objects.create(price=1234)).payment
    assert (payment.amount, payment.currency) == (1234, "eur")


@pytest.mark.parametrize(("amount", "currency"), [(1999, ""), (2000, "usd"), (None, "usd")])
def test_price_that_is_not_the_payables_is_refused(
    stripe: StripeEmulator, amount: int | None, currency: str
) -> None:
    with pytest.raises(UnprocessableError):
        services.create_payment(amount, currency=currency, payable=Booking.objects.create())
    assert not Payment.objects.exists()


def test_payable_without_a_price_costs_what_is_said(stripe: StripeEmulator) -> None:
    payment = services.create_payment(500, payable=Voucher.objects.create()).payment
    assert (payment.amount, payment.currency) == (500, "usd")


@pytest.mark.parametrize("amount", [None, 0, -1])
def test_amount_that_is_none_is_refused(stripe: StripeEmulator, amount: int | None) -> None:
    with pytest.raises(BadRequestError):
        services.create_payment(amount, currency="usd")
    assert stripe.requests == []


def test_refusal_of_stripes_is_passed_on_and_kept(stripe: StripeEmulator) -> None:
    with pytest.raises(StripeRefusedError):
        services.create_payment(2000, currency="usd", stripe_params={"no_such_parameter": "1"})
    row = Payment.objects.get()
    assert (row.status, row.stripe_payment_intent_id) == ("failed", None)
    assert row.failure_code
    assert row.failed_at


def test_same_uuid_gives_the_same_payment_with_its_secret(stripe: StripeEmulator) -> None:
    own = uuid.uuid4()
    first, second = (services.create_payment(2000, currency="usd", uuid=own) for _ in range(2))
    assert first.payment == second.payment
    assert first.client_secret == second.client_secret
    assert len(stripe.payment_intents) == Payment.objects.count() == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 2001},
        {"currency": "eur"},
        {"capture_method": "manual"},
        {"metadata": {"hotel": "Ritz"}},
        {"reseller_reference": "R-7"},
        {"description": "Tour"},
        {"purpose": "deposit"},
        {"uuid": uuid.UUID(int=7, version=4)},
    ],
)
def test_same_key_with_any_other_parameter_is_refused(
    stripe: StripeEmulator, changed: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"amount": 2000, "currency": "usd"}
    services.create_payment(**asked, caller=KEY)
    with pytest.raises(IdempotencyError):
        services.create_payment(**asked | changed, caller=KEY)
    services.create_payment(**asked | changed, caller=Caller("another reseller", "key-1"))
    assert Payment.objects.count() == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": 800},
        {"amount": None},
        {"reason": "duplicate"},
        {"due_again": True},
        {"reverse_transfer": False},
        {"refund_application_fee": False},
    ],
)
def test_refund_s_key_with_any_other_parameter_is_refused(
    paid: Payment, stripe: StripeEmulator, changed: dict[str, Any]
) -> None:
    for _each in range(2):
        services.refund_payment(paid, amount=700, caller=KEY)
    with pytest.raises(IdempotencyError):
        services.refund_payment(paid, **{"amount": 700, **changed}, caller=KEY)
    assert len(stripe.refunds) == 1


def test_intent_that_is_not_what_was_asked_for_gives_no_secret(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = stripe_client.post

    def send_less(path: str, *, parameters: dict[str, Any], **options: Any) -> Any:
        return send(path, parameters={**parameters, "amount": 1000}, **options)

    monkeypatch.setattr(stripe_client, "post", send_less)
    with pytest.raises(PaymentMismatchError):
        services.create_payment(2000, currency="usd")
    row = Payment.objects.get()
    assert (row.status, row.intent_amount, row.amount) == ("pending", 1000, 2000)


def test_without_a_key_nothing_is_begun(stripe: StripeEmulator, configure: Any) -> None:
    configure(STRIPE_API_KEY="")
    with pytest.raises(ConfigurationError):
        services.create_payment(2000, currency="usd")
    assert not Payment.objects.exists()


# Complete.


@pytest.mark.parametrize(
    ("card", "status"),
    [
        ("pm_card_visa", "paid"),
        ("pm_card_chargeDeclinedInsufficientFunds", "failed"),
        ("pm_card_authenticationRequired", "pending"),
        ("pm_usBankAccount_success", "pending"),
    ],
)
def test_completing_takes_over_how_the_intent_stands(
    created: Payment, stripe: StripeEmulator, card: str, status: str
) -> None:
    for payment in (pay(created, stripe, card=card), services.complete_payment(created)):
        assert payment.status == status
    assert (payment.failure_code == "insufficient_funds") == (status == "failed")


def test_declined_customer_may_try_again(created: Payment, stripe: StripeEmulator) -> None:
    assert pay(created, stripe, card="pm_card_chargeDeclined").status == "failed"
    payment = pay(created, stripe)
    assert (payment.status, payment.failure_code, payment.failed_at) == ("paid", "", None)


def test_failed_challenge_is_a_failure_and_a_passed_one_a_success(
    created: Payment, stripe: StripeEmulator
) -> None:
    intent_id = created.stripe_payment_intent_id or ""
    stripe.confirm(intent_id, "pm_card_authenticationRequired")
    stripe.authenticate(intent_id, succeed=False)
    payment = services.complete_payment(created)
    assert (payment.status, payment.failure_code) == ("failed", "payment_intent_authentication_failure")
    stripe.confirm(intent_id, "pm_card_authenticationRequired")
    stripe.authenticate(intent_id)
    assert services.complete_payment(created).status == "paid"


# Capture.


@pytest.mark.parametrize(("amount", "received"), [(None, 2000), (2000, 2000), (1500, 1500)])
def test_capturing_takes_the_amount_or_all(authorized: Payment, amount: int | None, received: int) -> None:
    assert (authorized.status, authorized.amount_capturable) == ("authorized", 2000)
    payment = services.capture_payment(authorized, amount=amount)
    assert (payment.status, payment.amount_received, payment.amount_capturable) == ("paid", received, 0)


def test_capturing_again_is_the_same_or_refused(authorized: Payment, stripe: StripeEmulator) -> None:
    services.capture_payment(authorized, amount=1500)
    assert services.capture_payment(authorized, amount=1500).amount_received == 1500
    assert services.capture_payment(authorized).amount_received == 1500
    with pytest.raises(UnprocessableError):
        services.capture_payment(authorized, amount=1400)
    assert count(stripe, "/capture") == 1


@pytest.mark.parametrize("amount", [2001, 10**12])
def test_capturing_more_than_authorized_is_refused(
    authorized: Payment, stripe: StripeEmulator, amount: int
) -> None:
    with pytest.raises((UnprocessableError, BadRequestError)):
        services.capture_payment(authorized, amount=amount)
    assert count(stripe, "/capture") == 0


@pytest.mark.parametrize("amount", [0, -1])
def test_capturing_nothing_is_refused(authorized: Payment, amount: int) -> None:
    with pytest.raises(BadRequestError):
        services.capture_payment(authorized, amount=amount)


def test_only_an_authorized_payment_is_captured(created: Payment, stripe: StripeEmulator) -> None:
    with pytest.raises(UnprocessableError):
        services.capture_payment(created)
    assert count(stripe, "/capture") == 0


def test_what_was_captured_in_part_is_refunded_as_that(authorized: Payment) -> None:
    services.capture_payment(authorized, amount=1500)
    with pytest.raises(UnprocessableError):
        services.refund_payment(authorized, amount=1501)
    payment = services.refund_payment(authorized)
    assert (payment.status, payment.amount_refunded) == ("refunded", 1500)


# Cancel.


@pytest.mark.parametrize("card", ["", "pm_card_chargeDeclined", "pm_card_authenticationRequired"])
def test_unpaid_payment_is_canceled(created: Payment, stripe: StripeEmulator, card: str) -> None:
    if card:
        pay(created, stripe, card=card)
    payment = services.cancel_payment(created)
    assert payment.status == "canceled"
    assert payment.canceled_at
    assert services.cancel_payment(created).canceled_at == payment.canceled_at
    assert count(stripe, "/cancel") == 1


def test_authorization_is_released(authorized: Payment, stripe: StripeEmulator) -> None:
    payment = services.cancel_payment(authorized)
    assert (payment.status, payment.amount_capturable) == ("canceled", 0)
    with pytest.raises(UnprocessableError):
        services.capture_payment(authorized)


def test_paid_payment_is_not_canceled(paid: Payment, stripe: StripeEmulator) -> None:
    with pytest.raises(UnprocessableError, match="refund it instead"):
        services.cancel_payment(paid)
    assert count(stripe, "/cancel") == 0


def test_payment_that_turns_out_to_be_paid_is_not_canceled(created: Payment, stripe: StripeEmulator) -> None:
    stripe.confirm(created.stripe_payment_intent_id or "")
    with pytest.raises(StripeRefusedError):
        services.cancel_payment(created)
    created.refresh_from_db()
    assert created.status == "paid"


# Refund.


def test_all_that_is_left_is_refunded(paid: Payment, stripe: StripeEmulator) -> None:
    payment = services.refund_payment(paid, amount=500, reason="duplicate")
    assert (payment.status, payment.amount_refunded, payment.amount_refundable) == ("paid", 500, 1500)
    payment = services.refund_payment(paid)
    assert (payment.status, payment.amount_refunded, payment.amount_refundable) == ("refunded", 2000, 0)
    assert payment.refunded_at
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500, 1500]
    assert list(paid.refunds.order_by("pk").values_list("reason", flat=True)) == ["duplicate", ""]


@pytest.mark.parametrize("amount", [2001, 10**12, 0, -1])
def test_amount_that_cannot_be_refunded_is_refused(
    paid: Payment, stripe: StripeEmulator, amount: int
) -> None:
    with pytest.raises((UnprocessableError, BadRequestError)):
        services.refund_payment(paid, amount=amount)
    assert not Refund.objects.exists()
    assert count(stripe, "/refunds") == 0


def test_only_what_is_paid_is_refunded(created: Payment, authorized: Payment) -> None:
    for payment in (created, authorized):
        with pytest.raises(UnprocessableError):
            services.refund_payment(payment)


def test_refunded_payment_is_not_refunded_again(paid: Payment, stripe: StripeEmulator) -> None:
    services.refund_payment(paid)
    with pytest.raises(UnprocessableError):
        services.refund_payment(paid)
    assert count(stripe, "/refunds") == 1


def test_same_key_is_the_same_refund_and_another_key_another(paid: Payment, stripe: StripeEmulator) -> None:
    for _ in range(2):
        assert services.refund_payment(paid, amount=500, caller=KEY).amount_refunded == 500
    with pytest.raises(IdempotencyError):
        services.refund_payment(paid, amount=600, caller=KEY)
    services.refund_payment(paid, amount=500, caller=Caller("reseller", "key-2"))
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500, 500]


def test_reserved_amounts_count_as_gone(paid: Payment) -> None:
    Payment.objects.update(amount_reserved=1500)
    with pytest.raises(UnprocessableError):
        services.refund_payment(paid, amount=501)


def test_refund_that_stripe_refuses_gives_its_amount_back(paid: Payment, stripe: StripeEmulator) -> None:
    stripe.open_dispute(paid.stripe_payment_intent_id or "")
    with pytest.raises(StripeRefusedError, match="charged back"):
        services.refund_payment(paid, amount=500)
    paid.refresh_from_db()
    assert (paid.amount_refunded, paid.amount_reserved, paid.amount_refundable) == (0, 0, 2000)
    refund = paid.refunds.get()
    assert (refund.status, refund.failure_reason) == ("failed", "charge_disputed")


def test_dashboards_refund_in_between_is_found_when_stripe_refuses(
    paid: Payment, stripe: StripeEmulator
) -> None:
    stripe.refund(paid.stripe_payment_intent_id or "", amount=1800)
    with pytest.raises(StripeRefusedError):
        services.refund_payment(paid, amount=500)
    services.sync_payment(paid)
    paid.refresh_from_db()
    assert (paid.amount_refunded, paid.amount_refundable) == (1800, 200)


def test_pending_refund_counts_and_gives_back_when_it_fails(created: Payment, stripe: StripeEmulator) -> None:
    payment = services.refund_payment(pay(created, stripe, card="pm_card_pendingRefund"))
    assert (payment.status, payment.refunds.get().status) == ("refunded", "pending")
    stripe.settle_refund(payment.refunds.get().stripe_refund_id or "", status="failed")
    with later(stripe):
        payment = services.complete_payment(payment)
    assert (payment.status, payment.amount_refunded, payment.amount_refundable) == ("paid", 0, 2000)
    assert payment.refunded_at is None
    assert services.refund_payment(payment).status == "refunded"


# All of them.


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "operate",
    [
        lambda _: services.create_payment(2000, currency="usd"),
        services.complete_payment,
        services.capture_payment,
        services.cancel_payment,
        services.refund_payment,
        services.sync_payment,
    ],
)
def test_no_operation_runs_inside_the_callers_transaction(created: Payment, operate: Any) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        operate(created)


def test_nothing_is_reserved_without_a_key_to_ask_stripe_with(
    paid: Payment, configure: Callable[..., None]
) -> None:
    configure(STRIPE_API_KEY=None)
    with pytest.raises(ConfigurationError):
        services.refund_payment(paid)
    assert not paid.refunds.exists()
