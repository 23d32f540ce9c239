"""What the admin's pages show: money, states and links."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.currencies import get_precision
from octo_stripe_gateway.models import Dispute, Payment, WebhookEvent

DASHBOARD = "https://dashboard.stripe.com"
NOTHING = "-"


def format_money(amount: int, *, currency: str) -> str:
    """Return an amount in minor units as people write it, with its currency: `2,000 JPY`."""
    precision = get_precision(currency)
    value = Decimal(amount).scaleb(-precision)
    return f"{number_format(value, decimal_pos=precision, force_grouping=True)} {currency.upper()}"


def show_money(amount: int, *, currency: str) -> SafeString:
    """Return an amount that no line breaks."""
    return format_html('<span class="octo-money">{}</span>', format_money(amount, currency=currency))


def show_badge(text: Any, *, kind: str) -> SafeString:
    """Return a word in the colour of its kind."""
    return format_html('<span class="octo-badge octo-{}">{}</span>', kind, text)


def show_state(payment: Payment) -> SafeString:
    """Return a payment's status, and beside it what an operator must not overlook."""
    badges = [show_badge(payment.get_status_display(), kind=payment.status)]
    if payment.disputed:
        badges.append(show_badge(gettext("disputed"), kind="alert"))
    if payment.mismatch:
        badges.append(show_badge(gettext("mismatch"), kind="alert"))
    return SafeString(" ".join(badges))


def show_dispute(dispute: Dispute) -> str:
    """Return a dispute's amount, its state, and until when evidence is taken."""
    parts = [format_money(dispute.amount, currency=dispute.currency), dispute.status.replace("_", " ")]
    if dispute.reason:
        parts.append(dispute.reason.replace("_", " "))
    if dispute.is_open and dispute.evidence_due_at:
        due = date_format(timezone.localtime(dispute.evidence_due_at), "SHORT_DATETIME_FORMAT")
        parts.append(gettext("evidence until %s") % due)
    return " · ".join([*parts, dispute.stripe_dispute_id])


def show_mode(row: Payment | WebhookEvent) -> SafeString:
    """Return whether real money moves."""
    return (
        show_badge(gettext("live"), kind="live") if row.livemode else show_badge(gettext("test"), kind="test")
    )


def show_json(value: Any) -> SafeString:
    """Return a JSON value, indented."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="octo-json">{}</pre>', text)


def show_link(url: str, *, text: Any) -> SafeString:
    """Return a link within the admin, or just its text where there is no such page."""
    return format_html('<a href="{}">{}</a>', url, text) if url else format_html("{}", text)


def show_dashboard_link(row: Payment | WebhookEvent, *, text: Any) -> SafeString | str:
    """Return a link to the row's page in Stripe's dashboard, which opens beside the admin."""
    url = get_dashboard_url(row)
    if not url:
        return NOTHING
    return format_html('<a href="{}" target="_blank" rel="noopener noreferrer">{}&nbsp;↗</a>', url, text)


def get_dashboard_url(row: Payment | WebhookEvent) -> str:
    """Return a row's address in Stripe's dashboard, of its account and mode; empty before it is known."""
    if isinstance(row, Payment):
        folder, stripe_id = "payments", row.stripe_payment_intent_id
    else:
        folder, stripe_id = "events", row.stripe_event_id
    if not stripe_id:
        return ""
    mode = "" if row.livemode else "test"
    return "/".join(part for part in (DASHBOARD, row.stripe_account, mode, folder, stripe_id) if part)


def get_change_url(model: type[Model], pk: Any, *, site: AdminSite) -> str:
    """Return the page of a row in this admin, empty where its model is not registered."""
    if not site.is_registered(model):
        return ""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    try:
        return reverse(name, args=[pk], current_app=site.name)
    except NoReverseMatch:
        return ""


def show_payable(payment: Payment, *, site: AdminSite) -> SafeString | str:
    """Return what a payment is for, by type and id, linked to the host's page of it; asks no database."""
    if payment.payable_type_id is None:
        return NOTHING
    content_type = ContentType.objects.get_for_id(payment.payable_type_id)
    model = content_type.model_class()
    text = f"{capfirst(content_type.name)} {payment.payable_id}"
    return show_link(get_change_url(model, payment.payable_id, site=site) if model else "", text=text)


class PaymentColumns:
    """What every list of payments shows."""

    @admin.display(description=_("status"))
    def state(self, obj: Payment) -> SafeString:
        """Return the status, with a mismatch and a dispute beside it."""
        return show_state(obj)

    @admin.display(description=_("amount"))
    def money(self, obj: Payment) -> SafeString:
        """Return the amount with its currency."""
        return show_money(obj.amount, currency=obj.currency)

    @admin.display(description=_("refunded"))
    def refunded(self, obj: Payment) -> SafeString | str:
        """Return how much went back."""
        return show_money(obj.amount_refunded, currency=obj.currency) if obj.amount_refunded else NOTHING

    @admin.display(description=_("mode"))
    def mode(self, obj: Payment) -> SafeString:
        """Return whether real money moves."""
        return show_mode(obj)
