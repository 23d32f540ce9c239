"""Filters and searches that stay fast over many payments."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.contrib.contenttypes.models import ContentType
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.inbox import HANDLERS
from octo_stripe_gateway.lists import filter_by_index
from octo_stripe_gateway.models import Payment, Refund
from octo_stripe_gateway.snapshots import LARGEST_INTEGER

LATEST = 1000
FOUND = 1000


class CurrencyFilter(SimpleListFilter):
    """Offers the currencies of the latest payments: those of all would take reading every row."""

    title = _("currency")
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Return the currencies, the one in the address with them."""
        latest = Payment.objects.order_by("-pk").values_list("currency", flat=True)[:LATEST]
        currencies = {*latest, *request.GET.getlist(self.parameter_name)}
        return [(currency, currency.upper()) for currency in sorted(currencies)]

    def has_output(self) -> bool:
        """Show it even where there is nothing to choose from."""
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the payments in that currency."""
        value = (self.value() or "").lower()
        return filter_by_index(queryset, column="currency", value=value) if value else queryset


class PayableTypeFilter(SimpleListFilter):
    """Offers the models that have payments."""

    title = _("payable")
    parameter_name = "payable_type"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[tuple[str, Any]]:
        """Return the models, and none at all."""
        paid_for = Exists(Payment.objects.filter(payable_type=OuterRef("pk")))
        for content_type in ContentType.objects.filter(paid_for).order_by("app_label", "model"):
            yield str(content_type.pk), capfirst(content_type.name)
        yield "none", _("None")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the payments for objects of that model."""
        value = self.value() or ""
        if value == "none":
            return queryset.filter(payable_type=None)
        if not value:
            return queryset
        if not is_row_id(value):
            return queryset.none()
        return filter_by_index(queryset, column="payable_type_id", value=int(value))


class MismatchFilter(SimpleListFilter):
    """Tells apart the payments of which Stripe says something else."""

    title = _("mismatch")
    parameter_name = "mismatched"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        """Return yes and no."""
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the payments with a mismatch, or those without."""
        if self.value() == "yes":
            return queryset.exclude(mismatch="")
        # As a range, which PostgreSQL takes for common where it knows nothing of the rows.
        return queryset.filter(mismatch__lte="") if self.value() == "no" else queryset


class EventTypeFilter(SimpleListFilter):
    """Offers the types of event that something is done about."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Return the types, those of the host's own handlers with them."""
        return [(name, name) for name in sorted({*HANDLERS, *request.GET.getlist(self.parameter_name)})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the events of that type."""
        value = self.value()
        return filter_by_index(queryset, column="type", value=value) if value else queryset


def match_payments(term: str) -> Q:
    """Return the payments that a term names by an id of ours or Stripe's, or by their reference.

    Every alternative is the beginning or the whole of an indexed column, so none reads the table.
    """
    query = _begins(term, column="reseller_reference")
    if is_row_id(term):
        query |= Q(pk=int(term))
    if wanted := _read_uuid(term):
        query |= Q(uuid=wanted)
    if term.startswith("pi_"):
        query |= Q(stripe_payment_intent_id__startswith=term)
    if term.startswith(("ch_", "py_")):
        query |= _begins(term, column="stripe_charge_id")
    if term.startswith(("re_", "pyr_")):
        refunds = Refund.objects.filter(stripe_refund_id=term)
        query |= Q(pk__in=list(refunds.values_list("payment", flat=True)))
    return query


def match_events(term: str) -> Q:
    """Return the events that a term names by their id at Stripe, or by their payment."""
    payments = Payment.objects.filter(match_payments(term), stripe_payment_intent_id__isnull=False)
    intents = payments.order_by("-pk").values_list("stripe_payment_intent_id", flat=True)[:FOUND]
    return Q(stripe_event_id=term) | Q(payment_intent_id__in=list(intents))


def is_row_id(term: str) -> bool:
    """Tell whether a term is a number that a row can have."""
    return term.isascii() and term.isdigit() and len(term) < 20 and int(term) <= LARGEST_INTEGER


def _begins(term: str, *, column: str) -> Q:
    # The index leaves out what is empty, and is used only where that is said.
    return Q(**{f"{column}__startswith": term}) & ~Q(**{column: ""})


def _read_uuid(term: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(term)
    except ValueError:
        return None
