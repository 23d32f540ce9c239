"""The address that Stripe posts events to, from what an operator gives."""

from __future__ import annotations

from django.core.management.base import CommandError

from octo_stripe_gateway.doctor.webhook_endpoints import find_webhook_paths


def get_webhook_url(*, url: str | None, host: str | None) -> str:
    """Return the endpoint's address; raises CommandError where the host alone doesn't tell it."""
    if url:
        return _check(url)
    paths = find_webhook_paths()
    if not paths:
        raise CommandError("urls.py doesn't include octo_stripe_gateway.urls: do so, or give --url.")
    if not host:
        raise CommandError(f"Give --host, such as --host shop.example.com: the path is {' or '.join(paths)}.")
    origin = host.rstrip("/") if "://" in host else f"https://{host.rstrip('/')}"
    if len(paths) > 1:
        choices = " or ".join(f"{origin}{path}" for path in paths)
        raise CommandError(f"The routes are mounted more than once: give --url {choices}.")
    return _check(f"{origin}{paths[0]}")


def _check(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise CommandError(f"{url} is no address: it begins with https://.")
    return url
