"""The payments, and what an operator can do with one."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
import octo_stripe_gateway.admin.lists as lists
import octo_stripe_gateway.admin.operations as operations
from octo_stripe_gateway.admin.books import BooksAdmin
from octo_stripe_gateway.admin.search import MOST_FOUND, find_payments
from octo_stripe_gateway.admin.timeline import get_timeline
from octo_stripe_gateway.ledger.concerns import describe_concern, get_kind_label
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import Concern, Payment, StripeRequest
from octo_stripe_gateway.stripe.currencies import format_money

MOST_SHOWN = 100
LONGEST_OWNER = 24
# Fields that are shown only where their column holds something.
SHOWN_IF_FILLED = {
    "authorized": "amount_capturable",
    "capture_before": "capture_before",
    "expires_at": "expires_at",
    "purpose": "purpose",
    "failure": "failure_code",
    "rejection": "rejection_code",
    "reserved": "amount_reserved",
    "fees": "settlement_currency",
    "brought": "settlement_currency",
    "movements": "settlement_currency",
    "rate": "exchange_rate",
    "card": "card_last4",
    "receipt": "receipt_url",
}


class Alert(NamedTuple):
    """What an operator must not overlook on a payment's page, and what can be done about it there."""

    title: Any
    detail: str
    action: Any = ""
    operations: Sequence[dict[str, Any]] = ()


@admin.register(Payment)
class PaymentAdmin(display.PaymentColumns, BooksAdmin):
    """Shows payments; each operation is done on one at a time, with a permission of its own.

    A host that wants it otherwise unregisters it and registers a subclass: `operations` are the buttons, and
    `get_queryset` decides whose payments a user sees and works with.
    """

    operations = (
        operations.RefundOperation(),
        operations.ForgiveOperation(),
        operations.CaptureOperation(),
        operations.CancelOperation(),
        operations.ConfirmOperation(),
        operations.SyncOperation(),
    )
    list_display = (
        "number",
        "state",
        "amounts",
        "paid_for",
        "owner_name",
        "created",
        "paid",
        "at_stripe",
    )
    list_filter = (
        lists.ConcernFilter,
        ("status", lists.ChoiceFilter),
        lists.CurrencyFilter,
        ("created_at", lists.DateFilter),
        lists.PayableTypeFilter,
        lists.OwnerFilter,
        lists.ModeFilter,
    )
    summary_fields = ("number", "state", "money", "refunded", "payable_link", "reseller_reference", "whose")
    ordering = ("-pk",)
    sortable_by = ("number", "amounts", "created", "paid")
    search_fields = ("uuid",)
    search_help_text = _(
        "A payment's number or id, its reseller reference or owner, what is paid for, or Stripe's id of the"
        " intent, charge, refund or dispute"
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "state",
                    "money",
                    "received",
                    "refunded",
                    "left",
                    "fees",
                    "brought",
                    "card",
                    "payable_link",
                    "purpose",
                    "whose",
                    "reseller_reference",
                    "failure",
                    "rejection",
                    "mode",
                )
            },
        ),
        (
            _("At Stripe"),
            {
                "fields": (
                    "dashboard",
                    "charge",
                    "account_name",
                    "intent_state",
                    "capture_method",
                    "authorized",
                    "reserved",
                    "disputes",
                    "movements",
                    "rate",
                    "receipt",
                )
            },
        ),
        (
            _("Times"),
            {
                "classes": ("collapse",),
                "description": display.ZONE_NOTE,
                "fields": (
                    "created_at",
                    "confirmed_at",
                    "failed_at",
                    "canceled_at",
                    "refunded_at",
                    "expires_at",
                    "capture_before",
                    "updated_at",
                ),
            },
        ),
        (
            _("Technical details"),
            {"classes": ("collapse",), "fields": ("uuid", "id", "sent_metadata", "asked_for")},
        ),
    )

    payable_link = display.link_column(_("for"), display.show_payable)
    left = display.money_column(_("left to refund"), "amount_refundable")
    authorized = display.money_column(_("authorized"), "amount_capturable")
    received = display.money_column(_("received"), "amount_received")
    reserved = display.money_column(_("refunds without an answer"), "amount_reserved")
    fees = display.money_column(_("fees"), "fee", currency="settlement_currency")
    brought = display.money_column(_("net"), "net", currency="settlement_currency")
    card = display.column(_("card"), display.show_card)
    rate = display.column(_("exchange rate"), display.show_rate)
    receipt = display.column(
        _("receipt"), lambda row: display.show_outside_link(row.receipt_url, text=gettext("Receipt"))
    )
    paid = display.time_column(_("paid"), "confirmed_at", ordering="confirmed_at")
    failure = display.column(
        _("failure"), lambda row: ": ".join(filter(None, (row.failure_code, row.failure_message)))
    )
    whose = display.column(_("owner"), attrgetter("owner"))
    rejection = display.column(_("rejected"), describe_rejection)
    dashboard = display.column(_("payment intent"), display.show_dashboard_link)
    charge = display.column(_("charge"), attrgetter("stripe_charge_id"))
    intent_state = display.column(_("status at Stripe"), lambda row: display.spell(row.intent_status))
    sent_metadata = display.column(_("metadata"), lambda row: display.show_json(row.metadata))

    def get_fieldsets(self, request: HttpRequest, obj: Payment | None = None) -> Any:
        """Leave out the fields of `SHOWN_IF_FILLED` that are empty."""
        empty = {name for name, column in SHOWN_IF_FILLED.items() if not getattr(obj, column)}
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name not in empty]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        """Find payments by indexed columns, by the whole term; warn if there are more than are shown."""
        term = search_term.strip()
        if not term:
            return queryset, False
        among = self.get_queryset(request)
        found = find_payments(term, among=among, request=request, site=self.admin_site)
        if len(found) > MOST_FOUND:
            note = _("More than %d payments match; only so many are looked at. Search for more of it.")
            self.message_user(request, note % MOST_FOUND, messages.WARNING)
        return queryset.filter(pk__in=found[:MOST_FOUND]), False

    def get_owner_name(self, owner: str) -> str:
        """Return what a list calls an owner: a long one in short, such as `visitor e65c21f4…`.

        A host that knows better names overrides it.
        """
        if len(owner) <= LONGEST_OWNER:
            return owner
        kind, _colon, key = owner.rpartition(":")
        return f"{kind.rpartition('.')[2]} {key[: display.NUMBER_LENGTH]}…".strip()

    def get_subtitle(self, obj: Payment) -> str:
        """Return the number and the amount, which people know a payment by."""
        return f"{display.get_number(obj)} · {format_money(obj.amount, currency=obj.currency)}"

    def get_page(self, request: HttpRequest, obj: Payment) -> dict[str, Any]:
        """Add the timeline and the warnings."""
        may_see_events = request.user.has_perm(f"{self.opts.app_label}.view_webhookevent")
        timeline = get_timeline(obj, site=self.admin_site, with_events=may_see_events)
        return {
            **super().get_page(request, obj),
            "timeline": timeline,
            "timeline_has_details": any(entry.is_detail or entry.more for entry in timeline),
            "alerts": self.get_alerts(request, obj),
        }

    def get_alerts(self, request: HttpRequest, obj: Payment) -> list[Alert]:
        """Return the warnings at the top of a payment's page."""
        concerns: Any = self.admin_site._registry.get(Concern)
        alerts = [
            Alert(
                get_kind_label(concern.code),
                describe_concern(concern),
                display.show_action(concern.code),
                concerns.list_operations(request, concern) if concerns else [],
            )
            for concern in obj.open_concerns
        ]
        if obj.needs_reversal:
            held = format_money(obj.amount_held or obj.amount_capturable, currency=obj.currency)
            title = gettext("The payment was rejected, and %s is still held.") % held
            alerts.append(Alert(title, describe_rejection(obj)))
        disputed = _(
            "The customer's bank disputes this payment: nothing can be refunded until that is decided."
        )
        inquired = _("The customer's bank asks about this payment: to refund all of it avoids a dispute.")
        alerts += [
            Alert(disputed if dispute.blocks_refunds else inquired, display.show_dispute(dispute))
            for dispute in obj.disputes.all()
            if dispute.is_open
        ]
        if obj.amount_reserved:
            amount = display.show_money(obj.amount_reserved, currency=obj.currency)
            alerts.append(Alert(_("A refund has no answer from Stripe yet: sync to finish it."), amount))
        return alerts

    def get_summary(self, obj: Payment) -> list[tuple[Any, Any]]:
        concerns = ((get_kind_label(each.code), describe_concern(each)) for each in obj.open_concerns)
        return [*super().get_summary(obj), *concerns]

    @admin.display(description=_("amount"), ordering="amount")
    def amounts(self, obj: Payment) -> SafeString:
        amount: SafeString = self.money(obj)
        if not obj.amount_refunded:
            return amount
        refunded = format_html(gettext("{} refunded"), self.refunded(obj))
        return format_html('{}<div class="octo-detail">{}</div>', amount, refunded)

    @admin.display(description=_("owner"))
    def owner_name(self, obj: Payment) -> SafeString | str:
        """Return the owner in short, with the whole name as a tooltip."""
        if not obj.owner:
            return display.NOTHING
        return format_html('<span title="{}">{}</span>', obj.owner, self.get_owner_name(obj.owner))

    @admin.display(description=_("movements of money"))
    def movements(self, obj: Payment) -> SafeString | str:
        rows = obj.balance_transactions.order_by("moved_at", "pk")[:MOST_SHOWN]
        return display.show_lines([display.show_movement(row) for row in rows])

    @admin.display(description=_("for"))
    def paid_for(self, obj: Payment) -> SafeString | str:
        payable: SafeString = self.payable_link(obj)
        if not obj.reseller_reference:
            return payable
        reference = format_html('<div class="octo-detail">{}</div>', obj.reseller_reference)
        return reference if payable == display.NOTHING else format_html("{}{}", payable, reference)

    @admin.display(description=_("disputes"))
    def disputes(self, obj: Payment) -> SafeString | str:
        latest_first = obj.disputes.order_by("-stripe_created", "-pk")
        return display.show_lines([display.show_dispute(dispute) for dispute in latest_first])

    @admin.display(description=_("asked of Stripe"))
    def asked_for(self, obj: Payment) -> SafeString:
        creation = obj.stripe_requests.filter(kind=StripeRequest.Kind.CREATE).order_by("-pk").first()
        return display.show_json(creation.parameters if creation else {})
