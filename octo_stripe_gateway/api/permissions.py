"""Who may do what with which payment."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from octo_stripe_gateway.models import Payment

# What a caller needs for each action, and for an action that a host adds.
PERMISSIONS = {
    "retrieve": "octo_stripe_gateway.view_payment",
    "list": "octo_stripe_gateway.view_payment",
    "complete": "octo_stripe_gateway.sync_payment",
    "cancel": "octo_stripe_gateway.cancel_payment",
    "refund": "octo_stripe_gateway.refund_payment",
    "capture": "octo_stripe_gateway.capture_payment",
    "cancel_payable": "octo_stripe_gateway.cancel_payable",
    "create_link": "octo_stripe_gateway.add_paymentlink",
    "revoke_links": "octo_stripe_gateway.delete_paymentlink",
}
OTHER = "octo_stripe_gateway.change_payment"
# These move money that the host has or holds, or let others pay, so they need the permission even for one's
# own payment.
OF_MONEY = {"refund", "capture", "cancel_payable", "create_link", "revoke_links"}


class PaymentPermission(BasePermission):
    """Lets callers do with their own payments what moves none of the host's money; else asks `has_perm`.

    The integrator's key has every permission; a named key has all but to see the payments of others. Which
    payments a caller sees at all is up to the viewset's `get_queryset`.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the caller may do this at all."""
        if not (request.user and request.user.is_authenticated):
            return False
        return view.action not in OF_MONEY or has_permission(request.user, view.action)

    def has_object_permission(self, request: Request, view: Any, obj: Payment) -> bool:
        """Tell whether the caller may do this with the payment."""
        if has_permission(request.user, view.action):
            return True
        if not view.is_own(obj):
            return False
        return view.action != "cancel" or obj.status != Payment.Status.AUTHORIZED


def has_permission(caller: Any, action: str) -> bool:
    """Tell whether a caller has the permission that an action takes; one without `has_perm` has none."""
    has_perm = getattr(caller, "has_perm", None)
    return bool(has_perm and has_perm(PERMISSIONS.get(action, OTHER)))
