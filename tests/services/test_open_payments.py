"""An owner's open payment is taken again where it is the same, and gives way where it isn't."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import transaction

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import (
    GatewayError,
    NothingDueError,
    OperationInProgressError,
    PaymentRejectedError,
)
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.services.dues import quote_payment, reject_excess
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking
from tests.support.threads import needs_row_locks, run_together

pytestmark = pytest.mark.django_db

CUSTOMER = Caller("auth.user:1")


def create(booking: Booking, **options: Any) -> Payment:
    return services.create_payment(payable=booking, **{"caller": CUSTOMER} | options).payment


def get_states(stripe: StripeEmulator) -> list[str]:
    return [intent["status"] for intent in stripe.payment_intents.values()]


@pytest.fixture
def accounts(stripe: StripeEmulator) -> None:
    for account in ("acct_1old", "acct_1new"):
        stripe.connect_account(account)


@pytest.mark.usefixtures("accounts")
def test_open_payment_of_another_account_is_not_taken_again(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    old = create(booking, stripe_account="acct_1old")
    new = create(booking, stripe_account="acct_1new")
    assert (new.stripe_account, new.pk > old.pk) == ("acct_1new", True)
    assert get_states(stripe) == ["canceled", "requires_payment_method"]
    assert create(booking, stripe_account="acct_1new") == new


def test_open_payment_in_a_former_currency_is_not_taken_again(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    create(booking)
    booking.price, booking.currency = 15000, "jpy"
    booking.save()
    new = create(booking, amount=15000, currency="jpy")
    assert (new.amount, new.currency) == (15000, "jpy")
    intents = [(each["amount"], each["currency"], each["status"]) for each in stripe.payment_intents.values()]
    assert intents == [(2000, "eur", "canceled"), (15000, "jpy", "requires_payment_method")]


@pytest.mark.parametrize("livemode", [False, True])
def test_test_money_pays_nothing_for_real(configure: Any, livemode: bool) -> None:
    """The emulator has no live mode, so the rows are made here."""
    paid, unpaid = Booking.objects.create(), Booking.objects.create()
    PaymentFactory.create(payable=paid, currency="eur", paid=True)
    test = PaymentFactory.create(payable=unpaid, currency="eur", purpose="full")
    real = Payment(payable=unpaid, amount=2000, currency="eur", livemode=livemode)
    with transaction.atomic():
        quote = quote_payment(real, amount=None, purpose="")
    assert quote.open_payment == (None if livemode else test)
    if livemode:
        configure(STRIPE_API_KEY="sk_live_gateway", STRIPE_PUBLISHABLE_KEY=None)
    assert services.get_dues(paid).due == (2000 if livemode else 0)


def test_test_money_pays_a_test_booking_beside_a_live_account(configure: Any) -> None:
    configure(
        STRIPE_ACCOUNTS={"live": {"STRIPE_API_KEY": "sk_live_1", "STRIPE_PUBLISHABLE_KEY": "pk_live_1"}}
    )
    booking = Booking.objects.create()
    PaymentFactory.create(payable=booking, currency="eur", paid=True)
    second = PaymentFactory.create(
        payable=booking, currency="eur", intent_status="succeeded", amount_received=2000
    )
    with transaction.atomic():
        with pytest.raises(NothingDueError):
            quote_payment(Payment(payable=booking, amount=2000, currency="eur"), amount=None, purpose="")
        rejection = reject_excess(second, booking)
    assert rejection
    assert rejection.code == "paid_already"


def test_open_payment_whose_account_is_gone_gets_a_concern(stripe: StripeEmulator, configure: Any) -> None:
    booking = Booking.objects.create()
    other = {"STRIPE_API_KEY": "sk_test_other", "STRIPE_PUBLISHABLE_KEY": "pk_test_other"}
    configure(STRIPE_ACCOUNTS={"old": other}, CHOOSE_ACCOUNT=lambda _payment: "old")
    old = create(booking)
    configure(STRIPE_ACCOUNTS=None, CHOOSE_ACCOUNT=None)
    new = create(booking)
    assert new != old
    assert list(Concern.objects.values_list("payment", "code")) == [(old.pk, "open_elsewhere")]
    assert create(booking) == new
    assert Concern.objects.count() == 1
    configure(STRIPE_ACCOUNTS={"old": other})
    stripe.confirm(old.intent_id)
    with pytest.raises(PaymentRejectedError, match="has replaced"):
        services.complete_payment(old)
    assert [refund["amount"] for refund in stripe.refunds.values()] == [2000]


def test_another_owners_open_payment_stays(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    create(booking)
    create(booking, caller=Caller("auth.user:2"), uuid=uuid.uuid4())
    assert get_states(stripe) == ["requires_payment_method"] * 2


def test_hold_whose_event_is_not_here_yet_is_not_canceled(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Booking, "allows_manual_capture", True, raising=False)
    booking = Booking.objects.create()
    first = create(booking, capture_method="manual")
    stripe.confirm(first.intent_id)
    for options in ({"uuid": uuid.uuid4()}, {"capture_method": "automatic"}):
        with pytest.raises(OperationInProgressError):
            create(booking, **{"capture_method": "manual"} | options)
    first.refresh_from_db()
    assert (first.status, get_states(stripe)) == ("authorized", ["requires_capture"])
    assert Payment.objects.exclude(pk=first.pk).filter(status="pending").count() == 0


def test_payment_whose_event_is_not_here_yet_is_not_replaced(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    first = create(booking)
    stripe.confirm(first.intent_id)
    with pytest.raises(GatewayError):
        create(booking, uuid=uuid.uuid4())
    first.refresh_from_db()
    assert (first.status, get_states(stripe)) == ("paid", ["succeeded"])


@needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [6, pytest.param(12, marks=pytest.mark.slow)])
def test_of_many_creates_at_once_one_can_be_paid(stripe: StripeEmulator, width: int) -> None:
    for _ in range(3):
        booking = Booking.objects.create()

        def try_to_create(booking: Booking = booking) -> services.CreatedPayment | None:
            try:
                return services.create_payment(payable=booking, uuid=uuid.uuid4(), caller=CUSTOMER)
            except GatewayError:
                return None

        created = [each for each in run_together([try_to_create] * width) if each]
        intents = stripe.payment_intents
        payable = [each for each in created if intents[each.payment.intent_id]["status"] != "canceled"]
        assert len(payable) == 1
        rows = Payment.objects.filter(payable_id=str(booking.pk))
        assert [each for each in rows if each.is_open] == [payable[0].payment]
