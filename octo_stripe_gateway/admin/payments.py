"""The payments, and what an operator can do with one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.admin.change_lists import ChoiceFilter, DateFilter
from octo_stripe_gateway.admin.display import (
    NOTHING,
    PaymentColumns,
    show_dashboard_link,
    show_dispute,
    show_json,
    show_mode,
    show_money,
    show_payable,
    show_state,
)
from octo_stripe_gateway.admin.filters import (
    CurrencyFilter,
    MismatchFilter,
    PayableTypeFilter,
    match_payments,
)
from octo_stripe_gateway.admin.operations import Cancel, Capture, Refund, Sync
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.admin.timeline import get_timeline
from octo_stripe_gateway.models import Payment, StripeRequest


@admin.register(Payment)
class PaymentAdmin(PaymentColumns, LedgerAdmin[Payment]):
    """Shows payments; refunds, captures, cancels and syncs one at a time, each with a permission of its own.

    A host that wants it otherwise unregisters it and registers a subclass: `operations` are the buttons, and
    `get_queryset` decides whose payments a user sees and works with.
    """

    operations = (Refund(), Capture(), Cancel(), Sync())
    list_display = (
        "id",
        "state",
        "money",
        "refunded",
        "payable_link",
        "reference",
        "created",
        "at_stripe",
    )
    list_filter = (
        ("status", ChoiceFilter),
        CurrencyFilter,
        ("created_at", DateFilter),
        PayableTypeFilter,
        "livemode",
        "disputed",
        MismatchFilter,
    )
    ordering = ("-pk",)
    sortable_by = ("id", "created")
    search_fields = ("uuid",)
    search_help_text = _("An id, uuid or reseller reference, or Stripe's id of the intent, charge or refund")
    fieldsets = (
        (
            None,
            {"fields": ("state", "money", "refunded", "left", "payable_link", "reseller_reference", "mode")},
        ),
        (
            _("At Stripe"),
            {
                "fields": (
                    "dashboard",
                    "stripe_charge_id",
                    "stripe_account",
                    "intent_status",
                    "capture_method",
                    "authorized",
                    "received",
                    "reserved",
                    "dispute",
                )
            },
        ),
        (
            _("Times"),
            {
                "classes": ("collapse",),
                "fields": (
                    "created_at",
                    "confirmed_at",
                    "failed_at",
                    "canceled_at",
                    "refunded_at",
                    "updated_at",
                ),
            },
        ),
        (
            _("Technical details"),
            {"classes": ("collapse",), "fields": ("uuid", "id", "sent_metadata", "asked_for")},
        ),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Payment], bool]:
        """Find by indexed columns, the term taken as one."""
        term = search_term.strip()
        return (queryset.filter(match_payments(term)) if term else queryset), False

    def get_subtitle(self, obj: Payment) -> Any:
        """Return the amount, which people know a payment by."""
        return show_money(obj.amount, currency=obj.currency)

    def get_page(self, request: HttpRequest, obj: Payment) -> dict[str, Any]:
        """Add the timeline, and what must not be overlooked."""
        may_see_events = request.user.has_perm(f"{self.opts.app_label}.view_webhookevent")
        return {
            **super().get_page(request, obj),
            "timeline": get_timeline(obj, site=self.admin_site, with_events=may_see_events),
            "alerts": list(self.get_alerts(obj)),
        }

    def get_alerts(self, obj: Payment) -> list[tuple[Any, str]]:
        """Return what an operator must know before anything else, with what is known of it."""
        alerts: list[tuple[Any, str]] = []
        if obj.mismatch:
            alerts.append((_("Stripe says something else; it was not taken over."), obj.mismatch))
        if obj.attention:
            alerts.append((_("This payment needs an operator."), obj.attention))
        if obj.needs_reversal:
            amount = show_money(obj.amount_held, currency=obj.currency)
            alerts.append((_("The payment was rejected, and its money has not gone back yet."), amount))
        for dispute in obj.disputes.all():
            if dispute.is_open:
                alerts.append((_("The customer's bank disputes this payment."), show_dispute(dispute)))
        if obj.amount_reserved:
            amount = show_money(obj.amount_reserved, currency=obj.currency)
            alerts.append((_("A refund has no answer from Stripe yet: sync to finish it."), amount))
        return alerts

    def get_summary(self, obj: Payment) -> list[tuple[Any, Any]]:
        """Return what the page of an operation shows of the payment."""
        return [
            (_("Payment"), obj.pk),
            (_("Status"), show_state(obj)),
            (_("Amount"), self.money(obj)),
            (_("Refunded"), self.refunded(obj)),
            (_("For"), self.payable_link(obj)),
            (_("Reseller reference"), obj.reseller_reference or NOTHING),
        ]

    @admin.display(description=_("left to refund"))
    def left(self, obj: Payment) -> SafeString:
        """Return how much may still go back."""
        return show_money(obj.amount_refundable, currency=obj.currency)

    @admin.display(description=_("authorized"))
    def authorized(self, obj: Payment) -> SafeString:
        """Return how much waits to be captured."""
        return show_money(obj.amount_capturable, currency=obj.currency)

    @admin.display(description=_("received"))
    def received(self, obj: Payment) -> SafeString:
        """Return how much Stripe took."""
        return show_money(obj.amount_received, currency=obj.currency)

    @admin.display(description=_("refunds without an answer"))
    def reserved(self, obj: Payment) -> SafeString:
        """Return how much Stripe was asked to refund without an answer yet."""
        return show_money(obj.amount_reserved, currency=obj.currency)

    @admin.display(description=_("for"))
    def payable_link(self, obj: Payment) -> SafeString | str:
        """Return what is paid for."""
        return show_payable(obj, site=self.admin_site)

    @admin.display(description=_("reference"))
    def reference(self, obj: Payment) -> str:
        """Return the reseller's reference, under a word that is short enough for a column."""
        return obj.reseller_reference or NOTHING

    # The ids are in its order, and have an index together with what the list is filtered by.
    @admin.display(description=_("created"), ordering="pk")
    def created(self, obj: Payment) -> str:
        """Return since when it is there, short enough for a column."""
        return date_format(timezone.localtime(obj.created_at), "SHORT_DATETIME_FORMAT")

    @admin.display(description=_("at Stripe"))
    def at_stripe(self, obj: Payment) -> SafeString | str:
        """Return whether real money moves, and the payment's page in Stripe's dashboard."""
        mode = show_mode(obj)
        return show_dashboard_link(obj, text=mode) if obj.stripe_payment_intent_id else mode

    @admin.display(description=_("payment intent"))
    def dashboard(self, obj: Payment) -> SafeString | str:
        """Return the payment's page in Stripe's dashboard."""
        return show_dashboard_link(obj, text=obj.stripe_payment_intent_id)

    @admin.display(description=_("dispute"))
    def dispute(self, obj: Payment) -> str:
        """Return the latest dispute."""
        latest = obj.disputes.order_by("-stripe_created").first()
        return show_dispute(latest) if latest else NOTHING

    @admin.display(description=_("metadata"))
    def sent_metadata(self, obj: Payment) -> SafeString:
        """Return what the host keeps with the payment."""
        return show_json(obj.metadata)

    @admin.display(description=_("asked of Stripe"))
    def asked_for(self, obj: Payment) -> SafeString:
        """Return what the intent was made from."""
        creation = obj.stripe_requests.filter(kind=StripeRequest.Kind.CREATE).order_by("-pk").first()
        return show_json(creation.parameters if creation else {})
