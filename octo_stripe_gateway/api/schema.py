"""Describes the API to drf-spectacular; loaded only where a host has installed that.

Everything is named for this app and in camelCase, whatever the host's own schema looks like.
"""

# Most of drf-spectacular has no types.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from __future__ import annotations

from typing import Any, NamedTuple

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, is_jsonschema_compliant
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    Direction,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema_field,
)
from rest_framework import serializers

from octo_stripe_gateway import exceptions
from octo_stripe_gateway.api import errors
from octo_stripe_gateway.api.bodies import to_camel
from octo_stripe_gateway.api.card_payments import CARD_PAYMENT_FIELDS, INTENT_FIELDS, CardPaymentField
from octo_stripe_gateway.api.errors import adapt_status
from octo_stripe_gateway.api.fields import CursorField, PayableField, TimeField
from octo_stripe_gateway.api.serializers import (
    PAYMENT_FIELDS,
    REFUND_FIELDS,
    Balance,
    Cancellation,
    Capability,
    Link,
    RequestSerializer,
    Revocation,
    Text,
    Time,
    Whole,
    define,
)
from octo_stripe_gateway.api.views import IDEMPOTENCY_KEY, REFUNDS_SHOWN, OctoMixin, PaymentViewSet
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.services.intent_parameters import METADATA_KEY_LENGTH, METADATA_KEYS
from octo_stripe_gateway.stripe import environments
from octo_stripe_gateway.stripe.snapshots import PAYMENT_METADATA_KEYS

PREFIX = "Gateway"
# A character that Python doesn't strip: `\S` has other blanks in each language.
NOT_BLANK = r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
ERRORS = {
    400: "`BAD_REQUEST`: malformed, or refused by Stripe, whose message is passed on.",
    401: "`UNAUTHORIZED`: no API key was sent.",
    403: "`FORBIDDEN`: the key sent is wrong, or the caller may not do this.",
    404: "`INVALID_PAYMENT_ID` or `NOT_FOUND`: no such payment among the caller's, no such route.",
    409: "`UNPROCESSABLE_ENTITY`: the same operation is still running.",
    413: "`BAD_REQUEST`: the body is too large.",
    415: "`BAD_REQUEST`: the body is not JSON.",
    422: "`UNPROCESSABLE_ENTITY`: well-formed, but the payment does not allow it.",
    429: "`TOO_MANY_REQUESTS`: repeat after `retryAfter` seconds.",
    500: "`INTERNAL_SERVER_ERROR`: a fault of ours, or a setting is missing or wrong.",
    502: "`INTERNAL_SERVER_ERROR`: Stripe does not accept the gateway's key.",
    503: "`INTERNAL_SERVER_ERROR`: Stripe can't be reached; repeat after `Retry-After`.",
}
CODES = sorted(
    {*errors.CODES.values()} | {kind.code for kind in vars(exceptions).values() if hasattr(kind, "code")}
)

PaymentIntent = define("GatewayPaymentIntent", INTENT_FIELDS)
StripeCard = define("GatewayStripeCard", {"version": Text(), "paymentIntent": PaymentIntent()})
CardPayment = define("GatewayCardPayment", {**CARD_PAYMENT_FIELDS, "stripe": StripeCard()})
# A payment that was just created has what may be null elsewhere.
CreatedIntent = define(
    "GatewayCreatedIntent",
    {"id": Text(), "publishableKey": Text(), "clientSecret": Text()},
    base=PaymentIntent,
)
CreatedStripeCard = define("GatewayCreatedStripeCard", {"paymentIntent": CreatedIntent()}, base=StripeCard)
CreatedCardPayment = define("GatewayCreatedCardPayment", {"stripe": CreatedStripeCard()}, base=CardPayment)
Refund = define("GatewayRefund", REFUND_FIELDS)
ListedPayment = define("GatewayListedPayment", PAYMENT_FIELDS)
Payment = define(
    "GatewayPayment",
    {
        "balance": Balance(required=False, help_text="Of a payable that says its price."),
        "cardPayment": CardPayment(required=False),
    },
    base=ListedPayment,
)
RetrievedPayment = define(
    "GatewayRetrievedPayment",
    {
        "refunds": Refund(many=True, help_text="The newest, oldest first."),
        "has_more_refunds": serializers.BooleanField(help_text="Whether there are older ones."),
    },
    base=Payment,
)
CreatedPayment = define(
    "GatewayCreatedPayment",
    {
        "stripe_payment_intent_id": Text(),
        "publishable_key": Text(),
        "stripe_client_secret": Text(),
        "cardPayment": CreatedCardPayment(required=False),
    },
    base=Payment,
)
# What comes with a code besides the message.
VALUES: dict[str, dict[str, Any]] = {
    "INVALID_PAYMENT_ID": {"paymentId": Text()},
    "TOO_MANY_REQUESTS": {"retryAfter": Whole(min_value=1, help_text="Seconds.")},
    "UNPROCESSABLE_ENTITY": {
        "amount": Whole(required=False, allow_null=True, help_text="What was asked for, and is refused."),
        "currency": Text(required=False, help_text="The price's, where another was asked for."),
        "purpose": Text(required=False, help_text="What was asked for, where nothing has that name."),
        "balance": Balance(required=False, help_text="Where nothing, or another amount, is due."),
        "utcExpiresAt": Time(required=False, help_text="Where the time to pay has run out."),
    },
}


OctoError = PolymorphicProxySerializer(
    component_name="GatewayError",
    serializers={
        code: define(
            f"GatewayError{code.title().replace('_', '')}",
            {
                "error": serializers.ChoiceField([code]),
                "errorMessage": Text(help_text="For people, in the language that Accept-Language asks for."),
                **VALUES.get(code, {}),
            },
        )
        for code in CODES
    },
    resource_type_field_name="error",
)


def _header(name: str, description: str, **options: Any) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, **options)


# An empty header counts as none.
ENVIRONMENTS = [environments.TEST, environments.LIVE, ""]
WANTED = "The sale that is meant: refused where the payment's account is in the other mode."
ALWAYS = {"response": True, "required": True}
HEADERS = (
    _header("Octo-Capabilities", "A comma list of capabilities; `octo/cardPayments` adds `cardPayment`."),
    _header("Accept-Language", "The language of `errorMessage`."),
    _header(environments.HEADER, WANTED, enum=ENVIRONMENTS),
    _header("Octo-Capabilities", "The capabilities that were honoured.", **ALWAYS),
    _header(environments.HEADER, "The mode of the payment's account.", enum=ENVIRONMENTS, **ALWAYS),
    _header("Content-Language", "The language of `errorMessage`.", **ALWAYS),
)


class Operation(NamedTuple):
    """What an action is called, and what it answers: the view's own serializer if nothing else is named."""

    summary: str
    description: str = "The payment."
    answer: Any = None
    status: int = 200
    needs_body: bool = False
    # By a key of the caller's; the others are safe to repeat without one.
    has_key: bool = False


OPERATIONS = {
    "": Operation("List the capabilities that are served", "What is served.", Capability(many=True)),
    "list": Operation("List payments", "A page of payments.", ListedPayment(many=True)),
    "create": Operation(
        "Create a payment", "The payment, and its secret.", CreatedPayment, 201, needs_body=True, has_key=True
    ),
    "retrieve": Operation("Read a payment", "The payment, and its refunds.", RetrievedPayment),
    "complete": Operation("Complete a payment"),
    "refund": Operation("Refund a payment", has_key=True),
    "capture": Operation("Capture a payment", has_key=True),
    "cancel": Operation("Cancel a payment", has_key=True),
    "cancel_payable": Operation(
        "Cancel what was paid for", "What goes back, and what is kept.", Cancellation, needs_body=True
    ),
    "create_link": Operation("Make a pay link", "The link.", Link, 201, needs_body=True),
    "revoke_links": Operation("Revoke pay links", "How many were revoked.", Revocation, needs_body=True),
}


class OctoSchema(AutoSchema):
    """Describes the operations of the gateway's views, a host's subclasses included."""

    def get_operation_id(self) -> str:
        """Return the resource and the action, after the mount's own path."""
        tokens = [token.replace("-", "_") for token in self._tokenize_path()]
        action = self._action or "list"
        suffix = ["by_post"] if self._is_other_spelling else []
        return "_".join([*(token for token in tokens if token != action), action, *suffix])

    def get_summary(self) -> str:
        summary = self._operation.summary
        return f"{summary}: the other spelling" if self._is_other_spelling else summary

    def get_description(self) -> str:  # type: ignore[override] # REST framework's own has other arguments
        if self._is_other_spelling:
            return "The same as `PATCH`, for clients that can't send it."
        return str(super().get_description())

    def get_tags(self) -> list[str]:
        return ["payments" if isinstance(self.view, PaymentViewSet) else "capabilities"]

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = [
            *HEADERS,
            _header("Retry-After", "Seconds after which a repeat may work.", response=_adapt(409, 429, 503)),
            _header("WWW-Authenticate", "How to authenticate.", response=_adapt(401)),
        ]
        if self._action == "list" and isinstance(self.view, PaymentViewSet):
            following = 'The next page\'s address, as `<address>; rel="next"`; none on the last.'
            parameters += [self.view.filter_serializer, _header("Link", following, response=[200])]
        if self._action == "retrieve":
            told = f"With `all`, every refund is listed, not just the newest {REFUNDS_SHOWN}."
            parameters.append(OpenApiParameter("refunds", str, enum=["all"], description=told))
        if "{id}" in self.path:
            known = "The payment's `id` or `uuid`."
            parameters.append(OpenApiParameter("id", str, "path", description=known))
        if self.method == "POST" and self._operation.has_key:
            key = "Makes a repeat safe: the same again has the same effect and answer."
            pattern = IDEMPOTENCY_KEY.pattern.replace(r"\Z", "$")
            parameters.append(_header("Idempotency-Key", key, pattern=pattern))
        return parameters

    def get_request_serializer(self) -> Any:
        """Return the body's schema, not made partial for PATCH, since it is no partial update."""
        serializer = getattr(self.view, "request_serializers", {}).get(self._action)
        return serializer and {"application/json": self.resolve_serializer(serializer, "request").ref}

    def get_response_serializers(self) -> Any:
        statuses = [400, 401, 403, 429, 500]
        if isinstance(self.view, PaymentViewSet):
            statuses += [404] if "{id}" in self.path else []
            statuses += [409, 413, 415, 422, 502, 503] if self.method != "GET" else []
        answer = OpenApiResponse(
            self._operation.answer or self._get_serializer(), description=self._operation.description
        )
        answers = {adapt_status(self._operation.status): answer}
        for status in _adapt(*statuses):
            meanings = [text for usual, text in ERRORS.items() if adapt_status(usual) == status]
            answers[status] = OpenApiResponse(OctoError, description="\n\n".join(meanings))
        return answers

    def get_serializer_name(self, serializer: Any, direction: Direction) -> str:
        """Return a name that no component of the host's has."""
        return PREFIX + super().get_serializer_name(serializer, direction).removeprefix(PREFIX)

    @property
    def _action(self) -> str:
        return getattr(self.view, "action", "")

    @property
    def _operation(self) -> Operation:
        # A host's own action changes something, and may take a key.
        return OPERATIONS.get(self._action) or Operation(self._action.capitalize(), has_key=True)

    @property
    def _is_other_spelling(self) -> bool:
        return (self._action, self.method) == ("complete", "POST")

    def _get_response_for_code(
        self, serializer: Any, status_code: str, media_types: Any = None, direction: Direction = "response"
    ) -> Any:
        answer = super()._get_response_for_code(serializer, status_code, media_types, direction)
        if status_code >= "400":
            # One for all operations: repeated, the schema would be ten times as long.
            return self._share(ResolvedComponent.RESPONSE, f"{PREFIX}{status_code}", answer)
        if self._action == "create" and isinstance(self.view, PaymentViewSet):
            # How to go on with the payment that was created.
            siblings = self.get_operation_id().removesuffix("create")
            answer["links"] = {
                action: {
                    "operationId": siblings + action,
                    "parameters": {"id": "$response.body#/id"},
                    "description": f"{action.capitalize()} a payment.",
                }
                for action in ("retrieve", "complete", *self.view.operations)
            }
        return answer

    def _get_request_body(self, direction: Direction = "request") -> Any:
        body = super()._get_request_body(direction)
        return {**body, "required": True} if body and self._operation.needs_body else body

    def _map_serializer(self, serializer: Any, direction: Direction, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer(serializer, direction, bypass_extensions)
        properties = schema.get("properties", {}).items()
        renamed = {
            "properties": {to_camel(name): self._adapt_property(name, each) for name, each in properties},
            "required": [to_camel(name) for name in schema.get("required", [])],
        }
        closed = {"additionalProperties": False} if isinstance(serializer, RequestSerializer) else {}
        return {**schema, **closed, **{name: value for name, value in renamed.items() if value}}

    def _adapt_property(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("format") == "int64":
            # It makes some generators' clients use a BigInt, which JSON can't hold.
            return {name: value for name, value in schema.items() if name != "format"}
        # drf-spectacular would name a nameless one itself, perhaps as one of the host's is named.
        if "enum" not in schema:
            return schema
        if len(schema["enum"]) == 1:
            (only,) = schema["enum"]
            if is_jsonschema_compliant():
                return {"type": schema["type"], "const": only}
            name = only.lower()
        named = f"{PREFIX}{name[0].upper()}{to_camel(name[1:])}Enum"
        return self._share(ResolvedComponent.SCHEMA, named, {"type": schema["type"], "enum": schema["enum"]})

    def _share(self, kind: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        component = ResolvedComponent(name, kind, schema, object=name)
        self.registry.register_on_missing(component)
        return component.ref


# Set here, and not by an OpenApiViewExtension, since a host's `@extend_schema` builds on what its view has.
OctoMixin.schema = OctoSchema()


extend_schema_field(CardPayment(allow_null=True))(CardPaymentField)
extend_schema_field(OpenApiTypes.DATETIME)(TimeField)
extend_schema_field(OpenApiTypes.STR)(CursorField)
extend_schema_field(
    {
        "type": "object",
        "properties": {
            "type": {"type": "string", "minLength": 1},
            "id": {"oneOf": [{"type": "integer"}, {"type": "string", "minLength": 1, "maxLength": 255}]},
        },
        "required": ["type", "id"],
        "additionalProperties": False,
    }
)(PayableField)


class PaymentExtension(OpenApiSerializerExtension):
    """Describes the payment, which is mapped by hand."""

    target_class = "octo_stripe_gateway.api.serializers.PaymentSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        return auto_schema._map_serializer(Payment, direction)


class MetadataExtension(OpenApiSerializerFieldExtension):
    """Describes what Stripe lets metadata be."""

    target_class = "octo_stripe_gateway.api.serializers.MetadataField"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        schema = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)
        if is_jsonschema_compliant():
            reserved = "|".join(PAYMENT_METADATA_KEYS)
            pattern = rf"^(?!({reserved})$)[^\[\]]{{1,{METADATA_KEY_LENGTH}}}$"
            schema["propertyNames"] = {"pattern": pattern}
        return {**schema, "maxProperties": METADATA_KEYS}


class TextExtension(OpenApiSerializerFieldExtension):
    """Says which texts may not be blank."""

    target_class = "octo_stripe_gateway.api.serializers.TextField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        """Return the schema, with its own pattern or, where it has no format either, one against blanks."""
        schema = auto_schema._map_serializer_field(self.target, direction, bypass_extensions=True)
        own = getattr(self.target, "pattern", None)
        is_free = self.target.allow_blank or "format" in schema
        pattern = own.pattern if own else None if is_free else NOT_BLANK
        if self.target.allow_null:
            # The caller says so once more.
            schema = {**schema, "type": "string"}
        return {**schema, "pattern": pattern} if pattern else schema


class AuthenticationExtension(OpenApiAuthenticationExtension):
    """Describes the API key; how a host's own `IDENTIFY_CALLER` works, only the host can say."""

    target_class = "octo_stripe_gateway.api.authentication.GatewayAuthentication"
    match_subclasses = True
    name = "gatewayKey"

    def get_security_requirement(self, auto_schema: AutoSchema) -> Any:
        return [] if gateway_settings.identify_caller else super().get_security_requirement(auto_schema)

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer"}


def drop_trailing_slashes(endpoints: list[tuple[Any, ...]], **_kwargs: Any) -> list[tuple[Any, ...]]:
    """Describe the gateway's paths without their optional slash: for `PREPROCESSING_HOOKS`."""
    return [
        (path.rstrip("/") if issubclass(callback.cls, OctoMixin) else path, path_regex, method, callback)
        for path, path_regex, method, callback in endpoints
    ]


def _adapt(*statuses: int) -> list[int]:
    return sorted({adapt_status(status) for status in statuses})
