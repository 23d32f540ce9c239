"""Whatever happens at Stripe, in whatever order it is heard of, ends as Stripe has it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.ledger_model import LedgerModel, Payable, PricedPayable, State
from tests.support.orders import Checker
from tests.support.stripe_model import StripeModel

SEEDS: dict[str, list[str]] = {
    "new": [],
    "held": ["authorize"],
    "paid": ["pay"],
    "refunded in part": ["pay", "refund"],
    "disputed": ["pay", "dispute"],
    "expired": ["cancel"],
}
FAMILIES = {
    "payment": "decline ask_customer process fail_debit pay cancel sync",
    "hold": "decline authorize capture capture_in_part cancel run_out sync",
    "two refunds": "pay refund refund_pending refund_rest refund_succeeds refund_fails refund_is_canceled"
    " other_refund_fails sync",
    "two disputes": "pay inquire escalate close_inquiry dispute answer_dispute lose win appeal reopen"
    " dispute_rest lose_other sync",
    "refunds and disputes": "pay refund refund_fails dispute lose win refund_rest other_refund_fails",
    "amounts": "ask_for_amount change_amount change_amount_unheard decline pay cancel sync",
    "amounts elsewhere": "change_amount_elsewhere ask_for_amount decline",
    "amounts unasked": "change_amount_unasked decline ask_customer pay authorize capture cancel sync",
    "expiry": "expire decline pay authorize capture cancel run_out sync",
}
# Each with what a payable's host says.
HOSTED: dict[str, tuple[Payable, int, str]] = {
    "host accepts": (Payable(), 1, "decline pay authorize capture cancel refund dispute lose sync"),
    "host rejects": (
        Payable(rejects=True),
        1,
        "decline pay authorize capture cancel refund dispute lose sync",
    ),
    "two payments": (PricedPayable(), 2, "decline pay authorize capture cancel refund"),
}


def seed(
    name: str, *, ledger: LedgerModel, manual: bool, payments: int = 1
) -> tuple[list[StripeModel], State]:
    """Make payments, the first of which has heard of all that has happened to it."""
    method = "manual" if manual else "automatic"
    stripes = [StripeModel(number, manual=manual) for number in range(1, payments + 1)]
    state = tuple(ledger.make(stripe.number, capture_method=method) for stripe in stripes)
    with ledger.stubbed():
        for verb in SEEDS[name]:
            for stripe in stripes:
                stripe.second += 10
            assert getattr(stripes[0], verb)()
            for event in stripes[0].told:
                state = ledger.apply(state, event.fact)
            stripes[0].told = []
    for stripe in stripes:
        stripe.second += 10
    return stripes, state


def check(
    verbs: str, *, seed_name: str, depth: int, payable: Payable | None = None, payments: int = 1
) -> None:
    """Check a family from a seed, with holds where the seed or the family is about them."""
    for manual in (False, True):
        needs_manual = "authorize" in SEEDS[seed_name]
        if (needs_manual and not manual) or (
            manual and "authorize" not in verbs + " ".join(SEEDS[seed_name])
        ):
            continue
        if manual and "pay" in SEEDS[seed_name]:
            continue
        ledger = LedgerModel(payable)
        stripes, state = seed(seed_name, ledger=ledger, manual=manual, payments=payments)
        checker = Checker(ledger, verbs.split(), depth=depth, has_host=payable is not None)
        checker.run(stripes, state)


def name_cases(families: Iterable[str]) -> list[Any]:
    """Return each family from each seed, in a quick depth and in the whole one."""
    cases = []
    for family, seed_name, depth in itertools.product(families, SEEDS, (2, 4)):
        marks = [pytest.mark.slow] if depth == 4 else []
        name = f"{family}, {seed_name}, {depth}"
        cases.append(pytest.param(family, seed_name, depth, id=name, marks=marks))
    return cases


@pytest.mark.parametrize(("family", "seed_name", "depth"), name_cases(FAMILIES))
def test_any_order_of_events_ends_as_stripe_has_it(family: str, seed_name: str, depth: int) -> None:
    check(FAMILIES[family], seed_name=seed_name, depth=depth)


@pytest.mark.parametrize(("family", "seed_name", "depth"), name_cases(HOSTED))
def test_host_has_its_last_word_once_whatever_the_order(family: str, seed_name: str, depth: int) -> None:
    payable, payments, verbs = HOSTED[family]
    check(verbs, seed_name=seed_name, depth=depth, payable=payable, payments=payments)
