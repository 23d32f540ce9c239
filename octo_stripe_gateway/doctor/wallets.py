"""Domains that have to be registered before Stripe's form shows Apple Pay on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.doctor.webhook_endpoints import LATEST
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.stripe.origin import Origin


def get_domain(url: str) -> str:
    """Return the name that Stripe can register, empty for an address of a machine or a local name."""
    name = urlsplit(url).hostname or ""
    return name if "." in name and not name.rpartition(".")[2].isdigit() and ":" not in name else ""


def list_origins(account: str, *, has_ledger: bool = True) -> list[Origin]:
    """Return an account, and the connected accounts that it took payments for lately."""
    livemode = gateway_settings.get_account(account).livemode
    latest = Payment.objects.order_by("-pk").values_list("account", "stripe_account")[:LATEST]
    rows = latest if has_ledger else ()
    connected = sorted({each for name, each in rows if name == account and each})
    return [Origin(account, each, livemode) for each in ("", *connected)]


def list_inactive(domain: dict[str, Any]) -> Iterator[str]:
    """Yield the wallets that aren't shown on a domain, all where it is disabled."""
    for method in ("apple_pay", "google_pay"):
        if not domain["enabled"] or domain[method]["status"] != "active":
            yield method
