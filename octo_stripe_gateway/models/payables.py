"""What a payable, which is any model of the host's, may say of itself; each method is optional."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from django.contrib.contenttypes.fields import GenericRelation, ReverseGenericManyToOneDescriptor
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import OuterRef
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from octo_stripe_gateway.models.families import get_payable_type
from octo_stripe_gateway.models.payments import Payment, PaymentObjects, PaymentQuerySet


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
class OwnedPayable(Protocol):
    """A payable that says whose its payments are, where they are made by a pay link."""

    def get_payment_owner(self) -> str:
        """Return the owner, such as `auth.user:42`: who pays for it while signed in."""


@runtime_checkable
class CancelablePayable(Protocol):
    """A priced payable that says how much of its price goes back when it is canceled."""

    def get_refund_terms(self) -> Sequence[tuple[dt.datetime, Decimal]]:
        """Return pairs of a time and a share in the order of time: the first that lies ahead counts."""


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


class PayableDescriptor(ReverseGenericManyToOneDescriptor):
    """Finds a payable's payments by whichever class of its family it is asked."""

    @cached_property
    def related_manager_cls(self) -> Any:
        """Return Django's manager, but for the type by which payments are filed."""
        found: Any = ReverseGenericManyToOneDescriptor.related_manager_cls
        plain: Any = found.func(self)

        class PaymentsOfPayable(plain):  # type: ignore[misc]
            def __init__(self, instance: Any = None) -> None:
                super().__init__(instance)
                using = instance._state.db
                self.get_content_type = lambda each: get_payable_type(type(each), using=using)
                self.content_type = get_payable_type(type(instance), using=using)
                self.core_filters[f"{self.content_type_field_name}__pk"] = self.content_type.pk

        return PaymentsOfPayable


def payments_of_each(model: type[models.Model]) -> PaymentQuerySet:
    """Return the payments of each row of a query of this model, for its `Exists` or `Subquery`.

    A payment keeps the key as text, which PostgreSQL compares with no number; Django converts it in
    `filter(payments__…)`, but not in `exclude(payments__…)`.
    """
    payable_type = get_payable_type(model)
    key = Cast(OuterRef("pk"), models.CharField())
    return Payment.objects.filter(payable_type=payable_type, payable_id=key)


class PaymentRelation(GenericRelation):
    """A payable's payments; unlike a plain GenericRelation it keeps them when the payable goes."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("object_id_field", "payable_id")
        kwargs.setdefault("content_type_field", "payable_type")
        super().__init__(kwargs.pop("to", Payment), **kwargs)

    if TYPE_CHECKING:
        # Django's stubs say Any of what a generic relation finds.
        def __get__(self, instance: Any, owner: Any) -> PaymentObjects: ...  # type: ignore[override]

    def contribute_to_class(
        self, cls: type[models.Model], name: str, private_only: bool = True, **kwargs: Any
    ) -> None:
        """Give the model its payments."""
        super().contribute_to_class(cls, name, **kwargs)
        if not cls._meta.abstract:
            rel: Any = self.remote_field
            setattr(cls, self.name, PayableDescriptor(rel))

    def get_content_type(self) -> ContentType:
        """Return the type by which payments for the model are filed, for its queries."""
        return get_payable_type(self.model)

    def bulk_related_objects(
        self, objs: Iterable[models.Model], using: str = "default"
    ) -> models.QuerySet[Payment]:
        """Return nothing, so that a deletion takes no payments along."""
        return Payment.objects.using(using).none()
