"""The inbox of Stripe's events."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway.admin.lists import DateFilter, ListFilter, ModeFilter, is_row_id
from octo_stripe_gateway.admin.operations import ConfirmationForm, ReprocessOperation
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.admin.search import find_events
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.ledger.concerns import describe
from octo_stripe_gateway.ledger.journal import acting
from octo_stripe_gateway.ledger.transactions import without_atomic_requests
from octo_stripe_gateway.models import Payment, PaymentChange, WebhookEvent
from octo_stripe_gateway.services.idempotency import ANYONE
from octo_stripe_gateway.stripe.redaction import redact

# What one request can do in time; `maintain_payments --now` does any number.
MOST_AT_ONCE = 200


class EventStatusFilter(ListFilter):
    """Leaves out ignored events at first: they are not about a payment of ours."""

    title, parameter_name = _("status"), "status"
    options = (*WebhookEvent.Status.choices, ("all", _("all, ignored ones too")))
    at_first = _("all but ignored")

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        status = self.value()
        if status == WebhookEvent.Status.PROCESSED:
            # PostgreSQL expects an exclusion to match most rows, even without statistics.
            return queryset.exclude(status__in=[each for each in WebhookEvent.Status if each != status])
        if status in WebhookEvent.Status.values:
            return self.narrow(queryset, status)
        # A search is for one event, which may be an ignored one.
        shows_all = status == "all" or request.GET.get(SEARCH_VAR)
        return queryset if shows_all else queryset.exclude(status=WebhookEvent.Status.IGNORED)


class EventTypeFilter(ListFilter):
    """Offers the types of event that have a handler of ours, and the one in the URL."""

    title, parameter_name = _("type"), "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # As in `operations.ReprocessOperation`.
        from octo_stripe_gateway.webhooks.handlers import SNAPSHOTS

        return [(name, name) for name in sorted({*SNAPSHOTS, *request.GET.getlist("type")})]


@admin.register(WebhookEvent)
class WebhookEventAdmin(display.StripeColumns, LedgerAdmin[WebhookEvent]):
    """Shows the events, and processes again those that failed or wait."""

    reprocess = ReprocessOperation()
    operations = (reprocess,)
    actions = ("reprocess_selected",)
    list_display = ("type", "state", "payment_link", "received", "attempts", "at_stripe")
    list_filter = (EventStatusFilter, EventTypeFilter, ("received_at", DateFilter), ModeFilter)
    ordering = ("-pk",)
    sortable_by = ("received",)
    summary_fields = ("dashboard", "type", "state", "error", "payment_link")
    search_fields = ("stripe_event_id",)
    search_help_text = _("Stripe's id of the event, or what finds its payment")
    fieldsets = (
        (None, {"fields": ("type", "state", "attempts", "error", "payment_link", "mode")}),
        (_("At Stripe"), {"fields": ("dashboard", "payment_intent_id", "account_name", "version")}),
        (_("Times"), {"description": display.ZONE_NOTE, "fields": ("received_at", "processed_at")}),
        (_("Payload, without client secrets"), {"fields": ("content",)}),
    )

    state = display.column(
        _("status"), lambda row: display.show_badge(row.get_status_display(), kind=row.status)
    )
    payment_link = display.link_column(
        _("payment"), lambda row, site: display.show_payment(row.known_payment, site)
    )
    error = display.column(_("error"), lambda row: describe(row.error_code, row.error_parameters))
    # Ids have the same order, and share an index with each column that the list is filtered by.
    received = display.time_column(_("received at"), "received_at", ordering="pk")
    version = display.column(_("API version"), attrgetter("api_version"))
    dashboard = display.column(_("event"), display.show_dashboard_link)
    # Redacted once more, should a row ever hold a secret.
    content = display.column(_("payload"), lambda row: display.show_json(redact(row.payload)))

    def get_urls(self) -> list[URLPattern]:
        view = without_atomic_requests(self.admin_site.admin_view(self.reprocess_view))
        return [path("reprocess/", view, name=self.get_page_name("reprocess_selected")), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        """Leave the payloads to the pages that show them."""
        return super().get_queryset(request).defer("payload")

    def join_related(self, rows: Sequence[WebhookEvent]) -> None:
        """Let events know their payments, by Stripe's id of the intent."""
        intents = {event.payment_intent_id for event in rows} - {""}
        payments = Payment.objects.filter(stripe_payment_intent_id__in=intents) if intents else ()
        by_intent = {payment.stripe_payment_intent_id: payment for payment in payments}
        for event in rows:
            event.known_payment = by_intent.get(event.payment_intent_id)  # type: ignore[attr-defined]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[WebhookEvent], bool]:
        """Find events by indexed columns, by the whole term."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(pk__in=find_events(term, request=request, site=self.admin_site)), False

    def has_reprocess_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may use the list's action."""
        return self.has_operation_permission(request, self.reprocess)

    @admin.action(description=_("Reprocess selected %(verbose_name_plural)s"), permissions=["reprocess"])
    def reprocess_selected(
        self, request: HttpRequest, queryset: QuerySet[WebhookEvent]
    ) -> HttpResponse | None:
        """Ask before the chosen events are processed again; finished ones stay as they are."""
        waiting = queryset.filter(status__in=[WebhookEvent.Status.RECEIVED, WebhookEvent.Status.FAILED])
        chosen = list(waiting.order_by("pk")[: MOST_AT_ONCE + 1])
        if not chosen:
            self.message_user(request, _("The selected events need no processing."), messages.WARNING)
            return None
        return self.ask(
            request,
            self.reprocess,
            form=ConfirmationForm(chosen[0]),
            action_url=self.get_page_url("reprocess_selected"),
            chosen=chosen[:MOST_AT_ONCE],
            chosen_name=ACTION_CHECKBOX_NAME,
            note=_("Only the first %d are processed at once.") % MOST_AT_ONCE
            if len(chosen) > MOST_AT_ONCE
            else "",
            back_url=self.get_page_url("changelist"),
        )

    def reprocess_view(self, request: HttpRequest) -> HttpResponse:
        """Process the chosen events again, the oldest first, and tell how many of them failed."""
        if not self.has_reprocess_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            ids = [pk for pk in request.POST.getlist(ACTION_CHECKBOX_NAME) if is_row_id(pk)]
            chosen = self.get_queryset(request).filter(pk__in=ids[:MOST_AT_ONCE]).order_by("pk")
            failed = 0
            for event in chosen:
                if event.is_finished:
                    continue
                try:
                    with acting(source=PaymentChange.Source.ADMIN, actor=request.user.get_username()):
                        outcome = self.reprocess.run(event, values={}, caller=ANYONE)
                except GatewayError as error:
                    failed += 1
                    outcome = f"{self.reprocess.label}: {error.message}"
                self.log_change(request, event, outcome)
            if done := len(chosen) - failed:
                message = ngettext("%d event was processed.", "%d events were processed.", done)
                self.message_user(request, message % done, messages.SUCCESS)
            if failed:
                message = ngettext(
                    "%d event failed again; its page says why.",
                    "%d events failed again; their pages say why.",
                    failed,
                )
                self.message_user(request, message % failed, messages.ERROR)
        return HttpResponseRedirect(self.get_page_url("changelist"))
