"""Statement descriptors, against what Stripe publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from tests.testing.emulator.conftest import OPEN, PAID

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator import StripeEmulator


@pytest.mark.parametrize(("suffix", "shown"), [("Tour", "EMULATED* TOUR"), (None, "EMULATED STRIPE")])
def test_a_charge_shows_what_the_customer_will_read(api: Any, suffix: str | None, shown: str) -> None:
    given = {"statement_descriptor_suffix": suffix} if suffix else {}
    paid = api.payment_intents.create(params={**PAID, **given, "expand": ["latest_charge"]})
    assert paid.latest_charge.calculated_statement_descriptor == shown


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("statement_descriptor_suffix", "1234", "at least one letter"),
        ("statement_descriptor_suffix", "A*B", "cannot contain the characters"),
        ("statement_descriptor_suffix", "it's", "cannot contain the characters"),
        ("statement_descriptor_suffix", "a\\b", "cannot contain the characters"),
        ("statement_descriptor_suffix", "Thirteen char", "at most 22 characters together"),
        ("statement_descriptor", "12345", "at least one letter"),
        ("statement_descriptor", "Tour", "at least 5 characters"),
        ("statement_descriptor", "<Tours>", "cannot contain the characters"),
    ],
)
def test_a_descriptor_that_stripe_does_not_take_is_refused(
    api: Any, name: str, text: str, message: str
) -> None:
    intent = api.payment_intents.create(params=OPEN)
    with pytest.raises(sdk.InvalidRequestError, match=message) as caught:
        api.payment_intents.create(params={**OPEN, name: text})
    assert (caught.value.http_status, caught.value.param) == (400, name)
    with pytest.raises(sdk.InvalidRequestError, match=message):
        api.payment_intents.update(intent.id, params={name: text})


def test_a_card_takes_a_suffix_only(api: Any, stripe: StripeEmulator) -> None:
    params: Any = {**PAID, "statement_descriptor": "Tour shop"}
    with pytest.raises(sdk.InvalidRequestError, match="use `statement_descriptor_suffix` instead"):
        api.payment_intents.create(params=params)
    bank: Any = {"payment_method": "pm_usBankAccount"}
    assert api.payment_intents.create(params={**params, **bank}).status == "processing"
    assert len(stripe.charges) == 1
