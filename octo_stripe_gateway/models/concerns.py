"""What operators have to look at: a row for each."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager, LedgerRow
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment
from octo_stripe_gateway.models.schema import check, index, unique

IS_OPEN, IS_ALONE = Q(settled_at__isnull=True), Q(payment__isnull=True)


class ConcernQuerySet(models.QuerySet["Concern"]):
    """Concerns by how they stand."""

    def open(self) -> Self:
        """Return concerns that nobody has settled and no fact has ended."""
        return self.filter(settled_at=None)

    def settled(self) -> Self:
        """Return concerns that a person has settled, or that a fact has ended."""
        return self.exclude(settled_at=None)


_ConcernLedger = LedgerManager.from_queryset(ConcernQuerySet)


class ConcernManager(_ConcernLedger["Concern"]):
    """The ledger's way to concerns."""

    def list_of(self, payment: Payment) -> list[Concern]:
        """Return all of a payment's concerns by id, settled ones too, since what is settled stays settled."""
        return super().list_of(payment) if payment.has_concerns else []


class Concern(LedgerRow):
    """Something an operator has to look at. Its words are made of code and parameters when it is shown.

    `stage` and `as_of` date Stripe's word: the stage that no later snapshot goes back behind, and the second
    of Stripe's clock. A concern that is settled without a name was ended by a fact, for example because a
    later snapshot agrees with the payment.
    """

    payment = models.ForeignKey(Payment, models.PROTECT, null=True, related_name="concerns")
    code = models.CharField(_("code"), max_length=64)
    parameters = models.JSONField(default=dict)
    object_id = models.CharField(
        _("object at Stripe"), max_length=STRIPE_ID_LENGTH, blank=True, help_text=_("What it is about.")
    )
    stage = models.PositiveSmallIntegerField(default=0)
    as_of = models.BigIntegerField(default=0)
    opened_at = models.DateTimeField(_("opened at"))
    settled_at = models.DateTimeField(_("settled at"), null=True)
    settled_by = models.CharField(
        _("settled by"), max_length=255, blank=True, help_text=_("Empty where a fact ended it.")
    )
    reason = models.TextField(_("reason"), blank=True, help_text=_("Why it was settled."))
    amount = models.BigIntegerField(
        null=True, help_text=_("What a settled loss took, in the payment's currency.")
    )

    objects = models.Manager.from_queryset(ConcernQuerySet)()
    ledger = ConcernManager()

    class Meta:
        verbose_name = _("concern")
        verbose_name_plural = _("concerns")
        permissions = [("settle_concern", "Can settle concern")]
        indexes = [
            index("concern_open", "code", "id", where=IS_OPEN),
            index("concern_alone", "object_id", where=IS_ALONE),
        ]
        constraints = [
            unique("concern_once", "payment", "code", "object_id", where=IS_OPEN),
            unique("concern_once_alone", "code", "object_id", where=IS_ALONE & IS_OPEN),
            check("concern_code", ~Q(code="")),
            check("concern_settled", ~IS_OPEN | Q(settled_by="", reason="", amount__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.object_id}".strip()

    @property
    def is_open(self) -> bool:
        """Tell whether an operator still has to look at it."""
        return self.settled_at is None

    @property
    def was_settled_by_person(self) -> bool:
        """Tell whether a person closed it, and not a fact."""
        return bool(self.reason)
