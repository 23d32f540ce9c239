"""What callers send, checked, and what they get."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.db import router
from django.db.models import Model
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import PermissionDenied as RequestDenied

from octo_stripe_gateway.conf import Account, gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import (
    PayableLock,
    Payment,
    Refund,
    get_payable_class,
    get_payable_type,
    identify,
    is_priced,
    is_uuid,
)
from octo_stripe_gateway.services.dues import get_dues, show_dues
from octo_stripe_gateway.services.intent_parameters import METADATA_VALUE_LENGTH, check_metadata
from octo_stripe_gateway.stripe.currencies import MAX_AMOUNT, get_precision
from octo_stripe_gateway.stripe.redaction import WHOLE_CLIENT_SECRET, get_logger
from octo_stripe_gateway.stripe.times import format_utc

logger = get_logger(__name__)

STATUSES = {
    Payment.Status.PENDING: "PENDING",
    Payment.Status.AUTHORIZED: "ON_HOLD",
    Payment.Status.PAID: "CONFIRMED",
    Payment.Status.FAILED: "FAILED",
    Payment.Status.CANCELED: "CANCELLED",
    Payment.Status.EXPIRED: "EXPIRED",
    Payment.Status.REFUNDED: "REFUNDED",
}
# What a host's `check_payable` may raise.
DENIALS = (PermissionDenied, RequestDenied, Http404, NotFound)
LONGEST_NAME_SHOWN = 64


def read_whole(value: Any) -> Any:
    """Return a number that is written with a fraction of zero as an integer, as JSON Schema takes it."""
    return int(value) if type(value) is float and value.is_integer() else value


class AmountField(serializers.IntegerField):
    """A positive integer in Stripe's minor unit; no text, fraction or boolean stands for one."""

    default_error_messages = {"invalid": _("A positive integer in the minor unit is required.")}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=MAX_AMOUNT, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        """Return the integer."""
        whole = read_whole(data)
        if type(whole) is not int:
            self.fail("invalid")
        return whole


class TextField(serializers.CharField):
    """A JSON string; numbers do not stand for one, and a client secret is kept nowhere."""

    default_error_messages = {"secret": _("A client secret may not be sent here.")}

    def to_internal_value(self, data: Any) -> str:
        """Return the text, stripped."""
        if not isinstance(data, str):
            self.fail("invalid")
        if WHOLE_CLIENT_SECRET.search(data):
            self.fail("secret")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """A JSON boolean; no text or number stands for one."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the boolean."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class SuffixField(TextField):
    """What Stripe takes as a statement descriptor's suffix."""

    pattern = re.compile(r"""^[^<>\\'"*]*[A-Za-z][^<>\\'"*]*$""")
    default_error_messages = {
        "invalid_suffix": _("A letter is required, and none of < > \\ ' \" * is taken.")
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the suffix."""
        suffix = super().to_internal_value(data)
        if not self.pattern.match(suffix):
            self.fail("invalid_suffix")
        return suffix


class EmailField(TextField, serializers.EmailField):
    """An email address."""


class CurrencyField(serializers.RegexField):
    """An ISO 4217 code in either case, given as Stripe's lower case."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(regex=re.compile(r"\A[A-Za-z]{3}\Z"), **kwargs)
        self.error_messages["invalid"] = _("A three-letter currency code is required.")

    def to_internal_value(self, data: Any) -> str:
        """Return the code in lower case."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data).lower()


class UuidField(serializers.UUIDField):
    """A uuid in its usual form, in either case; numbers and other notations do not stand for one."""

    default_error_messages = {"invalid": _("A uuid is required.")}

    def to_internal_value(self, data: Any) -> uuid.UUID:
        """Return the uuid."""
        if not isinstance(data, str) or not is_uuid(data):
            self.fail("invalid")
        return uuid.UUID(data)


class MetadataField(serializers.DictField):
    """Text by text, within Stripe's limits."""

    def __init__(self, **kwargs: Any) -> None:
        child = TextField(max_length=METADATA_VALUE_LENGTH, allow_blank=True, trim_whitespace=False)
        super().__init__(child=child, **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Return the metadata; raises BadRequestError."""
        return check_metadata(data)


def check_names(data: Any, *, known: Collection[str]) -> None:
    """Raise ValidationError for the first name in an object that isn't known."""
    unknown = next((name for name in data if name not in known), None) if isinstance(data, Mapping) else None
    if unknown is not None:
        raise serializers.ValidationError({unknown[:LONGEST_NAME_SHOWN]: _("This field is not known.")})


class PayableField(serializers.Field[Model, Any, Any, Any]):
    """A `{type, id}` that names an object of a model in the setting `PAYABLES`."""

    default_error_messages = {
        "invalid": _("An object with type and id is required."),
        "unknown_type": _("This type can't be paid for."),
        "unknown_id": _("No such object."),
    }

    def to_internal_value(self, data: Any) -> Model:
        """Return the host's object; one that the caller may not pay for seems not to be there."""
        pk = read_whole(data.get("id")) if isinstance(data, dict) else None
        if type(pk) not in {int, str}:
            self.fail("invalid")
        check_names(data, known={"type", "id"})
        label = gateway_settings.payables.get(TextField().run_validation(data.get("type")))
        if label is None:
            self.fail("unknown_type")
        key = TextField(max_length=255, trim_whitespace=False).run_validation(str(pk))
        try:
            model = apps.get_model(label)
            # A price is decided on: it comes from where it is written, not from a replica.
            payable: Model = model._default_manager.using(router.db_for_write(model)).get(pk=key)
        except (ObjectDoesNotExist, ValueError, ValidationError, OverflowError):
            self.fail("unknown_id")
        if "view" in self.context:
            try:
                self.context["view"].check_payable(payable)
            except DENIALS:
                self.fail("unknown_id")
        return payable

    def to_representation(self, value: Model) -> Any:
        """Return the name and id of the host's object."""
        payable_type, key = identify(value)
        return {"type": get_payable_name(payable_type.pk), "id": key}


class RequestSerializer(serializers.Serializer[Any]):
    """A body, each of whose fields is known."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked fields; an unknown one is an error that names it."""
        check_names(data, known=self.fields)
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


class Answer(NamedTuple):
    """A field of an answer: its kind, for the schema, what reads it, and the columns that this takes."""

    kind: serializers.Field[Any, Any, Any, Any]
    read: Callable[[Any], Any]
    columns: str = ""


Answers = Mapping[str, Answer]
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


def read_answers(row: Any, answers: Answers) -> dict[str, Any]:
    """Return what an answer says of a row, null where nothing is known."""
    return {name: answer.read(row) for name, answer in answers.items()}


def list_columns(answers: Answers) -> list[str]:
    """Return the columns that answers are made of, each once."""
    return [*dict.fromkeys(" ".join(each.columns for each in answers.values()).split())]


def column(kind: serializers.Field[Any, Any, Any, Any], name: str) -> Answer:
    """Return an answer that is a column as it is."""
    return Answer(kind, attrgetter(name), name)


def _text(name: str, **options: Any) -> Answer:
    return Answer(Text(allow_null=True, **options), lambda row: getattr(row, name) or None, name)


def _time(name: str, *, allow_null: bool = True) -> Answer:
    return Answer(Time(allow_null=allow_null), lambda row: format_utc(getattr(row, name)), name)


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


PAYMENT: Answers = {
    "id": column(Whole(), "id"),
    "uuid": Answer(serializers.UUIDField(), lambda row: str(row.uuid), "uuid"),
    "amount": column(money(help_text="In Stripe's minor unit."), "amount"),
    "currency": column(Text(help_text="ISO 4217 in lower case."), "currency"),
    "currency_precision": Answer(precision(), lambda row: get_precision(row.currency)),
    "status": Answer(
        serializers.ChoiceField([*STATUSES.values()]),
        lambda row: STATUSES[Payment.Status(row.status)],
        "status intent_status",
    ),
    "gateway": Answer(Text(), lambda _row: "stripe"),
    "stripe_payment_intent_id": column(Text(allow_null=True), "stripe_payment_intent_id"),
    # The serializer knows the accounts.
    "publishable_key": Answer(Text(allow_null=True), lambda _row: None, "account"),
    "stripe_account": _text("stripe_account"),
    "amount_received": column(money(), "amount_received"),
    "total_refunded": column(money(), "amount_refunded"),
    "refund": Answer(serializers.ChoiceField(["NONE", "PARTIAL", "FULL"]), get_refund),
    "refundable": Answer(
        serializers.BooleanField(),
        attrgetter("is_refundable"),
        "amount_kept amount_lost amount_reserved refunds_blocked is_expiring",
    ),
    "test_mode": Answer(serializers.BooleanField(), lambda row: not row.livemode, "livemode"),
    "metadata": column(serializers.DictField(child=Text()), "metadata"),
    "reseller_reference": _text("reseller_reference"),
    "purpose": _text("purpose"),
    "payable": Answer(
        Payable(allow_null=True),
        get_payable,
        "payable_type_id payable_id",
    ),
    "failure": Answer(
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
REFUND: Answers = {
    "uuid": Answer(serializers.UUIDField(), lambda row: str(row.uuid), "uuid"),
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
# The columns that an answer takes, and the owner, by whom it may be seen.
SHOWN_COLUMNS = ("owner", *list_columns(PAYMENT))
SHOWN_OF_REFUND = ("id", *list_columns(REFUND))


class PaymentSerializer(serializers.BaseSerializer[Payment]):
    """A payment as OCTO would say it; without REST framework's fields, since every request pays for it."""

    @cached_property
    def accounts(self) -> Mapping[str, Account]:
        """Return the Stripe accounts, read once for all rows of a list."""
        return gateway_settings.accounts

    def to_representation(self, instance: Payment) -> dict[str, Any]:
        """Return every field, null where nothing is known."""
        account = self.accounts.get(instance.account)
        publishable_key = (account and account.publishable_key) or None
        return read_answers(instance, PAYMENT) | {"publishable_key": publishable_key}


class RefundSerializer(serializers.BaseSerializer[Refund]):
    """A refund as it is listed with its payment."""

    def to_representation(self, instance: Refund) -> dict[str, Any]:
        """Return every field, null where nothing is known."""
        return read_answers(instance, REFUND)


def get_payable_dues(payment: Payment) -> dict[str, Any]:
    """Return what is paid and due of a priced payable, under its name; nothing for others."""
    if payment.payable_type_id is None:
        return {}
    model = ContentType.objects.get_for_id(payment.payable_type_id).model_class()
    try:
        payable: Any = payment.payable if model and is_priced(get_payable_class(model)) else None
    except (PayableUnavailableError, ConfigurationError):
        # The payment itself can be told.
        logger.exception("[OctoStripeGateway] The balance of payment %s can't be told", payment)
        return {}
    if not payable:
        return {}
    dues = get_dues(payable)
    if dues.surplus:
        # The host doesn't tell of a price that fell: upkeep opens a concern, or ends it.
        PayableLock.ledger.recall(payment)
    return show_dues(dues)


def get_payable_name(payable_type_id: int) -> str:
    """Return the public name of a model by the type that payments are filed by, its label if it has none."""
    model = ContentType.objects.get_for_id(payable_type_id)
    own = f"{model.app_label}.{model.model}"
    names = {label.lower(): name for name, label in gateway_settings.payables.items()}
    if own in names:
        return names[own]
    # It may have the name of another class of its family.
    for label, name in names.items():
        with suppress(LookupError, ConfigurationError):
            if get_payable_type(apps.get_model(label)) == model:
                return name
    return own
