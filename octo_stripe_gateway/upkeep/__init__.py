"""The work that nobody calls for: what was left behind, and what has its time."""

from octo_stripe_gateway.ledger.claims import work_off
from octo_stripe_gateway.upkeep.run import (
    BOOKS,
    CAPTURES,
    DEADLINES,
    DELIVERIES,
    DUES,
    EVENTS,
    EXPIRIES,
    INSTALLMENTS,
    STEPS,
    SYNCS,
    Counts,
    make_due,
    run_upkeep,
)

__all__ = [
    "BOOKS",
    "CAPTURES",
    "DEADLINES",
    "DELIVERIES",
    "DUES",
    "EVENTS",
    "EXPIRIES",
    "INSTALLMENTS",
    "STEPS",
    "SYNCS",
    "Counts",
    "make_due",
    "run_upkeep",
    "work_off",
]
