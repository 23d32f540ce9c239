"""One of Stripe's lists in place of many single calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from octo_stripe_gateway.exceptions import GatewayError, StripeAuthenticationError, StripeRateLimitedError
from octo_stripe_gateway.stripe import client as stripe_client
from octo_stripe_gateway.stripe.redaction import get_logger

logger = get_logger(__name__)

Snapshot = TypeVar("Snapshot")

# For fewer objects single calls are as good.
LEAST_LISTED = 5
LEAST_A_PAGE = 2
FEWEST_PAGES_OF_OTHERS = 3
WANTED_A_PAGE_OF_OTHERS = 20


def find_listed(
    listed: Iterator[Snapshot], wanted: Collection[str], *, get_id: Callable[[Snapshot], str]
) -> Iterator[Snapshot]:
    """Yield what a list has of the wanted ids, until several pages in a row have hardly any of them.

    Some pages may have none, because other processes' claims may come first. Stops where Stripe doesn't
    answer, or the key may not read the list: single calls tell of that. Raises StripeRateLimitedError.
    """
    found: set[str] = set()
    before = pages_of_others = 0
    most_of_others = max(FEWEST_PAGES_OF_OTHERS, len(wanted) // WANTED_A_PAGE_OF_OTHERS)
    try:
        for number, snapshot in enumerate(listed, start=1):
            if (name := get_id(snapshot)) in wanted:
                found.add(name)
                yield snapshot
            if len(found) == len(wanted):
                return
            if number % stripe_client.PAGE_SIZE == 0:
                is_of_others = len(found) - before < LEAST_A_PAGE
                before, pages_of_others = len(found), pages_of_others + 1 if is_of_others else 0
                if pages_of_others == most_of_others:
                    return
    except StripeRateLimitedError:
        raise
    except StripeAuthenticationError:
        return
    except GatewayError:
        logger.warning("[OctoStripeGateway] Stripe's list could not be read", exc_info=True)
