"""What an operator can do with a payable's payments all at once."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway import services
from octo_stripe_gateway.admin.display import show_dues
from octo_stripe_gateway.admin.operations import (
    AmountForm,
    ConfirmationForm,
    Operation,
    RefundForm,
    Values,
)
from octo_stripe_gateway.admin.pages import OperationAdmin
from octo_stripe_gateway.exceptions import GatewayError, UnprocessableError
from octo_stripe_gateway.models import FULL, PayableLock, Payment, identify, is_priced
from octo_stripe_gateway.stripe.currencies import format_money

# Its page shows what was paid.
VIEW = "octo_stripe_gateway.view_payment"


class PayableOperation(Operation[Model]):
    """What can be done with a payable, by whoever has this permission and may view payments."""

    permission: ClassVar[str]


class RefundPayableForm(RefundForm):
    """Asks the same for all of a payable's payments; those in several currencies are refunded in full."""

    def __init__(self, row: Model, **kwargs: Any) -> None:
        received = [each for each in Payment.ledger.list_of_payable(row) if each.amount_received]
        # A repetition finds nothing left, and is about the same currency.
        left = [each for each in received if each.amount_refundable] or received
        currencies = sorted({each.currency for each in left})
        at_most = sum(each.amount_refundable for each in left)
        currency = currencies[0] if currencies else "usd"
        AmountForm.__init__(self, row, at_most=at_most, currency=currency, **kwargs)
        if len(currencies) != 1:
            del self.fields["amount"]


class RefundPayableOperation(PayableOperation):
    """Refunds a payable's payments through Stripe, the latest first."""

    name = "refund_payments"
    permission = "octo_stripe_gateway.refund_payment"
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
    """Says what the terms give, and asks whether they are waived."""

    waive = forms.BooleanField(label=_("Waive the terms"), required=False)

    def __init__(self, row: Model, **kwargs: Any) -> None:
        super().__init__(row, **kwargs)
        try:
            terms = _describe_cancellation(services.cancel_payable(row, preview=True))
        except GatewayError as error:
            terms = str(error.message)
        self.fields["waive"].help_text = terms


class CancelPayableOperation(PayableOperation):
    """Cancels a payable by its terms."""

    name = "cancel_payable"
    permission = "octo_stripe_gateway.cancel_payable"
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
    """Asks what the link is for, where there is a choice, and until when it leads there."""

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


class LinkOperation(PayableOperation):
    """Makes a link at which what is due is paid without an account."""

    name = "make_link"
    permission = "octo_stripe_gateway.add_paymentlink"
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

    def has_operation_permission(
        self, request: HttpRequest, operation: Operation[Any], obj: Model | None = None
    ) -> bool:
        """Tell whether the user may do this with payables, and see this row."""
        if not isinstance(operation, PayableOperation):
            return super().has_operation_permission(request, operation, obj)
        wanted = (VIEW, operation.permission)
        return self.has_view_permission(request, obj) and request.user.has_perms(wanted)

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
        dues = show_dues(services.get_dues(obj)) if is_priced(obj) else []
        return [(_("For"), str(obj)), *dues]
