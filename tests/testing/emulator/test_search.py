"""Search of PaymentIntents, in Stripe's query language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe as sdk

from tests.testing.emulator.conftest import AMOUNT, PAID

if TYPE_CHECKING:
    from octo_stripe_gateway.testing.emulator import StripeEmulator


def search(api: Any, query: str, **params: Any) -> Any:
    return api.payment_intents.search(params={"query": query, **params})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("metadata['booking']:'b-1'", ["paid"]),
        ('metadata["booking"]:"b-1"', ["paid"]),
        ('metadata["booking"]~"b-"', ["dear", "paid"]),
        ('metadata["booking"]:null', ["open"]),
        ("-metadata['booking']:null", ["dear", "paid"]),
        ("status:'succeeded'", ["dear", "paid"]),
        ("status:'succeeded' AND amount>2000", ["dear"]),
        ("status:'succeeded' AND currency:'USD'", ["paid"]),
        ("status:'requires_payment_method' OR amount>=50000", ["dear", "open"]),
        ("-status:'succeeded'", ["open"]),
        ("amount<2001", ["open", "paid"]),
        ("created<1", []),
        ("metadata['booking']:'this AND that'", []),
    ],
)
def test_intents_are_found_by_a_query(api: Any, query: str, found: list[str]) -> None:
    made = {
        api.payment_intents.create(params={**PAID, "metadata": {"booking": "b-1"}}).id: "paid",
        api.payment_intents.create(params=AMOUNT).id: "open",
        api.payment_intents.create(
            params={**PAID, "amount": 50_000, "currency": "eur", "metadata": {"booking": "b-2"}}
        ).id: "dear",
    }
    assert [made[intent.id] for intent in search(api, query).data] == found


def test_a_search_has_pages(api: Any, stripe: StripeEmulator) -> None:
    stripe.connect_account("acct_1")
    ids = [api.payment_intents.create(params=AMOUNT).id for _ in range(3)]
    api.payment_intents.create(params=AMOUNT, options={"stripe_account": "acct_1"})
    page = search(api, "amount:2000", limit=2)
    assert (page.object, page.has_more) == ("search_result", True)
    assert [intent.id for intent in page.auto_paging_iter()] == ids[::-1]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("bananas", "unable to parse"),
        ("amount:", "unable to parse"),
        ("colour:'red'", "unsupported search field"),
        ("amount:1 AND amount:2 OR amount:3", "cannot mix AND and OR"),
    ],
)
def test_a_query_that_is_not_understood_is_refused(api: Any, query: str, message: str) -> None:
    with pytest.raises(sdk.InvalidRequestError, match=message) as caught:
        search(api, query)
    assert (caught.value.http_status, caught.value.param) == (400, "query")
