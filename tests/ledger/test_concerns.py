from __future__ import annotations

from django.utils import timezone

from octo_stripe_gateway.ledger.concerns import (
    FRAUD_WARNED,
    INTENT_DIFFERS,
    KINDS,
    REFUND_FAILED,
    block_refunds,
    end_concern,
    find_concern,
    open_concern,
)
from octo_stripe_gateway.models import Concern, Payment

NOW = timezone.now()
PAYMENT = Payment(amount=2000, currency="usd")


def test_a_concern_is_opened_once_and_knows_the_latest() -> None:
    concerns: list[Concern] = []
    open_concern(concerns, INTENT_DIFFERS, payment=PAYMENT, now=NOW, as_of=1, differences={"amount": [1, 2]})
    open_concern(concerns, INTENT_DIFFERS, payment=PAYMENT, now=NOW, as_of=2, differences={"amount": [1, 3]})
    (concern,) = concerns
    assert (concern.as_of, concern.parameters) == (2, {"differences": {"amount": [1, 3]}})
    assert concern.payment is PAYMENT
    assert concern.is_open


def test_each_object_has_its_own_concern() -> None:
    concerns: list[Concern] = []
    open_concern(concerns, REFUND_FAILED, payment=PAYMENT, now=NOW, object_id="re_1", amount=5)
    open_concern(concerns, REFUND_FAILED, payment=PAYMENT, now=NOW, object_id="re_2", amount=5)
    end_concern(concerns, REFUND_FAILED, now=NOW, object_id="re_1")
    assert [each.is_open for each in concerns] == [False, True]
    assert find_concern(concerns, REFUND_FAILED, object_id="re_2") is concerns[1]
    assert find_concern(concerns, REFUND_FAILED) is None


def test_what_a_fact_has_ended_opens_anew() -> None:
    concerns: list[Concern] = []
    open_concern(concerns, INTENT_DIFFERS, payment=PAYMENT, now=NOW, differences={})
    end_concern(concerns, INTENT_DIFFERS, now=NOW)
    end_concern(concerns, INTENT_DIFFERS, now=NOW)
    open_concern(concerns, INTENT_DIFFERS, payment=PAYMENT, now=NOW, differences={})
    assert [each.is_open for each in concerns] == [False, True]
    assert not concerns[0].was_settled_by_person


def test_what_a_person_has_settled_opens_anew_only_for_a_new_fact() -> None:
    settled = Concern(code="refund_failed", object_id="re_1", parameters={"amount": 5}, reason="paid in cash")
    settled.settled_at = NOW
    concerns = [settled]
    open_concern(concerns, REFUND_FAILED, payment=PAYMENT, now=NOW, as_of=9, object_id="re_1", amount=5)
    assert concerns == [settled]
    open_concern(concerns, REFUND_FAILED, payment=PAYMENT, now=NOW, as_of=9, object_id="re_1", amount=6)
    assert [each.is_open for each in concerns] == [False, True]


def test_refunds_stay_blocked_by_what_a_person_has_settled() -> None:
    concerns: list[Concern] = []
    open_concern(concerns, FRAUD_WARNED, payment=PAYMENT, now=NOW, fraud_type="stolen")
    assert not block_refunds(concerns)
    open_concern(concerns, REFUND_FAILED, payment=PAYMENT, now=NOW, object_id="re_1")
    assert block_refunds(concerns)
    end_concern(concerns, REFUND_FAILED, now=NOW, object_id="re_1")
    assert not block_refunds(concerns)
    concerns[1].reason = "paid in cash"
    assert block_refunds(concerns)


def test_a_code_that_is_gone_blocks_nothing() -> None:
    assert not block_refunds([Concern(code="gone")])
    assert all(code == kind.code for code, kind in KINDS.items())
