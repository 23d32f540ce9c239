"""Lists that stay fast over many rows, whatever PostgreSQL's statistics say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.db import connections, transaction
from django.db.models import BooleanField, Func, Model, Q, QuerySet, Value
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, GreaterThanOrEqual, LessThan, LessThanOrEqual

if TYPE_CHECKING:
    from octo_stripe_gateway.models import Payment, PaymentQuerySet

M = TypeVar("M", bound=Model)

# At most so many rows are passed over for a page, where no index covers all that is asked for.
MOST_PASSED = 1000
# The columns that payments are listed by, the most selective first; each has an index, with moment and id.
PAYMENT_INDEXES = (("payable_type_id", "payable_id"), ("reseller_reference",), ("status",), ())
# The same of one owner: others' payments are never passed over, since the time would tell of them.
OWNED_INDEXES = (("owner", "reseller_reference"), ("owner", "status"), ("owner",))
BY_MOMENT = ("-created_at", "-pk")
# What is in no index of these columns.
LEFT_OUT: Mapping[str, Any] = {"owner": "", "reseller_reference": "", "payable_type_id": None}


def filter_by_index(
    rows: QuerySet[M], *, column: str, value: Any, order: Sequence[str] = ("-pk",)
) -> QuerySet[M]:
    """Return rows with this value, the newest first, read from the index of the column and its order.

    PostgreSQL assumes that values are evenly spread. For one that it believes common it walks the ids until a
    page is full: the whole table, if the value was common only long ago. This order can be read from that
    index alone. The filter is a range, because PostgreSQL drops a column from the order if it equals a
    constant.
    """
    return rows.filter(**{f"{column}__gte": value, f"{column}__lte": value}).order_by(f"-{column}", *order)


class Place(NamedTuple):
    """Where a row is in a list that has the newest first."""

    created_at: dt.datetime
    pk: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The part of an index that a list shows: its first columns equal `values`, then come moment and id.

    From the newest row down: it begins after `until` or the row `below`, both excluded, and ends with `since`
    or the row `floor`, both included.
    """

    values: Mapping[str, Any]
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    below: Place | None = None
    floor: Place | None = None

    def find(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Return the rows that are in it, in its order.

        All columns are compared as one row value, which bounds the index at both ends. The order begins with
        the columns that are equal, so that no other index fits.
        """
        columns = (*self.values, "created_at", "id")
        prefix = tuple(self.values.values())
        top: tuple[Any, ...] = self.below or ()
        if self.until and not (self.below and self.below.created_at < self.until):
            top = (self.until,)
        bottom = self.floor or ((self.since,) if self.since else ())
        below, above = (*prefix, *top), (*prefix, *bottom)
        for lookup, bound in ((LessThan if top else LessThanOrEqual, below), (GreaterThanOrEqual, above)):
            if bound:
                rows = rows.filter(lookup(_row(*columns[: len(bound)]), _row(*map(Value, bound))))
        # PostgreSQL uses these indexes only if the query leaves out what they do.
        for column in LEFT_OUT.keys() & self.values.keys():
            rows = rows.exclude(**{column: LEFT_OUT[column]})
        return rows.order_by(*(f"-{column}" for column in columns))


def read_page(
    rows: QuerySet[M], stretch: Stretch, *, size: int, rest: Mapping[str, Any]
) -> tuple[list[M], Place | None]:
    """Return a page of a stretch, and the place from which the next goes on, None after the last.

    `rest` are further values that the rows must have. Only so many rows are passed over for those: then the
    page is shorter, or empty, and the next goes on.
    """
    # For a host's own filter PostgreSQL may have an index of the host's.
    with nullcontext() if rows.query.where else index_order(rows.db):
        floor = None
        if rest:
            places = stretch.find(rows).values_list("created_at", "id")
            last_and_following = list(places[MOST_PASSED - 1 : MOST_PASSED + 1])
            floor = Place(*last_and_following[0]) if len(last_and_following) > 1 else None
        page: list[Any] = list(replace(stretch, floor=floor).find(rows.filter(**rest))[: size + 1])
    if len(page) > size:
        return page[:size], Place(page[size - 1].created_at, page[size - 1].pk)
    return page, floor


def read_payments(
    payments: PaymentQuerySet, *, equal: Mapping[str, Any], size: int, **bounds: Any
) -> tuple[list[Payment], Place | None]:
    """Return a page of payments, the newest first, and from where the next goes on, as `read_page` does.

    `equal` are values by column, and `bounds` are a Stretch's.
    """
    rows, owner = _split_owner(payments)
    rest = {**equal, **({"owner": owner} if owner else {})}
    indexes = OWNED_INDEXES if owner else PAYMENT_INDEXES
    index = next(each for each in indexes if all(rest.get(column) for column in each))
    stretch = Stretch(values={column: rest.pop(column) for column in index}, **bounds)
    return read_page(rows, stretch, size=size, rest=rest)


def _split_owner(payments: PaymentQuerySet) -> tuple[PaymentQuerySet, str | None]:
    """Return these payments without their condition on the owner, and the owner, None if they had none.

    Only the payments of somebody have indexes by owner: those of the integrator keep the condition.
    """
    rows = payments.all()
    where = rows.query.where
    owner = rows.model._meta.get_field("owner")
    owned: list[Any] = [
        each
        for each in where.children
        if isinstance(each, Exact) and isinstance(each.lhs, Col) and each.lhs.target is owner
        if isinstance(each.rhs, str)
    ]
    if where.connector != Q.AND or where.negated or len(owned) != 1 or not owned[0].rhs:
        return payments, None
    where.children = [each for each in where.children if each is not owned[0]]
    return rows, str(owned[0].rhs)


def _row(*columns: Any) -> Func:
    return Func(*columns, template="(%(expressions)s)", output_field=BooleanField())


def index_order(alias: str) -> AbstractContextManager[None]:
    """Have PostgreSQL read rows in the order of an index, where it might sort because it expects few."""
    return local_settings(alias, enable_sort="off", enable_incremental_sort="off")


@contextmanager
def local_settings(alias: str, **settings: str) -> Iterator[None]:
    """Change PostgreSQL's settings for the statements within; other databases have none."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        yield
        return
    is_within_another = not connection.get_autocommit()
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        before = _exchange(cursor, settings)
        yield
        # Otherwise the settings end with the transaction.
        if is_within_another:
            _exchange(cursor, before)


def _exchange(cursor: Any, settings: Mapping[str, str]) -> dict[str, str]:
    """Change settings until the transaction ends, and return what they were."""
    each = ", ".join("current_setting(%s), set_config(%s, %s, true)" for _name in settings)
    cursor.execute(f"SELECT {each}", [part for name in settings for part in (name, name, settings[name])])
    return dict(zip(settings, cursor.fetchone()[::2], strict=True))
