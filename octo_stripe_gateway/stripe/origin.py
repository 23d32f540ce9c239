"""Whose Stripe objects these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """An account by its name in the settings, the connected account if any, and whether money is real."""

    account: str = ""
    stripe_account: str = ""
    livemode: bool = False

    def __str__(self) -> str:
        name = repr(self.account) if self.account else "the account of the top-level settings"
        return f"{name} for {self.stripe_account}" if self.stripe_account else name


def choose_account(payment: Any) -> tuple[str, str]:
    """Return the name of the account that takes a new payment, and the connected account, empty if none.

    Raises ConfigurationError unless `CHOOSE_ACCOUNT` returns an account's name, alone or with the id of a
    connected account.
    """
    choose = gateway_settings.choose_account
    if choose is None:
        return "", payment.stripe_account
    choice = choose(payment)
    is_pair = isinstance(choice, tuple) and len(choice) == 2
    name, connected = choice if is_pair else (choice, payment.stripe_account)
    if not isinstance(name, str) or not isinstance(connected, str):
        wanted = "an account's name, or the name and the id of a connected account"
        raise ConfigurationError(f"CHOOSE_ACCOUNT must return {wanted}, not {type(choice).__name__}.")
    return gateway_settings.get_account(name).name, connected
