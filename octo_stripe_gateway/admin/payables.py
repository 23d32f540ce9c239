"""What payables owe: on their own page, in a list, and what can be done with all of their payments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.contenttypes.admin import GenericTabularInline
from django.contrib.contenttypes.forms import BaseGenericInlineFormSet
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

import octo_stripe_gateway.admin.display as display
from octo_stripe_gateway import services
from octo_stripe_gateway.admin.lists import ListFilter
from octo_stripe_gateway.admin.operations import AmountForm, ConfirmationForm, Operation, RefundForm, Values
from octo_stripe_gateway.admin.pages import LedgerAdmin, OperationAdmin, ReadOnly
from octo_stripe_gateway.exceptions import ConfigurationError, GatewayError, UnprocessableError
from octo_stripe_gateway.models import FULL, PayableLock, Payment, compute_dues, identify, is_priced
from octo_stripe_gateway.services.dues import list_dues
from octo_stripe_gateway.stripe.currencies import format_money

# Its page shows what was paid.
VIEW = "octo_stripe_gateway.view_payment"


class RefundPayableForm(RefundForm):
    """Asks the same for all of a payable's payments; those in several currencies are refunded in full."""

    def __init__(self, row: Model, **kwargs: Any) -> None:
        received = [each for each in Payment.ledger.list_of_payable(row) if each.amount_received]
        # A form that is sent again finds nothing left, and needs the same currency.
        left = [each for each in received if each.amount_refundable] or received
        currencies = sorted({each.currency for each in left})
        at_most = sum(each.amount_refundable for each in left)
        currency = currencies[0] if currencies else "usd"
        AmountForm.__init__(self, row, at_most=at_most, currency=currency, **kwargs)
        if len(currencies) != 1:
            del self.fields["amount"]


class RefundPayableOperation(Operation[Model]):
    """Refunds a payable's payments through Stripe, the latest first."""

    name = "refund_payments"
    permissions = (VIEW, "octo_stripe_gateway.refund_payment")
    label = _("Refund payments")
    question = _("The money goes back to the customer, of the latest payment first. It can't be undone.")
    unavailable = _("Nothing can be refunded now: none of the money is held, or the payments are disputed.")
    form_class = RefundPayableForm

    def is_possible(self, row: Model) -> bool:
        return any(payment.is_refundable for payment in Payment.ledger.list_of_payable(row))

    def run(self, row: Model, *, values: Values, caller: services.Caller) -> str:
        asked: dict[str, Any] = {name: values.get(name) for name in ("amount", "reason", "due_again")}
        refunded = services.refund_payable(row, **asked, caller=caller)
        if not refunded:
            raise UnprocessableError(self.unavailable)
        if values.get("amount") is None:
            return gettext("Refunded all that was held.")
        return gettext("Refunded %s.") % format_money(values["amount"], currency=refunded[0].currency)


class CancelPayableForm(ConfirmationForm):
    """Shows what goes back by the terms, and asks whether to waive them."""

    waive = forms.BooleanField(label=_("Waive the terms"), required=False)

    def __init__(self, row: Model, **kwargs: Any) -> None:
        super().__init__(row, **kwargs)
        try:
            terms = _describe_cancellation(services.cancel_payable(row, preview=True))
        except GatewayError as error:
            terms = str(error.message)
        self.fields["waive"].help_text = terms


class CancelPayableOperation(Operation[Model]):
    """Cancels a payable by its terms."""

    name = "cancel_payable"
    permissions = (VIEW, "octo_stripe_gateway.cancel_payable")
    label = _("Cancel by the terms")
    question = _(
        "Nothing is due any more, and what the terms give goes back to the customer; all of it where you "
        "waive them. It can't be undone."
    )
    unavailable = _("It is canceled already, and nothing is left to refund.")
    form_class = CancelPayableForm

    def is_possible(self, row: Model) -> bool:
        return is_priced(row) and PayableLock.ledger.get_kept(row) != 0

    def run(self, row: Model, *, values: Values, caller: services.Caller) -> str:
        return _describe_cancellation(services.cancel_payable(row, waive=values["waive"]))


class LinkForm(ConfirmationForm):
    """Asks what the link is for, where there is a choice, and until when it works."""

    purpose = forms.ChoiceField(label=capfirst(_("purpose")))
    expires_at = forms.DateTimeField(
        label=capfirst(_("expires at")),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
    )

    def __init__(self, row: Model, **kwargs: Any) -> None:
        super().__init__(row, **kwargs)
        dues = services.get_dues(row)
        parts = [(part.name, part.amount) for part in dues.outstanding if part.amount and part.name != FULL]
        offered = [*parts, (FULL, dues.due)] if parts else []
        choices = [(name, f"{name}: {format_money(due, currency=dues.currency)}") for name, due in offered]
        cast("forms.ChoiceField", self.fields["purpose"]).choices = choices
        if not choices:
            del self.fields["purpose"]


class LinkOperation(Operation[Model]):
    """Makes a link at which what is due is paid without an account."""

    name = "make_link"
    permissions = (VIEW, "octo_stripe_gateway.add_paymentlink")
    label = _("Make a pay link")
    question = _("Anyone who has the link pays what is due without an account. Nothing is sent.")
    form_class = LinkForm
    is_secret = True

    def is_possible(self, row: Model) -> bool:
        return is_priced(row) and PayableLock.ledger.get_kept(row) is None

    def run(self, row: Model, *, values: Values, caller: services.Caller) -> str:
        asked = {"purpose": values.get("purpose", ""), "expires_at": values["expires_at"]}
        shown = '<input class="octo-link" readonly size="60" aria-label="{}" value="{}"> {}'
        button = '<button type="button" class="button octo-copy" data-done="{}">{}</button>'
        copies = format_html(button, gettext("Copied"), gettext("Copy"))
        return format_html(shown, gettext("pay link"), services.create_payment_link(row, **asked), copies)


def _describe_cancellation(cancellation: services.Cancellation) -> str:
    named = {
        "amount": format_money(cancellation.amount, currency=cancellation.currency),
        "kept": format_money(cancellation.kept, currency=cancellation.currency),
    }
    return gettext("%(amount)s goes back, %(kept)s is kept.") % named


class RefundPayableMixin(OperationAdmin[Model]):
    """Refunds or cancels a payable from its own admin, by buttons of `PaymentInline` or a list action.

    ::

        from octo_stripe_gateway.admin import PaymentInline, RefundPayableMixin

        @admin.register(Booking)
        class BookingAdmin(RefundPayableMixin, admin.ModelAdmin):
            inlines = [PaymentInline]

    Users need the permission `view_payment`, and `refund_payment` or `cancel_payable`; they must be able to
    see the payable.
    """

    operations = (RefundPayableOperation(), CancelPayableOperation(), LinkOperation())

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Add the action to the host's own, for those who may refund."""
        # Since Django 6.1 a location is passed, and get_action finds nothing for the form of one row.
        location = {} if action_location is None else {"action_location": action_location}
        actions: dict[str, Any] = super().get_actions(request, **location)
        action = self.get_action("refund_payments", **location)
        if action and self.has_operation_permission(request, self.operations[0]):
            actions["refund_payments"] = action
        return actions

    @admin.action(description=RefundPayableOperation.label)
    def refund_payments(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) == 1:
            return HttpResponseRedirect(self.get_page_url(self.operations[0].name, chosen[0].pk))
        self.message_user(request, _("Choose one: each refund is asked for by itself."), messages.WARNING)
        return None

    def is_live(self, obj: Model) -> bool:
        payable_type, key = identify(obj)
        payments = Payment.ledger.filter(payable_type=payable_type, payable_id=key)
        return payments.filter(livemode=True).exists()

    def get_summary(self, obj: Model) -> list[tuple[Any, Any]]:
        dues = display.show_dues(services.get_dues(obj)) if is_priced(obj) else []
        return [(_("For"), str(obj)), *dues]


class PaymentFormSet(BaseGenericInlineFormSet):  # type: ignore[type-arg] # it takes none at run time
    """Knows what a payable owes from the payments that are shown, and what can be done with them all."""

    operations: list[dict[str, Any]] = []  # each page has a class of its own

    @property
    def dues(self) -> list[tuple[Any, Any]]:
        """Return what a priced payable owes, by label; nothing for others."""
        payable: Any = self.instance
        if payable.pk is None or not is_priced(payable):
            return []
        try:
            return display.show_dues(compute_dues(payable, self.get_queryset()))
        except ConfigurationError as error:
            return [(_("due"), error.message)]


class PaymentInline(display.PaymentColumns, ReadOnly, GenericTabularInline):
    """Shows what is due of an object and its payments, each with its page; nothing can be changed here.

    ::

        from octo_stripe_gateway.admin import PaymentInline

        @admin.register(Booking)
        class BookingAdmin(admin.ModelAdmin):
            inlines = [PaymentInline]

    Only users who may view payments see it. The model needs no `PaymentRelation` for it.
    """

    model = Payment
    formset = PaymentFormSet  # type: ignore[assignment] # the stubs want one of a foreign key
    ct_field = "payable_type"
    ct_fk_field = "payable_id"
    template = "admin/octo_stripe_gateway/payment_inline.html"
    verbose_name_plural = _("payments")
    extra = 0
    ordering = ("-pk",)
    fields = readonly_fields = ("page", "state", "money", "refunded", "mode", "created")

    page = display.link_column(_("payment"), display.show_payment)

    class Media:
        css = {"all": ["octo_stripe_gateway/admin.css"]}

    def get_formset(self, request: HttpRequest, obj: Model | None = None, **kwargs: Any) -> Any:
        """Add the operations of the payable's own admin."""
        formset: Any = super().get_formset(request, obj, **kwargs)
        payable_admin = self.admin_site._registry.get(self.parent_model)
        if obj is not None and isinstance(payable_admin, OperationAdmin):
            formset.operations = payable_admin.list_operations(request, obj)
        return formset


class OverdueFilter(ListFilter):
    """Offers payables with a late installment."""

    title, parameter_name = _("what needs attention"), "attention"
    options = (("overdue", _("Overdue")),)

    def narrow(self, rows: Any, value: str) -> Any:
        if value == "overdue":
            rows = rows.overdue(now=timezone.now()).order_by("next_due_at")
        return rows


@admin.register(PayableLock)
class PayableLockAdmin(LedgerAdmin[PayableLock]):
    """Lists what is due of each payable, worked out anew whenever it is shown."""

    list_display = ("payable_link", "due", "next_due")
    list_filter = (OverdueFilter,)
    list_display_links = None
    ordering = ("-pk",)
    sortable_by = ("next_due",)
    fieldsets = ((None, {"description": display.ZONE_NOTE, "fields": ("payable_link", "due", "next_due")}),)

    payable_link = display.link_column(_("for"), display.show_payable)
    due = display.column(
        _("due"), lambda row: row.currency and display.show_money(row.amount_due, currency=row.currency)
    )
    next_due = display.time_column(_("next due"), "next_due_at", ordering="next_due_at")

    def join_related(self, rows: Sequence[PayableLock]) -> None:
        """Set in memory what payables owe now; keep what was last known of those that can't tell."""
        for lock, dues in list_dues(rows):
            lock.set_due(dues)

    def get_subtitle(self, obj: PayableLock) -> Any:
        return self.payable_link(obj)
