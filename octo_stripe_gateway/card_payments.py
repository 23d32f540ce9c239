"""The shape of OCTO's `octo/cardPayments` capability."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    GatewayCurrencyMismatchError,
    GatewayMismatchError,
    UnprocessableError,
)
from octo_stripe_gateway.models import Payment
from octo_stripe_gateway.serializers import AmountField, RequestSerializer, TextField
from octo_stripe_gateway.services import CreatedPayment
from octo_stripe_gateway.stripe_client import get_publishable_key

GATEWAY = "stripe"


def get_card_payment(payment: Payment, *, client_secret: str = "") -> dict[str, Any]:
    """Return the object for a payment, its secret null unless it is given.

    In camelCase, since a host's own booking may be rendered by something that leaves names as they are.
    """
    intent = {
        "id": payment.stripe_payment_intent_id,
        "publishableKey": get_publishable_key(payment.account) or None,
        **({"stripeAccount": payment.stripe_account} if payment.stripe_account else {}),
        "clientSecret": client_secret or None,
        "amount": payment.amount,
        "currency": payment.currency,
    }
    return {
        "gateway": GATEWAY,
        "merchantName": gateway_settings.merchant_name or None,
        "stripe": {"version": "latest", "paymentIntent": intent},
    }


class CardPaymentField(serializers.Field[Any, Any, Any, Any]):
    """Adds `cardPayment` to a host's own booking or order, made of its latest payment.

    The object needs a `PaymentRelation` named `payments`. Null without a payment. The client secret is in
    it only where the serializer's context has the `created_payment` that `create_payment` returned.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(source="*", read_only=True, **kwargs)

    def to_representation(self, value: Any) -> dict[str, Any] | None:
        """Return the object for the payable's latest payment."""
        created: CreatedPayment | None = self.context.get("created_payment")
        payment = max(value.payments.all(), key=lambda each: each.pk, default=None)
        if payment is None:
            return None
        secret = created.client_secret if created and created.payment == payment else ""
        return get_card_payment(payment, client_secret=secret)


class StripeConfirmationSerializer(RequestSerializer):
    """The gateway's own part of a confirmation."""

    payment_intent = TextField(required=False, max_length=255)


class CardPaymentConfirmationSerializer(RequestSerializer):
    """What a client may say of the payment that it confirms; OCTO's other fields would change it."""

    gateway = TextField(required=False, max_length=64)
    amount = AmountField(required=False)
    currency = TextField(required=False, max_length=3)
    stripe = StripeConfirmationSerializer(required=False)


class CompletePaymentSerializer(RequestSerializer):
    """The body of `PATCH /payments/:id/complete`, all of it optional."""

    card_payment = CardPaymentConfirmationSerializer(required=False)


def check_confirmation(payment: Payment, confirmation: dict[str, Any]) -> None:
    """Refuse a confirmation of anything but this payment.

    Raises GatewayMismatchError, GatewayCurrencyMismatchError, UnprocessableError.
    """
    if confirmation.get("gateway", GATEWAY) != GATEWAY:
        raise GatewayMismatchError(_("This payment is not made through that gateway."))
    if confirmation.get("currency", payment.currency).lower() != payment.currency:
        raise GatewayCurrencyMismatchError(_("This payment is in another currency."))
    if confirmation.get("amount", payment.amount) != payment.amount:
        message = _("This payment is of another amount.")
        raise UnprocessableError(message, amount=confirmation["amount"])
    intent = confirmation.get("stripe", {}).get("payment_intent", payment.stripe_payment_intent_id)
    if intent != payment.stripe_payment_intent_id:
        raise UnprocessableError(_("This payment has another payment intent."))
