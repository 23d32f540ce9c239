from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from octo_stripe_gateway.models import Dispute, Payment
from tests.support.objects import SECOND, make_paid_intent, make_payment
from tests.support.snapshots import snap_dispute, snap_intent


def make_row(payment: Payment, **changes: Any) -> Dispute:
    dispute = Dispute(payment=payment)
    dispute.apply(snap_dispute(**changes))
    return dispute


SNAPSHOTS = [
    snap_dispute(),
    snap_dispute(status="under_review", second=1),
    snap_dispute(status="lost", second=2),
    snap_dispute(status="under_review", second=3),
]


@pytest.mark.parametrize("order", list(itertools.permutations(SNAPSHOTS)))
def test_decision_stands_whatever_came_first(order: tuple[Any, ...]) -> None:
    dispute = Dispute(pk=1, payment=make_payment(), stripe_dispute_id="dp_1")
    for snapshot in order:
        dispute.apply(snapshot)
    assert (dispute.status, dispute.status_as_of, dispute.is_open) == ("lost", SECOND + 2, False)


@pytest.mark.parametrize("status", ["needs_response", "under_review", "warning_needs_response", "unheard_of"])
def test_dispute_is_open_until_it_is_decided(status: str) -> None:
    assert make_row(make_payment(), status=status).is_open


@pytest.mark.parametrize("status", ["won", "lost", "warning_closed", "prevented"])
def test_decided_dispute_is_over(status: str) -> None:
    payment = make_payment()
    payment.update_disputed([make_row(payment, status=status)])
    assert payment.disputed is False


@pytest.mark.parametrize(
    ("status", "blocks"),
    [
        ("needs_response", True),
        ("under_review", True),
        ("unheard_of", True),
        ("warning_needs_response", False),
        ("warning_under_review", False),
        ("warning_closed", False),
        ("won", False),
        ("lost", False),
    ],
)
def test_dispute_blocks_refunds_while_it_is_open_and_no_inquiry(status: str, blocks: bool) -> None:
    payment = make_payment()
    payment.update_disputed([make_row(payment, status=status)])
    assert payment.refunds_blocked is blocks


def test_payment_is_disputed_while_one_of_several_is_open() -> None:
    payment = make_payment()
    over, still_open = make_row(payment, status="won"), make_row(payment, id="dp_2")
    payment.update_disputed([over, still_open])
    assert payment.disputed is True
    still_open.apply(snap_dispute(id="dp_2", status="won", second=1))
    payment.update_disputed([over, still_open])
    assert payment.disputed is False


def test_what_is_lost_is_gone_and_what_is_won_is_not() -> None:
    payment = make_payment()
    payment.apply_intent(snap_intent(make_paid_intent()))
    lost = make_row(payment, amount=300, status="lost")
    won = make_row(payment, id="dp_2", amount=500, status="won")
    foreign = make_row(payment, id="dp_3", amount=700, currency="eur", status="lost")
    payment.update_disputed([lost, won, foreign])
    assert payment.amount_lost == 300
    assert (payment.amount_held, payment.amount_refundable, payment.status) == (1700, 1700, "paid")


def test_evidence_is_due_when_stripe_says() -> None:
    payment = make_payment()
    assert make_row(payment).evidence_due_at is None
    dispute = make_row(payment, reason="fraudulent", evidence_details={"due_by": SECOND})
    assert dispute.evidence_due_at == dt.datetime.fromtimestamp(SECOND, tz=dt.UTC)
    assert (dispute.reason, dispute.amount, dispute.currency) == ("fraudulent", 500, "usd")


def test_dispute_is_shown_by_its_id() -> None:
    assert str(Dispute(stripe_dispute_id="dp_1")) == "dp_1"
