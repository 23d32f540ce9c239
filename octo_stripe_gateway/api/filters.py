"""The filters of `GET /payments`, and the cursor that leads from page to page."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request

from octo_stripe_gateway.api.lists import Place
from octo_stripe_gateway.api.names import underscoreize
from octo_stripe_gateway.api.serializers import STATUSES, PayableField, RequestSerializer, TextField
from octo_stripe_gateway.conf import gateway_settings
from octo_stripe_gateway.models import get_payable_type

STORED_STATUSES = {sent: stored.value for stored, sent in STATUSES.items()}
# RFC 3339; Python alone would accept more.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class TimeField(serializers.Field[dt.datetime, Any, Any, Any]):
    """A moment with its offset from UTC."""

    default_error_messages = {"invalid": _("A time like 2022-05-25T10:34:22Z is required.")}

    def to_internal_value(self, data: Any) -> dt.datetime:
        """Return the moment, as the host's settings have times."""
        try:
            moment = dt.datetime.fromisoformat(data if TIME.fullmatch(data) else "").astimezone(dt.UTC)
            return moment if settings.USE_TZ else timezone.make_naive(moment)
        except (ValueError, OverflowError):
            self.fail("invalid")


class CursorField(serializers.Field[Place, Any, str, Any]):
    """The place in a list that a `Link` led to, signed."""

    default_error_messages = {"invalid": _("This cursor is not one that a Link led to.")}

    def to_internal_value(self, data: Any) -> Place:
        """Return the place."""
        try:
            moment, pk = _get_signer().unsign_object(str(data))
        except BadSignature:
            self.fail("invalid")
        return Place(dt.datetime.fromisoformat(moment), pk)

    def to_representation(self, value: Place) -> str:
        """Return the text that stands for a place."""
        return _get_signer().sign_object([value.created_at.isoformat(), value.pk])


class PaymentFilterSerializer(RequestSerializer):
    """The parameters of `GET /payments`."""

    reseller_reference = TextField(required=False, max_length=255, help_text="Payments with this reference.")
    payable_type = TextField(required=False, help_text="Together with `payableId`: payments for this.")
    payable_id = TextField(
        required=False, max_length=255, trim_whitespace=False, help_text="Together with `payableType`."
    )
    status = serializers.ChoiceField([*STORED_STATUSES], required=False)
    utc_created_at_from = TimeField(required=False, help_text="Payments created then or later.")
    utc_created_at_to = TimeField(required=False, help_text="Payments created before that.")
    cursor = CursorField(
        required=False, help_text="Where the page before ended: follow `Link`, which has it."
    )

    def validate_status(self, status: str) -> str:
        """Return the status as it is stored."""
        return STORED_STATUSES[status]

    def validate_payable_type(self, name: str) -> str:
        """Return the label of the model."""
        if name not in gateway_settings.payables:
            raise serializers.ValidationError(PayableField.default_error_messages["unknown_type"])
        return gateway_settings.payables[name]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Insist on both parts of a payable."""
        for one, other in (("payable_type", "payable_id"), ("payable_id", "payable_type")):
            if one in attrs and other not in attrs:
                raise serializers.ValidationError({other: _("This field is required.")})
        return attrs


def read_filters(request: Request, serializer_class: type[PaymentFilterSerializer]) -> dict[str, Any]:
    """Return the checked parameters of the address; raises ValidationError."""
    for name, values in request.query_params.lists():
        if len(values) > 1:
            raise serializers.ValidationError({name: _("This parameter comes twice.")})
    serializer = serializer_class(data=underscoreize(request.query_params.dict()))
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def get_equal_columns(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the filters ask for, by column."""
    equal = {name: filters[name] for name in ("status", "reseller_reference") if name in filters}
    if "payable_type" in filters:
        model = apps.get_model(filters["payable_type"])
        equal["payable_type_id"] = get_payable_type(model).pk
        equal["payable_id"] = filters["payable_id"]
    return equal


def _get_signer() -> Signer:
    return Signer(salt="octo_stripe_gateway.cursor")
