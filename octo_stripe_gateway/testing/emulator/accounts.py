"""Accounts: whose objects an API key sees, and which accounts are connected to which."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

from octo_stripe_gateway.testing.emulator.errors import StripeApiError
from octo_stripe_gateway.testing.emulator.store import random_text

if TYPE_CHECKING:
    from collections.abc import Collection

    from octo_stripe_gateway.testing.emulator.store import JsonObject

DEFAULT_ACCOUNT = "acct_1EmulatedStripe0"
KEY_SHAPE = re.compile(r"(sk|rk|pk)_test_\w+")
# A key that Stripe made begins with its account: sk_test_51Abc… belongs to acct_1Abc….
_KEY_OF_STRIPE = re.compile(r"(?:sk|rk|pk)_test_5(1[A-Za-z0-9]{15})[A-Za-z0-9]{20,}")
NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, "
    "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
    "https://stripe.com/docs/api#authentication for details, or we can help at "
    "https://support.stripe.com/."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmulatedAccount:
    """An account and its keys."""

    id: str
    secret_key: str
    publishable_key: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """A request's key and the account that it works on; None is the default account."""

    key: str
    account: str | None

    @property
    def publishable(self) -> bool:
        return self.key.startswith("pk_")


class Accounts:
    """Knows the account of each key; unknown keys share the default account."""

    def __init__(self, *, api_keys: Collection[str] | None) -> None:
        self.api_keys = api_keys
        self._accounts: dict[str, str] = {}
        self._platforms: dict[str, str | None] = {}
        self._permissions: dict[str, frozenset[str]] = {}

    def restrict(self, key: str, *, permissions: Collection[str]) -> None:
        """Let a restricted key do what these permissions name, and nothing else."""
        if not key.startswith("rk_"):
            raise ValueError(f"{masked(key)} is no restricted key: those begin with rk_test_.")
        self._permissions[key] = frozenset(permissions)

    def check_permission(self, caller: Caller, permission: str) -> None:
        """Refuse what the request's key may not do; permission to write includes reading."""
        allowed = self._permissions.get(caller.key)
        writing = permission.replace("_read", "_write")
        if allowed is None or permission in allowed or writing in allowed:
            return
        raise StripeApiError(
            f"The provided key '{masked(caller.key)}' does not have the required permissions for this "
            f"endpoint on account '{caller.account or DEFAULT_ACCOUNT}'. Having the '{permission}' "
            "permission would allow this request to continue.",
            status=403,
            saved=False,
        )

    def add(self, keys: Collection[str], *, account: str | None = None) -> EmulatedAccount:
        """Make an account with these keys, or with keys of its own, and return it."""
        account = account or f"acct_1{random_text(15)}"
        made = [f"{kind}_test_5{account[5:]}{random_text(32)}" for kind in ("sk", "pk")]
        secret, publishable = (
            next((key for key in keys if key.startswith(other[:3])), other) for other in made
        )
        self._accounts |= dict.fromkeys((*keys, secret, publishable), account)
        return EmulatedAccount(id=account, secret_key=secret, publishable_key=publishable)

    def clear(self) -> None:
        """Forget the accounts that were made and connected."""
        self._accounts.clear()
        self._platforms.clear()
        self._permissions.clear()

    def dump(self) -> str:
        """Return the keys and accounts as JSON."""
        permissions = {key: sorted(names) for key, names in self._permissions.items()}
        return json.dumps({"keys": self._accounts, "platforms": self._platforms, "permissions": permissions})

    def load(self, dumped: JsonObject) -> None:
        """Take in what was dumped."""
        self._accounts |= dumped["keys"]
        self._platforms |= dumped["platforms"]
        self._permissions |= {key: frozenset(names) for key, names in dumped["permissions"].items()}

    def is_connected(self, account: str | None) -> bool:
        """Return whether the account is connected to a platform."""
        return account in self._platforms

    def platform_of(self, account: str | None) -> str | None:
        """Return the account of the platform; None is the default account."""
        return self._platforms[account or ""]

    def identify(self, key: str, *, stripe_account: str | None) -> Caller:
        """Return who calls and on which account, or refuse the key."""
        if not key:
            raise StripeApiError(NO_KEY, status=401)
        if not KEY_SHAPE.fullmatch(key) or not (self.api_keys is None or key in self.api_keys):
            raise StripeApiError(f"Invalid API Key provided: {masked(key)}", status=401)
        own = self.account_of(key)
        if stripe_account in (None, own or DEFAULT_ACCOUNT):
            return Caller(key=key, account=own)
        if stripe_account not in self._platforms or self._platforms[stripe_account] != own:
            raise StripeApiError(
                f"The provided key '{masked(key)}' does not have access to account '{stripe_account}' "
                "(or that account does not exist). Application access may have been revoked.",
                status=403,
                code="account_invalid",
                saved=False,
            )
        return Caller(key=key, account=stripe_account)

    def account_of(self, key: str) -> str | None:
        """Return the account that a key belongs to, None for the default one."""
        if key in self._accounts:
            return self._accounts[key]
        made_by_stripe = _KEY_OF_STRIPE.fullmatch(key)
        return f"acct_{made_by_stripe[1]}" if made_by_stripe else None

    def connect(self, account: str | None, *, platform: str | None) -> str:
        """Connect an account to a platform (None is the default account), and return its id.

        Raises ValueError where the account belongs to another platform.
        """
        account = account or f"acct_1{random_text(15)}"
        if account == DEFAULT_ACCOUNT or self._platforms.setdefault(account, platform) != platform:
            raise ValueError(f"{account} can't be connected: it is a platform, or another platform's.")
        return account

    def connected_to(self, platform: str | None) -> list[str]:
        """Return the accounts that are connected to a platform, the newest first."""
        return [account for account, owner in reversed(self._platforms.items()) if owner == platform]


def show_account(account: str | None) -> JsonObject:
    """Return the account as the API shows it to itself."""
    return {
        "id": account or DEFAULT_ACCOUNT,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "emulator@example.com",
        "payouts_enabled": True,
        "type": "standard",
    }


def masked(key: str) -> str:
    """Return a key as Stripe shows it: its beginning and its end."""
    shown = key[-4:] if len(key) > 16 else ""
    return f"{key[:8]}{'*' * max(3, len(key) - 12)}{shown}"
