"""What the writer saves and journals of rows that changed, without a database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from django.db.models import Model

from octo_stripe_gateway.ledger import journal, write
from octo_stripe_gateway.ledger.facts import (
    Accepted,
    Adopted,
    AmountRequested,
    CaptureReminded,
    ConcernSettled,
    Erased,
    Rejected,
)
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.ledger.rules import apply
from octo_stripe_gateway.models import Concern, Dispute, PayableLock, Payment, PaymentChange, Refund
from tests.support.objects import make_declined_intent, make_intent, make_paid_intent, make_payment
from tests.support.snapshots import snap_dispute, snap_intent, snap_refund

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
PAID = snap_intent(make_paid_intent())
HELD = snap_intent(make_intent(status="requires_capture", amount_capturable=2000))


class Ledger:
    """Keeps in memory what would be saved, in its order."""

    def __init__(self) -> None:
        self.saved: list[tuple[Any, list[str]]] = []
        self.changes: list[PaymentChange] = []
        self.delivered: list[PaymentChange] = []
        self.recalled: list[Payment] = []
        self.after: list[Callable[[], None]] = []
        self.rows = Rows(make_payment(id=1, next_check_at=NOW), refunds=[], disputes=[])

    def insert(self, row: Any) -> None:
        row.pk = 1 + len(self.saved)
        self.saved.append((row, ["inserted"]))
        if isinstance(row, PaymentChange):
            self.changes.append(row)

    def save_changed(self, row: Any, *, names: list[str]) -> None:
        self.saved.append((row, sorted(names)))

    def write(self, *facts: Any, announces: bool = True) -> PaymentChange | None:
        """Apply facts and write once; return the journal's row."""
        self.saved, self.changes = [], []
        for fact in facts:
            apply(self.rows, fact, now=NOW)
        write.write(self.rows, announces=announces)
        return self.changes[0] if self.changes else None

    def record(self, fact: Any, **options: Any) -> Rows:
        self.saved, self.changes = [], []
        self.rows = write.record(self.rows.payment, fact, **options)
        return self.rows

    def get_names(self, model: type[Model]) -> list[list[str]]:
        return [names for row, names in self.saved if isinstance(row, model)]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()

    def keep(run: Callable[[], None], *, using: str, robust: bool) -> None:
        assert (using, robust) == (Payment.ledger.database, True)
        ledger.after.append(run)

    def deliver(change: PaymentChange, *, payment: Payment) -> None:
        assert payment is change.payment
        ledger.delivered.append(change)

    stubs: list[Any] = [
        patch.object(Refund.ledger, "list_of", lambda _payment: ledger.rows.refunds or []),
        patch.object(Dispute.ledger, "list_by", lambda **_by: ledger.rows.disputes or []),
        patch.object(Concern.ledger, "list_of", lambda _payment: ledger.rows.concerns),
        patch.object(PayableLock.ledger, "recall", ledger.recalled.append),
        patch.object(write, "get_undelivered", lambda names: {name: [] for name in names}),
        patch.object(write, "deliver_change", deliver),
        patch.object(transaction, "on_commit", keep),
    ]
    for model in (Payment, Refund, Dispute, Concern, PaymentChange):
        stubs += [
            patch.object(model.ledger, "insert", ledger.insert),
            patch.object(model.ledger, "save_changed", ledger.save_changed),
        ]
    with ExitStack() as stack:
        for stub in stubs:
            stack.enter_context(stub)
        yield ledger


def list_signals(change: PaymentChange | None) -> list[str]:
    return list(change.undelivered) if change else []


# What is saved.


def test_what_changes_nothing_writes_nothing(ledger: Ledger) -> None:
    ledger.write(PAID, Accepted())
    assert ledger.write(PAID) is None
    assert ledger.saved == []


def test_only_changed_columns_are_saved(ledger: Ledger) -> None:
    ledger.write(AmountRequested(2500))
    assert ledger.get_names(Payment) == [["amount_as_of", "amount_requested", "updated_at"]]


def test_what_is_only_planned_leaves_the_row_as_old_as_it_was(ledger: Ledger) -> None:
    ledger.rows.payment.next_check_at = None
    assert ledger.write() is None
    assert ledger.get_names(Payment) == [["next_check_at"]]


def test_time_of_saving_is_no_change(ledger: Ledger) -> None:
    ledger.rows.payment.updated_at = NOW
    assert ledger.write() is None
    assert ledger.saved == []


def test_new_rows_are_inserted_and_known_ones_saved(ledger: Ledger) -> None:
    ledger.write(PAID, snap_refund(status="pending"), snap_dispute())
    for model in (Refund, Dispute, PaymentChange):
        assert ledger.get_names(model) == [["inserted"]]
    ledger.write(snap_refund(second=1), snap_dispute(status="won", second=1))
    for model in (Refund, Dispute):
        assert ledger.get_names(model) == [["status", "status_as_of", "updated_at"]]


def test_row_that_somebody_else_inserted_meanwhile_is_left_to_them(ledger: Ledger) -> None:
    assert ledger.rows.refunds is not None
    ledger.rows.refunds.append(Refund(id=7, payment=ledger.rows.payment, amount=500))
    ledger.write()
    assert ledger.get_names(Refund) == []


def test_payable_is_asked_again_what_it_owes_once_money_went_back(ledger: Ledger) -> None:
    ledger.write(PAID, snap_refund())
    assert ledger.recalled == []
    ledger.rows.payment.payable_type_id = 1
    ledger.write(snap_refund(id="re_2", amount=100, second=1))
    assert ledger.recalled == [ledger.rows.payment]
    ledger.write(snap_dispute(status="lost"))
    assert len(ledger.recalled) == 2
    ledger.write(Erased())
    assert len(ledger.recalled) == 2


# What the journal says.


def test_journal_says_what_was_and_what_is(ledger: Ledger) -> None:
    ledger.write(snap_intent(make_declined_intent()))
    change = ledger.write(PAID)
    assert change
    assert change.changes["status"] == ["failed", "paid"]
    assert change.changes["amount_received"] == [0, 2000]
    assert "confirmed_at" not in change.changes
    change = ledger.write(Accepted(settled_price=2000))
    assert change
    assert change.changes == {"payable paid": [None, 2000], "accepted_at": [None, NOW.isoformat()]}


def test_journal_follows_each_refund_and_dispute(ledger: Ledger) -> None:
    change = ledger.write(PAID, snap_refund(status="pending"), snap_dispute())
    assert change
    assert ledger.rows.refunds
    refund = f"refund {ledger.rows.refunds[0].uuid}"
    assert change.changes[refund] == ["", "pending"]
    assert change.changes["dispute dp_1"] == ["", "needs_response"]
    change = ledger.write(snap_refund(second=1), snap_dispute(second=1))
    assert change
    assert change.changes[refund] == ["pending", "succeeded"]
    assert "dispute dp_1" not in change.changes


def test_journal_names_a_refund_once_stripe_has_it(ledger: Ledger) -> None:
    ledger.write(PAID)
    assert ledger.rows.refunds is not None
    ledger.rows.refunds.append(Refund(payment=ledger.rows.payment, amount=500))
    assert ledger.write() is None


def test_journal_follows_each_concern(ledger: Ledger) -> None:
    differs = snap_intent(make_paid_intent(currency="eur"))
    first = {"differences": {"currency": ["usd", "eur"]}}
    change = ledger.write(differs)
    assert change
    assert change.changes["concern intent_differs"] == [None, first]
    change = ledger.write(snap_intent(make_paid_intent(currency="gbp"), second=1))
    assert change
    second = {"differences": {"currency": ["usd", "gbp"]}}
    assert change.changes["concern intent_differs"] == [first, second]
    change = ledger.write(ConcernSettled(ledger.rows.concerns[0].pk, by="anna", reason="Known."))
    assert change
    assert change.changes == {"concern intent_differs": [second, None], "settled": ["", "Known."]}
    # What a person has settled says nothing when it is erased.
    ledger.write(Erased())
    assert ledger.changes == []


def test_journal_says_who_changed_it_and_why(ledger: Ledger) -> None:
    with journal.acting(source="admin", actor="anna", event_id=3, request_id=4):
        change = ledger.write(PAID)
    assert change
    assert (change.source, change.actor, change.event_id, change.request_id) == ("admin", "anna", 3, 4)
    assert change.payment is ledger.rows.payment


def test_note_is_journaled_once(ledger: Ledger) -> None:
    change = ledger.write(Adopted("pi_1", created=0))
    assert change
    assert change.changes == {"adopted": ["", "pi_1"]}
    assert ledger.write() is None


# Which signals are sent.


@pytest.mark.parametrize(
    ("facts", "signals"),
    [
        ([snap_intent(make_declined_intent())], ["payment_failed"]),
        ([snap_intent(make_intent(status="canceled"))], ["payment_canceled"]),
        ([snap_intent(make_intent(status="canceled", cancellation_reason="expired"))], ["payment_expired"]),
        ([HELD], []),
        ([HELD, CaptureReminded()], ["payment_capture_due"]),
        ([PAID], []),
        ([PAID, Accepted()], ["payment_succeeded"]),
        ([PAID, Accepted(settled_price=2000)], ["payment_succeeded", "payable_paid"]),
        ([PAID, Accepted(), snap_refund()], ["payment_succeeded", "payment_refunded"]),
        ([PAID, Accepted(), snap_dispute()], ["payment_succeeded", "payment_disputed"]),
        ([PAID, snap_intent(make_paid_intent(currency="eur"))], ["payment_needs_attention"]),
    ],
)
def test_signals_tell_of_what_is_new(ledger: Ledger, facts: list[Any], signals: list[str]) -> None:
    change = ledger.write(*facts)
    assert list_signals(change) == signals
    assert ledger.write() is None


def test_signal_of_creation_is_sent_once_the_intent_is_known(ledger: Ledger) -> None:
    ledger.rows = Rows(make_payment(id=1, stripe_payment_intent_id=None), refunds=[], disputes=[])
    assert list_signals(ledger.write(snap_intent(make_intent()))) == ["payment_created"]
    assert list_signals(ledger.write(snap_intent(make_intent(), second=1))) == []


def test_concern_that_ended_needs_nobody(ledger: Ledger) -> None:
    ledger.write(snap_intent(make_paid_intent(currency="eur")))
    change = ledger.write(snap_intent(make_paid_intent(), second=1))
    assert change
    assert change.changes["concern intent_differs"][1] is None
    assert list_signals(change) == []


def test_refund_that_failed_refunds_nothing(ledger: Ledger) -> None:
    ledger.write(PAID, snap_refund())
    change = ledger.write(snap_refund(status="failed", second=1))
    assert list_signals(change) == ["payment_needs_attention"]


def test_two_disputes_send_one_signal(ledger: Ledger) -> None:
    ledger.write(PAID)
    assert list_signals(ledger.write(snap_dispute(), snap_dispute(id="dp_2"))) == ["payment_disputed"]


def test_change_with_signals_is_delivered_once_committed(ledger: Ledger) -> None:
    change = ledger.write(PAID, Accepted())
    assert change
    assert (change.deliveries, change.deliver_at is None, ledger.delivered) == (1, False, [])
    (run,) = ledger.after
    run()
    assert ledger.delivered == [change]


@pytest.mark.parametrize("announces", [True, False])
def test_change_that_nobody_hears_of_is_not_delivered(ledger: Ledger, announces: bool) -> None:
    facts = [PAID] if announces else [PAID, Accepted()]
    change = ledger.write(*facts, announces=announces)
    assert change
    assert (change.undelivered, change.deliver_at, ledger.after) == ({}, None, [])


# The host's word.


def answer(word: Any, *, spoils: bool = False) -> Callable[..., Any]:
    """Return a host that answers so, after it has changed the payment at will."""

    def ask(payment: Payment, *, protected: Callable[[], AbstractContextManager[None]]) -> Any:
        with protected():
            payment.metadata["tour"] = "7"
            payment.reseller_reference = "R-1"
            if spoils:
                payment.status, payment.amount_received = "refunded", 1
        return word

    return ask


def test_host_is_asked_once_the_money_is_there(ledger: Ledger) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise AssertionError("There is nothing to accept.")

    ledger.record(snap_intent(make_intent()), ask=refuse)
    ledger.record(PAID)
    assert ledger.rows.payment.accepted_at is None
    rows = ledger.record(PAID, ask=answer(Accepted()))
    assert rows.payment.accepted_at
    ledger.record(PAID, ask=refuse)


def test_what_a_hook_does_to_the_ledgers_columns_is_undone(ledger: Ledger) -> None:
    ledger.rows.payment.metadata = {}
    payment = ledger.record(PAID, ask=answer(Accepted(), spoils=True)).payment
    assert (payment.status, payment.amount_received, payment.accepted_at is None) == ("paid", 2000, False)
    assert (payment.metadata, payment.reseller_reference) == ({"tour": "7"}, "R-1")
    before, after = ledger.get_names(Payment)
    assert "amount_received" in before
    assert after == ["accepted_at", "metadata", "next_check_at", "reseller_reference", "updated_at"]


def test_what_is_saved_before_the_hook_is_announced_as_well(ledger: Ledger) -> None:
    ledger.rows = Rows(make_payment(id=1, stripe_payment_intent_id=None), refunds=[], disputes=[])
    ledger.record(PAID, ask=answer(Accepted()))
    assert [list_signals(each) for each in ledger.changes] == [["payment_created"], ["payment_succeeded"]]


def test_writing_announces_unless_told_otherwise(ledger: Ledger) -> None:
    apply(ledger.rows, PAID, now=NOW)
    apply(ledger.rows, Accepted(), now=NOW)
    write.write(ledger.rows)
    assert list_signals(ledger.changes[0]) == ["payment_succeeded"]


@pytest.mark.parametrize("is_answer", [False, True])
def test_answer_may_be_of_a_second_later_than_it_says(ledger: Ledger, is_answer: bool) -> None:
    ledger.write(PAID, Accepted(), snap_refund(status="pending", second=5))
    options = {"is_answer": True} if is_answer else {}
    assert bool(ledger.record(snap_refund(second=4), **options).payment.tied_as_of) is is_answer


def test_what_a_hook_noted_is_dropped_where_it_rejects(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.rows.payment.metadata = {"pax": ["2"]}
    payment = ledger.record(PAID, ask=answer(Rejected("host", {"words": "Full."}))).payment
    assert (payment.status, payment.rejection_code, payment.metadata) == ("failed", "host", {"pax": ["2"]})
    assert caplog.messages == [f"[OctoStripeGateway] Payment {payment.uuid} is rejected: host"]
    last = ledger.changes[-1]
    assert last.changes["rejection_code"] == ["", "host"]


def test_host_that_cannot_tell_yet_has_the_payment_synced(ledger: Ledger) -> None:
    payment = ledger.record(PAID, ask=answer(None)).payment
    assert (payment.accepted_at, payment.tied_as_of, payment.next_check_at is None) == (None, 1, False)


def test_adoption_is_not_announced_not_even_by_its_hook(ledger: Ledger) -> None:
    ledger.record(PAID, ask=answer(Accepted()), announces=False)
    assert [each.undelivered for each in ledger.changes] == [{}, {}]


def test_refunds_that_are_loaded_are_not_loaded_again(ledger: Ledger) -> None:
    refunds: list[Refund] = []
    ledger.rows.refunds = [Refund(id=9, amount=1)]
    assert ledger.record(snap_refund(), refunds=refunds).refunds is refunds
