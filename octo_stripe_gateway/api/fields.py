"""The kinds of field that callers send: stricter than REST framework's, since a wrong amount is money."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.core.signing import BadSignature, Signer
from django.db import router
from django.db.models import Model
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import PermissionDenied as RequestDenied

from octo_stripe_gateway.api.lists import Place
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.exceptions import ConfigurationError
from octo_stripe_gateway.models import get_payable_type, identify, is_uuid
from octo_stripe_gateway.services.intent_parameters import METADATA_VALUE_LENGTH, check_metadata
from octo_stripe_gateway.stripe.currencies import MAX_AMOUNT
from octo_stripe_gateway.stripe.redaction import WHOLE_CLIENT_SECRET

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
        whole = read_whole(data)
        if type(whole) is not int:
            self.fail("invalid")
        return whole


class TextField(serializers.CharField):
    """A JSON string; numbers do not stand for one, and a client secret is kept nowhere."""

    default_error_messages = {"secret": _("A client secret may not be sent here.")}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if WHOLE_CLIENT_SECRET.search(data):
            self.fail("secret")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """A JSON boolean; no text or number stands for one."""

    def to_internal_value(self, data: Any) -> bool:
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
            # Its price is decided on, so it is read from the primary.
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
        payable_type, key = identify(value)
        return {"type": get_payable_name(payable_type.pk), "id": key}


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


# RFC 3339; Python alone would accept more.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


CURSOR_SALT = "octo_stripe_gateway.cursor"


class TimeField(serializers.Field[dt.datetime, Any, Any, Any]):
    """A moment with its offset from UTC."""

    default_error_messages = {"invalid": _("A time like 2022-05-25T10:34:22Z is required.")}

    def to_internal_value(self, data: Any) -> dt.datetime:
        try:
            moment = dt.datetime.fromisoformat(data if TIME.fullmatch(data) else "").astimezone(dt.UTC)
            return moment if settings.USE_TZ else timezone.make_naive(moment)
        except (ValueError, OverflowError):
            self.fail("invalid")


class CursorField(serializers.Field[Place, Any, str, Any]):
    """The place in a list that a `Link` led to, signed."""

    default_error_messages = {"invalid": _("This cursor is not one that a Link led to.")}

    def to_internal_value(self, data: Any) -> Place:
        try:
            moment, pk = Signer(salt=CURSOR_SALT).unsign_object(str(data))
        except BadSignature:
            self.fail("invalid")
        return Place(dt.datetime.fromisoformat(moment), pk)

    def to_representation(self, value: Place) -> str:
        return Signer(salt=CURSOR_SALT).sign_object([value.created_at.isoformat(), value.pk])
