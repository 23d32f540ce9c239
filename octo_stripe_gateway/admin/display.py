"""What the admin's pages show: money, states, times and links."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import lazy
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.conf import STRIPE_API_BASE, gateway_settings
from octo_stripe_gateway.ledger.concerns import get_action, get_kind_label
from octo_stripe_gateway.models import BalanceTransaction, Dispute, Dues, PayableLock, Payment, WebhookEvent
from octo_stripe_gateway.stripe.currencies import format_money

DASHBOARD = "https://dashboard.stripe.com"
NOTHING = "-"
NUMBER_LENGTH = 8
# Brands that Stripe writes otherwise than people do: https://docs.stripe.com/api/charges/object.
BRANDS = {
    "amex": "American Express",
    "diners": "Diners Club",
    "eftpos_au": "eftpos Australia",
    "jcb": "JCB",
    "unionpay": "UnionPay",
}
# What operators call columns that have technical names.
LABELS = {
    "amount_capturable": _("authorized"),
    "amount_reserved": _("refunds without an answer"),
    "intent_status": _("status at Stripe"),
    "stripe_charge_id": _("charge"),
    "stripe_payment_intent_id": _("payment intent"),
}


def get_local(moment: dt.datetime) -> dt.datetime:
    """Return a moment in the current time zone, or as it is where the host uses none."""
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def format_time(moment: dt.datetime) -> str:
    """Return a moment to the second, with its time zone."""
    local = get_local(moment)
    return f"{date_format(local, 'SHORT_DATE_FORMAT')} {date_format(local, 'H:i:s T')}"


def describe_change(name: str, values: Iterable[Any], *, currency: str) -> str:
    """Return a change of a payment's column for operators: its label, then its values."""

    def show(value: Any) -> str:
        if name.startswith("amount_"):
            return format_money(value, currency=currency)
        if isinstance(value, bool):
            return gettext("yes") if value else gettext("no")
        if name == "status":
            return get_status_label(value)
        return spell(value) if name == "intent_status" else str(value or NOTHING)

    # The journal may name a column that no longer exists.
    known = {field.attname: field.verbose_name for field in Payment._meta.concrete_fields}
    label = LABELS.get(name) or known.get(name) or spell(name)
    return f"{label}: {' → '.join(map(show, values))}"


def spell(word: str) -> str:
    """Return one of Stripe's words as people write it."""
    return word.replace("_", " ")


def get_status_label(status: str) -> str:
    return str(dict(Payment.Status.choices).get(status, status))


def get_number(payment: Payment) -> str:
    """Return the digits that people call a payment by: the first of its uuid, since ids have gaps."""
    return payment.uuid.hex[:NUMBER_LENGTH]


# A sentence that names the time zone of the times on a page.
ZONE_NOTE: Any = lazy(lambda: gettext("In the time zone %s.") % timezone.get_current_timezone_name(), str)()


def show_action(code: str) -> SafeString:
    """Say what to do about a concern of this code, with what stands between backticks as code."""
    parts = get_action(code).split("`")
    return format_html("".join("<code>{}</code>" if n % 2 else "{}" for n in range(len(parts))), *parts)


def show_money(amount: int, *, currency: str) -> SafeString:
    """Return an amount that stays on one line."""
    return format_html('<span class="octo-money">{}</span>', format_money(amount, currency=currency))


def show_dues(dues: Dues) -> list[tuple[Any, Any]]:
    """Return what a payable owes, by label; rare amounts are left out where they are zero."""
    amounts = (
        (_("price"), dues.price),
        (_("received"), dues.received),
        (_("refunded"), dues.refunded),
        (_("forgiven"), dues.forgiven or None),
        (_("kept"), dues.kept),
        (_("surplus"), dues.surplus or None),
        (_("under way"), dues.in_flight or None),
        (_("due"), dues.due),
    )
    shown = [(label, show_money(each, currency=dues.currency)) for label, each in amounts if each is not None]
    due_at = dues.next.due_at if dues.next else None
    return [*shown, (_("next due"), show_time(due_at) if due_at else NOTHING)]


def show_time(moment: dt.datetime) -> SafeString:
    """Return a moment short enough for a column, with seconds and time zone as its tooltip."""
    local = get_local(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        format_time(moment),
        date_format(local, "SHORT_DATETIME_FORMAT"),
    )


def show_badge(text: Any, *, kind: str, title: str = "") -> SafeString:
    """Return a word in the colour of its kind, with a tooltip."""
    titled = format_html(' title="{}"', title) if title else ""
    return format_html('<span class="octo-badge octo-{}"{}>{}</span>', kind, titled, text)


def show_state(payment: Payment) -> SafeString:
    """Return a payment's status, and warnings beside it."""
    alerts = {
        gettext("money held"): payment.needs_reversal,
        gettext("disputed"): payment.disputed,
    }
    badges = [show_badge(payment.get_status_display(), kind=payment.status)]
    badges += [show_badge(text, kind="alert") for text, is_shown in alerts.items() if is_shown]
    if payment.open_concerns:
        labels = "; ".join(get_kind_label(concern.code) for concern in payment.open_concerns)
        badges.append(show_badge(gettext("attention"), kind="alert", title=labels))
    return SafeString(" ".join(badges))


def show_dispute(dispute: Dispute) -> SafeString:
    """Return a dispute's amount, its state, until when Stripe takes evidence, and its page there."""
    parts = [format_money(dispute.amount, currency=dispute.currency), spell(dispute.status)]
    if dispute.reason:
        parts.append(spell(dispute.reason))
    if dispute.is_open and dispute.evidence_due_at:
        parts.append(gettext("evidence is due by %s") % format_time(dispute.evidence_due_at))
    name = dispute.stripe_dispute_id
    link = show_dashboard_link(dispute.payment, text=name, page=f"disputes/{name}")
    return format_html_join(" · ", "{}", ((part,) for part in (*parts, link)))


def show_movement(movement: BalanceTransaction) -> str:
    """Return what moved in Stripe's balance, and what Stripe kept of it."""
    parts = [
        format_time(movement.moved_at),
        spell(movement.reporting_category),
        format_money(movement.amount, currency=movement.currency),
    ]
    if movement.fee:
        parts.append(gettext("fee %s") % format_money(movement.fee, currency=movement.currency))
    return " · ".join([*parts, movement.stripe_balance_transaction_id])


def show_lines(lines: Iterable[str]) -> SafeString | str:
    return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or NOTHING


def show_mode(row: Payment | WebhookEvent) -> SafeString:
    kind, text = ("live", gettext("live")) if row.livemode else ("test", gettext("test"))
    return show_badge(text, kind=kind)


def show_account(row: Payment | WebhookEvent) -> str:
    """Return the account's name in the settings, and the connected account."""
    names = (row.account or gettext("the default account"), row.stripe_account)
    return " · ".join(name for name in names if name)


def show_json(value: Any) -> SafeString:
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="octo-json">{}</pre>', text)


def show_link(url: str, *, text: Any) -> SafeString:
    """Return a link within the admin, or just its text where there is no such page."""
    return format_html('<a href="{}">{}</a>', url, text) if url else format_html("{}", text)


def show_rate(row: Payment | BalanceTransaction) -> str:
    """Return what one unit of the payment's currency was in the settlement currency."""
    return f"{row.exchange_rate.normalize():f}" if row.exchange_rate else ""


def show_card(payment: Payment) -> str:
    brand = BRANDS.get(payment.card_brand) or capfirst(spell(payment.card_brand))
    return f"{brand} •••• {payment.card_last4}".strip()


def show_dashboard_link(row: Payment | WebhookEvent, *, text: Any = "", page: str = "") -> SafeString | str:
    """Return a link to a page of Stripe's dashboard, by default the row's own.

    Just the text if Stripe doesn't have the row yet, or if an emulator takes Stripe's place.
    """
    if isinstance(row, Payment):
        kind, own = "payments", row.stripe_payment_intent_id
    else:
        kind, own = "events", row.stripe_event_id
    page = page or (f"{kind}/{own}" if own else "")
    if not page or gateway_settings.stripe_api_base != STRIPE_API_BASE:
        return text or own or NOTHING
    mode = "" if row.livemode else "test"
    url = "/".join(part for part in (DASHBOARD, row.stripe_account, mode, page) if part)
    return show_outside_link(url, text=text or own)


def show_outside_link(url: str, *, text: Any) -> SafeString | str:
    """Return a link to a page of Stripe's, which opens beside the admin."""
    if not url.startswith("https://"):
        return NOTHING
    return format_html('<a href="{}" target="_blank" rel="noopener noreferrer">{}&nbsp;↗</a>', url, text)


def show_at_stripe(row: Payment | WebhookEvent) -> SafeString:
    """Return the mode, linked to the row's page in Stripe's dashboard, and the account where it is named."""
    link = show_dashboard_link(row, text=show_mode(row))
    account = format_html('<div class="octo-detail">{}</div>', row.account) if row.account else ""
    return format_html("{}{}", link, account)


def get_url(model: type[Model], page: str, *args: Any, site: AdminSite) -> str:
    """Return the address of a model's or row's page in this admin; empty where there is none."""
    if not site.is_registered(model):
        return ""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    try:
        return reverse(name, args=list(map(quote, args)), current_app=site.name)
    except NoReverseMatch:
        return ""


def show_payment(payment: Payment | None, site: AdminSite) -> SafeString | str:
    if payment is None:
        return NOTHING
    return show_link(get_url(Payment, "change", payment.pk, site=site), text=get_number(payment))


def show_payable(row: Payment | PayableLock, site: AdminSite) -> SafeString | str:
    """Return what is paid for, by type and id, linked to the host's page of it, without a query."""
    if row.payable_type_id is None:
        return NOTHING
    content_type = ContentType.objects.get_for_id(row.payable_type_id)
    model = content_type.model_class()
    text = f"{capfirst(content_type.name)} {row.payable_id}"
    return show_link(get_url(model, "change", row.payable_id, site=site) if model else "", text=text)


def column(label: Any, show: Callable[[Any], Any], *, ordering: str | None = None) -> Any:
    """Return a column that shows what a function makes of a row, or a dash."""

    def show_row(_admin: Any, row: Any) -> Any:
        return show(row) or NOTHING

    return admin.display(show_row, description=label, ordering=ordering)


def link_column(label: Any, show: Callable[[Any, AdminSite], Any]) -> Any:
    """Return a column that links to a page of the same admin."""

    def show_row(model_admin: Any, row: Any) -> Any:
        return show(row, model_admin.admin_site)

    return admin.display(show_row, description=label)


def money_column(label: Any, name: str, *, currency: str = "currency") -> Any:
    """Return a column that shows an amount in the currency of another column."""

    def show(row: Any) -> SafeString:
        return show_money(getattr(row, name) or 0, currency=getattr(row, currency))

    return column(label, show)


def time_column(label: Any, name: str, *, ordering: str | None = None) -> Any:
    """Return a column that shows a moment, or a dash."""

    def show(row: Any) -> SafeString | str:
        moment = getattr(row, name)
        return show_time(moment) if moment else NOTHING

    return column(label, show, ordering=ordering)


class StripeColumns:
    """Columns of payments and events: their mode, their account, and a link to Stripe."""

    mode = column(_("mode"), show_mode)
    at_stripe = column(_("at Stripe"), show_at_stripe)
    account_name = column(_("account"), show_account)


class PaymentColumns(StripeColumns):
    """Columns of every list of payments."""

    number = column(_("payment"), get_number, ordering="pk")
    state = column(_("status"), show_state)
    money = money_column(_("amount"), "amount")
    refunded = column(
        _("refunded"),
        lambda row: row.amount_refunded and show_money(row.amount_refunded, currency=row.currency),
    )
    # Ids have the same order, and share an index with each column that lists are filtered by.
    created = time_column(_("created"), "created_at", ordering="pk")
