"""What the templates of hosts need: the element's `payable`, and the ledger's line on the admin's index."""

from __future__ import annotations

from typing import Any

from django import template
from django.db.models import Model

register = template.Library()


@register.filter
def payable(obj: Model) -> str:
    """Return what `<octo-payment>` calls a payable: `booking:7`, in no language's way to write numbers."""
    # A page is rendered before anybody pays: the serializers are loaded only here.
    from octo_stripe_gateway.api.fields import get_payable_name
    from octo_stripe_gateway.models import identify

    payable_type, key = identify(obj)
    return f"{get_payable_name(payable_type.pk)}:{key}"


@register.inclusion_tag("admin/octo_stripe_gateway/alerts.html", takes_context=True)
def gateway_alerts(context: dict[str, Any]) -> dict[str, Any]:
    """Show what operators have to look at, each with its count and a link to the list."""
    # A host without Django's admin has this tag too.
    from octo_stripe_gateway.admin.concerns import get_alerts

    request = context.get("request")
    return {"alerts": list(get_alerts(request)) if request else []}
