"""Identifies a payable, whatever class and key it comes by.

Models that share a row are one family: a model, its proxies, its parents and its multi-table children. One of
them at most says what is paid for its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.contenttypes import fields
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import models, router
from django.db.models import Model
from django.utils.translation import gettext as _

from octo_stripe_gateway.exceptions import ConfigurationError, PayableUnavailableError

PRICE = "get_payment_amount"
# What a payable may say of itself.
SAID = (
    PRICE,
    "get_installments",
    "get_payment_deadline",
    "get_refund_terms",
    "get_payment_owner",
    "allows_manual_capture",
    "on_payment_completed",
    "on_payment_authorized",
)
LONGEST_KEY = 255


def get_payable_class(model: type[Model]) -> type[Model]:
    """Return the class of a model's family that speaks for its rows, the model itself where none does.

    Raises ConfigurationError where several speak, and not alike: a row would be paid under two names.
    """
    concrete: Any = model._meta.concrete_model
    apps: Any = model._meta.apps
    speaking = [
        each
        for each in apps.get_models()
        if issubclass(each, concrete) or issubclass(concrete, each._meta.concrete_model)
        if any(_list_said(each))
    ]
    chosen = [each for each in speaking if hasattr(each, PRICE)] or speaking
    if len({_list_said(each) for each in chosen}) > 1:
        names = ", ".join(sorted(each._meta.label for each in chosen))
        raise ConfigurationError(f"Of models that share a row, one may be paid for, and not all of {names}.")
    # The others inherit what it says.
    first = (each for each in chosen if not any(issubclass(each, other) for other in {*chosen} - {each}))
    return next(first, model)


def get_payable_type(model: type[Model], *, using: str | None = None) -> ContentType:
    """Return the content type by which payments for a model's rows are filed."""
    return ContentType.objects.db_manager(using).get_for_model(get_payable_class(model))


def identify(payable: Model, *, using: str | None = None) -> tuple[ContentType, str]:
    """Return the content type and the key, as text, by which payments for an object are filed.

    Raises ConfigurationError if the key, once it is text, leads to no object: such as a composite one.
    """
    model = get_payable_class(type(payable))
    field = model._meta.pk
    is_one = isinstance(payable, model._meta.concrete_model or model)
    key = getattr(payable, field.attname) if is_one else payable.pk
    try:
        known = field.to_python(key)
        text = str(known)
        is_key = key is not None and field.to_python(text) == known and len(text) <= LONGEST_KEY
    except (ValueError, TypeError, ValidationError):
        is_key = False
    if not is_key:
        raise ConfigurationError(f"The key of a {model._meta.label} can't be found again from its text.")
    return get_payable_type(model, using=using), text


def resolve(payable: Any) -> Any:
    """Return an object as the class of its family that speaks for it; raises ConfigurationError if gone."""
    if isinstance(payable, get_payable_class(type(payable))):
        return payable
    payable_type, key = identify(payable)
    found = find_payable(payable_type.pk, key)
    if found is None:
        raise ConfigurationError(f"{payable._meta.label} {key} is not a {payable_type}.")
    return found


def is_keyed(model: type[Model]) -> bool:
    """Tell whether a model's key can be found again from its text, as far as the model tells."""
    return len(model._meta.pk_fields) == 1 and not isinstance(model._meta.pk, models.BinaryField)


def name_payable(payable_type_id: int | None, payable_id: str | None) -> str:
    """Return a payable as text that any database reads alike, empty where there is none."""
    if payable_type_id is None:
        return ""
    payable_type = ContentType.objects.get_for_id(payable_type_id)
    return f"{payable_type.app_label}.{payable_type.model}:{payable_id}"


def find_payable(payable_type_id: int, payable_id: str, *, using: str | None = None) -> Any:
    """Return what payments are filed by, None where its row is gone; raises PayableUnavailableError."""
    return find_payables(payable_type_id, [payable_id], using=using).get(payable_id)


def find_payables(payable_type_id: int, ids: Iterable[str], *, using: str | None = None) -> dict[str, Any]:
    """Return the payables of a type by the text of their keys, as their rows are without the host's filters.

    Raises PayableUnavailableError where they can't be looked up: the model is missing here, a query fails.
    """
    try:
        named = ContentType.objects.get_for_id(payable_type_id).model_class()
        if named is None:
            raise LookupError("The payable's model is not installed here.")  # noqa: TRY301 - one of those
        model = get_payable_class(named)
        rows = model._base_manager.using(using or router.db_for_write(model)).filter(pk__in=list(ids))
        return {identify(each)[1]: each for each in rows}
    except Exception as error:
        raise PayableUnavailableError(_("What is paid for can't be looked up now.")) from error


class PayableRow(models.Model):
    """A model of which each row is about one payable."""

    payable_type_id: int
    payable_type = models.ForeignKey(ContentType, models.PROTECT, db_index=False)
    payable_id = models.CharField(max_length=255)

    class Meta:
        abstract = True

    @property
    def payable(self) -> Any:
        """Return the host's object, None where it is gone; raises PayableUnavailableError."""
        return find_payable(self.payable_type_id, self.payable_id)

    @property
    def payable_name(self) -> str:
        """Return what the payable is called in metadata, concerns and signatures."""
        return name_payable(self.payable_type_id, self.payable_id)


class PayableKey(GenericForeignKey):
    """What a payment is for: found again whatever class of its family it was given as."""

    def contribute_to_class(
        self, cls: type[Model], name: str, private_only: bool = True, **kwargs: Any
    ) -> None:
        """Read and write the attribute by our rules; the key is private to its model in any case."""
        super().contribute_to_class(cls, name, **kwargs)
        setattr(cls, name, PayableAccess(self, usual=cls.__dict__[name]))


# django-stubs lets `prefetch_related()` take what is of this class: the field itself, before Django 6.1.
_Access: Any = getattr(fields, "GenericForeignKeyDescriptor", GenericForeignKey)


class PayableAccess(_Access):  # type: ignore[misc]
    """The attribute of a `PayableKey`; what isn't ours, such as prefetching, is Django's."""

    def __init__(self, key: PayableKey, *, usual: Any) -> None:
        self.field = key
        self.usual = usual

    def __getattr__(self, name: str) -> Any:
        return getattr(self.usual, name)

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        """Return the object, None where there is none; raises PayableUnavailableError."""
        if instance is None:
            return self
        key = self.field
        type_id, text = getattr(instance, f"{key.ct_field}_id"), getattr(instance, key.fk_field)
        known = key.get_cached_value(instance, default=None)
        if type_id is None or text is None:
            return None
        if known is None or (type_id, text) != (identify(known)[0].pk, identify(known)[1]):
            # A replica's row reads from the replica.
            primary = router.db_for_write(type(instance))
            using = None if instance._state.db in {None, primary} else instance._state.db
            known = find_payable(type_id, text, using=using)
            key.set_cached_value(instance, known)
        return known

    def __set__(self, instance: Any, value: Any) -> None:
        """File the row under the object; raises ConfigurationError."""
        payable_type, text = identify(value) if value is not None else (None, None)
        setattr(instance, self.field.ct_field, payable_type)
        setattr(instance, self.field.fk_field, text)
        self.field.set_cached_value(instance, value)


def _list_said(model: type[Model]) -> tuple[Any, ...]:
    # `getattr` would bind a class method to each class, and `inspect.getattr_static` takes ten times as long.
    named = ([vars(each)[name] for each in model.__mro__ if name in vars(each)] for name in SAID)
    return tuple(found[0] if found else None for found in named)
