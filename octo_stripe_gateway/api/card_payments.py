"""OCTO's `octo/cardPayments`: the object, its confirmation, and both for a host's own bookings and orders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import ParseError

from octo_stripe_gateway import services
from octo_stripe_gateway.api.authentication import get_owner
from octo_stripe_gateway.api.bodies import read_object, underscoreize
from octo_stripe_gateway.api.errors import get_error_response, handle_exception
from octo_stripe_gateway.api.fields import AmountField, TextField
from octo_stripe_gateway.api.serializers import (
    AnswerField,
    AnswerFields,
    RequestSerializer,
    Text,
    column,
    money,
    precision,
    read_answers,
)
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import (
    BadRequestError,
    GatewayCurrencyMismatchError,
    GatewayInvalidSourceError,
    GatewayMismatchError,
    PaymentPendingError,
    UnprocessableError,
)
from octo_stripe_gateway.ledger.transactions import without_atomic_requests
from octo_stripe_gateway.models import Payment, is_priced
from octo_stripe_gateway.models.dues import get_price
from octo_stripe_gateway.services.idempotency import ANYONE
from octo_stripe_gateway.stripe import environments
from octo_stripe_gateway.stripe.client import get_publishable_key
from octo_stripe_gateway.stripe.currencies import get_precision

GATEWAY = "stripe"
# The customer pays in a browser; a point of sale (POS) and orders by telephone (MOTO) are other gateways'.
SOURCE = "ECOM"


# In camelCase, since a host's own booking may be rendered by something that leaves names as they are.
INTENT_FIELDS: AnswerFields = {
    "id": column(Text(allow_null=True), "stripe_payment_intent_id"),
    "publishableKey": AnswerField(
        Text(allow_null=True), lambda row: get_publishable_key(row.account) or None
    ),
    "stripeAccount": column(
        Text(required=False, help_text="The connected account, where there is one."), "stripe_account"
    ),
    "clientSecret": AnswerField(
        Text(allow_null=True, help_text="Null but in the answer to a create."), lambda _row: None
    ),
    "amount": column(money(), "amount"),
    "currency": column(Text(), "currency"),
}
CARD_PAYMENT_FIELDS: AnswerFields = {
    "id": AnswerField(serializers.UUIDField(), lambda row: str(row.uuid)),
    "gateway": AnswerField(Text(), lambda _row: GATEWAY),
    "source": AnswerField(Text(), lambda _row: SOURCE),
    "merchantName": AnswerField(Text(allow_null=True), lambda _row: gateway_settings.merchant_name or None),
    "amount": column(money(), "amount"),
    "currency": AnswerField(Text(), lambda row: row.currency.upper()),
    "currencyPrecision": AnswerField(precision(), lambda row: get_precision(row.currency)),
    "paid": column(money(), "amount_received"),
    "totalPaid": column(money(), "amount_received"),
    "totalRefunded": column(money(), "amount_refunded"),
    "balance": AnswerField(
        money(help_text="Paid, less what was refunded."),
        lambda row: row.amount_received - row.amount_refunded,
    ),
    "outstandingBalance": AnswerField(
        money(help_text="What this payment still asks for."), lambda row: row.amount if row.is_open else 0
    ),
    "surcharge": AnswerField(money(), lambda _row: 0),
    "paidSurcharge": AnswerField(money(), lambda _row: 0),
    "reusableCards": AnswerField(
        serializers.ListField(child=serializers.JSONField(), max_length=0), lambda _row: []
    ),
}


def get_card_payment(payment: Payment, *, client_secret: str = "") -> dict[str, Any]:
    """Return the object for a payment, its secret null unless it is given. Amounts are in minor units."""
    intent = read_answers(payment, INTENT_FIELDS) | {"clientSecret": client_secret or None}
    if not payment.stripe_account:
        del intent["stripeAccount"]
    stripe = {"version": "latest", "paymentIntent": intent}
    return read_answers(payment, CARD_PAYMENT_FIELDS) | {"stripe": stripe}


class CardPaymentField(serializers.Field[Any, Any, Any, Any]):
    """Adds `cardPayment` to a host's own booking or order, made of its latest payment.

    `payable` names the attribute that has the payments, such as a booking's `order`; by default it is the
    object itself. It needs a `PaymentRelation` named `payments`. Null without a payment. The client secret is
    in it only where the serializer's context has the `created_payment` that `create_payment` returned.
    """

    def __init__(self, *, payable: str = "", **kwargs: Any) -> None:
        self.payable = payable
        super().__init__(source="*", read_only=True, **kwargs)

    def to_representation(self, value: Any) -> dict[str, Any] | None:
        """Return the object for the payable's latest payment."""
        payable = getattr(value, self.payable) if self.payable else value
        created: services.CreatedPayment | None = self.context.get("created_payment")
        payment = _find_latest(payable) if payable is not None else None
        if payment is None:
            return None
        secret = created.client_secret if created and created.payment == payment else ""
        return get_card_payment(payment, client_secret=secret)


def build_card_payment(
    payable: Model, *, caller: services.Caller = ANYONE, livemode: bool | None = None, **create: Any
) -> dict[str, Any]:
    """Create the payable's payment, and return its `cardPayment` with the client secret.

    Repeat it to get the secret again: while that payment is open, it is returned. `create` goes to
    `services.create_payment`. Raises what that raises, and UnprocessableError if there is nothing to pay for.
    """
    if is_priced(payable) and not get_price(payable)[0]:
        raise UnprocessableError(_("There is nothing to pay for."))
    created = services.create_payment(payable=payable, caller=caller, livemode=livemode, **create)
    return get_card_payment(created.payment, client_secret=created.client_secret)


def confirm_card_payment(payable: Model, body: object) -> Payment:
    """Check what an OCTO confirmation says of the payable's payment, and return it once it is paid.

    `body` is the request's: its raw bytes, or what a parser made of them, with names in camelCase or
    snake_case. Only `cardPayment` is read. Raises BadRequestError (GatewayMismatchError and others of its
    kind), PaymentPendingError while the payment isn't settled, UnprocessableError, StripeError, and
    PaymentRejectedError where the host rejected what was paid.
    """
    if isinstance(body, bytes):
        body = read_object(body)
    if not isinstance(body, Mapping):
        raise ParseError(_("The body is not a JSON object."))
    given = underscoreize(dict(body)).get("card_payment")
    serializer = CompletePaymentSerializer(data={} if given is None else {"card_payment": given})
    serializer.is_valid(raise_exception=True)
    confirmation: dict[str, Any] = serializer.validated_data.get("card_payment", {})
    named = confirmation.get("stripe", {}).get("payment_intent")
    payment = _find_latest(payable, intent_id=named)
    if payment is None:
        message = _("This payment has another payment intent.") if named else _("There is no payment yet.")
        raise UnprocessableError(message)
    check_confirmation(payment, confirmation)
    payment = services.complete_payment(payment)
    check_settled(payment)
    return payment


def check_settled(payment: Payment) -> None:
    """Raise PaymentPendingError or BadRequestError where OCTO wants an error of what isn't paid."""
    if payment.status == Payment.Status.PENDING:
        raise PaymentPendingError(_("The payment is not settled yet; repeat this until it is."))
    if payment.status == Payment.Status.FAILED:
        raise BadRequestError(payment.failure_message or _("The payment failed."))


class CardPaymentMixin:
    """Lets a host's own REST framework view answer with `cardPayment`, and with OCTO's errors.

    The view is left out of ATOMIC_REQUESTS, since no transaction may span a call to Stripe.
    """

    request: Any

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return without_atomic_requests(super().as_view(*args, **kwargs))  # type: ignore[misc]

    def get_exception_handler(self) -> Any:
        return handle_exception

    def get_owner(self) -> str:
        """Return whose payments the caller makes, as `PaymentViewSet.get_owner` does."""
        return get_owner(self.request.user)

    def get_caller(self) -> services.Caller:
        """Return who asks, and under which idempotency key."""
        return services.Caller(self.get_owner(), self.request.headers.get("Idempotency-Key", ""))

    def build_card_payment(self, payable: Model, **create: Any) -> dict[str, Any]:
        """Create the payable's payment for the caller, and return its `cardPayment` with the secret."""
        wanted = environments.read_livemode(self.request.headers.get(environments.HEADER, ""))
        return build_card_payment(payable, caller=self.get_caller(), livemode=wanted, **create)

    def confirm_card_payment(self, payable: Model, body: object) -> Payment:
        """Return the payable's payment once it is paid; see the function of this name."""
        return confirm_card_payment(payable, body)


def answers_octo_errors(view: Callable[..., Any]) -> Callable[..., Any]:
    """Answer every error of a function view with OCTO's body, and leave it out of ATOMIC_REQUESTS.

    For plain views, and under `@api_view` for those of REST framework.
    """

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - told as a 500, and logged
            return get_error_response(error)

    return without_atomic_requests(answer)


def _find_latest(payable: Any, *, intent_id: str | None = None) -> Payment | None:
    """Return the payable's latest payment, or its latest of an intent; without a query if they are loaded."""
    payments = payable.payments.all()
    if payments._result_cache is None:
        named = {"stripe_payment_intent_id": intent_id} if intent_id else {}
        payments = payments.filter(**named).order_by("-pk")[:1]
    found = [each for each in payments if intent_id in (None, each.stripe_payment_intent_id)]
    latest: Payment | None = max(found, key=lambda each: each.pk, default=None)
    return latest


class ConfirmationSerializer(RequestSerializer):
    """A part of a confirmation, in which null means absent, as in OCTO's types of 2026."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked fields; what is null is left out before an unknown name is an error."""
        if isinstance(data, Mapping):
            data = {name: value for name, value in data.items() if value is not None}
        return super().to_internal_value(data)


class StripeConfirmationSerializer(ConfirmationSerializer):
    """The gateway's own part of a confirmation."""

    payment_intent = TextField(required=False, allow_null=True, max_length=255)


class CardPaymentConfirmationSerializer(ConfirmationSerializer):
    """What a client may say of the payment that it confirms; OCTO's other fields would change it.

    `notes` are for a till's clerk, and are not kept.
    """

    gateway = TextField(required=False, allow_null=True, max_length=64)
    source: Any = TextField(required=False, allow_null=True, max_length=16)
    notes = TextField(required=False, allow_null=True, max_length=1000, allow_blank=True)
    amount = AmountField(required=False, allow_null=True)
    currency = TextField(required=False, allow_null=True, max_length=3)
    stripe = StripeConfirmationSerializer(required=False, allow_null=True)


class CompletePaymentSerializer(RequestSerializer):
    """The body of `PATCH /payments/:id/complete`, all of it optional."""

    card_payment = CardPaymentConfirmationSerializer(required=False)


def check_confirmation(payment: Payment, confirmation: dict[str, Any]) -> None:
    """Refuse a confirmation of anything but this payment.

    Raises GatewayMismatchError, GatewayInvalidSourceError, GatewayCurrencyMismatchError, UnprocessableError.
    """
    if confirmation.get("gateway", GATEWAY) != GATEWAY:
        raise GatewayMismatchError(_("This payment is not made through that gateway."))
    if confirmation.get("source", SOURCE) != SOURCE:
        raise GatewayInvalidSourceError(_("This gateway takes payments made online only: source ECOM."))
    if confirmation.get("currency", payment.currency).lower() != payment.currency:
        raise GatewayCurrencyMismatchError(_("This payment is in another currency."))
    if confirmation.get("amount", payment.amount) != payment.amount:
        message = _("This payment is of another amount.")
        raise UnprocessableError(message, amount=confirmation["amount"])
    intent = confirmation.get("stripe", {}).get("payment_intent", payment.stripe_payment_intent_id)
    if intent != payment.stripe_payment_intent_id:
        raise UnprocessableError(_("This payment has another payment intent."))
