"""A payable's way to its payments; what it may say of itself is in `families.SAID`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.fields import GenericRelation, ReverseGenericManyToOneDescriptor
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import OuterRef
from django.db.models.functions import Cast
from django.utils.functional import cached_property

from octo_stripe_gateway.models.families import get_payable_type
from octo_stripe_gateway.models.payments import Payment, PaymentObjects, PaymentQuerySet


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
