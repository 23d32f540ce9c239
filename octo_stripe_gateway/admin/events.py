"""The inbox of Stripe's events."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from octo_stripe_gateway.admin.display import (
    NOTHING,
    get_change_url,
    show_badge,
    show_dashboard_link,
    show_json,
    show_link,
    show_mode,
)
from octo_stripe_gateway.admin.filters import EventTypeFilter, is_row_id, match_events
from octo_stripe_gateway.admin.operations import ConfirmationForm, Reprocess
from octo_stripe_gateway.admin.pages import LedgerAdmin
from octo_stripe_gateway.exceptions import GatewayError
from octo_stripe_gateway.models import Payment, WebhookEvent
from octo_stripe_gateway.redaction import redact
from octo_stripe_gateway.services import ANYONE

# What one request can do in time; `process_webhook_events` does any number.
MOST_AT_ONCE = 200


@admin.register(WebhookEvent)
class WebhookEventAdmin(LedgerAdmin[WebhookEvent]):
    """Shows the events, and applies again those that failed or wait."""

    reprocess = Reprocess()
    operations = (reprocess,)
    actions = ("reprocess_selected",)
    list_display = ("type", "state", "payment_link", "received", "attempts", "at_stripe")
    list_filter = ("status", EventTypeFilter, "received_at", "livemode")
    ordering = ("-pk",)
    sortable_by = ("received",)
    search_fields = ("stripe_event_id",)
    search_help_text = _("Stripe's id of the event, or what finds its payment")
    fieldsets = (
        (None, {"fields": ("type", "state", "attempts", "error", "payment_link", "mode")}),
        (_("At Stripe"), {"fields": ("dashboard", "stripe_account")}),
        (_("Times"), {"fields": ("received_at", "processed_at")}),
        (_("Payload, without client secrets"), {"fields": ("content",)}),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the route that reprocesses several events."""
        view = self.outside_transaction(self.reprocess_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_reprocess_selected"
        return [path("reprocess/", view, name=name), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEvent]:
        """Leave the payloads to the pages that show them."""
        payments = Payment.objects.filter(stripe_payment_intent_id=OuterRef("payment_intent_id"))
        events = super().get_queryset(request).defer("payload")
        return events.annotate(payment_pk=Subquery(payments.values("pk")))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[WebhookEvent], bool]:
        """Find by indexed columns, the term taken as one."""
        term = search_term.strip()
        return (queryset.filter(match_events(term)) if term else queryset), False

    def has_reprocess_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may use the list's action."""
        return self.has_operation_permission(request, self.reprocess)

    @admin.action(description=_("Reprocess selected %(verbose_name_plural)s"), permissions=["reprocess"])
    def reprocess_selected(
        self, request: HttpRequest, queryset: QuerySet[WebhookEvent]
    ) -> HttpResponse | None:
        """Ask before the chosen events are applied again; finished ones stay as they are."""
        waiting = queryset.filter(status__in=[WebhookEvent.Status.RECEIVED, WebhookEvent.Status.FAILED])
        chosen = list(waiting.order_by("pk")[: MOST_AT_ONCE + 1])
        if not chosen:
            self.message_user(request, _("The selected events need no processing."), messages.WARNING)
            return None
        return self.ask(
            request,
            self.reprocess,
            form=ConfirmationForm(chosen[0]),
            action_url=reverse(
                f"admin:{self.opts.app_label}_{self.opts.model_name}_reprocess_selected",
                current_app=self.admin_site.name,
            ),
            chosen=chosen[:MOST_AT_ONCE],
            chosen_name=ACTION_CHECKBOX_NAME,
            note=_("Only the first %d are processed at once.") % MOST_AT_ONCE
            if len(chosen) > MOST_AT_ONCE
            else "",
            back_url=self._get_list_url(request),
        )

    def reprocess_view(self, request: HttpRequest) -> HttpResponse:
        """Apply the chosen events again, the oldest first, and tell how many of them failed."""
        if not self.has_reprocess_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            ids = [pk for pk in request.POST.getlist(ACTION_CHECKBOX_NAME) if is_row_id(pk)]
            chosen = self.get_queryset(request).filter(pk__in=ids[:MOST_AT_ONCE]).order_by("pk")
            failed = sum(not self._reprocess(request, event) for event in chosen if not event.is_finished)
            self._tell(request, failed=failed, done=len(chosen) - failed)
        return HttpResponseRedirect(self._get_list_url(request))

    def get_summary(self, obj: WebhookEvent) -> list[tuple[Any, Any]]:
        """Return what the page of an operation shows of the event."""
        return [
            (_("Event"), obj.stripe_event_id),
            (_("Type"), obj.type),
            (_("Status"), self.state(obj)),
            (_("Error"), obj.error or NOTHING),
            (_("Payment"), self.payment_link(obj)),
        ]

    @admin.display(description=_("status"))
    def state(self, obj: WebhookEvent) -> SafeString:
        """Return the status."""
        return show_badge(obj.get_status_display(), kind=obj.status)

    @admin.display(description=_("payment"))
    def payment_link(self, obj: WebhookEvent) -> SafeString | str:
        """Return the payment that the event is about."""
        payment_pk = getattr(obj, "payment_pk", None)
        if payment_pk is None:
            return NOTHING
        return show_link(get_change_url(Payment, payment_pk, site=self.admin_site), text=payment_pk)

    # No index is by that moment alone, and the ids are in its order.
    @admin.display(description=_("received at"), ordering="pk")
    def received(self, obj: WebhookEvent) -> dt.datetime:
        """Return when it was taken in."""
        return obj.received_at

    @admin.display(description=_("mode"))
    def mode(self, obj: WebhookEvent) -> SafeString:
        """Return whether real money moves."""
        return show_mode(obj)

    @admin.display(description=_("at Stripe"))
    def at_stripe(self, obj: WebhookEvent) -> SafeString | str:
        """Return whether real money moves, and the event's page in Stripe's dashboard."""
        return show_dashboard_link(obj, text=show_mode(obj))

    @admin.display(description=_("event"))
    def dashboard(self, obj: WebhookEvent) -> SafeString | str:
        """Return the event's page in Stripe's dashboard."""
        return show_dashboard_link(obj, text=obj.stripe_event_id)

    @admin.display(description=_("payload"))
    def content(self, obj: WebhookEvent) -> SafeString:
        """Return the payload; redacted once more, should a row ever hold a secret."""
        return show_json(redact(obj.payload))

    def _reprocess(self, request: HttpRequest, event: WebhookEvent) -> bool:
        try:
            outcome = self.reprocess.run(event, values={}, caller=ANYONE)
        except GatewayError as error:
            self.log_change(request, event, f"{self.reprocess.label}: {error.message}")
            return False
        self.log_change(request, event, outcome)
        return True

    def _tell(self, request: HttpRequest, *, failed: int, done: int) -> None:
        if done:
            message = ngettext("%d event was processed.", "%d events were processed.", done)
            self.message_user(request, message % done, messages.SUCCESS)
        if failed:
            message = ngettext(
                "%d event failed again; its page says why.",
                "%d events failed again; their pages say why.",
                failed,
            )
            self.message_user(request, message % failed, messages.ERROR)

    def _get_list_url(self, request: HttpRequest) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        return reverse(name, current_app=self.admin_site.name)
