"""OCTO's `Octo-Env`: whether a sale is meant to move real money, and whether it does."""

from __future__ import annotations

from django.utils.translation import gettext as _

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import BadRequestError, EnvironmentMismatchError

HEADER = "Octo-Env"
LIVE, TEST = "live", "test"


def read_livemode(header: str) -> bool | None:
    """Return what a request's header says, None where it says nothing; raises BadRequestError."""
    environment = header.strip().lower()
    if environment not in {"", LIVE, TEST}:
        raise BadRequestError(_("Octo-Env is test or live."))
    return environment == LIVE if environment else None


def show_environment(livemode: bool) -> str:
    """Return the header's value."""
    return LIVE if livemode else TEST


def check_livemode(wanted: bool | None, *, livemode: bool | None) -> None:
    """Raise EnvironmentMismatchError where a mode is asked for and known to be another."""
    if wanted is not None and livemode is not None and wanted != livemode:
        raise EnvironmentMismatchError(_("Octo-Env contradicts the mode of the payment gateway."))


def get_livemode() -> bool | None:
    """Return the mode of all Stripe accounts, None where some are live and some are not."""
    accounts = gateway_settings.accounts.values()
    modes = {account.livemode for account in accounts if account.api_key} or {False}
    return modes.pop() if len(modes) == 1 else None
