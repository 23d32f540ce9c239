"""Searches that stay fast over many rows.

A term is looked for in one index after the other, and the rows are then read by their ids. One query over
everything, ordered by id, would have PostgreSQL read the whole table whenever its statistics suggest that.
"""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from typing import Any

from django.contrib.admin import AdminSite
from django.db import OperationalError
from django.db.models import CharField, F, Model, OrderBy, QuerySet, TextField
from django.http import HttpRequest

from octo_stripe_gateway.admin.lists import get_paid_types, is_row_id, time_limit
from octo_stripe_gateway.api.lists import BY_MOMENT
from octo_stripe_gateway.models import Dispute, Payment, Refund, WebhookEvent

# A term finds at most so many payments, so many payables, and the events of so many payments.
MOST_FOUND = 1000
MOST_PAYABLES = 100
MOST_FOR_EVENTS = 100
STRIPE_PREFIXES = ("pi_", "ch_", "py_", "re_", "pyr_", "du_", "dp_", "evt_")


class ByIndex(OrderBy):
    """Orders by a text as its prefix index does, so that reading that index is the cheapest way."""

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        # Django needs to find a direction in the SQL.
        return self.as_sql(compiler, connection, template="%(expression)s USING ~>~ /* DESC */")


def find_payments(term: str, *, among: QuerySet[Payment], request: HttpRequest, site: AdminSite) -> list[int]:
    """Return the ids of payments that a term names, each once; one more than is shown if there are more.

    It names them by an id of ours or Stripe's, by their reference, their owner, or what they pay for.
    """
    among, searches = among.order_by(), []
    # A query of one index each, the surest first.
    if is_row_id(term):
        searches.append(among.filter(pk=int(term)))
    if re.fullmatch("[0-9a-fA-F]{8,32}", digits := term.replace("-", "")):
        bounds = [uuid.UUID(digits.ljust(32, end)) for end in "0f"]
        searches.append(among.filter(uuid__range=bounds).order_by("-uuid"))
    if term.startswith("pi_"):
        searches.append(begins(term, among=among, column="stripe_payment_intent_id"))
    if term.startswith(("ch_", "py_")):
        by_charge = begins(term, among=among, column="stripe_charge_id")
        searches.append(by_charge.exclude(stripe_charge_id=""))
    if term.startswith(("re_", "pyr_")):
        searches.append(_by_keys(among, Refund.objects.filter(stripe_refund_id=term)))
    if term.startswith(("du_", "dp_")):
        searches.append(_by_keys(among, Dispute.objects.filter(stripe_dispute_id=term)))
    payables = find_payables(term, among=among, request=request, site=site)
    for content_type_pk, keys in payables.items():
        paid_for = among.filter(payable_type=content_type_pk, payable_id__in=keys)
        searches.append(paid_for.order_by("-payable_id"))
    owned = among.filter(owner__in=[term, f"key:{term}"]).exclude(owner="")
    searches.append(owned.order_by("-owner", *BY_MOMENT))
    by_reference = begins(term, among=among, column="reseller_reference")
    searches.append(by_reference.exclude(reseller_reference=""))
    found: dict[int, None] = {}
    for payments in searches:
        found |= dict.fromkeys(payments.values_list("pk", flat=True)[: MOST_FOUND + 1])
    return list(found)[: MOST_FOUND + 1]


def find_events(term: str, *, request: HttpRequest, site: AdminSite) -> list[int]:
    """Return the ids of events that a term names by their id at Stripe, or by what names their payment."""
    among = Payment.objects.all()
    keys = find_payments(term, among=among, request=request, site=site)[:MOST_FOR_EVENTS]
    known = Payment.objects.filter(pk__in=keys, stripe_payment_intent_id__isnull=False)
    intents = {*known.values_list("stripe_payment_intent_id", flat=True)}
    if term.startswith("pi_"):
        intents.add(term)
    by_id = WebhookEvent.objects.filter(stripe_event_id=term)
    # The index leaves out empty ids, so PostgreSQL uses it only if the query does too.
    by_intent = WebhookEvent.objects.filter(payment_intent_id__in=intents).exclude(payment_intent_id="")
    by_intent = by_intent.order_by("-payment_intent_id")
    return [key for rows in (by_id, by_intent) for key in rows.values_list("pk", flat=True)[:MOST_FOUND]]


def find_payables(
    term: str, *, among: QuerySet[Payment], request: HttpRequest, site: AdminSite
) -> dict[int, set[str]]:
    """Return by type the keys of objects that a term names by key, an indexed text, or their admin."""
    if term.startswith(STRIPE_PREFIXES):
        return {}
    found = {}
    for content_type in get_paid_types(among):
        # The lists show `Booking 12`.
        name = f"{content_type.name} ".lower()
        own = term[len(name) :].strip() if term.lower().startswith(name) else term
        found[content_type.pk] = keys = {own}
        with suppress(ValueError):
            keys.add(str(uuid.UUID(own)))
        if not (model := content_type.model_class()):
            continue
        for field in model._meta.concrete_fields:
            is_indexed = field.unique or getattr(field, "db_index", False)
            if is_indexed and isinstance(field, CharField | TextField):
                keys.update(_list_keys(model._default_manager.filter(**{field.name: own})))
        keys.update(_find_by_admin(model, own, request=request, site=site))
    return found


def begins(term: str, *, among: QuerySet[Payment], column: str) -> QuerySet[Payment]:
    """Return the payments whose column begins with the term, using its prefix index."""
    return among.filter(**{f"{column}__startswith": term}).order_by(ByIndex(F(column)))


def _by_keys(among: QuerySet[Payment], rows: QuerySet[Any]) -> QuerySet[Payment]:
    return among.filter(pk__in=[*rows.values_list("payment_id", flat=True)])


def _find_by_admin(model: type[Model], term: str, *, request: HttpRequest, site: AdminSite) -> list[str]:
    """Return the keys of objects that the model's own admin finds in time, for users who may view them."""
    if not site.is_registered(model):
        return []
    model_admin = site.get_model_admin(model)
    if not (model_admin.get_search_fields(request) and model_admin.has_view_permission(request)):
        return []
    rows, _may_repeat = model_admin.get_search_results(request, model_admin.get_queryset(request), term)
    with suppress(OperationalError), time_limit(rows.db):
        return _list_keys(rows)
    return []


def _list_keys(rows: QuerySet[Any]) -> list[str]:
    return [str(key) for key in rows.values_list("pk", flat=True)[:MOST_PAYABLES]]
