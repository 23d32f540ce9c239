"""The HTTP of the payment API; what is done is in `services`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from operator import attrgetter
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http.request import HttpHeaders, HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, ParseError, ValidationError
from rest_framework.exceptions import PermissionDenied as RequestDenied
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from octo_stripe_gateway import services
from octo_stripe_gateway.api import capabilities, serializers
from octo_stripe_gateway.api.authentication import GatewayAuthentication, check_owner, get_owner
from octo_stripe_gateway.api.bodies import (
    AlwaysJSON,
    OctoJSONParser,
    OctoJSONRenderer,
    check_body,
    check_headers,
)
from octo_stripe_gateway.api.card_payments import (
    CompletePaymentSerializer,
    check_confirmation,
    check_settled,
    get_card_payment,
)
from octo_stripe_gateway.api.errors import adapt_status, get_error_response, handle_exception
from octo_stripe_gateway.api.fields import CursorField, PayableField
from octo_stripe_gateway.api.lists import Place, read_payments
from octo_stripe_gateway.api.permissions import PaymentPermission, has_permission
from octo_stripe_gateway.api.throttling import ActionThrottle, AuthenticationThrottle
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, IdempotencyError
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.transactions import without_atomic_requests
from octo_stripe_gateway.models import Payment, PaymentChange, PaymentQuerySet, Refund, is_priced
from octo_stripe_gateway.models.ledger_manager import read_rows
from octo_stripe_gateway.services.dues import show_dues
from octo_stripe_gateway.stripe import environments
from octo_stripe_gateway.stripe.currencies import get_precision
from octo_stripe_gateway.stripe.redaction import WHOLE_CLIENT_SECRET
from octo_stripe_gateway.stripe.times import format_utc

# As many refunds are read with their payment; `refunds=all` reads the older ones too.
REFUNDS_SHOWN = 20
IDEMPOTENCY_KEY = re.compile(r"^[ -~]{0,255}\Z")
# What authentication raises of a wrong credential; a host's own check may deny in Django's way.
DENIALS = (AuthenticationFailed, PermissionDenied, RequestDenied)


class OctoMixin(APIView):
    """Makes a REST framework view speak OCTO, and nothing of it depend on the host's defaults."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (GatewayAuthentication,)
    permission_classes: Sequence[Any] = (IsAuthenticated,)
    parser_classes = (OctoJSONParser,)
    renderer_classes = (OctoJSONRenderer,)
    throttle_classes: Sequence[Any] = ()
    versioning_class = None
    metadata_class = None
    content_negotiation_class = AlwaysJSON

    @property
    def livemode(self) -> bool:
        """Tell whether the answer is about real money."""
        return environments.get_livemode() or False

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Return what the class says, the gateway's own replaced where the setting says so."""
        replaced = gateway_settings.authentication_classes
        if replaced and self.authentication_classes == OctoMixin.authentication_classes:
            return [each() for each in replaced]
        return super().get_authenticators()

    @classmethod
    def as_view(cls, *args: Any, **kwargs: Any) -> Any:
        return without_atomic_requests(super().as_view(*args, **kwargs))

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer in the request's language, whether or not the host has a middleware for that."""
        with translation.override(translation.get_language_from_request(request)):
            try:
                gateway_settings.check()
                response = super().dispatch(request, *args, **kwargs)
            except ConfigurationError as error:
                response = get_error_response(error)
            # What REST framework ties into cycles would keep the answer until a full collection.
            vars(self).pop("response", None)
            if isinstance(self.request, Request):
                self.request.parser_context = {}
            # Each catalogue names its language; the active one may have none of ours.
            response.headers["Content-Language"] = translation.pgettext("language of these messages", "en")
            if response.status_code == 404:
                # LocaleMiddleware would redirect it to the same path with a language in front.
                request.urlconf = "octo_stripe_gateway.urls"
            return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse all that the headers tell is wrong before the body is read: a slow one holds a worker."""
        length = check_headers(request)
        wanted = self.get_wanted_livemode()
        if wanted is not None:
            environments.check_livemode(wanted, livemode=environments.get_livemode())
        super().initial(request, *args, **kwargs)
        check_body(request, length=length)

    def perform_authentication(self, request: Request) -> None:
        """Authenticate, unless the address has sent too many wrong credentials."""
        if not self.get_header("Authorization"):
            super().perform_authentication(request)
            return
        throttle = AuthenticationThrottle()
        if not throttle.allow_request(request, self):
            self.throttled(request, throttle.wait() or 0)
        try:
            super().perform_authentication(request)
        except DENIALS:
            if throttle.count_failure(request, self):
                raise
        else:
            # A right one that comes after too many wrong ones at once is answered as they are.
            if throttle.allow_request(request, self):
                return
        self.throttled(request, throttle.wait() or 0)

    def get_wanted_livemode(self) -> bool | None:
        """Return whether the caller means real money, None where they don't say; raises BadRequestError."""
        return environments.read_livemode(self.get_header(environments.HEADER))

    def get_header(self, name: str) -> str:
        """Return a header, empty where it wasn't sent; `request.headers` is made of all of them."""
        return str(self.request.META.get(HttpHeaders.to_wsgi_name(name), ""))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        """Echo what was honoured, and send the status that OCTO wants."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.status_code = adapt_status(answer.status_code)
        answer.headers[capabilities.HEADER] = ", ".join(self.get_capabilities())
        answer.headers[environments.HEADER] = environments.show_environment(self.livemode)
        answer.headers["Cache-Control"] = "no-store"
        patch_vary_headers(answer, ("Accept-Language", "Authorization", capabilities.HEADER))
        return answer

    def get_capabilities(self) -> tuple[str, ...]:
        return capabilities.get_honoured(self.get_header(capabilities.HEADER))

    def get_exception_handler(self) -> Any:
        return handle_exception


class CapabilitiesView(OctoMixin):
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Answer OCTO's list."""
        return Response(capabilities.CAPABILITIES)


class PaymentViewSet(OctoMixin, GenericViewSet[Payment]):
    """Creates, shows and changes payments; a host subclasses it and routes the subclass.

    A host overrides `get_owner` (whose payments and idempotency keys a caller's are), `get_queryset` (which
    payments a caller sees), `permission_classes` (what a caller may do with them), `check_payable` (who may
    pay for what) or `get_create_parameters` (what a payment is created with). None of them holds the
    payment's lock, so none can lose it.
    """

    permission_classes: Sequence[Any] = (PaymentPermission,)
    throttle_classes: Sequence[Any] = (ActionThrottle,)
    filter_backends = ()
    pagination_class = None
    serializer_class = serializers.PaymentSerializer
    request_serializers: ClassVar[dict[str, type[BaseSerializer[Any]]]] = {
        "create": serializers.CreatePaymentSerializer,
        "complete": CompletePaymentSerializer,
        "refund": serializers.RefundPaymentSerializer,
        "capture": serializers.CapturePaymentSerializer,
        "cancel_payable": serializers.CancelPayableSerializer,
        "create_link": serializers.CreateLinkSerializer,
        "revoke_links": serializers.RevokeLinksSerializer,
    }
    operations: tuple[str, ...] = ("refund", "capture", "cancel")
    filter_serializer = serializers.PaymentFilterSerializer
    payment: Payment | None = None
    listed_livemode: bool | None = None

    @property
    def livemode(self) -> bool:
        """Tell whether the answer's payment, or list of them, or else the account, moves real money."""
        if self.listed_livemode is not None:
            return self.listed_livemode
        return self.payment.livemode if self.payment else super().livemode

    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create a payment and answer it with the secret that the browser pays with."""
        parameters = self.get_parameters()
        with self.acting():
            created = services.create_payment(**self.get_create_parameters(parameters))
        self.check_repeat(created.payment)
        environments.check_livemode(self.get_wanted_livemode(), livemode=created.payment.livemode)
        response = self.build_response(created.payment, client_secret=created.client_secret)
        response.data["stripe_client_secret"] = created.client_secret
        response.status_code = 201
        return response

    def list(self, request: Request, **kwargs: Any) -> Response:
        """Answer a page of the payments that the caller sees, the newest first."""
        filters = serializers.read_filters(request, self.filter_serializer)
        page, following = self.read_page(filters)
        response = Response(self.get_serializer(page, many=True).data)
        if following:
            cursor = CursorField().to_representation(following)
            address = replace_query_param(request.build_absolute_uri(), "cursor", cursor)
            response.headers["Link"] = f'<{address}>; rel="next"'
            # Cross-origin pages can't read Link unless it is exposed.
            response.headers["Access-Control-Expose-Headers"] = "Link"
        return response

    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """Answer a payment with its newest refunds, or with all of them where `refunds=all` asks for that."""
        payment = self.get_object()
        response = self.build_response(payment)
        wanted = request.query_params.get("refunds") if request.META.get("QUERY_STRING") else None
        if wanted is not None:
            serializers.ReadSerializer(data={"refunds": wanted}).is_valid(raise_exception=True)
        most = REFUNDS_SHOWN if wanted is None else None
        # Pages read a payment until it is paid: what has no money has no refunds to ask for.
        has_money = payment.amount_received or payment.amount_refunded
        refunds = self.list_refunds(payment, most=most and most + 1) if has_money else []
        show = partial(serializers.read_answers, answers=serializers.REFUND_FIELDS)
        response.data["refunds"] = [*map(show, reversed(refunds[:most]))]
        response.data["has_more_refunds"] = len(refunds) > len(response.data["refunds"])
        return response

    def complete(self, request: Request, **kwargs: Any) -> Response:
        """Ask Stripe how the payment stands, update the record and answer it."""
        confirmation = self.get_parameters().get("card_payment", {})
        payment = self.get_object()
        check_confirmation(payment, confirmation)
        if not payment.stripe_payment_intent_id:
            self.check_create_rate()
        with self.acting():
            payment = services.complete_payment(payment)
        if gateway_settings.strict_octo:
            check_settled(payment)
        return self.build_response(payment)

    def refund(self, request: Request, **kwargs: Any) -> Response:
        """Refund a paid payment, in full or in part."""
        return self.run_operation(services.refund_payment)

    def capture(self, request: Request, **kwargs: Any) -> Response:
        """Take an authorized payment's money, all of it or part."""
        return self.run_operation(services.capture_payment)

    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Give up a payment that isn't paid."""
        may_void = has_permission(self.request.user, "cancel")
        return self.run_operation(partial(services.cancel_payment, may_void=may_void))

    def cancel_payable(self, request: Request, **kwargs: Any) -> Response:
        """Cancel what was paid for, and refund what its terms give; with `preview` only say what that is."""
        payable, parameters = self.get_payable_parameters()
        with self.acting():
            cancellation = services.cancel_payable(payable, **parameters)
        body = {
            **cancellation._asdict(),
            "currency_precision": get_precision(cancellation.currency),
            "payable": PayableField().to_representation(payable),
            "preview": parameters.get("preview", False),
        }
        return Response({**body, **show_dues(services.get_dues(payable))})

    def create_link(self, request: Request, **kwargs: Any) -> Response:
        """Make a link at which what is due is paid without an account."""
        payable, parameters = self.get_payable_parameters()
        address = services.create_payment_link(payable, **parameters)
        body = {
            "url": request.build_absolute_uri(address),
            "payable": PayableField().to_representation(payable),
            "purpose": parameters.get("purpose"),
            "utc_expires_at": format_utc(parameters.get("expires_at")),
        }
        return Response(body, status=201)

    def revoke_links(self, request: Request, **kwargs: Any) -> Response:
        """Revoke one of a payable's links, or all of them."""
        payable, parameters = self.get_payable_parameters()
        return Response({"revoked": services.revoke_payment_links(payable, **parameters)})

    def check_permissions(self, request: Request) -> None:
        """Check what the caller may do, and keep for the log who that is."""
        super().check_permissions(request)
        self.owner = self.get_owner()
        check_owner(self.owner, caller=request.user)

    def get_owner(self) -> str:
        """Return whose payments the caller makes: `key:viator`, `auth.user:42`, empty for the integrator."""
        return get_owner(self.request.user)

    def is_own(self, payment: Payment) -> bool:
        return payment.owner == self.get_owner()

    def get_queryset(self) -> PaymentQuerySet:
        """Return the payments that the caller sees; all others are not found."""
        payments = Payment.objects.all()
        return payments if has_permission(self.request.user, "list") else payments.owned_by(self.get_owner())

    def read_page(self, filters: dict[str, Any]) -> tuple[Sequence[Payment], Place | None]:
        """Return the payments of a page, and from where the next goes on."""
        bounds = {name: filters.pop(name, None) for name in ("since", "until", "below")}
        wanted = self.get_wanted_livemode()
        if wanted is not None:
            filters["livemode"] = self.listed_livemode = wanted
        payments = self.get_queryset()
        payments = payments.only(*self.columns) if self.columns else payments
        return read_payments(payments, equal=filters, size=gateway_settings.page_size, **bounds)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that a read needs, none named where the host's code may look at any."""
        is_own = _reads_as_we_do(type(self)) and READERS.isdisjoint(vars(self))
        return serializers.SHOWN_COLUMNS if is_own else ()

    def list_refunds(self, payment: Payment, *, most: int | None) -> Sequence[Refund]:
        """Return a payment's refunds, the newest first: so many at most, or all."""
        if not self.columns:
            return [*payment.refunds.order_by("-pk")[:most]]
        shown, database = serializers.SHOWN_OF_REFUND, str(payment._state.db)
        rows = read_rows(Refund, database, columns=shown, newest=most, payment_id=payment.pk)
        return sorted(rows, key=attrgetter("pk"), reverse=True)

    def get_primary_queryset(self) -> PaymentQuerySet:
        """Return the same payments from the database that is written to, where a read decides on a change."""
        return self.get_queryset().using(Payment.ledger.database)

    def get_object(self) -> Payment:
        """Return the payment that the URL names by id or uuid; raises PaymentNotFoundError."""
        is_read = self.request.method in SAFE_METHODS
        payments = self.get_queryset() if is_read else self.get_primary_queryset()
        columns = self.columns if is_read else self.columns and serializers.COLUMNS_BEFORE_CHANGE
        self.payment = payments.get_by_public_id(self.kwargs["id"], columns=columns)
        self.check_object_permissions(self.request, self.payment)
        environments.check_livemode(self.get_wanted_livemode(), livemode=self.payment.livemode)
        return self.payment

    def check_payable(self, payable: Any) -> None:
        """Raise PermissionDenied where the caller may not pay for this; every caller may, by default.

        The caller is told that there is no such object.
        """

    def check_repeat(self, payment: Payment) -> None:
        """Raise IdempotencyError where an earlier payment is answered that the caller doesn't see.

        A key or uuid stands for one, and a priced payable's open payment is taken again.
        """
        names_one = self.get_header("Idempotency-Key") or "uuid" in self.request.data
        if (names_one or is_priced(payment.payable)) and not self.get_primary_queryset().includes(payment):
            raise IdempotencyError(_("This key or uuid was used with other parameters."))

    def check_create_rate(self) -> None:
        """Raise Throttled where a completion that creates the intent anew is one too many."""
        for throttle in self.get_throttles():
            if isinstance(throttle, ActionThrottle):
                throttle.name = "create"
                if not throttle.allow_request(self.request, self):
                    self.throttled(self.request, throttle.wait() or 0)

    def get_create_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments for `services.create_payment`, made from the checked body."""
        return {**parameters, "caller": self.get_caller(), "livemode": self.get_wanted_livemode()}

    def get_caller(self) -> services.Caller:
        """Return who asks, and under which idempotency key."""
        key = self.get_header("Idempotency-Key")
        if not IDEMPOTENCY_KEY.match(key):
            raise ParseError(_("Idempotency-Key is longer than 255 characters or not printable ASCII."))
        if WHOLE_CLIENT_SECRET.search(key):
            raise ParseError(_("A client secret may not be sent here."))
        return services.Caller(self.get_owner(), key)

    def acting(self) -> AbstractContextManager[None]:
        """Put what a service changes down to the caller, on the journal."""
        return acting(source=PaymentChange.Source.API, actor=self.get_owner())

    def get_parameters(self) -> dict[str, Any]:
        """Return the checked body; raises ValidationError."""
        serializer_class = self.request_serializers.get(self.action, serializers.RequestSerializer)
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def get_payable_parameters(self) -> tuple[Any, dict[str, Any]]:
        """Return the payable that the checked body names, and the rest of it; raises ValidationError.

        The caller has to see all of the payable's payments. Of one without payments nobody can tell whose it
        is, so that only who sees all payments may go on.
        """
        parameters = self.get_parameters()
        payable = parameters.pop("payable")
        payments = Payment.ledger.list_of_payable(payable)
        is_known = payments or has_permission(self.request.user, "list")
        if not is_known or not all(map(self.get_primary_queryset().includes, payments)):
            raise ValidationError({"payable": PayableField.default_error_messages["unknown_id"]})
        return payable, parameters

    def run_operation(self, operation: Any) -> Response:
        """Run a service with the checked body on the payment, and answer it."""
        parameters = self.get_parameters()
        payment = self.get_object()
        with self.acting():
            return self.build_response(operation(payment, **parameters, caller=self.get_caller()))

    def build_response(self, payment: Payment, *, client_secret: str = "") -> Response:
        """Answer a payment, with `cardPayment` where the request asks for it."""
        self.payment = payment
        body = {**self.get_serializer(payment).data, **serializers.get_payable_dues(payment)}
        if capabilities.CARD_PAYMENTS in self.get_capabilities():
            body["card_payment"] = get_card_payment(payment, client_secret=client_secret)
        return Response(body)


# A host that overrides one of these may look at any column of a payment.
READERS = frozenset(
    "build_response check_object_permissions finalize_response get_object get_permissions get_queryset"
    " get_serializer get_serializer_class get_serializer_context is_own list list_refunds livemode"
    " permission_classes read_page retrieve serializer_class".split()
)


@cache
def _reads_as_we_do(view: type[PaymentViewSet]) -> bool:
    return all(getattr(view, name, None) is getattr(PaymentViewSet, name, None) for name in READERS)
