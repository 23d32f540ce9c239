from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils.translation import override

import octo_stripe_gateway
from octo_stripe_gateway.ledger.rejections import SENTENCES, describe, describe_rejection
from octo_stripe_gateway.models import Payment


def test_payment_that_was_not_rejected_has_no_reason() -> None:
    assert describe_rejection(Payment()) == ""


@pytest.mark.parametrize(
    ("code", "parameters", "said"),
    [
        ("host", {"words": "Sold out at 100%"}, "Sold out at 100%"),
        ("host", {"words": ""}, "The payment was rejected."),
        ("host", {}, "The payment was rejected."),
        ("price_changed", {"asked": 2000, "due": 2500}, "The price has changed."),
        ("gone", {}, "The payment was rejected."),
    ],
)
def test_reason_is_told_by_its_code(code: str, parameters: dict[str, str], said: str) -> None:
    assert describe(code, parameters, currency="usd") == said


@pytest.mark.parametrize("code", SENTENCES)
def test_reason_is_told_in_the_readers_language(code: str) -> None:
    payment = Payment(rejection_code=code, currency="usd")
    with override("ja"):
        japanese = describe_rejection(payment)
    with override("en"):
        assert describe_rejection(payment) != japanese


def test_every_reason_has_its_words() -> None:
    sources = "".join(each.read_text() for each in Path(octo_stripe_gateway.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'reject\(\s*"(\w+)"', sources)) == SENTENCES.keys() - {"host"}
