from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import gettext_lazy, override

from octo_stripe_gateway.ledger.words import fill_in


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"what": 2000}, "It: 20.00 USD"),
        ({"what": 2000, "currency": "jpy"}, "It: 2,000 JPY"),
        ({"what": "declined"}, "It: declined"),
        ({"what": True}, "It: True"),
        ({}, "It: …"),
        (
            {"what": {"amount": [2000, 1500], "livemode": [True, False]}},
            "It: amount is 15.00 USD, not 20.00 USD; livemode is False, not True",
        ),
    ],
)
def test_parameters_are_put_in_words(parameters: dict[str, Any], said: str) -> None:
    assert fill_in("It: %(what)s", parameters, currency="usd") == said


def test_number_without_a_currency_is_a_number() -> None:
    assert fill_in("%(what)s", {"what": 3}, currency="") == "3"


def test_words_are_in_the_readers_language() -> None:
    sentence = gettext_lazy("The price has changed.")
    with override("de"):
        german = fill_in(sentence, {}, currency="usd")
    with override("en"):
        assert fill_in(sentence, {}, currency="usd") == "The price has changed." != german
