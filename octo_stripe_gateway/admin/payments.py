"""The payments, and what an operator can do with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.books import BooksAdmin, join_concerns
from octo_stripe_gateway.admin.change_lists import ChoiceFilter, DateFilter
from octo_stripe_gateway.admin.display import (
    NOTHING,
    PaymentColumns,
    get_number,
    show_account,
    show_at_stripe,
    show_dashboard_link,
    show_dispute,
    show_json,
    show_lines,
    show_money,
    show_movement,
    show_outside_link,
    show_payable,
    show_state,
    show_time,
    spell,
    zone_note,
)
from octo_stripe_gateway.admin.filters import (
    ConcernFilter,
    CurrencyFilter,
    ModeFilter,
    OwnerFilter,
    PayableTypeFilter,
)
from octo_stripe_gateway.admin.operations import (
    CancelOperation,
    CaptureOperation,
    ConfirmOperation,
    ForgiveOperation,
    RefundOperation,
    SyncOperation,
)
from octo_stripe_gateway.admin.search import MOST_FOUND, find_payments
from octo_stripe_gateway.admin.timeline import get_timeline
from octo_stripe_gateway.ledger.concerns import KINDS, describe_concern, get_kind_label
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import Concern, Payment, StripeRequest
from octo_stripe_gateway.stripe.currencies import format_money

MOST_SHOWN = 100
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
class PaymentAdmin(PaymentColumns, BooksAdmin):
    """Shows payments; each operation is done on one at a time, with a permission of its own.

    A host that wants it otherwise unregisters it and registers a subclass: `operations` are the buttons, and
    `get_queryset` decides whose payments a user sees and works with.
    """

    operations = (
        RefundOperation(),
        ForgiveOperation(),
        CaptureOperation(),
        CancelOperation(),
        ConfirmOperation(),
        SyncOperation(),
    )
    list_display = (
        "number",
        "state",
        "amounts",
        "paid_for",
        "whose",
        "created",
        "paid",
        "at_stripe",
    )
    list_filter = (
        ConcernFilter,
        ("status", ChoiceFilter),
        CurrencyFilter,
        ("created_at", DateFilter),
        PayableTypeFilter,
        OwnerFilter,
        ModeFilter,
    )
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
                "description": zone_note(),
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

    def get_fieldsets(self, request: HttpRequest, obj: Payment | None = None) -> Any:
        """Leave out what most payments don't have, where this one doesn't."""
        empty = {name for name, column in SHOWN_IF_FILLED.items() if not getattr(obj, column)}
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name not in empty]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        """Find by indexed columns, the term taken as one; say so where it finds more than are shown."""
        term = search_term.strip()
        if not term:
            return queryset, False
        among = self.get_queryset(request)
        found = find_payments(term, among=among, request=request, site=self.admin_site)
        if len(found) > MOST_FOUND:
            note = _("More than %d payments match; only so many are looked at. Search for more of it.")
            self.message_user(request, note % MOST_FOUND, messages.WARNING)
        return queryset.filter(pk__in=found[:MOST_FOUND]), False

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Payment | None:
        """Return a payment that knows its open concerns."""
        payment: Payment | None = super().get_object(request, *args, **kwargs)
        if payment:
            join_concerns([payment])
        return payment

    def get_subtitle(self, obj: Payment) -> str:
        """Return the number and the amount, which people know a payment by."""
        return f"{get_number(obj)} · {format_money(obj.amount, currency=obj.currency)}"

    def get_page(self, request: HttpRequest, obj: Payment) -> dict[str, Any]:
        """Add the timeline, and what must not be overlooked."""
        may_see_events = request.user.has_perm(f"{self.opts.app_label}.view_webhookevent")
        timeline = get_timeline(obj, site=self.admin_site, with_events=may_see_events)
        return {
            **super().get_page(request, obj),
            "timeline": timeline,
            "timeline_has_details": any(entry.is_detail or entry.more for entry in timeline),
            "alerts": self.get_alerts(request, obj),
        }

    def get_alerts(self, request: HttpRequest, obj: Payment) -> list[Alert]:
        """Return what an operator must know before anything else."""
        alerts = [
            Alert(
                get_kind_label(concern.code),
                describe_concern(concern),
                KINDS[concern.code].action if concern.code in KINDS else "",
                self._list_operations(request, concern),
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
            Alert(disputed if dispute.blocks_refunds else inquired, show_dispute(dispute))
            for dispute in obj.disputes.all()
            if dispute.is_open
        ]
        if obj.amount_reserved:
            amount = show_money(obj.amount_reserved, currency=obj.currency)
            alerts.append(Alert(_("A refund has no answer from Stripe yet: sync to finish it."), amount))
        return alerts

    def _list_operations(self, request: HttpRequest, concern: Concern) -> list[dict[str, Any]]:
        concerns: Any = self.admin_site._registry.get(Concern)
        return concerns.list_operations(request, concern) if concerns else []

    def get_summary(self, obj: Payment) -> list[tuple[Any, Any]]:
        """Return what the page of an operation shows of the payment."""
        return [
            (_("Payment"), get_number(obj)),
            (_("Status"), show_state(obj)),
            (_("Amount"), self.money(obj)),
            (_("Refunded"), self.refunded(obj)),
            (_("For"), self.payable_link(obj)),
            (_("Reseller reference"), obj.reseller_reference or NOTHING),
            (_("Owner"), self.whose(obj)),
            *((get_kind_label(each.code), describe_concern(each)) for each in obj.open_concerns),
        ]

    @admin.display(description=_("amount"), ordering="amount")
    def amounts(self, obj: Payment) -> SafeString:
        """Return the amount, and below it what is refunded."""
        amount = self.money(obj)
        if not obj.amount_refunded:
            return amount
        refunded = format_html(gettext("{} refunded"), self.refunded(obj))
        return format_html('{}<div class="octo-detail">{}</div>', amount, refunded)

    @admin.display(description=_("left to refund"))
    def left(self, obj: Payment) -> SafeString:
        """Return how much may still be refunded."""
        return show_money(obj.amount_refundable, currency=obj.currency)

    @admin.display(description=_("authorized"))
    def authorized(self, obj: Payment) -> SafeString:
        """Return how much may still be captured."""
        return show_money(obj.amount_capturable, currency=obj.currency)

    @admin.display(description=_("received"))
    def received(self, obj: Payment) -> SafeString:
        """Return how much was received."""
        return show_money(obj.amount_received, currency=obj.currency)

    @admin.display(description=_("refunds without an answer"))
    def reserved(self, obj: Payment) -> SafeString:
        """Return how much Stripe was asked to refund without an answer yet."""
        return show_money(obj.amount_reserved, currency=obj.currency)

    @admin.display(description=_("fees"))
    def fees(self, obj: Payment) -> SafeString:
        """Return all that Stripe kept."""
        return show_money(obj.fee or 0, currency=obj.settlement_currency)

    @admin.display(description=_("net"))
    def brought(self, obj: Payment) -> SafeString:
        """Return what is left after fees, refunds and disputes."""
        return show_money(obj.net or 0, currency=obj.settlement_currency)

    @admin.display(description=_("card"))
    def card(self, obj: Payment) -> str:
        """Return what it was paid with."""
        return f"{spell(obj.card_brand)} •••• {obj.card_last4}".strip()

    @admin.display(description=_("exchange rate"))
    def rate(self, obj: Payment) -> str:
        """Return how much of the settlement currency one of the payment's was."""
        return f"{obj.exchange_rate.normalize():f}" if obj.exchange_rate else NOTHING

    @admin.display(description=_("receipt"))
    def receipt(self, obj: Payment) -> SafeString | str:
        """Return the customer's receipt at Stripe."""
        return show_outside_link(obj.receipt_url, text=gettext("Receipt"))

    @admin.display(description=_("movements of money"))
    def movements(self, obj: Payment) -> SafeString | str:
        """Return what moved in Stripe's balance, the oldest first."""
        rows = obj.balance_transactions.order_by("moved_at", "pk")[:MOST_SHOWN]
        return show_lines([show_movement(row) for row in rows])

    @admin.display(description=_("paid"), ordering="confirmed_at")
    def paid(self, obj: Payment) -> SafeString | str:
        """Return when it was paid."""
        return show_time(obj.confirmed_at) if obj.confirmed_at else NOTHING

    @admin.display(description=_("for"))
    def payable_link(self, obj: Payment) -> SafeString | str:
        """Return what is paid for."""
        return show_payable(obj, site=self.admin_site)

    @admin.display(description=_("for"))
    def paid_for(self, obj: Payment) -> SafeString | str:
        """Return what is paid for, and below it the reseller's reference."""
        payable = self.payable_link(obj)
        if not obj.reseller_reference:
            return payable
        reference = format_html('<div class="octo-detail">{}</div>', obj.reseller_reference)
        return reference if payable == NOTHING else format_html("{}{}", payable, reference)

    @admin.display(description=_("owner"))
    def whose(self, obj: Payment) -> str:
        """Return whose payment it is."""
        return obj.owner or NOTHING

    @admin.display(description=_("failure"))
    def failure(self, obj: Payment) -> str:
        """Return why the last attempt failed."""
        return ": ".join(text for text in (obj.failure_code, obj.failure_message) if text) or NOTHING

    @admin.display(description=_("rejected"))
    def rejection(self, obj: Payment) -> str:
        """Return why it was rejected."""
        return describe_rejection(obj)

    @admin.display(description=_("at Stripe"))
    def at_stripe(self, obj: Payment) -> SafeString:
        """Return the mode and the account, and the payment's page in Stripe's dashboard."""
        return show_at_stripe(obj)

    @admin.display(description=_("account"))
    def account_name(self, obj: Payment) -> str:
        """Return the Stripe account."""
        return show_account(obj)

    @admin.display(description=_("payment intent"))
    def dashboard(self, obj: Payment) -> SafeString | str:
        """Return the payment's page in Stripe's dashboard."""
        return show_dashboard_link(obj, text=obj.stripe_payment_intent_id)

    @admin.display(description=_("charge"))
    def charge(self, obj: Payment) -> str:
        """Return Stripe's id of the charge."""
        return obj.stripe_charge_id or NOTHING

    @admin.display(description=_("status at Stripe"))
    def intent_state(self, obj: Payment) -> str:
        """Return the intent's status."""
        return spell(obj.intent_status) or NOTHING

    @admin.display(description=_("disputes"))
    def disputes(self, obj: Payment) -> SafeString | str:
        """Return the disputes, the latest first."""
        latest_first = obj.disputes.order_by("-stripe_created", "-pk")
        return show_lines([show_dispute(dispute) for dispute in latest_first])

    @admin.display(description=_("metadata"))
    def sent_metadata(self, obj: Payment) -> SafeString:
        """Return what the host keeps with the payment."""
        return show_json(obj.metadata)

    @admin.display(description=_("asked of Stripe"))
    def asked_for(self, obj: Payment) -> SafeString:
        """Return what the intent was made from."""
        creation = obj.stripe_requests.filter(kind=StripeRequest.Kind.CREATE).order_by("-pk").first()
        return show_json(creation.parameters if creation else {})
