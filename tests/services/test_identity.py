"""A caller's key leads to the same uuid and the same key at Stripe, whatever the database has lost."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.exceptions import IdempotencyError
from octo_stripe_gateway.models import Concern, IdempotencyKey, Installation, Payment, Refund
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.services.adoption import begin_recovery
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking, Ticket
from tests.support.ledger import lose_payment, lose_refunds

pytestmark = pytest.mark.django_db

CARD = "pm_card_visa"
KEYED = Caller("key:viator", "booking-7")


def create(stripe: StripeEmulator, *, card: str = "", **options: Any) -> Payment:
    payment = services.create_payment(2000, currency="eur", **options).payment
    if card:
        stripe.confirm(payment.stripe_payment_intent_id or "", card)
        payment = services.complete_payment(payment)
    return payment


def list_sent(stripe: StripeEmulator, path: str) -> list[tuple[str | None, Any]]:
    """Return key and parameters of what was posted to a path."""
    posted = [each for each in stripe.requests if each.method == "POST" and each.path.endswith(path)]
    return [(each.idempotency_key, each.params) for each in posted]


@pytest.mark.parametrize("own", [None, uuid.UUID("a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001")])
def test_create_is_sent_alike_before_and_after_the_loss(stripe: StripeEmulator, own: Any) -> None:
    ticket = Ticket.objects.create(code="HU77YU7T")
    options = {"uuid": own, "payable": ticket, "metadata": {"tour": "7"}, "caller": KEYED}
    first = create(stripe, **options)
    lose_payment(first)
    second = create(stripe, **options)
    assert (second.uuid, second.stripe_payment_intent_id) == (first.uuid, first.stripe_payment_intent_id)
    before, after = list_sent(stripe, "/payment_intents")
    assert before == after
    assert len(stripe.payment_intents) == 1


@pytest.mark.parametrize("amount", [None, 700])
def test_refund_is_sent_alike_before_and_after_the_loss(stripe: StripeEmulator, amount: int | None) -> None:
    payment = create(stripe, card=CARD)
    services.refund_payment(payment, amount=amount, caller=KEYED)
    (first,) = Refund.objects.all()
    lose_refunds(payment)
    services.refund_payment(payment, amount=amount, caller=KEYED)
    assert Refund.objects.get().uuid == first.uuid
    before, after = list_sent(stripe, "/refunds")
    assert before == after
    assert len(stripe.refunds) == 1


@pytest.mark.parametrize(("operation", "path"), [("capture", "/capture"), ("cancel", "/cancel")])
def test_capture_and_cancellation_are_sent_alike(stripe: StripeEmulator, operation: str, path: str) -> None:
    payment = create(stripe, card=CARD, capture_method="manual")
    act = getattr(services, f"{operation}_payment")
    act(payment, caller=KEYED)
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    Payment.objects.update(intent_status="requires_capture", status="authorized", amount_capturable=2000)
    act(adopted, caller=KEYED)
    before, after = list_sent(stripe, path)
    assert before == after


def test_refund_after_adoption_finds_the_adopted_row(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    services.refund_payment(payment, amount=700, caller=KEYED)
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    services.refund_payment(adopted, amount=700, caller=KEYED)
    assert (len(stripe.refunds), Payment.objects.get().amount_refunded) == (1, 700)
    with pytest.raises(IdempotencyError):
        services.refund_payment(adopted, amount=800, caller=KEYED)


def test_create_after_adoption_finds_the_adopted_row(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD, caller=KEYED)
    lose_payment(payment)
    adopted = services.adopt_payment(payment.intent_id)
    assert create(stripe, caller=KEYED) == adopted
    with pytest.raises(IdempotencyError):
        services.create_payment(2001, currency="eur", caller=KEYED)
    assert len(stripe.payment_intents) == 1


def test_key_means_its_first_request_after_pruning_too(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD, caller=KEYED)
    services.refund_payment(payment, amount=700, caller=Caller("key:viator", "refund"))
    IdempotencyKey.objects.all().delete()
    assert create(stripe, caller=KEYED) == payment
    services.refund_payment(payment, amount=700, caller=Caller("key:viator", "refund"))
    assert (len(stripe.payment_intents), len(stripe.refunds)) == (1, 1)
    with pytest.raises(IdempotencyError):
        services.create_payment(2001, currency="eur", caller=KEYED)
    with pytest.raises(IdempotencyError):
        services.refund_payment(payment, amount=800, caller=Caller("key:viator", "refund"))


def test_key_that_was_pruned_is_not_taken_for_another_request(stripe: StripeEmulator) -> None:
    create(stripe, caller=KEYED)
    IdempotencyKey.objects.all().delete()
    with pytest.raises(IdempotencyError):
        services.create_payment(2001, currency="eur", caller=KEYED)
    assert len(stripe.payment_intents) == 1


def test_uuid_of_another_owners_payment_gives_no_secret(stripe: StripeEmulator) -> None:
    payment = create(stripe, uuid=uuid.uuid4(), caller=Caller("auth.user:1"))
    for stranger in (Caller("auth.user:2"), Caller("auth.user:2", "7"), Caller()):
        with pytest.raises(IdempotencyError):
            create(stripe, uuid=payment.uuid, caller=stranger)
    assert not IdempotencyKey.objects.exists()


def test_without_key_or_uuid_each_is_one_of_its_own(stripe: StripeEmulator) -> None:
    assert create(stripe) != create(stripe)
    assert len({key for key, _params in list_sent(stripe, "/payment_intents")}) == 2


def test_keys_of_owners_operations_and_installations_never_meet(
    stripe: StripeEmulator, configure: Any
) -> None:
    made = {create(stripe, caller=Caller(owner, "7")).uuid for owner in ("", "key:viator", "auth.user:1")}
    IdempotencyKey.objects.all().delete()
    configure(INSTALLATION_ID="staging")
    made.add(create(stripe, caller=Caller("", "7")).uuid)
    assert len(made) == 4


def test_parts_of_a_long_key_are_told_apart(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    payment = create(stripe, card=CARD, payable=booking)
    for end in "ab":
        services.refund_payable(booking, amount=500, caller=Caller("", "k" * 254 + end))
    payment.refresh_from_db()
    assert payment.amount_refunded == 1000


def test_key_longer_than_a_column_is_kept(stripe: StripeEmulator) -> None:
    keys = ["k" * 400 + end for end in "ab"]
    made = [create(stripe, caller=Caller("", key)) for key in (*keys, *keys)]
    assert made[:2] == made[2:]
    assert made[0] != made[1]


def test_refund_of_a_payable_with_a_key_of_another_amount_is_an_error(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    payment = create(stripe, card=CARD, payable=booking)
    services.refund_payable(booking, amount=700, caller=KEYED)
    services.refund_payable(booking, amount=700, caller=KEYED)
    with pytest.raises(IdempotencyError):
        services.refund_payable(booking, amount=800, caller=KEYED)
    lose_refunds(payment)
    services.sync_payment(payment)
    with pytest.raises(IdempotencyError):
        services.refund_payable(booking, amount=800, caller=KEYED)
    assert sum(each["amount"] for each in stripe.refunds.values()) == 700


def test_installation_is_made_once() -> None:
    assert Installation.ledger.get_own() == Installation.ledger.get_own() == Installation.objects.get()


def test_create_whose_price_has_changed_since_gets_its_intent_back(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    lost = services.create_payment(payable=booking, caller=KEYED).payment
    lose_payment(lost)
    Booking.objects.update(price=2500)
    again = services.create_payment(payable=Booking.objects.get(), caller=KEYED)
    assert (again.payment.uuid, again.payment.intent_id) == (lost.uuid, lost.intent_id)
    assert (again.payment.amount, len(stripe.payment_intents)) == (2500, 1)
    stripe.confirm(lost.intent_id)
    assert services.complete_payment(again.payment).status == "paid"


def test_refund_of_all_that_was_more_meanwhile_is_found(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    services.refund_payment(payment, amount=500, caller=Caller("", "first"))
    services.refund_payment(payment, caller=Caller("", "rest"))
    lose_refunds(payment)
    services.refund_payment(payment, caller=Caller("", "rest"))
    assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [500, 1500]
    services.sync_payment(payment)
    payment.refresh_from_db()
    assert (payment.amount_refunded, payment.refunds.count()) == (2000, 2)


def test_lost_key_used_for_another_request_is_an_error(stripe: StripeEmulator) -> None:
    lost = create(stripe, card=CARD, caller=KEYED)
    refund = Caller("", "back")
    services.refund_payment(lost, amount=500, caller=refund)
    lose_refunds(lost)
    for _ in range(2):
        with pytest.raises(IdempotencyError):
            services.refund_payment(lost, amount=700, caller=refund)
    assert not Refund.objects.exists()
    services.sync_payment(lost)
    assert Refund.objects.get().amount == 500
    lose_payment(lost)
    for _ in range(2):
        with pytest.raises(IdempotencyError):
            services.create_payment(2001, currency="eur", caller=KEYED)
    assert not Payment.objects.exists()
    assert services.adopt_payment(lost.intent_id).uuid == lost.uuid
    assert (len(stripe.payment_intents), len(stripe.refunds)) == (1, 1)


@pytest.mark.parametrize("forgets", [False, True])
def test_lost_payment_that_is_paid_waits_when_its_create_is_repeated(
    stripe: StripeEmulator, forgets: bool
) -> None:
    booking = Booking.objects.create()
    lost = services.create_payment(payable=booking, caller=KEYED).payment
    stripe.confirm(lost.intent_id)
    lose_payment(lost)
    if forgets:
        # As after a day.
        stripe.forget_idempotency_keys()
        begin_recovery(since=timezone.now() - dt.timedelta(hours=1), leap=1)
    again = services.create_payment(payable=booking, caller=KEYED).payment
    again = services.complete_payment(again)
    assert (again.intent_id, again.awaits_operator, again.status) == (lost.intent_id, True, "pending")
    assert Concern.objects.get().code == "adopted"
    assert len(stripe.payment_intents) == 1


def test_refund_is_looked_for_after_a_recovery(stripe: StripeEmulator) -> None:
    payment = create(stripe, card=CARD)
    services.refund_payment(payment, amount=500, caller=KEYED)
    lose_refunds(payment)
    stripe.forget_idempotency_keys()
    begin_recovery(since=timezone.now() - dt.timedelta(hours=1), leap=1)
    services.refund_payment(payment, amount=500, caller=KEYED)
    assert (len(stripe.refunds), Refund.objects.count()) == (1, 1)
