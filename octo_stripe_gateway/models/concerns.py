"""What operators have to look at: a row for each."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from octo_stripe_gateway.models.ledger_manager import LedgerManager
from octo_stripe_gateway.models.payments import STRIPE_ID_LENGTH, Payment


class ConcernQuerySet(models.QuerySet["Concern"]):
    """Concerns by how they stand."""

    def open(self) -> ConcernQuerySet:
        """Return concerns that nobody has settled and no fact has ended."""
        return self.filter(settled_at=None)

    def settled(self) -> ConcernQuerySet:
        """Return concerns that a person has settled, or that a fact has ended."""
        return self.exclude(settled_at=None)


class ConcernManager(LedgerManager["Concern"]):
    """The ledger's way to concerns."""

    def get_queryset(self) -> ConcernQuerySet:
        """Return the concerns of the database that is written to."""
        return ConcernQuerySet(self.model, using=self.database)

    def list_of(self, payment: Payment) -> list[Concern]:
        """Return all of a payment's concerns by id, settled ones too, since what is settled stays settled."""
        if not payment.has_concerns:
            return []
        concerns = sorted(self.list_by(payment_id=payment.pk), key=lambda concern: concern.pk)
        for concern in concerns:
            concern.payment = payment
        return concerns


class Concern(models.Model):
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
        default_manager_name = "objects"
        permissions = [("settle_concern", "Can settle concern")]
        indexes = [
            models.Index(
                fields=["code", "id"],
                condition=models.Q(settled_at__isnull=True),
                name="octo_concern_open",
            ),
            models.Index(
                fields=["object_id"],
                condition=models.Q(payment__isnull=True),
                name="octo_concern_alone",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["payment", "code", "object_id"],
                condition=models.Q(settled_at__isnull=True),
                name="octo_concern_once",
            ),
            models.UniqueConstraint(
                fields=["code", "object_id"],
                condition=models.Q(payment__isnull=True, settled_at__isnull=True),
                name="octo_concern_once_alone",
            ),
            models.CheckConstraint(condition=~models.Q(code=""), name="octo_concern_code"),
            models.CheckConstraint(
                condition=models.Q(settled_at__isnull=False)
                | models.Q(settled_by="", reason="", amount__isnull=True),
                name="octo_concern_settled",
            ),
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
