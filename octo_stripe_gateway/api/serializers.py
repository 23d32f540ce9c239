"""What callers send, checked, and what they get."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request

from octo_stripe_gateway.api.bodies import underscoreize
from octo_stripe_gateway.api.fields import (
    AmountField,
    CurrencyField,
    CursorField,
    EmailField,
    FlagField,
    MetadataField,
    PayableField,
    SuffixField,
    TextField,
    TimeField,
    UuidField,
    check_names,
    get_payable_name,
)
from octo_stripe_gateway.conf import Account, gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import (
    PayableLock,
    Payment,
    Refund,
    get_payable_class,
    get_payable_type,
    is_priced,
)
from octo_stripe_gateway.services.dues import get_dues, show_dues
from octo_stripe_gateway.stripe.currencies import MAX_AMOUNT, get_precision
from octo_stripe_gateway.stripe.redaction import get_logger
from octo_stripe_gateway.stripe.times import format_utc

logger = get_logger(__name__)

OCTO_STATUSES: Mapping[str, str] = {
    Payment.Status.PENDING: "PENDING",
    Payment.Status.AUTHORIZED: "ON_HOLD",
    Payment.Status.PAID: "CONFIRMED",
    Payment.Status.FAILED: "FAILED",
    Payment.Status.CANCELED: "CANCELLED",
    Payment.Status.EXPIRED: "EXPIRED",
    Payment.Status.REFUNDED: "REFUNDED",
}
STORED_STATUSES = {sent: str(stored) for stored, sent in OCTO_STATUSES.items()}


class RequestSerializer(serializers.Serializer[Any]):
    """A body, each of whose fields is known."""

    def get_fields(self) -> dict[str, Any]:
        """Return what the body has or must have: REST framework makes each field anew for each request."""
        body = getattr(self, "initial_data", None)
        if not isinstance(body, Mapping):
            return super().get_fields()
        return {
            name: copy.deepcopy(field)
            for name, field in self._declared_fields.items()
            if name in body or field.required or field.default is not serializers.empty
        }

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked fields; an unknown one is an error that names it."""
        check_names(data, known={*self._declared_fields, *self.fields})
        return super().to_internal_value(data)


class CreatePaymentSerializer(RequestSerializer):
    """The body of `POST /payments`."""

    amount = AmountField(required=False)
    currency = CurrencyField(required=False)
    uuid = UuidField(required=False)
    payable = PayableField(required=False, allow_null=True)
    purpose = TextField(required=False, max_length=64)
    capture_method = serializers.ChoiceField(Payment.CaptureMethod.choices, required=False)
    metadata = MetadataField(required=False)
    reseller_reference = TextField(required=False, max_length=255, allow_blank=True)
    description = TextField(required=False, max_length=1000)
    receipt_email = EmailField(required=False, max_length=512)
    statement_descriptor_suffix = SuffixField(required=False, max_length=22)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Insist on something to take the price from."""
        if gateway_settings.require_payable and not attrs.get("payable"):
            raise serializers.ValidationError({"payable": _("This field is required.")})
        if "amount" not in attrs and not is_priced(attrs.get("payable")):
            raise serializers.ValidationError({"amount": _("This field is required.")})
        return attrs


class RefundPaymentSerializer(RequestSerializer):
    """The body of `POST /payments/:id/refund`; without an amount all that is left is refunded."""

    amount = AmountField(required=False)
    reason = serializers.ChoiceField(Refund.Reason.choices, required=False)
    due_again = FlagField(required=False)


class CancelPayableSerializer(RequestSerializer):
    """The body of `POST /payments/cancellations`."""

    payable = PayableField()
    waive = FlagField(required=False)
    preview = FlagField(required=False)


class CreateLinkSerializer(RequestSerializer):
    """The body of `POST /payments/links`."""

    payable = PayableField()
    purpose = TextField(required=False, max_length=64)
    utc_expires_at = serializers.DateTimeField(required=False, source="expires_at")


class RevokeLinksSerializer(RequestSerializer):
    """The body of `POST /payments/links/revocations`; without a url all of the payable's are revoked."""

    payable = PayableField()
    url = TextField(required=False, max_length=2000, source="address")


class CapturePaymentSerializer(RequestSerializer):
    """The body of `POST /payments/:id/capture`; without an amount all of it is captured."""

    amount = AmountField(required=False)


class PaymentFilterSerializer(RequestSerializer):
    """The parameters of `GET /payments`, as `read_payments` takes them."""

    reseller_reference = TextField(required=False, max_length=255, help_text="Payments with this reference.")
    payable_type = TextField(
        required=False, source="payable_type_id", help_text="Together with `payableId`: payments for this."
    )
    payable_id = TextField(
        required=False, max_length=255, trim_whitespace=False, help_text="Together with `payableType`."
    )
    status = serializers.ChoiceField([*STORED_STATUSES], required=False)
    utc_created_at_from = TimeField(
        required=False, source="since", help_text="Payments created then or later."
    )
    utc_created_at_to = TimeField(required=False, source="until", help_text="Payments created before that.")
    cursor = CursorField(
        required=False, source="below", help_text="Where the page before ended: follow `Link`, which has it."
    )

    def validate_status(self, status: str) -> str:
        return STORED_STATUSES[status]

    def validate_payable_type(self, name: str) -> int:
        """Return the type that payments for the model are filed by."""
        if name not in gateway_settings.payables:
            raise serializers.ValidationError(PayableField.default_error_messages["unknown_type"])
        return get_payable_type(apps.get_model(gateway_settings.payables[name])).pk

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Insist on both parts of a payable."""
        if ("payable_type_id" in attrs) != ("payable_id" in attrs):
            missing = "payable_id" if "payable_type_id" in attrs else "payable_type"
            raise serializers.ValidationError({missing: _("This field is required.")})
        return attrs


def read_filters(request: Request, serializer_class: type[PaymentFilterSerializer]) -> dict[str, Any]:
    """Return the checked parameters of the address; raises ValidationError."""
    for name, values in request.query_params.lists():
        if len(values) > 1:
            raise serializers.ValidationError({name: _("This parameter comes twice.")})
    serializer = serializer_class(data=underscoreize(request.query_params.dict()))
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


class ReadSerializer(RequestSerializer):
    """The parameter of `GET /payments/:id`, which ignores others."""

    refunds = serializers.ChoiceField(["all"])


class AnswerField(NamedTuple):
    """A field of an answer: its kind, for the schema, what reads it, and the columns that this takes."""

    kind: serializers.Field[Any, Any, Any, Any]
    read: Callable[[Any], Any]
    columns: str = ""


AnswerFields = Mapping[str, AnswerField]
Text, Whole, Time = serializers.CharField, serializers.IntegerField, serializers.DateTimeField


def money(**options: Any) -> serializers.IntegerField:
    """Return the kind of an amount in minor units."""
    return Whole(min_value=0, max_value=MAX_AMOUNT, **options)


def precision() -> serializers.IntegerField:
    """Return the kind of a number of decimals."""
    return Whole(min_value=0, max_value=3)


def define(name: str, fields: Mapping[str, Any], *, base: type[Any] = serializers.Serializer) -> type[Any]:
    """Return a serializer for the schema, made of fields or of answers."""
    return type(name, (base,), {key: getattr(each, "kind", each) for key, each in fields.items()})


Payable = define("GatewayPayable", {"type": Text(), "id": Text()})


def read_answers(row: Any, answers: AnswerFields) -> dict[str, Any]:
    """Return what an answer says of a row, null where nothing is known."""
    return {name: answer.read(row) for name, answer in answers.items()}


def list_columns(answers: AnswerFields) -> list[str]:
    """Return the columns that answers are made of, each once."""
    return [*dict.fromkeys(" ".join(each.columns for each in answers.values()).split())]


def column(kind: serializers.Field[Any, Any, Any, Any], name: str) -> AnswerField:
    """Return an answer that is a column as it is."""
    return AnswerField(kind, attrgetter(name), name)


def _text(name: str, **options: Any) -> AnswerField:
    return AnswerField(Text(allow_null=True, **options), lambda row: getattr(row, name) or None, name)


def _time(name: str, *, allow_null: bool = True) -> AnswerField:
    return AnswerField(Time(allow_null=allow_null), lambda row: format_utc(getattr(row, name)), name)


def get_refund(payment: Payment) -> str:
    """Tell whether none, part or all of the money went back."""
    if payment.status == Payment.Status.REFUNDED:
        return "FULL"
    return "PARTIAL" if payment.amount_refunded else "NONE"


def get_payable(payment: Payment) -> dict[str, str] | None:
    """Return the name and id of what is paid for, without loading it."""
    if payment.payable_type_id is None or payment.payable_id is None:
        return None
    return {"type": get_payable_name(payment.payable_type_id), "id": payment.payable_id}


def get_failure(payment: Payment) -> dict[str, str] | None:
    """Return why the last attempt to pay failed."""
    if payment.rejection_code:
        return {"code": "rejected", "message": describe_rejection(payment)}
    if not payment.failure_code:
        return None
    return {
        "code": payment.failure_code,
        "message": payment.failure_message or str(_("The payment failed.")),
    }


PAYMENT_FIELDS: AnswerFields = {
    "id": column(Whole(), "id"),
    "uuid": AnswerField(serializers.UUIDField(), lambda row: str(row.uuid), "uuid"),
    "amount": column(money(help_text="In Stripe's minor unit."), "amount"),
    "currency": column(Text(help_text="ISO 4217 in lower case."), "currency"),
    "currency_precision": AnswerField(precision(), lambda row: get_precision(row.currency)),
    "status": AnswerField(
        serializers.ChoiceField([*OCTO_STATUSES.values()]),
        lambda row: OCTO_STATUSES[row.status],
        "status intent_status",
    ),
    "gateway": AnswerField(Text(), lambda _row: "stripe"),
    "stripe_payment_intent_id": column(Text(allow_null=True), "stripe_payment_intent_id"),
    # Filled in by PaymentSerializer, which reads the accounts once.
    "publishable_key": AnswerField(Text(allow_null=True), lambda _row: None, "account"),
    "stripe_account": _text("stripe_account"),
    "amount_received": column(money(), "amount_received"),
    "total_refunded": column(money(), "amount_refunded"),
    "refund": AnswerField(serializers.ChoiceField(["NONE", "PARTIAL", "FULL"]), get_refund),
    "refundable": AnswerField(
        serializers.BooleanField(),
        attrgetter("is_refundable"),
        "amount_kept amount_lost amount_reserved refunds_blocked is_expiring",
    ),
    "test_mode": AnswerField(serializers.BooleanField(), lambda row: not row.livemode, "livemode"),
    "metadata": column(serializers.DictField(child=Text()), "metadata"),
    "reseller_reference": _text("reseller_reference"),
    "purpose": _text("purpose"),
    "payable": AnswerField(
        Payable(allow_null=True),
        get_payable,
        "payable_type_id payable_id",
    ),
    "failure": AnswerField(
        define("GatewayFailure", {"code": Text(), "message": Text()})(allow_null=True),
        get_failure,
        "failure_code failure_message rejection_code rejection_parameters",
    ),
    "utc_created_at": _time("created_at", allow_null=False),
    "utc_updated_at": _time("updated_at", allow_null=False),
    "utc_expires_at": _time("expires_at"),
    "utc_confirmed_at": _time("confirmed_at"),
    "utc_failed_at": _time("failed_at"),
    "utc_refunded_at": _time("refunded_at"),
    "utc_cancelled_at": _time("canceled_at"),
}
REFUND_FIELDS: AnswerFields = {
    "uuid": AnswerField(serializers.UUIDField(), lambda row: str(row.uuid), "uuid"),
    "amount": column(money(), "amount"),
    "amount_forgiven": column(
        Whole(
            min_value=0, allow_null=True, help_text="What of it is not owed again; null until that is known."
        ),
        "amount_forgiven",
    ),
    "status": column(Text(help_text="Stripe's word."), "status"),
    "reason": _text("reason"),
    "failure_reason": _text("failure_reason"),
    "stripe_refund_id": column(
        Text(allow_null=True, help_text="Null until Stripe has answered."), "stripe_refund_id"
    ),
    "utc_created_at": _time("created_at", allow_null=False),
}
# Answers that are put together elsewhere, for the schema only.
Balance = define(
    "GatewayBalance",
    {
        "price": Whole(min_value=0),
        "received": Whole(min_value=0),
        "refunded": Whole(min_value=0),
        "forgiven": Whole(min_value=0, help_text="What of `refunded` is not owed again."),
        "kept": Whole(min_value=0, allow_null=True, help_text="What the terms keep; null unless canceled."),
        "surplus": Whole(min_value=0, help_text="What is held beyond the price, or beyond `kept`."),
        "due": Whole(min_value=0),
        "currency": Text(),
        "nextDueAt": Time(allow_null=True),
    },
)
Link = define(
    "GatewayLink",
    {
        "url": Text(),
        "payable": Payable(),
        "purpose": Text(allow_null=True, help_text="Null for what is due next."),
        "utcExpiresAt": Time(allow_null=True),
    },
)
Revocation = define("GatewayRevocation", {"revoked": Whole(min_value=0)})
Cancellation = define(
    "GatewayCancellation",
    {
        "payable": Payable(),
        "preview": serializers.BooleanField(),
        "amount": money(help_text="What goes back now."),
        "kept": money(),
        "currency": Text(),
        "currencyPrecision": precision(),
        "balance": Balance(),
    },
)
Capability = define(
    "GatewayCapability",
    {
        "id": Text(),
        "revision": Whole(),
        "required": serializers.BooleanField(),
        "dependencies": serializers.ListField(child=Text()),
        "docs": Text(allow_null=True),
    },
)
# The columns that an answer takes, and the owner, which decides who sees it.
SHOWN_COLUMNS = ("owner", *list_columns(PAYMENT_FIELDS))
# What is asked of a payment before a change locks it, and reads all of it.
COLUMNS_BEFORE_CHANGE = tuple(
    "owner uuid status amount currency account stripe_account livemode stripe_payment_intent_id"
    " next_check_at".split()
)
SHOWN_OF_REFUND = ("id", *list_columns(REFUND_FIELDS))


class PaymentSerializer(serializers.BaseSerializer[Payment]):
    """A payment as OCTO would say it; without REST framework's fields, since every request pays for it."""

    @cached_property
    def accounts(self) -> Mapping[str, Account]:
        """Return the Stripe accounts, read once for all rows of a list."""
        return gateway_settings.accounts

    def to_representation(self, instance: Payment) -> dict[str, Any]:
        """Return every field, null where nothing is known."""
        account = self.accounts.get(instance.account)
        answer = read_answers(instance, PAYMENT_FIELDS)
        answer["publishable_key"] = (account and account.publishable_key) or None
        return answer


def get_payable_dues(payment: Payment) -> dict[str, Any]:
    """Return what is paid and due of a priced payable, under its name; nothing for others."""
    if payment.payable_type_id is None:
        return {}
    model = ContentType.objects.get_for_id(payment.payable_type_id).model_class()
    try:
        payable: Any = payment.payable if model and is_priced(get_payable_class(model)) else None
    except (PayableUnavailableError, ConfigurationError):
        # The payment itself is answered all the same.
        logger.exception("[OctoStripeGateway] The balance of payment %s can't be told", payment)
        return {}
    if not payable:
        return {}
    dues = get_dues(payable)
    if dues.surplus:
        # The host doesn't tell of a price that fell: upkeep opens a concern, or ends it.
        PayableLock.ledger.recall(payment)
    return show_dues(dues)
