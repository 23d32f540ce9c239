"""The payment: one PaymentIntent, as the ledger has it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.exceptions import BadRequestError, PaymentNotFoundError
from octo_stripe_gateway.models.dues import IN_FLIGHT, Dues, compute_dues
from octo_stripe_gateway.models.families import PayableKey, identify, resolve
from octo_stripe_gateway.models.ledger_manager import (
    LedgerManager,
    LedgerRow,
    is_narrowed,
    read_filter,
    read_rows,
)
from octo_stripe_gateway.models.payable_locks import PayableLock
from octo_stripe_gateway.models.payment_indexes import (
    CONSTRAINTS,
    COUNTS,
    INDEXES,
    REJECTED_WITH_MONEY_HELD,
    UNPAID,
)
from octo_stripe_gateway.models.public_ids import is_uuid, read_public_id
from octo_stripe_gateway.models.schema import between
from octo_stripe_gateway.stripe.origin import Origin
from octo_stripe_gateway.stripe.times import get_moment

STRIPE_ID_LENGTH = 255
PURPOSE_LENGTH = 64
# What a host may write with `save()`; everything else is the ledger's.
HOST_COLUMNS = frozenset({"metadata", "reseller_reference", "updated_at"})
# How often the payables of open payments are asked for their deadline.
ASK_PAUSE = dt.timedelta(minutes=5)
# A payment is checked at Stripe so long after its creation, then after twice as long each time.
# A call to Stripe has ended by then, whatever came of it.
FIRST_CHECK_AFTER = dt.timedelta(minutes=2)


def get_first_check() -> dt.datetime:
    """Return when a payment that becomes unsettled now is first checked at Stripe."""
    return timezone.now() + FIRST_CHECK_AFTER


class PaymentQuerySet(models.QuerySet["Payment"]):
    """Payments by what callers and operators ask for."""

    def get_by_public_id(self, public_id: str, *, columns: tuple[str, ...] = ()) -> Payment:
        """Return the payment with this integer id or uuid; raises PaymentNotFoundError.

        With `columns`, the others are loaded when they are asked for.
        """
        named = read_public_id(public_id)
        values = read_filter(self) if named else None
        if values is not None and named.keys().isdisjoint(values):
            found: Iterable[Payment] = read_rows(self.model, self.db, columns=columns, **values, **named)
        else:
            rows = self.only(*columns) if columns else self
            # A host's joins may repeat the row. Not `first()`: its order takes a tenth of the query's time.
            found = rows.filter(**named).order_by()[:1] if named else ()
        payment = next(iter(found), None)
        if payment is None:
            raise PaymentNotFoundError(_("No such payment."), paymentId=public_id)
        return payment

    def owned_by(self, owner: str) -> Self:
        """Return the owner's payments."""
        return self.filter(owner=owner)

    def includes(self, payment: Payment) -> bool:
        """Tell whether a payment is one of these; an unfiltered queryset has it without a query."""
        return not is_narrowed(self) or self.filter(pk=payment.pk).exists()

    def unsettled(self) -> Self:
        """Return payments that Stripe may change, or may have changed, without the row knowing."""
        return self.filter(next_check_at__isnull=False)

    def due_for_check(self, *, now: dt.datetime) -> Self:
        """Return unsettled payments whose pause is over."""
        return self.filter(next_check_at__lte=now)

    def past_deadline(self, *, now: dt.datetime) -> Self:
        """Return overdue payments: they can still be paid, and their deadline has passed."""
        return self.filter(expires_at__lte=now, status__in=UNPAID)

    def open_for_payables(self) -> Self:
        """Return payments that can still be paid for something of the host's."""
        return self.filter(payable_type__isnull=False, status__in=UNPAID)

    def to_be_captured(self, *, before: dt.datetime) -> Self:
        """Return holds that run out before that moment, and whose host has not been reminded."""
        return self.filter(capture_before__lt=before, status="authorized", capture_reminded_at__isnull=True)

    def rejected_with_money_held(self) -> Self:
        """Return payments that the host rejected and whose money has not gone back, holds included."""
        return self.filter(REJECTED_WITH_MONEY_HELD)

    def created_between(self, since: dt.datetime | None, until: dt.datetime | None) -> Self:
        """Return those created from `since` on and before `until`; None is no bound."""
        return self.filter(between("created_at", since, until))


_PaymentObjects = models.Manager.from_queryset(PaymentQuerySet)
_PaymentLedger = LedgerManager.from_queryset(PaymentQuerySet)


class PaymentObjects(_PaymentObjects["Payment"]):
    """The host's way to payments; as `booking.payments` it knows what they are for.

    With `prefetch_related("payments")` a list of payables takes no query for each.
    """

    instance: Any

    def get_dues(self) -> Dues:
        """Return the payable's price, what was paid of it and what is due."""
        payable, payments = resolve(self.instance), self.all()
        if payments._result_cache is None:
            payments = payments.filter(COUNTS)
        prefetched = getattr(self.instance, "_prefetched_objects_cache", {})
        # Payments know that what they are for is canceled; a list of payables takes no query for each.
        knows = payments or getattr(self, "prefetch_cache_name", "") in prefetched
        kept = None if knows else PayableLock.ledger.get_kept(payable)
        return compute_dues(payable, payments, kept=kept)

    def get_amount_due(self) -> int:
        """Return what the payable still owes, in the minor unit."""
        return self.get_dues().due


class PaymentManager(_PaymentLedger["Payment"]):
    """The ledger's way to payments."""

    def list_of_payable(self, payable: Any) -> list[Payment]:
        """Return the payments for a payable that have brought money or still may, by id."""
        payable_type, key = identify(payable, using=self.database)
        payments = self.list_by(where=COUNTS, payable_type_id=payable_type.pk, payable_id=key)
        return sorted(payments, key=lambda each: each.pk)

    def get_locked_by_intent(
        self, payment_intent_id: str, *, origin: Origin, payment_uuid: str = ""
    ) -> Payment | None:
        """Return the intent's payment, locked.

        A row that doesn't know its intent yet is found by the uuid in the intent's metadata, in its own
        account only: in another one anybody can write any uuid.
        """
        payment = self.get_by(lock=True, stripe_payment_intent_id=payment_intent_id)
        if payment is None and is_uuid(payment_uuid):
            # While this waits for the lock, the creation's answer may give the row its intent.
            found = self.get_by(lock=True, uuid=payment_uuid)
            is_known = found and found.stripe_payment_intent_id not in {None, payment_intent_id}
            payment = found if found and found.origin == origin and not is_known else None
        return payment


class Payment(LedgerRow):
    """One PaymentIntent, on record here before Stripe is asked for it. Amounts are minor units."""

    class Status(models.TextChoices):
        PENDING = "pending", _("pending")
        AUTHORIZED = "authorized", _("authorized")
        PAID = "paid", _("paid")
        FAILED = "failed", _("failed")
        CANCELED = "canceled", _("canceled")
        EXPIRED = "expired", _("expired")
        REFUNDED = "refunded", _("refunded")

    class CaptureMethod(models.TextChoices):
        AUTOMATIC = "automatic", _("automatic")
        MANUAL = "manual", _("manual")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    amount = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    capture_method = models.CharField(
        _("capture method"), max_length=16, choices=CaptureMethod, default=CaptureMethod.AUTOMATIC
    )
    metadata = models.JSONField(_("metadata"), default=dict, blank=True)
    reseller_reference = models.CharField(_("reseller reference"), max_length=255, blank=True)
    # Its index with the id also serves lookups by the type alone.
    payable_type = models.ForeignKey(ContentType, models.PROTECT, null=True, blank=True, db_index=False)
    payable_id = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001 - null with its type
    payable = PayableKey("payable_type", "payable_id")
    owner = models.CharField(
        max_length=255, blank=True, help_text=_("Whose payment it is; empty for the integrator's own.")
    )

    stripe_payment_intent_id = models.CharField(  # noqa: DJ001 - unique once it is known
        max_length=STRIPE_ID_LENGTH, null=True, editable=False
    )
    stripe_charge_id = models.CharField(max_length=STRIPE_ID_LENGTH, blank=True)
    account = models.CharField(
        max_length=255, blank=True, help_text=_("The name of the Stripe account in the settings.")
    )
    stripe_account = models.CharField(
        max_length=STRIPE_ID_LENGTH, blank=True, help_text=_("The connected account, with Stripe Connect.")
    )
    connect = models.JSONField(
        default=dict,
        help_text=_("How it was charged with Stripe Connect: the parameters that its refunds follow."),
    )
    livemode = models.BooleanField(default=False)
    purpose = models.CharField(
        _("purpose"),
        max_length=PURPOSE_LENGTH,
        blank=True,
        help_text=_("The installment that it pays, or “full”."),
    )
    expires_at = models.DateTimeField(
        _("expires at"),
        null=True,
        blank=True,
        help_text=_("Until when it can be paid; then it is canceled at Stripe."),
    )
    is_expiring = models.BooleanField(default=False)
    paid_as_of = models.BigIntegerField(
        default=0,
        help_text=_("The second of Stripe's clock at which the customer had paid, once that is known."),
    )
    claimed_until = models.DateTimeField(
        null=True, help_text=_("Until when upkeep leaves its deadlines alone.")
    )
    intent_status = models.CharField(max_length=64, blank=True)
    intent_as_of = models.BigIntegerField(default=0)
    # The second in which it is open what Stripe said last; 0 once a sync has told.
    tied_as_of = models.BigIntegerField(default=0)
    amount_capturable = models.BigIntegerField(default=0)
    amount_received = models.BigIntegerField(default=0)
    amount_requested = models.BigIntegerField(
        null=True, help_text=_("The amount that Stripe is asked to change the intent to.")
    )
    amount_as_of = models.BigIntegerField(default=0)
    intent_amount = models.BigIntegerField(
        default=0, help_text=_("What Stripe's intent asks for; it may differ until it is paid.")
    )
    capture_before = models.DateTimeField(
        _("capture before"),
        null=True,
        blank=True,
        help_text=_("Until when the authorized money can be captured."),
    )
    capture_reminded_at = models.DateTimeField(null=True)
    cancellation_reason = models.CharField(max_length=64, blank=True)
    charge_amount_refunded = models.BigIntegerField(default=0)
    charge_as_of = models.BigIntegerField(default=0)
    amount_refunded = models.BigIntegerField(default=0)
    refunds_total = models.BigIntegerField(
        default=0, help_text=_("All refunds known, also before the payment itself is.")
    )
    amount_reserved = models.BigIntegerField(
        default=0, help_text=_("Refunds asked for that Stripe has not answered yet.")
    )
    open_refunds = models.IntegerField(default=0, help_text=_("Refunds that may still succeed or fail."))
    amount_lost = models.BigIntegerField(default=0, help_text=_("What lost disputes took."))
    amount_forgiven = models.BigIntegerField(
        default=0, help_text=_("What of the money that went back is not owed again.")
    )
    amount_kept = models.BigIntegerField(
        null=True,
        help_text=_("What of it the cancellation terms keep; empty where what was paid for isn't canceled."),
    )
    refund_terms = models.JSONField(
        null=True, help_text=_("The cancellation terms and the price when the money was accepted.")
    )
    losses_total = models.BigIntegerField(
        default=0, help_text=_("All losses known, also before the payment itself is.")
    )
    disputed = models.BooleanField(default=False, help_text=_("Whether a dispute is open."))
    # Whether an open dispute blocks refunds; an inquiry does not.
    refunds_blocked = models.BooleanField(default=False)
    failure_code = models.CharField(max_length=255, blank=True)
    failure_message = models.TextField(blank=True)
    accepted_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the host accepted the money.")
    )
    authorized_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When the host heard of the authorization.")
    )
    rejection_code = models.CharField(
        max_length=64, blank=True, help_text=_("Why the payment was rejected; empty where it wasn't.")
    )
    rejection_parameters = models.JSONField(
        default=dict, blank=True, help_text=_("What the code's sentence names; a host's own words.")
    )
    # Whether there are any, open or settled: the rows of payments without concerns are never asked for.
    has_concerns = models.BooleanField(default=False)
    awaits_operator = models.BooleanField(
        default=False, help_text=_("Adopted with money, which counts once an operator confirms it.")
    )
    request_fingerprint = models.CharField(max_length=64, blank=True)
    next_check_at = models.DateTimeField(
        null=True, default=get_first_check, help_text=_("When to check it at Stripe; empty once settled.")
    )
    checks = models.SmallIntegerField(default=0)

    card_brand = models.CharField(max_length=32, blank=True)
    card_last4 = models.CharField(max_length=4, blank=True)
    receipt_url = models.TextField(blank=True)
    settlement_currency = models.CharField(
        max_length=3, blank=True, help_text=_("The currency that the money arrives in.")
    )
    exchange_rate = models.DecimalField(max_digits=24, decimal_places=12, null=True)
    fee = models.BigIntegerField(
        null=True, help_text=_("All that Stripe kept of it, in the settlement currency.")
    )
    net = models.BigIntegerField(
        null=True, help_text=_("What is left after fees, refunds and disputes, in the settlement currency.")
    )
    next_booking_at = models.DateTimeField(
        null=True, help_text=_("When to ask Stripe what moved in its balance; empty once all is booked.")
    )
    bookings = models.SmallIntegerField(default=0)
    erased_at = models.DateTimeField(null=True, help_text=_("When personal data was erased."))

    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    confirmed_at = models.DateTimeField(_("confirmed at"), null=True, blank=True)
    failed_at = models.DateTimeField(_("failed at"), null=True, blank=True)
    refunded_at = models.DateTimeField(_("refunded at"), null=True, blank=True)
    canceled_at = models.DateTimeField(_("canceled at"), null=True, blank=True)

    # Set for the host's last word: what its payable owes with this payment.
    dues: Dues | None = None
    # Set by lists and pages that show them.
    open_concerns: Sequence[Any] = ()

    objects = PaymentObjects()
    ledger = PaymentManager()

    class Meta:
        verbose_name = _("payment")
        verbose_name_plural = _("payments")
        indexes = INDEXES
        constraints = CONSTRAINTS
        permissions = [
            ("refund_payment", "Can refund payment"),
            ("capture_payment", "Can capture payment"),
            ("cancel_payment", "Can cancel payment"),
            ("sync_payment", "Can sync payment from Stripe"),
            ("confirm_payment", "Can confirm the adoption of a payment"),
            ("forgive_payment", "Can change what is owed again after a refund"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    def save(self, *, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Save a new payment whole, and of an existing one only the host's own columns."""
        if not self._state.adding:
            wanted = HOST_COLUMNS if update_fields is None else HOST_COLUMNS.intersection(update_fields)
            update_fields = sorted({*wanted, "updated_at"}) if wanted else []
        super().save(update_fields=update_fields, **kwargs)

    @property
    def origin(self) -> Origin:
        """Return whose Stripe objects the payment's are."""
        return Origin(self.account, self.stripe_account, self.livemode)

    @property
    def intent_id(self) -> str:
        """Return the id of the payment's intent; raises BadRequestError where there is none yet."""
        if not self.stripe_payment_intent_id:
            raise BadRequestError(_("The payment has no intent at Stripe yet."))
        return self.stripe_payment_intent_id

    def plan_deadline(self) -> None:
        """Set when upkeep first asks its payable for the deadline: soon, or when it passes if sooner."""
        later = timezone.now() + ASK_PAUSE
        self.claimed_until = min(self.expires_at or later, later)

    @property
    def paid_at(self) -> dt.datetime:
        """Return when the customer had paid, by Stripe's clock; for a bank debit, when it began.

        While no charge has told the moment (`paid_as_of` is 0), this is the latest that it can be.
        """
        return get_moment(self.paid_as_of or self.intent_as_of)

    @property
    def amount_held(self) -> int:
        """Return what was received and has neither gone back nor been lost in a dispute."""
        return max(0, self.amount_received - self.amount_refunded - self.amount_lost)

    @property
    def amount_refundable(self) -> int:
        """Return what is left to refund: nothing that is under way, or that the cancellation terms keep."""
        return max(0, self.amount_held - self.amount_reserved - (self.amount_kept or 0))

    @property
    def is_open(self) -> bool:
        """Tell whether the customer may still pay it, and nothing of it is under way."""
        unpaid = self.status in {self.Status.PENDING, self.Status.FAILED} and not self.rejection_code
        unrefused = bool(self.stripe_payment_intent_id) or self.status == self.Status.PENDING
        is_paid = self.intent_status == "succeeded" or self.intent_status in IN_FLIGHT
        return unpaid and unrefused and not is_paid and not self.is_expiring

    @property
    def is_refundable(self) -> bool:
        """Tell whether Stripe would take a refund; of a disputed charge it takes none."""
        return self.amount_refundable > 0 and not self.refunds_blocked

    @property
    def has_refunds_that_count(self) -> bool:
        """Tell by its totals, which leave out those that failed, whether any refund is open or made."""
        return any((self.refunds_total, self.amount_reserved, self.open_refunds, self.charge_amount_refunded))

    @property
    def is_reversible(self) -> bool:
        """Tell whether Stripe would give the money back, by a refund or by releasing the authorization."""
        return self.is_refundable or self.intent_status == "requires_capture"

    @property
    def is_reversed(self) -> bool:
        """Tell whether no money is left to give back, or what is left is on its way or in dispute."""
        gone = self.amount_received > 0 and self.amount_held <= self.amount_reserved
        return gone or self.refunds_blocked or self.needs_reversal or self.intent_status == "canceled"

    @property
    def needs_acceptance(self) -> bool:
        """Tell whether the money is received and the host has not had its last word."""
        is_open = not (self.accepted_at or self.rejection_code or self.awaits_operator)
        return self.intent_status == "succeeded" and is_open

    @property
    def needs_authorization(self) -> bool:
        """Tell whether the money is held and the host has not heard of it."""
        is_open = not (self.authorized_at or self.rejection_code or self.awaits_operator)
        return self.intent_status == "requires_capture" and is_open

    @property
    def needs_reversal(self) -> bool:
        """Tell whether the host rejected the payment and its money has not gone back."""
        held = self.intent_status == "requires_capture" or self.amount_held > 0
        return bool(self.rejection_code) and held
