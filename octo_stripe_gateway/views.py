"""The HTTP of the payment API; what is done is in `services`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import connections, transaction
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import ParseError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.throttling import BaseThrottle
from rest_framework.viewsets import GenericViewSet

from octo_stripe_gateway import services
from octo_stripe_gateway.authentication import GatewayAuthentication
from octo_stripe_gateway.models import Payment, PaymentQuerySet
from octo_stripe_gateway.parsers import OctoJSONParser
from octo_stripe_gateway.renderers import AlwaysJSON, OctoJSONRenderer
from octo_stripe_gateway.responses import handle_exception
from octo_stripe_gateway.serializers import (
    CapturePaymentSerializer,
    CreatePaymentSerializer,
    PaymentSerializer,
    RefundPaymentSerializer,
)

MAX_KEY_LENGTH = 255
STRIPE_PARAMS = {"description", "receipt_email", "statement_descriptor_suffix"}


class PaymentViewSet(GenericViewSet[Payment]):
    """Creates, shows and changes payments; a host subclasses it and routes the subclass.

    A host overrides `get_queryset` (whose payments a caller sees), `get_create_parameters` (what a payment
    is created with), `get_caller` (whose idempotency keys are whose) or the class attributes. None of
    them holds the payment's lock, so none can lose it.
    """

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (IsAuthenticated,)
    parser_classes = (OctoJSONParser,)
    renderer_classes = (OctoJSONRenderer,)
    throttle_classes: Sequence[type[BaseThrottle]] = ()
    filter_backends = ()
    pagination_class = None
    versioning_class = None
    metadata_class = None
    content_negotiation_class = AlwaysJSON
    serializer_class = PaymentSerializer
    request_serializers: ClassVar[dict[str, type[BaseSerializer[Any]]]] = {
        "create": CreatePaymentSerializer,
        "refund": RefundPaymentSerializer,
        "capture": CapturePaymentSerializer,
    }

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        """Exempt the view from ATOMIC_REQUESTS: no transaction may span a call to Stripe."""
        view: Any = super().as_view(*args, **kwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(alias)(view)
        return view

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body of unknown length too: it reads as an empty one, and that refunds everything."""
        super().initial(request, *args, **kwargs)
        if request.META.get("CONTENT_LENGTH"):
            return
        if "Transfer-Encoding" in request.headers or request._request.body:
            raise ParseError(_("A body needs a Content-Length."))

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create a payment and answer it with the secret that the browser pays with."""
        created = services.create_payment(**self.get_create_parameters(self.get_parameters()))
        body = self.get_serializer(created.payment).data
        return Response({**body, "stripe_client_secret": created.client_secret}, status=201)

    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """Answer a payment."""
        return self.answer(self.get_object())

    def complete(self, request: Request, **kwargs: Any) -> Response:
        """Ask Stripe how the payment stands, update the record and answer it."""
        self.get_parameters()
        return self.answer(services.complete_payment(self.get_object()))

    def refund(self, request: Request, **kwargs: Any) -> Response:
        """Refund a paid payment, in full or in part."""
        return self.change(services.refund_payment)

    def capture(self, request: Request, **kwargs: Any) -> Response:
        """Take an authorized payment's money, all of it or part."""
        return self.change(services.capture_payment)

    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Give up a payment that isn't paid."""
        return self.change(services.cancel_payment)

    def get_queryset(self) -> PaymentQuerySet:
        """Return the payments that the caller may see and change."""
        return Payment.objects.all()

    def get_object(self) -> Payment:
        """Return the payment that the URL names by id or uuid; raises PaymentNotFoundError."""
        payment = self.get_queryset().get_by_public_id(self.kwargs["public_id"])
        self.check_object_permissions(self.request, payment)
        return payment

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments for `services.create_payment`, made from the checked body."""
        stripe_params = {name: parameters.pop(name) for name in STRIPE_PARAMS & parameters.keys()}
        return {**parameters, "stripe_params": stripe_params, "caller": self.get_caller()}

    def get_caller(self) -> services.Caller:
        """Return whose idempotency key this is: the host's user's, or the API key holders'."""
        key = self.request.headers.get("Idempotency-Key", "")
        if len(key) > MAX_KEY_LENGTH or not key.isprintable():
            raise ParseError(_("Idempotency-Key is longer than 255 characters or not printable."))
        user_id = getattr(self.request.user, "pk", None)
        scope = "" if user_id is None else f"user:{user_id}"
        return services.Caller(scope=scope, idempotency_key=key)

    def get_parameters(self) -> dict[str, Any]:
        """Return the checked body; raises ValidationError."""
        serializer_class = self.request_serializers.get(self.action, Serializer)
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def change(self, operation: Any) -> Response:
        """Run a service with the checked body on the payment, and answer it."""
        parameters = self.get_parameters()
        return self.answer(operation(self.get_object(), **parameters, caller=self.get_caller()))

    def answer(self, payment: Payment) -> Response:
        """Answer a payment, never with its secret."""
        return Response(self.get_serializer(payment).data)

    def get_exception_handler(self) -> Any:
        """Return what turns every error into OCTO's body."""
        return handle_exception
