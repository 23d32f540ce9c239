from __future__ import annotations

import pytest
from django.utils import timezone

from octo_stripe_gateway.ledger.concerns import (
    EVENT_FAILED,
    FRAUD_WARNED,
    INTENT_DIFFERS,
    KINDS,
    PAYMENT_UNKNOWN,
    REFUND_FAILED,
    block_refunds,
    describe_concern,
    end_reported,
    get_kind_label,
    report_concern,
)
from octo_stripe_gateway.ledger.rows import Rows
from octo_stripe_gateway.models import Concern, Payment
from octo_stripe_gateway.testing.factories import ConcernFactory

NOW = timezone.now()
PAYMENT = Payment(amount=2000, currency="usd")


def make_rows(*concerns: Concern) -> Rows:
    rows = Rows(PAYMENT, concerns=[*concerns])
    rows.now = NOW
    return rows


def test_a_concern_is_opened_once_and_knows_the_latest() -> None:
    rows = make_rows()
    rows.open_concern(INTENT_DIFFERS, as_of=1, differences={"amount": [1, 2]})
    rows.open_concern(INTENT_DIFFERS, as_of=2, differences={"amount": [1, 3]})
    (concern,) = rows.concerns
    assert (concern.as_of, concern.parameters) == (2, {"differences": {"amount": [1, 3]}})
    assert concern.payment is PAYMENT
    assert concern.is_open


def test_each_object_has_its_own_concern() -> None:
    rows = make_rows()
    rows.open_concern(REFUND_FAILED, object_id="re_1", amount=5)
    rows.open_concern(REFUND_FAILED, object_id="re_2", amount=5)
    rows.end_concern(REFUND_FAILED, object_id="re_1")
    assert [each.is_open for each in rows.concerns] == [False, True]
    assert rows.find_concern(REFUND_FAILED, object_id="re_2") is rows.concerns[1]
    assert rows.find_concern(REFUND_FAILED) is None


def test_what_a_fact_has_ended_opens_anew() -> None:
    rows = make_rows()
    rows.open_concern(INTENT_DIFFERS, differences={})
    rows.end_concern(INTENT_DIFFERS)
    rows.end_concern(INTENT_DIFFERS)
    rows.open_concern(INTENT_DIFFERS, differences={})
    assert [each.is_open for each in rows.concerns] == [False, True]
    assert not rows.concerns[0].was_settled_by_person


def test_what_a_person_has_settled_opens_anew_only_for_a_new_fact() -> None:
    settled = Concern(code="refund_failed", object_id="re_1", parameters={"amount": 5}, reason="paid in cash")
    settled.settled_at = NOW
    rows = make_rows(settled)
    rows.open_concern(REFUND_FAILED, as_of=9, object_id="re_1", amount=5)
    assert rows.concerns == [settled]
    rows.open_concern(REFUND_FAILED, as_of=9, object_id="re_1", amount=6)
    assert [each.is_open for each in rows.concerns] == [False, True]


def test_refunds_stay_blocked_by_what_a_person_has_settled() -> None:
    rows = make_rows()
    rows.open_concern(FRAUD_WARNED, fraud_type="stolen")
    assert not block_refunds(rows.concerns)
    rows.open_concern(REFUND_FAILED, object_id="re_1")
    assert block_refunds(rows.concerns)
    rows.end_concern(REFUND_FAILED, object_id="re_1")
    assert not block_refunds(rows.concerns)
    rows.concerns[1].reason = "paid in cash"
    assert block_refunds(rows.concerns)


def test_a_code_that_is_gone_blocks_nothing() -> None:
    assert not block_refunds([Concern(code="gone")])
    assert all(code == kind.code for code, kind in KINDS.items())


def test_held_money_stops_going_back_only_once_a_person_settled_it() -> None:
    held = Concern(code="money_held", parameters={"amount": 5})
    assert not block_refunds([held])
    held.settled_at = NOW
    assert not block_refunds([held])
    held.reason = "paid in cash"
    assert block_refunds([held])


def test_a_concern_is_told_in_the_readers_language() -> None:
    concern = Concern(
        payment=PAYMENT, code="refund_failed", parameters={"amount": 500, "failure_reason": "lost"}
    )
    assert describe_concern(concern) == (
        "A refund of 5.00 USD failed (lost): the customer does not have the money."
    )
    assert describe_concern(Concern(code="gone")) == get_kind_label("gone") == "gone"
    assert get_kind_label("refund_failed") == "A refund failed"


@pytest.mark.django_db
def test_concern_without_a_payment_is_reported_once_and_kept_up_to_date() -> None:
    report_concern(EVENT_FAILED, object_id="evt_1", error="KeyError")
    report_concern(EVENT_FAILED, object_id="evt_1", error="KeyError")
    report_concern(EVENT_FAILED, object_id="evt_1", error="ValueError")
    report_concern(EVENT_FAILED, object_id="evt_2", error="KeyError")
    report_concern(PAYMENT_UNKNOWN, object_id="evt_1")
    rows = Concern.objects.values_list("code", "object_id", "parameters")
    assert sorted(rows) == [
        ("event_failed", "evt_1", {"error": "ValueError"}),
        ("event_failed", "evt_2", {"error": "KeyError"}),
        ("payment_unknown", "evt_1", {}),
    ]


@pytest.mark.django_db
def test_what_was_reported_and_ended_is_reported_anew() -> None:
    report_concern(EVENT_FAILED, object_id="evt_1", error="KeyError")
    end_reported(EVENT_FAILED, PAYMENT_UNKNOWN, object_id="evt_1")
    assert not Concern.objects.all().open().exists()
    report_concern(EVENT_FAILED, object_id="evt_1", error="KeyError")
    assert [each.is_open for each in Concern.objects.order_by("pk")] == [False, True]


@pytest.mark.django_db
def test_settled_concern_is_reported_again_only_for_a_new_fact() -> None:
    ConcernFactory.create(
        payment=None, code="event_failed", object_id="evt_1", parameters={"error": "KeyError"}, settled=True
    )
    report_concern(EVENT_FAILED, object_id="evt_1", error="KeyError")
    assert not Concern.objects.all().open().exists()
    report_concern(EVENT_FAILED, object_id="evt_1", error="ValueError")
    assert Concern.objects.all().open().count() == 1
