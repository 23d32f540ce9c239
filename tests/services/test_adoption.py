"""Rows that were lost, or that another system never made, are rebuilt from what Stripe knows."""

from __future__ import annotations

import datetime as dt
import io
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone
from stripe import StripeClient

from octo_stripe_gateway import services, signals
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import StripeRefusedError, UnprocessableError
from octo_stripe_gateway.models import Concern, Payment, PaymentChange, Refund, StripeRequest
from octo_stripe_gateway.services import Caller
from octo_stripe_gateway.services.reconciliation import Reconciliation
from octo_stripe_gateway.testing.emulator import StripeEmulator
from octo_stripe_gateway.testing.factories import PaymentFactory
from tests.shop.models import Booking, Ticket
from tests.support.docs import get_block, run
from tests.support.ledger import assert_ledger_equals, assert_nothing_orphaned, lose_payment
from tests.support.threads import needs_row_locks, run_together

UUID = "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"

pytestmark = pytest.mark.django_db

CARD = "pm_card_visa"
KEPT = [
    "uuid",
    "owner",
    "payable_type_id",
    "payable_id",
    "account",
    "stripe_account",
    "amount",
    "currency",
    "capture_method",
    "metadata",
    "livemode",
    "status",
    "amount_received",
    "amount_refunded",
    "stripe_payment_intent_id",
    "stripe_charge_id",
]


def create(stripe: StripeEmulator, *, card: str = CARD, **options: Any) -> Payment:
    payment = services.create_payment(2000, currency="eur", **options).payment
    if card:
        stripe.confirm(payment.stripe_payment_intent_id or "", card)
    return services.complete_payment(payment)


def describe(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in KEPT}


def create_foreign(stripe: StripeEmulator, *, card: str = CARD, **metadata: str) -> str:
    """Create an intent as another system would, and return its id."""
    client = StripeClient(gateway_settings.stripe_api_key, base_addresses={"api": stripe.url})
    intent = client.v1.payment_intents.create(
        params={
            "amount": 2000,
            "currency": "eur",
            "automatic_payment_methods": {"enabled": True},
            "metadata": {"order": "7"} | metadata,
        }
    )
    if card:
        stripe.confirm(intent.id, card)
    return intent.id


def audit(*args: str) -> list[str]:
    out = io.StringIO()
    call_command("reconcile_payments", "--from", "2020-01-01", *args, stdout=out, stderr=out)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("card", ["", CARD, "pm_card_chargeDeclined"])
@pytest.mark.parametrize("capture_method", ["automatic", "manual"])
def test_lost_payment_comes_back_as_it_was(stripe: StripeEmulator, card: str, capture_method: str) -> None:
    payment = create(
        stripe,
        card=card,
        capture_method=capture_method,
        payable=Ticket.objects.create(code="HU77YU7T"),
        metadata={"tour": "7"},
        caller=Caller("key:viator"),
    )
    before = describe(payment)
    lose_payment(payment)
    adopted = services.confirm_adoption(services.adopt_payment(payment.intent_id))
    assert describe(adopted) == describe(Payment.objects.get()) == before
    assert adopted.payable == Ticket.objects.get()
    assert abs((adopted.created_at - payment.created_at).total_seconds()) < 5
    assert PaymentChange.objects.filter(payment=adopted, changes__has_key="adopted").count() == 1
    assert_ledger_equals(stripe)


def test_connected_account_comes_back_too(stripe: StripeEmulator) -> None:
    stripe.connect_account("acct_1")
    payment = create(stripe, stripe_account="acct_1")
    before = describe(payment)
    lose_payment(payment)
    intent_id = payment.stripe_payment_intent_id or ""
    with pytest.raises(StripeRefusedError):
        services.adopt_payment(intent_id)
    assert not Payment.objects.exists()
    adopted = services.adopt_payment(intent_id, stripe_account="acct_1")
    assert describe(services.confirm_adoption(adopted)) == before


def test_intent_of_another_account_is_not_attached_by_its_uuid(stripe: StripeEmulator) -> None:
    """A connected account can write any metadata, and its money is not ours."""
    stripe.connect_account("acct_1")
    PaymentFactory.create(stripe_account="acct_1", amount=2000)
    row = PaymentFactory.create(amount=2000, stripe_payment_intent_id=None, intent_status="")
    client = StripeClient("sk_test_gateway", base_addresses={"api": stripe.url})
    forged = client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "metadata": {"octo_payment": str(row.uuid)}},
        {"stripe_account": "acct_1"},
    )
    stripe.confirm(forged.id, CARD)
    with pytest.raises(UnprocessableError):
        services.adopt_payment(forged.id, stripe_account="acct_1")
    now = timezone.now()
    for adopts in (False, True):
        hour = dt.timedelta(hours=1)
        list(Reconciliation(now - hour, now + hour, adopts=adopts, dry_run=False).run())
    row.refresh_from_db()
    assert (row.stripe_payment_intent_id, row.status) == (None, "pending")


def test_refunds_come_back_with_their_uuids(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    services.refund_payment(payment, amount=500)
    stripe.refund(payment.stripe_payment_intent_id or "", amount=300)
    before = set(Refund.objects.filter(amount=500).values_list("uuid", "status", "stripe_refund_id"))
    lose_payment(payment)
    adopted = services.adopt_payment(payment.stripe_payment_intent_id or "")
    assert (adopted.amount_refunded, adopted.refunds.count()) == (800, 2)
    assert set(Refund.objects.filter(amount=500).values_list("uuid", "status", "stripe_refund_id")) == before


def test_one_that_is_there_is_brought_up_to_date(stripe: StripeEmulator) -> None:
    payment = create(stripe, card="")
    stripe.confirm(payment.stripe_payment_intent_id or "")
    assert services.adopt_payment(payment.stripe_payment_intent_id or "") == payment
    assert Payment.objects.get().status == "paid"


def test_payable_has_the_last_word_again(stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    payment = create(stripe, payable=booking)
    lose_payment(payment)
    Booking.objects.update(price=3000)
    adopted = services.adopt_payment(payment.intent_id)
    assert (adopted.rejection_code, stripe.refunds) == ("", {})
    adopted = services.confirm_adoption(adopted)
    assert adopted.rejection_code == "price_changed"
    assert (adopted.status, len(stripe.refunds)) == ("refunded", 1)


@pytest.mark.parametrize("is_canceled", [False, True])
def test_money_paid_by_a_link_that_was_revoked_meanwhile(is_canceled: bool, stripe: StripeEmulator) -> None:
    booking = Booking.objects.create()
    services.create_payment_link(booking)
    payment = create(stripe, payable=booking)
    lose_payment(payment)
    assert services.revoke_payment_links(booking) == 1
    if is_canceled:
        services.cancel_payable(booking, waive=True)
    adopted = services.adopt_payment(payment.intent_id)
    assert (adopted.awaits_operator, services.get_dues(booking).received, stripe.refunds) == (True, 0, {})
    services.confirm_adoption(adopted)
    assert services.get_dues(booking).received == (0 if is_canceled else booking.price)
    assert len(stripe.refunds) == is_canceled


def test_money_for_what_is_lost_too_is_kept_for_an_operator(stripe: StripeEmulator) -> None:
    ticket = Ticket.objects.create(code="HU77YU7T")
    payment = create(stripe, payable=ticket)
    lose_payment(payment)
    ticket.delete()
    adopted = services.adopt_payment(payment.stripe_payment_intent_id or "")
    assert (adopted.status, adopted.payable_type) == ("pending", None)
    concern = Concern.objects.get()
    assert (concern.code, concern.parameters) == ("payable_unknown", {"name": "shop.ticket:HU77YU7T"})
    assert stripe.refunds == {}


def test_intent_of_another_system_is_taken_over_in_silence(
    stripe: StripeEmulator, django_capture_on_commit_callbacks: Any
) -> None:
    intent_id = create_foreign(stripe)
    stripe.refund(intent_id, amount=500)
    booking = Booking.objects.create(price=999)
    heard = []

    def hear(signal: Any, **kwargs: Any) -> None:
        heard.append(signal)

    listened = [signals.payment_created, signals.payment_succeeded, signals.payment_refunded]
    for each in listened:
        each.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        adopted = services.adopt_payment(intent_id, payable=booking)
    for each in listened:
        each.disconnect(hear)
    assert (adopted.status, adopted.amount_refunded, adopted.payable) == ("paid", 500, booking)
    assert (adopted.metadata, adopted.rejection_code) == ({"order": "7"}, "")
    assert adopted.accepted_at
    assert heard == []
    assert services.adopt_payment(intent_id, payable=booking) == adopted
    # From now on it is like any other.
    services.refund_payment(adopted, amount=1500)
    assert_ledger_equals(stripe)


def test_unpaid_intent_of_another_system_is_paid_here(stripe: StripeEmulator) -> None:
    intent_id = create_foreign(stripe, card="")
    booking = Booking.objects.create()
    adopted = services.adopt_payment(intent_id, payable=booking)
    assert (adopted.status, adopted.accepted_at) == ("pending", None)
    stripe.confirm(intent_id)
    assert services.complete_payment(adopted).status == "paid"


def test_other_payable_than_the_row_has_is_refused(stripe: StripeEmulator) -> None:
    payment = create(stripe, payable=Ticket.objects.create(code="A"))
    with pytest.raises(UnprocessableError, match="for something else"):
        services.adopt_payment(
            payment.stripe_payment_intent_id or "", payable=Ticket.objects.create(code="B")
        )
    assert Payment.objects.get().payable == Ticket.objects.get(code="A")


@pytest.mark.parametrize("key", ["octo_payment", "octo_owner", "octo_payable", "octo_purpose"])
@pytest.mark.parametrize(
    "value", ["", "nonsense", "shop.booking:x", ":", "é" * 500, "a3bb189e-8bf9-4c3f-9f3c-2d0a2b1b0001"]
)
def test_metadata_that_others_have_written_does_no_harm(stripe: StripeEmulator, key: str, value: str) -> None:
    intent_id = create_foreign(stripe, **{key: value})
    booking = Booking.objects.create(price=999)
    adopted = services.adopt_payment(intent_id, payable=booking)
    assert (adopted.owner, adopted.purpose, adopted.payable) == ("", "", booking)


def test_uuid_of_another_payment_is_not_taken(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    metadata = stripe.payment_intents[payment.intent_id]["metadata"]
    for claims in ({"octo_payment": str(payment.uuid)}, metadata):
        intent_id = create_foreign(stripe, **claims)
        with pytest.raises(UnprocessableError):
            services.adopt_payment(intent_id)
    assert Payment.objects.get() == payment


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_two_who_adopt_at_once_write_one_row(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    lose_payment(payment)
    intent_id = payment.stripe_payment_intent_id or ""
    first, second = run_together([lambda: services.adopt_payment(intent_id)] * 2)
    assert first == second == Payment.objects.get()
    assert_ledger_equals(stripe)


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_row_that_another_adopts_meanwhile_is_found(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = create(stripe)
    lose_payment(payment)
    intent_id = payment.stripe_payment_intent_id or ""
    look = type(Payment.ledger).get_locked_by_intent

    def look_before_another_adopts(*looked: Any, **by: Any) -> Payment | None:
        monkeypatch.setattr(type(Payment.ledger), "get_locked_by_intent", look)
        found = look(*looked, **by)
        run_together([lambda: services.adopt_payment(intent_id)])
        return found

    monkeypatch.setattr(type(Payment.ledger), "get_locked_by_intent", look_before_another_adopts)
    assert services.adopt_payment(intent_id) == Payment.objects.get()
    assert_ledger_equals(stripe)


def test_command_tells_what_is_on_one_side_only(stripe: StripeEmulator) -> None:
    lost, kept = create(stripe), create(stripe)
    services.refund_payment(kept, amount=500)
    create_foreign(stripe)
    lose_payment(lost)
    unknown = Payment.objects.create(
        amount=2000, currency="eur", stripe_payment_intent_id="pi_unknown", intent_status="succeeded"
    )
    StripeRequest.objects.filter(kind="refund").delete()
    Refund.objects.all().delete()
    out = io.StringIO()
    with pytest.raises(CommandError, match="--adopt writes them"):
        call_command("reconcile_payments", "--from", "2020-01-01", "--dry-run", stdout=out, stderr=out)
    refund_id = next(iter(stripe.refunds))
    assert out.getvalue().splitlines() == [
        f"{refund_id}: unknown here",
        f"{lost.stripe_payment_intent_id}: unknown here",
        f"{unknown.uuid}: unknown at Stripe",
        "1 payment checked, 0 would change, 2 unknown here, 1 unknown at Stripe",
    ]
    assert (Payment.objects.count(), Refund.objects.count()) == (2, 0)


def test_command_adopts_what_is_lost(stripe: StripeEmulator) -> None:
    lost = create(stripe)
    services.refund_payment(lost, amount=500)
    lose_payment(lost)
    lines = audit("--adopt")
    assert lines[-1] == "1 payment checked, 0 changed, 1 adopted"
    assert_ledger_equals(stripe)
    assert_nothing_orphaned(stripe)
    assert audit("--adopt")[-1] == "1 payment checked, 0 changed"


def test_command_shows_what_differs_each_time(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    Payment.objects.update(currency="jpy")
    for changed in (1, 0):
        out = io.StringIO()
        with pytest.raises(CommandError, match="Not everything here is as it is at Stripe"):
            call_command("reconcile_payments", "--from", "2020-01-01", stdout=out)
        lines = out.getvalue().splitlines()
        assert any(
            line.startswith(f"{payment.uuid}: ") and "currency is eur, not jpy" in line for line in lines
        )
        assert lines[-1] == f"1 payment checked, {changed} changed, 1 mismatched"


def test_refund_that_stripe_does_not_have_is_told(stripe: StripeEmulator) -> None:
    payment = create(stripe)
    services.refund_payment(payment, amount=500)
    (refund_id,) = stripe.refunds
    Refund.objects.update(stripe_refund_id="re_unknown", stripe_created=F("stripe_created") - 60)
    out = io.StringIO()
    with pytest.raises(CommandError, match="Not everything"):
        call_command("reconcile_payments", "--from", "2020-01-01", stdout=out, stderr=out)
    assert out.getvalue().splitlines()[:2] == [f"{refund_id}: added", "re_unknown: unknown at Stripe"]
    assert dict(Refund.objects.values_list("stripe_refund_id", "status")) == {
        refund_id: "succeeded",
        "re_unknown": "canceled",
    }


@pytest.mark.slow
def test_more_than_a_page_is_compared(stripe: StripeEmulator) -> None:
    payments = [services.create_payment(2000, currency="usd").payment for _ in range(120)]
    for payment in payments[:110]:
        lose_payment(payment)
    asked = len(stripe.requests)
    assert audit("--adopt")[-1] == "10 payments checked, 0 changed, 110 adopted"
    # Two pages of intents, one of refunds, one of the balance, and one call for each that is adopted.
    assert len(stripe.requests) - asked == 4 + 110
    assert_nothing_orphaned(stripe)


def test_adopting_needs_a_time() -> None:
    with pytest.raises(CommandError, match="which period"):
        call_command("reconcile_payments", "--adopt")


def test_docs_show_how_to_adopt_all(stripe: StripeEmulator) -> None:
    shown = run(get_block("python", "def adopt_all"))
    orders = [
        SimpleNamespace(stripe_payment_intent_id=create_foreign(stripe), booking=Booking.objects.create())
        for _ in range(2)
    ]
    shown["adopt_all"](orders)
    assert [booking.payments.get().status for booking in Booking.objects.all()] == ["paid", "paid"]
