"""After a failover or a restored backup, money ends at the right booking, or with an operator."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.testing.emulator import StripeEmulator
from tests.shop.models import Booking
from tests.support.api import GatewayApi
from tests.support.ledger import assert_nothing_orphaned, lose_payment

pytestmark = pytest.mark.django_db(transaction=True)


def recover(*args: str) -> list[str]:
    out = io.StringIO()
    since = (timezone.now() - dt.timedelta(hours=1)).isoformat()
    call_command("recover_ledger", *(args or ("--from", since)), stdout=out, stderr=out)
    return out.getvalue().splitlines()


def pay(stripe: StripeEmulator, **options: Any) -> Payment:
    payment = services.create_payment(**options).payment
    stripe.confirm(payment.intent_id, "pm_card_visa")
    return services.complete_payment(payment)


def test_one_command_brings_back_what_was_lost(stripe: StripeEmulator) -> None:
    bookings = [Booking.objects.create() for _ in range(3)]
    lost = [pay(stripe, payable=each, caller=Caller("auth.user:1")) for each in bookings]
    for each in lost:
        lose_payment(each)
    lines = recover()
    assert "3 adopted" in lines[-2]
    assert lines[-1].startswith("3 adopted payments still to be confirmed.")
    assert_nothing_orphaned(stripe)
    assert {each.uuid for each in lost} == {each.uuid for each in Payment.objects.all()}
    assert recover("--confirm", str(lost[0].uuid)) == ["1 adopted payment confirmed, 0 failed"]
    assert [services.get_dues(each).due for each in bookings] == [0, 2000, 2000]
    assert recover("--confirm") == ["2 adopted payments confirmed, 0 failed"]
    assert [services.get_dues(each).due for each in bookings] == [0, 0, 0]
    assert recover()[-1] == "Nothing is left to do."
    with pytest.raises(CommandError, match="no adopted payment"):
        recover("--confirm", str(lost[0].uuid))


def test_old_id_names_nobody_and_the_uuid_still_works(stripe: StripeEmulator, api: GatewayApi) -> None:
    kept = api.create().json()
    lost = [pay(stripe, amount=2000, currency="usd") for _ in range(50)]
    for each in lost:
        lose_payment(each)
    recover()
    for _ in range(18):
        api.create()
    given_out = {each.pk for each in lost}
    assert not Payment.objects.filter(pk__in=given_out).exists()
    assert [api.retrieve(pk).status_code for pk in sorted(given_out)[:2]] == [404, 404]
    assert api.retrieve(lost[0].uuid).json()["uuid"] == str(lost[0].uuid)
    assert api.retrieve(kept).status_code == 200


def test_first_payment_after_a_recovery_leaps_in_an_empty_table(stripe: StripeEmulator) -> None:
    recover()
    recover()
    assert services.create_payment(2000, currency="eur").payment.pk > 2_000_000


def test_what_to_do_has_to_be_said() -> None:
    for args in (("--leap", "7"), ("--from", "2026-01-01", "--confirm")):
        with pytest.raises(CommandError, match="--from"):
            recover(*args)


def test_account_that_does_not_answer_has_it_run_again(stripe: StripeEmulator, configure: Any) -> None:
    payment = pay(stripe, amount=2000, currency="eur")
    lose_payment(payment)
    configure(STRIPE_API_BASE="http://127.0.0.1:9")
    with pytest.raises(CommandError, match="run it again"):
        recover()
    configure(STRIPE_API_BASE=stripe.url)
    assert recover()[-1].startswith("1 adopted payment still to be confirmed.")


def test_refund_with_a_key_does_not_pay_twice_after_a_restored_backup(stripe: StripeEmulator) -> None:
    payment = pay(stripe, amount=2000, currency="eur", caller=Caller("", "sale"))
    services.refund_payment(payment, amount=500, caller=Caller("", "back"))
    lose_payment(payment)
    stripe.forget_idempotency_keys()
    recover()
    payment = services.create_payment(2000, currency="eur", caller=Caller("", "sale")).payment
    services.refund_payment(payment, amount=500, caller=Caller("", "back"))
    assert [refund["amount"] for refund in stripe.refunds.values()] == [500]
    assert len(stripe.payment_intents) == 1
    assert Concern.objects.open().count() == 1


def test_uuid_of_a_host_finds_its_payment_again(stripe: StripeEmulator) -> None:
    own = uuid.uuid4()
    payment = pay(stripe, amount=2000, currency="eur", uuid=own)
    lose_payment(payment)
    recover()
    assert Payment.objects.get().uuid == own
    assert services.create_payment(2000, currency="eur", uuid=own).payment == Payment.objects.get()


def adopt_unpaid(booking: Booking) -> Payment:
    lost = services.create_payment(payable=booking, caller=Caller("", "sale")).payment
    lose_payment(lost)
    recover()
    return Payment.objects.get(uuid=lost.uuid)


def test_what_is_paid_only_after_the_recovery_waits_too(stripe: StripeEmulator) -> None:
    adopted = adopt_unpaid(Booking.objects.create())
    assert not Concern.objects.exists()
    stripe.confirm(adopted.intent_id)
    adopted = services.complete_payment(adopted)
    assert (adopted.status, adopted.accepted_at) == ("pending", None)
    assert Concern.objects.get().code == "adopted"
    assert services.confirm_adoption(adopted).status == "paid"


def test_intent_of_an_earlier_customer_is_not_given_to_the_next(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    adopted = adopt_unpaid(booking)
    new = services.create_payment(payable=booking).payment
    assert new != adopted
    assert stripe.payment_intents[adopted.intent_id]["status"] == "canceled"


def test_create_that_is_repeated_after_the_recovery_needs_no_operator(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    adopted = adopt_unpaid(booking)
    again = services.create_payment(payable=booking, caller=Caller("", "sale")).payment
    assert again == adopted
    stripe.confirm(again.intent_id)
    assert services.complete_payment(again).status == "paid"
    assert not Concern.objects.exists()
