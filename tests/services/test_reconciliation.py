"""What events and answers missed is found by asking Stripe."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Concern, Payment, Refund, StripeRequest
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory, RefundFactory, StripeRequestFactory
from tests.support.objects import read_rows

pytestmark = pytest.mark.django_db

CARD = "pm_card_visa"


def create(stripe: StripeEmulator, *, card: str = "", **options: Any) -> Payment:
    """Create a payment, which the customer pays without the row hearing of it."""
    payment = services.create_payment(2000, currency="usd", **options).payment
    if card:
        stripe.confirm(payment.stripe_payment_intent_id or "", card)
    return payment


def reload(payment: Payment) -> Payment:
    return Payment.objects.get(pk=payment.pk)


def get_writes(stripe: StripeEmulator) -> list[str]:
    return [request.path for request in stripe.requests if request.method != "GET"]


@pytest.mark.parametrize(
    ("card", "status"),
    [
        ("", "pending"),
        (CARD, "paid"),
        ("pm_card_chargeDeclined", "failed"),
        ("pm_card_authenticationRequired", "pending"),
        ("pm_usBankAccount_success", "pending"),
    ],
)
def test_payment_comes_to_how_its_intent_stands(stripe: StripeEmulator, card: str, status: str) -> None:
    payment = create(stripe, card=card)
    differences = services.sync_payment(payment)
    assert reload(payment).status == status
    assert differences.get("status", ("pending", "pending")) == ("pending", status)


def test_second_time_finds_nothing(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    assert services.sync_payment(payment) == {
        "status": ("pending", "paid"),
        "amount_received": (0, 2000),
    }
    assert services.sync_payment(reload(payment)) == {}


def test_refunds_made_elsewhere_become_rows(stripe: StripeEmulator) -> None:
    payment = create(stripe, card="pm_card_pendingRefund")
    intent_id = payment.stripe_payment_intent_id or ""
    kept = stripe.refund(intent_id, amount=500)
    failed = stripe.refund(intent_id, amount=300)
    stripe.settle_refund(failed["id"], status="failed")
    services.sync_payment(payment)
    assert reload(payment).amount_refunded == 500
    assert dict(payment.refunds.values_list("stripe_refund_id", "status")) == {
        kept["id"]: "pending",
        failed["id"]: "failed",
    }


def test_more_refunds_than_a_page_are_all_found(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    for _ in range(15):
        stripe.refund(payment.stripe_payment_intent_id or "", amount=100)
    services.sync_payment(payment)
    assert payment.refunds.count() == 15
    assert reload(payment).amount_refunded == 1500


def test_dispute_is_seen_on_the_charge(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    stripe.open_dispute(payment.stripe_payment_intent_id or "")
    services.sync_payment(payment)
    assert reload(payment).disputed


def test_dry_run_tells_and_changes_nothing(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=500)
    RefundFactory.create(payment=payment, status="pending", stripe_refund_id=None, amount=100)
    rows = read_rows(Payment), read_rows(Refund)
    before = len(get_writes(stripe))
    differences = services.sync_payment(reload(payment), dry_run=True)
    assert differences["status"] == ("pending", "paid")
    assert differences["amount_refunded"] == (0, 500)
    assert len(get_writes(stripe)) == before
    assert (read_rows(Payment), read_rows(Refund)) == rows


def test_intent_that_was_never_asked_for_is_asked_for_now(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    Payment.objects.update(stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    StripeRequest.objects.update(state="open")
    differences = services.sync_payment(reload(payment))
    # The same key gives the same intent.
    assert differences == {"stripe_payment_intent_id": (None, payment.stripe_payment_intent_id)}
    assert len(stripe.payment_intents) == 1


def test_intent_without_an_answer_is_given_up_once_its_key_is_forgotten(stripe: StripeEmulator) -> None:
    payment = PaymentFactory.create(stripe_payment_intent_id=None, intent_status="", intent_as_of=0)
    request = StripeRequestFactory.create(payment=payment, kind="create")
    StripeRequest.objects.update(created_at=timezone.now() - dt.timedelta(days=1))
    assert services.sync_payment(reload(payment))["status"] == ("pending", "failed")
    assert reload(payment).failure_code == "abandoned"
    assert StripeRequest.objects.get(pk=request.pk).state == "abandoned"
    assert get_writes(stripe) == []


@pytest.mark.parametrize("hours", [0, 48])
@pytest.mark.parametrize("reached_stripe", [True, False])
def test_refund_without_an_answer_is_finished_once(
    stripe: StripeEmulator, reached_stripe: bool, hours: int
) -> None:
    payment = services.complete_payment(create(stripe, card=CARD))
    if reached_stripe:
        services.refund_payment(payment, amount=500)
        payment.refunds.update(status="pending", stripe_refund_id=None, status_as_of=0)
        StripeRequest.objects.filter(kind="refund").update(state="open")
    else:
        refund = RefundFactory.create(payment=payment, amount=500, status="pending", stripe_refund_id=None)
        StripeRequestFactory.create(
            payment=payment,
            refund=refund,
            kind="refund",
            parameters={
                "payment_intent": payment.stripe_payment_intent_id,
                "amount": 500,
                "metadata": {"octo_refund": str(refund.uuid)},
            },
        )
    Payment.objects.update(amount_refunded=0, amount_reserved=500)
    StripeRequest.objects.update(created_at=timezone.now() - dt.timedelta(hours=hours))
    services.sync_payment(reload(payment))

    refunded = 500 if reached_stripe or not hours else 0
    row = reload(payment)
    assert (row.amount_refunded, row.amount_reserved) == (refunded, 0)
    assert sum(refund["amount"] for refund in stripe.refunds.values()) == refunded
    assert row.refunds.get().status == ("succeeded" if refunded else "failed")


def test_capture_without_an_answer_is_finished(stripe: StripeEmulator) -> None:
    payment = services.complete_payment(create(stripe, card=CARD, capture_method="manual"))
    StripeRequestFactory.create(payment=payment, kind="capture", parameters={"amount_to_capture": 1500})
    services.sync_payment(reload(payment))
    row = reload(payment)
    assert (row.status, row.amount_received) == ("paid", 1500)


def test_money_of_another_amount_is_recorded_and_reported(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    Payment.objects.update(amount=1000)
    differences = services.sync_payment(reload(payment))
    assert differences["amount_received"] == (0, 2000)
    concern = Concern.objects.get()
    assert (concern.code, concern.parameters) == ("money_beyond_row", {"amount": 1000, "seen": 2000})


def test_dry_run_takes_no_statement_that_lasts(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        services.sync_payment(payment, dry_run=True)
    statements = [query["sql"] for query in queries]
    last = max(index for index, sql in enumerate(statements) if "UPDATE" in sql)
    assert any(sql.startswith("ROLLBACK TO SAVEPOINT") for sql in statements[last:])
