"""What a payable, which is any model of the host's, may say of itself; each method is optional."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from django.contrib.contenttypes.fields import GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models, router
from django.db.models import OuterRef
from django.db.models.functions import Cast

from octo_stripe_gateway.models.payments import Payment, PaymentQuerySet


@runtime_checkable
class PricedPayable(Protocol):
    """A payable that says its price, so that no client can."""

    def get_payment_amount(self) -> tuple[int, str]:
        """Return the amount in Stripe's minor unit, and the currency."""


@runtime_checkable
class PartedPayable(Protocol):
    """A priced payable that is paid in parts, such as deposit and balance."""

    def get_installments(self) -> Sequence[tuple[str, int, dt.datetime | None]]:
        """Return name, amount and due date of each part; the amounts add up to the price."""


@runtime_checkable
class LimitedPayable(Protocol):
    """A payable that can be paid until a deadline only."""

    def get_payment_deadline(self) -> dt.datetime | None:
        """Return until when it can be paid, None where there is no such time."""


@runtime_checkable
class HoldablePayable(Protocol):
    """A priced payable that may be authorized now and captured later."""

    allows_manual_capture: bool


@runtime_checkable
class CompletedPayable(Protocol):
    """A payable that has the last word on a payment, when the money is received."""

    def on_payment_completed(self, payment: Payment) -> None:
        """Act on the payment under its lock; raise PaymentRejectedError to have the money go back."""


@runtime_checkable
class AuthorizedPayable(Protocol):
    """A payable that hears when money is held for it."""

    def on_payment_authorized(self, payment: Payment) -> None:
        """Act on the hold under the payment's lock; raise PaymentRejectedError to have it released."""


def find_payables(payable_type_id: int, ids: Iterable[str]) -> dict[str, Any]:
    """Return the payables of a type by these ids, by the text of their keys; none where the model is gone."""
    model = ContentType.objects.get_for_id(payable_type_id).model_class()
    if model is None:
        return {}
    found = model._base_manager.using(router.db_for_write(model)).filter(pk__in=list(ids))
    return {str(payable.pk): payable for payable in found}


def payments_of_each(model: type[models.Model]) -> PaymentQuerySet:
    """Return the payments of each row of a query of this model, for its `Exists` or `Subquery`.

    A payment keeps the key as text, which PostgreSQL compares with no number; Django converts it in
    `filter(payments__…)`, but not in `exclude(payments__…)`.
    """
    payable_type = ContentType.objects.get_for_model(model)
    key = Cast(OuterRef("pk"), models.CharField())
    return Payment.objects.filter(payable_type=payable_type, payable_id=key)


class PaymentRelation(GenericRelation):
    """A payable's payments; unlike a plain GenericRelation it keeps them when the payable goes."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("object_id_field", "payable_id")
        kwargs.setdefault("content_type_field", "payable_type")
        super().__init__(kwargs.pop("to", Payment), **kwargs)

    def bulk_related_objects(
        self, objs: Iterable[models.Model], using: str = "default"
    ) -> models.QuerySet[Payment]:
        """Return nothing, so that a deletion takes no payments along."""
        return Payment.objects.using(using).none()
