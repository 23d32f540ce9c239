"""What an operator can do, each with a page that asks first."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Generic, TypeVar, cast

from django import forms
from django.db.models import Model
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway import services
from octo_stripe_gateway.admin.display import describe_change
from octo_stripe_gateway.exceptions import BadRequestError, UnprocessableError
from octo_stripe_gateway.ledger.concerns import KINDS
from octo_stripe_gateway.ledger.rejections import describe_rejection
from octo_stripe_gateway.models import Concern, Dispute, Payment, Refund, WebhookEvent
from octo_stripe_gateway.models.payment_indexes import UNPAID
from octo_stripe_gateway.stripe.currencies import check_amount, format_money, get_precision
from octo_stripe_gateway.stripe.redaction import redact_text

Row = TypeVar("Row", bound=Model)
Values = Mapping[str, Any]


def list_forgivable(payment: Payment) -> list[Refund | Dispute]:
    """Return the refunds and lost disputes by which a payment's money went back."""
    refunds = (each for each in payment.refunds.all() if each.is_live)
    lost = payment.disputes.filter(status="lost", currency=payment.currency)
    return [*refunds, *lost]


class ConfirmationForm(forms.Form):
    """Asks for nothing, and carries a key: a page that is sent twice acts once."""

    key = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)

    def __init__(self, row: Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class AmountForm(ConfirmationForm):
    """Asks for an amount in a currency, written as people do.

    The services refuse what is too much, and their error is shown beside the field. If the form checked it,
    sending it twice would fail because of what the first time did.
    """

    amount = forms.DecimalField(label=_("Amount"))

    def __init__(self, row: Model, *, at_most: int, currency: str, at_least: int = 1, **kwargs: Any) -> None:
        super().__init__(row, **kwargs)
        self.currency = currency
        precision = get_precision(currency)
        most = Decimal(at_most).scaleb(-precision)
        field = forms.DecimalField(
            label=_("Amount in %(currency)s") % {"currency": currency.upper()},
            initial=most,
            min_value=Decimal(at_least).scaleb(-precision),
            max_digits=15,
            decimal_places=precision,
            help_text=_("At most %(amount)s.") % {"amount": format_money(at_most, currency=currency)},
        )
        field.widget.attrs |= {"max": str(most), "inputmode": "decimal", "autocomplete": "off"}
        self.fields["amount"] = field

    def clean_amount(self) -> int:
        """Return the amount in minor units."""
        amount = int(self.cleaned_data["amount"].scaleb(get_precision(self.currency)))
        try:
            if amount:
                check_amount(amount, currency=self.currency)
        except BadRequestError as error:
            raise forms.ValidationError(str(error.message)) from error
        return amount


class RefundForm(AmountForm):
    """Asks how much to refund, why, and whether it has to be paid again."""

    reason = forms.ChoiceField(
        label=_("Reason"), required=False, choices=[("", _("Not given")), *Refund.Reason.choices]
    )
    due_again = forms.BooleanField(
        label=_("It is due again"),
        required=False,
        help_text=_("As when it was paid with the wrong card. Otherwise nobody has to pay it again."),
    )

    def __init__(self, row: Payment, **kwargs: Any) -> None:
        super().__init__(row, at_most=row.amount_refundable, currency=row.currency, **kwargs)


class CaptureForm(AmountForm):
    """Asks how much of the authorized amount to capture."""

    def __init__(self, row: Payment, **kwargs: Any) -> None:
        super().__init__(row, at_most=row.amount_capturable, currency=row.currency, **kwargs)


class ForgiveForm(AmountForm):
    """Asks for a refund or loss, and how much of it nobody has to pay again."""

    part = forms.ChoiceField(label=_("Of"))

    def __init__(self, row: Payment, **kwargs: Any) -> None:
        self.parts = {f"{each._meta.model_name} {each.pk}": each for each in list_forgivable(row)}
        at_most = max((each.amount for each in self.parts.values()), default=0)
        super().__init__(row, at_most=at_most, at_least=0, currency=row.currency, **kwargs)
        choices = []
        for name, each in self.parts.items():
            named = {
                "what": capfirst(each._meta.verbose_name),
                "amount": format_money(each.amount, currency=row.currency),
                "forgiven": format_money(each.forgiven, currency=row.currency),
            }
            choices.append((name, gettext("%(what)s of %(amount)s: %(forgiven)s not due again") % named))
        cast("forms.ChoiceField", self.fields["part"]).choices = choices

    def clean_part(self) -> Refund | Dispute:
        return self.parts[self.cleaned_data["part"]]


class SettleForm(AmountForm):
    """Asks for the reason, and for the amount where money was lost."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        help_text=_("It stays on record, with your name."),
    )

    def __init__(self, row: Concern, **kwargs: Any) -> None:
        payment = row.payment
        most, currency = (payment.amount_received, payment.currency) if payment else (0, "")
        super().__init__(row, at_most=most, currency=currency, **kwargs)
        if not (row.code in KINDS and KINDS[row.code].is_loss):
            del self.fields["amount"]


class Operation(Generic[Row]):
    """One button, its page, and what it does; a host adds its own to `PaymentAdmin.operations`."""

    name: ClassVar[str]
    label: ClassVar[Any]
    question: ClassVar[Any]
    unavailable: ClassVar[Any] = _("That isn't possible as it stands now.")
    form_class: ClassVar[type[ConfirmationForm]] = ConfirmationForm
    # What a user has to have; by default the permission of this name for the row's model.
    permissions: ClassVar[Sequence[str]] = ()
    # Whether its outcome is shown to the user, but not logged.
    is_secret: ClassVar[bool] = False

    def is_possible(self, row: Row) -> bool:
        """Tell whether the row's state allows it."""
        raise NotImplementedError

    def run(self, row: Row, *, values: Values, caller: services.Caller) -> str:
        """Do it, and return what was done; raises GatewayError, whose `values` may name form fields."""
        raise NotImplementedError


class RefundOperation(Operation[Payment]):
    """Refunds money through Stripe, whatever the payment's status, as long as some is held."""

    name = "refund"
    label = _("Refund")
    question = _("The money goes back to the customer. A refund can't be undone.")
    unavailable = _("Nothing can be refunded now: none of the money is held, or the payment is disputed.")
    form_class = RefundForm

    def is_possible(self, row: Payment) -> bool:
        return row.is_refundable

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        asked = {name: values[name] for name in ("amount", "reason", "due_again")}
        services.refund_payment(row, **asked, caller=caller)
        return gettext("Refunded %s.") % format_money(values["amount"], currency=row.currency)


class CaptureOperation(Operation[Payment]):
    """Captures the money of an authorized payment."""

    name = "capture"
    label = _("Capture")
    question = _(
        "The authorized money is captured. What is left of it is released, and can't be captured later."
    )
    form_class = CaptureForm

    def is_possible(self, row: Payment) -> bool:
        return row.status == Payment.Status.AUTHORIZED

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        services.capture_payment(row, amount=values["amount"], caller=caller)
        return gettext("Captured %s.") % format_money(values["amount"], currency=row.currency)


class CancelOperation(Operation[Payment]):
    """Cancels a payment that isn't paid."""

    name = "cancel"
    label = _("Cancel payment")
    question = _("The customer can't pay this payment any more, and what is authorized is released.")

    def is_possible(self, row: Payment) -> bool:
        # One that was rejected may be paid already.
        is_open = row.intent_status not in {"succeeded", "canceled"}
        return is_open and row.status in UNPAID and bool(row.stripe_payment_intent_id)

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        services.cancel_payment(row, caller=caller)
        return gettext("Canceled.")


class SettleOperation(Operation[Concern]):
    """Closes a concern, with the operator's reason on record."""

    name = "settle"
    label = _("Settle")
    question = _("The concern is closed for good, and nothing is tried again because of it.")
    unavailable = _("Nothing is left to settle.")
    form_class = SettleForm

    def is_possible(self, row: Concern) -> bool:
        return row.is_open

    def run(self, row: Concern, *, values: Values, caller: services.Caller) -> str:
        reason: str = values["reason"]
        services.settle_concern(row, reason=reason, amount=values.get("amount"))
        return gettext("Settled: %s") % reason


class ConfirmOperation(Operation[Payment]):
    """Lets adopted money count."""

    name = "confirm"
    label = _("Confirm adoption")
    question = _(
        "The money was found at Stripe, and counts from now on for what the payment names. "
        "What was paid for has the last word, and may reject it."
    )
    unavailable = _("Nothing waits to be confirmed.")

    def is_possible(self, row: Payment) -> bool:
        return row.awaits_operator

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        payment = services.confirm_adoption(row)
        if payment.rejection_code:
            return gettext("Confirmed, and rejected: %s") % describe_rejection(payment)
        return gettext("Confirmed.")


class ForgiveOperation(Operation[Payment]):
    """Changes how much of a refund, or of a lost dispute, is not owed again."""

    name = "forgive"
    label = _("Change what is due again")
    question = _("This much of the money that went back is not due again. No money moves.")
    unavailable = _("No money has gone back.")
    form_class = ForgiveForm

    def is_possible(self, row: Payment) -> bool:
        return bool(row.payable_type_id and row.accepted_at) and bool(list_forgivable(row))

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        services.forgive(values["part"], amount=values["amount"])
        return gettext("%s is not due again.") % format_money(values["amount"], currency=row.currency)


class SyncOperation(Operation[Payment]):
    """Brings the payment to how it stands at Stripe, and performs requests without an answer again."""

    name = "sync"
    label = _("Sync from Stripe")
    question = _(
        "Stripe is asked how the payment stands, and the record follows. "
        "What was asked of Stripe before and got no answer is asked again."
    )

    def is_possible(self, row: Payment) -> bool:
        return True

    def run(self, row: Payment, *, values: Values, caller: services.Caller) -> str:
        differences = services.sync_payment(row).items()
        told = "; ".join(describe_change(name, values, currency=row.currency) for name, values in differences)
        return gettext("Synced: %s.") % told if told else gettext("Synced: nothing had changed.")


class ReprocessOperation(Operation[WebhookEvent]):
    """Processes an event that failed, or that nobody has processed yet."""

    name = "reprocess"
    label = _("Reprocess")
    question = _("The event is applied to its payment, as if Stripe had delivered it again.")

    def is_possible(self, row: WebhookEvent) -> bool:
        return not row.is_finished

    def run(self, row: WebhookEvent, *, values: Values, caller: services.Caller) -> str:
        # Importing what processes events would be an eighth of the app's share of every process's start.
        from octo_stripe_gateway.webhooks import inbox

        try:
            event = inbox.process_event(row)
        except Exception as error:  # a handler of the host's may raise anything, and it is on record
            message = gettext("The event failed again: %s")
            raise UnprocessableError(message % redact_text(f"{type(error).__name__}: {error}")) from error
        return gettext("The event is %s now.") % event.get_status_display()
