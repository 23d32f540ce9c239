"""What the admin's index shows of the ledger, for hosts whose index is a template of their own."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("admin/octo_stripe_gateway/alerts.html", takes_context=True)
def gateway_alerts(context: dict[str, Any]) -> dict[str, Any]:
    """Show what operators have to look at, each with its count and a link to the list."""
    # A host without Django's admin has this tag too.
    from octo_stripe_gateway.admin.concerns import get_alerts

    request = context.get("request")
    return {"alerts": list(get_alerts(request)) if request else []}
