"""Once Stripe has booked a payment, what it brought and cost is on record."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import stripe as sdk
from django.core.management import CommandError, call_command
from django.utils import timezone

from octo_stripe_gateway import services, upkeep
from octo_stripe_gateway.ledger import claims as due
from octo_stripe_gateway.ledger.load import lock_payment
from octo_stripe_gateway.ledger.write import record
from octo_stripe_gateway.models import BalanceTransaction, DaySum, Payment, PaymentChange
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.lists import LEAST_LISTED
from octo_stripe_gateway.stripe.snapshots import BalanceTransactionSnapshot, RefundSnapshot
from octo_stripe_gateway.stripe.times import get_day, get_moment
from octo_stripe_gateway.testing.emulator import Fault, StripeEmulator
from octo_stripe_gateway.upkeep import run_upkeep
from tests.support.api import GatewayApi
from tests.support.ledger import later, lose_payment
from tests.support.threads import needs_row_locks, run_together

pytestmark = pytest.mark.django_db

LATE = "pm_card_emulator_booksLate"
RESTRICTED = "rk_test_books"
LIST = "/v1/balance_transactions"


def pay(stripe: StripeEmulator, card: str = "pm_card_visa", **options: Any) -> Payment:
    """Create a payment, pay it, and deliver its events."""
    options = {"currency": "usd"} | options
    payment = services.create_payment(options.pop("amount", 2000), **options).payment
    stripe.confirm(payment.stripe_payment_intent_id or "", card)
    return services.complete_payment(payment)


def keep_books(*, threads: int = 1) -> dict[str, int]:
    return run_upkeep(limit=1000, threads=threads)["books"]


def make_due() -> None:
    due = timezone.now() - dt.timedelta(seconds=1)
    Payment.objects.exclude(next_booking_at=None).update(next_booking_at=due)


def sync(payment: Payment) -> Payment:
    services.sync_payment(payment)
    payment.refresh_from_db()
    return payment


def assert_books_equal(stripe: StripeEmulator) -> None:
    """Check that each of Stripe's balance transactions is on record once, as Stripe has it."""
    names = ("amount", "fee", "net", "currency", "type", "reporting_category")
    assert {
        row.stripe_balance_transaction_id: (row.source_id, *(getattr(row, name) for name in names))
        for row in BalanceTransaction.objects.all()
    } == {
        key: (booked["source"], *(booked[name] for name in names))
        for key, booked in stripe.balance_transactions.items()
    }


def test_settled_payment_knows_what_it_brought(stripe: StripeEmulator) -> None:
    pay(stripe)
    assert keep_books() == {"booked": 1}
    payment = Payment.objects.get()
    assert (payment.fee, payment.net, payment.settlement_currency) == (88, 1912, "usd")
    assert (payment.card_brand, payment.card_last4, payment.exchange_rate) == ("visa", "4242", None)
    assert payment.receipt_url.startswith("https://pay.stripe.com/receipts/")
    assert payment.next_booking_at is None
    assert_books_equal(stripe)
    assert keep_books() == {}


def test_answer_to_complete_says_at_once_what_it_brought(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    assert (payment.fee, payment.net, payment.settlement_currency) == (88, 1912, "usd")
    assert payment.card_last4 == "4242"
    assert not payment.balance_transactions.exists()


def test_late_answer_does_not_undo_the_books(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    services.refund_payment(payment, amount=500)
    keep_books()
    assert services.complete_payment(payment).net == 1412


def test_payment_known_from_an_event_alone_has_its_card(api: GatewayApi, stripe: StripeEmulator) -> None:
    stripe.webhook_url = None
    payment = services.create_payment(2000, currency="usd").payment
    stripe.confirm(payment.stripe_payment_intent_id or "")
    assert api.post_event(*stripe.signed("payment_intent.succeeded")).status_code == 200
    keep_books()
    payment.refresh_from_db()
    assert (payment.card_brand, payment.card_last4, payment.fee) == ("visa", "4242", 88)


def test_other_settlement_currency(stripe: StripeEmulator) -> None:
    stripe.exchange("jpy", into="usd", rate=0.0064)
    payment = pay(stripe, amount=20_000, currency="jpy")
    keep_books()
    payment.refresh_from_db()
    assert (payment.settlement_currency, payment.exchange_rate) == ("usd", Decimal("0.0064"))
    assert payment.net is not None
    assert payment.fee is not None
    assert payment.fee + payment.net == 12_800
    assert_books_equal(stripe)


def test_refund_and_its_failure_are_booked(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    keep_books()
    services.refund_payment(payment, amount=500)
    keep_books()
    refund = payment.refunds.get()
    assert [row.net for row in refund.balance_transactions] == [-500]
    with later(stripe):
        stripe.settle_refund(refund.stripe_refund_id or "", status="failed")
        sync(payment)
    keep_books()
    assert sorted(row.net for row in refund.balance_transactions) == [-500, 500]
    payment.refresh_from_db()
    assert (payment.fee, payment.net) == (88, 1912)
    assert_books_equal(stripe)


@pytest.mark.parametrize(("won", "fee", "net"), [(True, 1588, 412), (False, 1588, -1588)])
def test_dispute_is_booked_whichever_way_it_ends(
    stripe: StripeEmulator, won: bool, fee: int, net: int
) -> None:
    payment = pay(stripe)
    dispute = stripe.open_dispute(payment.stripe_payment_intent_id or "")
    sync(payment)
    keep_books()
    row = payment.disputes.get()
    assert [(each.amount, each.fee, each.net) for each in row.balance_transactions] == [(-2000, 1500, -3500)]
    with later(stripe):
        stripe.close_dispute(dispute["id"], won=won)
        sync(payment)
    keep_books()
    payment.refresh_from_db()
    assert (payment.fee, payment.net, payment.next_booking_at) == (fee, net, None)
    assert_books_equal(stripe)


def test_fee_of_its_own_leaves_no_won_dispute_waiting(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(stripe)
    dispute = stripe.open_dispute(payment.stripe_payment_intent_id or "")
    stripe.close_dispute(dispute["id"], won=True)
    listed = stripe_client.list_balance_transactions_of

    def list_with_fee(source_id: str, *, origin: Any) -> list[BalanceTransactionSnapshot]:
        found = list(listed(source_id, origin=origin))
        fee = [
            each._replace(id="txn_fee", amount=-1500, fee=0, net=-1500, reporting_category="fee")
            for each in found[:1]
            if source_id == dispute["id"]
        ]
        return found + fee

    monkeypatch.setattr(stripe_client, "list_balance_transactions_of", list_with_fee)
    sync(payment)
    assert keep_books() == {"booked": 1}
    payment.refresh_from_db()
    assert (payment.next_check_at, BalanceTransaction.objects.count()) == (None, 4)


def test_dispute_that_goes_on_after_its_day_was_added_up(stripe: StripeEmulator) -> None:
    clock, days = stripe.clock, 0
    stripe.clock = lambda: clock() + days * 86_400
    payment = pay(stripe)

    def hear() -> None:
        sync(payment)
        make_due()
        keep_books()

    dispute = stripe.open_dispute(payment.intent_id)
    hear()
    days = 1
    # Nobody hears of this until its day is over.
    stripe.close_dispute(dispute["id"], won=True)
    days = 2
    stripe.reopen_dispute(dispute["id"])
    hear()
    days = 3
    stripe.close_dispute(dispute["id"], won=False)
    hear()
    moved: Counter[dt.date] = Counter()
    for each in stripe.balance_transactions.values():
        moved[get_day(get_moment(each["created"]))] += each["amount"]
    added: Counter[dt.date] = Counter()
    for row in DaySum.objects.all():
        added[row.day] += row.total
    assert added == moved
    assert Payment.objects.get().amount_lost == 2000


def test_inquiry_that_becomes_a_dispute_is_waited_for(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    stripe.open_dispute(payment.stripe_payment_intent_id or "", inquiry=True)
    sync(payment)
    assert keep_books() == {"waiting": 1}
    payment.refresh_from_db()
    assert payment.next_booking_at is not None


def test_what_stripe_books_late_is_asked_for_again(stripe: StripeEmulator) -> None:
    payment = pay(stripe, LATE)
    pauses = []
    for _try in range(4):
        make_due()
        assert keep_books() == {"waiting": 1}
        payment.refresh_from_db()
        assert payment.next_booking_at
        pauses.append(round((payment.next_booking_at - timezone.now()) / dt.timedelta(minutes=1)))
    assert pauses == [1, 2, 4, 8]
    assert payment.fee is None
    stripe.book(payment.stripe_payment_intent_id or "")
    make_due()
    assert keep_books() == {"booked": 1}
    assert_books_equal(stripe)


def test_refund_known_before_its_charge_is_booked_is_booked_too(stripe: StripeEmulator) -> None:
    payment = services.create_payment(2000, currency="usd").payment
    intent_id = payment.stripe_payment_intent_id or ""
    stripe.confirm(intent_id)
    refund = stripe.refund(intent_id, amount=700)
    with lock_payment(payment) as locked:
        record(locked, RefundSnapshot.from_object(refund, as_of=refund["created"]))
    keep_books()
    assert [row.net for row in payment.refunds.get().balance_transactions] == [-700]
    sync(payment)
    make_due()
    keep_books()
    assert_books_equal(stripe)
    payment.refresh_from_db()
    assert payment.next_booking_at is None


def test_many_are_booked_from_one_list(stripe: StripeEmulator) -> None:
    for _each in range(20):
        pay(stripe)
    before = len(stripe.requests)
    assert keep_books() == {"booked": 20}
    asked = [request.path for request in stripe.requests[before:]]
    assert asked == [LIST]
    assert_books_equal(stripe)


def test_list_of_mostly_foreign_payments_is_given_up(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_client, "PAGE_SIZE", 10)
    wanted = [pay(stripe) for _each in range(5)]
    for _each in range(50):
        pay(stripe)
    Payment.objects.exclude(pk__in=[each.pk for each in wanted]).update(next_booking_at=None)
    before = len(stripe.requests)
    assert keep_books() == {"booked": 5}
    assert len(stripe.requests) - before == 3 + 5


def test_booking_twice_records_each_movement_once(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    keep_books()
    Payment.objects.update(next_booking_at=timezone.now())
    assert keep_books() == {"booked": 1}
    assert payment.balance_transactions.count() == 1
    assert_books_equal(stripe)


@needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_two_runs_share_the_work(stripe: StripeEmulator) -> None:
    for _each in range(6):
        pay(stripe)
    done = run_together([keep_books, keep_books])
    assert sum(each.get("booked", 0) for each in done) == 6
    assert_books_equal(stripe)


def test_key_without_the_permission_still_takes_payments(
    stripe: StripeEmulator, configure: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    stripe.restrict(RESTRICTED, "rak_payment_intent_write", "rak_charge_write", "rak_dispute_read")
    configure(STRIPE_API_KEY=RESTRICTED)
    payment = pay(stripe)
    assert (payment.status, payment.fee) == ("paid", None)
    services.refund_payment(payment, amount=100)
    assert keep_books() == {"failed": 1}
    assert "The books of the default account can't be kept" in caplog.text
    assert "Traceback" not in caplog.text
    payment.refresh_from_db()
    assert payment.next_booking_at is not None
    assert payment.next_booking_at > timezone.now() + dt.timedelta(minutes=50)
    assert payment.bookings == 0
    configure(STRIPE_API_KEY="sk_test_books")
    make_due()
    assert keep_books() == {"booked": 1}
    assert_books_equal(stripe)


def test_account_without_the_permission_delays_no_other(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    stripe.restrict(RESTRICTED, "rak_payment_intent_write", "rak_charge_write", "rak_dispute_read")
    pay(stripe)
    account = {"STRIPE_API_KEY": RESTRICTED, "STRIPE_WEBHOOK_SECRET": "whsec_viator"}
    configure(STRIPE_ACCOUNTS={"viator": account}, CHOOSE_ACCOUNT=lambda _payment: "viator")
    pay(stripe)
    configure(CHOOSE_ACCOUNT=None)
    pay(stripe)
    assert keep_books() == {"booked": 2, "failed": 1}


def test_stripe_that_does_not_answer_is_asked_again(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    stripe.add_fault(Fault(method="*", status=503, times=3))
    assert keep_books() == {"unanswered": 1}
    stripe.clear_faults()
    make_due()
    assert keep_books() == {"booked": 1}
    assert payment.balance_transactions.count() == 1


def test_money_that_moves_during_booking_is_booked(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(stripe)
    ask = stripe_client.list_balance_transactions_of

    def refund_meanwhile(*args: Any, **options: Any) -> Any:
        found = ask(*args, **options)
        monkeypatch.setattr(stripe_client, "list_balance_transactions_of", ask)
        services.refund_payment(payment, amount=300)
        return found

    monkeypatch.setattr(stripe_client, "list_balance_transactions_of", refund_meanwhile)
    assert keep_books() == {"waiting": 1, "booked": 1}
    assert_books_equal(stripe)


def test_erased_payment_learns_no_card_again(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    services.erase_personal_data(payment)
    payment.refresh_from_db()
    assert (payment.card_last4, payment.receipt_url) == ("", "")
    keep_books()
    sync(payment)
    assert (payment.card_last4, payment.receipt_url, payment.fee) == ("", "", 88)


def test_adopted_payment_is_booked(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    intent_id = payment.stripe_payment_intent_id or ""
    keep_books()
    lose_payment(payment)
    adopted = services.adopt_payment(intent_id)
    assert keep_books() == {"booked": 1}
    adopted.refresh_from_db()
    assert adopted.fee == 88
    assert_books_equal(stripe)


def test_booking_sends_no_signal(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    changes = PaymentChange.objects.filter(payment=payment).count()
    keep_books()
    assert PaymentChange.objects.filter(payment=payment).count() == changes


def test_failed_debit_is_booked_without_money(stripe: StripeEmulator) -> None:
    payment = services.create_payment(2000, currency="usd").payment
    intent_id = payment.stripe_payment_intent_id or ""
    stripe.confirm(intent_id, "pm_usBankAccount_accountClosed")
    sync(payment)
    assert keep_books() == {"waiting": 1}
    stripe.settle(intent_id, succeed=False)
    sync(payment)
    make_due()
    assert keep_books() == {"booked": 1}
    payment.refresh_from_db()
    assert (payment.next_booking_at, payment.fee) == (None, None)


def test_lease_ends_by_itself(stripe: StripeEmulator) -> None:
    pay(stripe)
    claimed = [len(due._claim(upkeep.BOOKS, limit=10)[0]) for _each in range(2)]
    assert claimed == [1, 0]
    Payment.objects.update(next_booking_at=timezone.now())
    assert keep_books() == {"booked": 1}


def test_reconciliation_books_what_was_not_booked(
    stripe: StripeEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    payment = pay(stripe)
    keep_books()
    BalanceTransaction.objects.all().delete()
    (booked,) = stripe.balance_transactions
    with pytest.raises(CommandError):
        call_command("reconcile_payments", "--from", "2020-01-01", "--dry-run")
    assert f"{booked}: unknown here" in capsys.readouterr().out
    assert not BalanceTransaction.objects.exists()
    call_command("reconcile_payments", "--from", "2020-01-01")
    assert f"{booked}: added" in capsys.readouterr().out
    assert_books_equal(stripe)
    payment.refresh_from_db()
    assert payment.fee == 88


def test_reconciliation_does_not_report_what_is_yet_to_be_booked(
    stripe: StripeEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    pay(stripe)
    call_command("reconcile_payments", "--from", "2020-01-01", "--dry-run")
    assert capsys.readouterr().out == "1 payment checked, 0 would change\n"


def test_money_of_another_system_is_not_booked(stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    client = sdk.StripeClient("sk_test_x", base_addresses={"api": stripe.url})
    client.v1.payment_intents.create(
        params={
            "amount": 700,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": "https://other.example",
        }
    )
    call_command("reconcile_payments", "--from", "2020-01-01")
    assert len(stripe.balance_transactions) == 2
    assert set(BalanceTransaction.objects.values_list("payment", flat=True)) == {payment.pk}


def test_account_that_is_gone_is_asked_less_and_less_often(
    stripe: StripeEmulator, configure: Callable[..., None]
) -> None:
    payments = [pay(stripe) for _each in range(5)]
    Payment.objects.filter(pk__in=[each.pk for each in payments]).update(account="closed")
    for tries in (1, 2, 3):
        make_due()
        assert keep_books() == {"failed": 5}
        assert set(Payment.objects.values_list("bookings", flat=True)) == {tries}
        payment = Payment.objects.latest("pk")
        assert payment.next_booking_at
        wait = payment.next_booking_at - timezone.now()
        assert round(wait / dt.timedelta(minutes=1)) == 2 ** (tries - 1)


@pytest.mark.parametrize("change", [{"amount": "much"}, {"currency": None}, {"exchange_rate": -1}, {"id": 7}])
def test_malformed_answer_stops_no_other_payment(
    stripe: StripeEmulator, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    read = BalanceTransactionSnapshot.from_object
    monkeypatch.setattr(BalanceTransactionSnapshot, "from_object", lambda each: read(each | change))
    payment = pay(stripe)
    assert (payment.status, payment.fee) == ("paid", None)
    assert keep_books() == {"failed": 1}


def test_books_of_a_connected_account_are_kept_there(stripe: StripeEmulator) -> None:
    stripe.connect_account("acct_1")
    for _each in range(LEAST_LISTED):
        pay(stripe, stripe_account="acct_1")
    pay(stripe)
    before = len(stripe.requests)
    assert keep_books() == {"booked": LEAST_LISTED + 1}
    assert {request.stripe_account for request in stripe.requests[before:]} == {"acct_1", None}
    assert_books_equal(stripe)


def test_repeated_event_books_nothing(api: GatewayApi, stripe: StripeEmulator) -> None:
    payment = pay(stripe)
    services.refund_payment(payment, amount=500)
    keep_books()
    for type_ in ("payment_intent.succeeded", "charge.refunded", "refund.created"):
        assert api.post_event(*stripe.signed(type_)).status_code == 200
    payment.refresh_from_db()
    assert payment.next_booking_at is None
