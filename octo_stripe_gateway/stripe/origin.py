"""Whose Stripe objects these are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """An account by its name in the settings, the connected account if any, and whether money is real."""

    account: str = ""
    stripe_account: str = ""
    livemode: bool = False

    def __str__(self) -> str:
        name = repr(self.account) if self.account else "the account of the top-level settings"
        return f"{name} for {self.stripe_account}" if self.stripe_account else name
